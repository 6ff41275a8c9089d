"""The towers that come with the package: trained, written, measured on what was held out, and described by a card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.data import build_dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from paper.pages import table, write_target
from paper.parallel_runs import Run
from paper.run_conditions import clean_machine
from paper.sample_cost import parameters_of
from paper.step_time import logged_step_seconds
from paper.workbench import SAMPLING_SEED, Workbench
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.inference import towers as pretrained
from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.integrations import model_card
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.summary import Row, summarise
from tim_plugin.metrics.validation import evaluate
from tim_plugin.options.yaml_file import read_option_file
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.contact_sheet import SheetRow, contact_sheet
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.images import write_jpeg
from tim_plugin.utils.resize import bicubic_resize
from tim_plugin.utils.writing import write_json
from towers.colours import Colours, colours_of, mean_colours
from towers.earlier import Earlier, earlier_tower
from towers.gallery import SHOWN_SAMPLES, Compared, chosen
from towers.recipes import TOWERS, Shipped
from towers.temperature import keep_temperature

NUM_SAMPLES = 8
AT_ONCE = 8
SHOWN = {"typical": 4, "best": 0, "failed": 4}


class Held(NamedTuple):
    """A held-out image.

    Attributes:
        row: Its measures.
        trivial: The distance of the trivial image.
        shown: What a sheet shows.
        colours: Of the samples and of the original, where colours are what is sampled.
    """

    row: Row
    trivial: float
    shown: SheetRow
    colours: tuple[Colours, Colours] | None = None

    @property
    def gain(self) -> float:
        """The samples' mean distance over the trivial image's: below 1 the tower is nearer."""
        distances = self.row.scores["distance"]
        return sum(distances) / len(distances) / self.trivial


def make_weights(bench: Workbench, names: Sequence[str], teacher: Path | None = None) -> None:
    """Make towers: train what is missing, write the file that is shipped, measure it, and write its card.

    Writes ``NAME.safetensors`` and its terms into the package, and ``docs/models/NAME.{md,json,jpg}``.

    Args:
        bench: Data (photographs with ``train``, ``test`` and ``val``; or what the tower is trained on), features,
            machine.
        names: Of :data:`towers.recipes.TOWERS`.
        teacher: Weights of the backbone that such are trained by as have one of their own.

    Raises:
        TimError: A name is not known, a tower's teacher is not given, the data or features cannot be read, the tower
            that it goes on from is not in the history, or the commit that the card names is not what the files are.
    """
    for name in names:
        if name not in TOWERS:
            raise TimError(f"--name {name}: is not a tower of this package: {did_you_mean(name, TOWERS)}")
    made_on = clean_machine(bench.root, bench.device)  # now: the weights that are written change the tree
    goes_on = [name for name in names if TOWERS[name].goes_on_from]
    earlier = {name: _earlier(bench, name) for name in goes_on}
    runs = {name: _run(bench, name, teacher, earlier.get(name)) for name in names}
    for name, checkpoint in zip(runs, bench.train(list(runs.values())), strict=True):
        tower, options = load_network(checkpoint, bench.device)
        if TOWERS[name].temperature != 1:
            keep_temperature(tower, TOWERS[name].temperature)
        pretrained.write(name, tower, options, TOWERS[name].what)
        _write_terms(name, TOWERS[name])
        told = {"goes_on_from": earlier[name].told} if name in earlier else {}
        _write_card(bench, name, runs[name], checkpoint, {**made_on, **told})
        print(f"written: {pretrained.path_of(name)}, {bench.root / 'docs' / 'models' / name}.md, .json and .jpg")


def _earlier(bench: Workbench, name: str) -> Earlier:
    """The tower that a tower goes on from."""
    shipped, network = TOWERS[name], read_option_file(_option_file(bench, name))["network_g"]
    begins_as = shipped.goes_on_as or name
    return earlier_tower(bench.root, name, begins_as, shipped.goes_on_from, network.get("feature_scale"))


def _option_file(bench: Workbench, name: str) -> Path:
    return bench.root / "tools" / "towers" / "options" / TOWERS[name].option_file


def _run(bench: Workbench, name: str, teacher: Path | None, earlier: Earlier | None) -> Run:
    """A tower's training run."""
    shipped, weights = TOWERS[name], bench.weights
    if shipped.teacher:
        if teacher is None:
            raise TimError(f"--name {name}: is trained by {shipped.teacher}: give a state dict of it as --teacher")
        weights = str(teacher.expanduser().resolve())
    file = _option_file(bench, name)
    data = shipped.training_data(bench.root, bench.data)
    overrides = {**data, **({"train:perceptual_opt:weights": weights} if shipped.perceptual else {})}
    if earlier:
        overrides["path:pretrain_network_g"] = str(earlier.file)
    if torch.device(bench.device).type == "cuda":
        overrides["num_gpu"] = 1
    return Run(file, overrides, file.stem.replace("train_", "weights_", 1))


def _write_terms(name: str, shipped: Shipped) -> None:
    """Where the bridge to the Hugging Face Hub finds them."""
    cards = json.loads(model_card.CARDS.read_bytes())
    cards[name] = {"license": shipped.license, "terms": shipped.terms, "trained_on": shipped.trained_on}
    write_json(model_card.CARDS, dict(sorted(cards.items())))


def _write_card(bench: Workbench, name: str, run: Run, checkpoint: Path, made_on: Mapping[str, str]) -> None:
    shipped, folder = TOWERS[name], bench.root / "docs" / "models"
    tower = pretrained.load(name, bench.device).network  # what is measured is what is shipped
    section = shipped.held_out(bench.root, bench.data)
    held = held_out(tower, build_dataset(section), bench.distance, bench.device)
    figures = _figures(tower, held)
    conditions = {**_conditions(bench, shipped, run, checkpoint), **made_on}
    folder.mkdir(parents=True, exist_ok=True)
    write_jpeg(folder / f"{name}.jpg", contact_sheet([one.shown for one in shown(held)], max_samples=SHOWN_SAMPLES))
    content = {"name": name, "measures": figures, "conditions": conditions}
    write_target(folder, name, content, _card(name, shipped, figures, tower))


def _conditions(bench: Workbench, shipped: Shipped, run: Run, checkpoint: Path) -> dict[str, Any]:
    iterations = run.iterations()
    return {
        "trained_on": shipped.trained_on,
        "terms": shipped.terms,
        "iterations": iterations,
        "minutes": round(iterations * logged_step_seconds(checkpoint.parent.parent) / 60, 1),
        "batch": run.options()["datasets"]["train"]["batch_size_per_gpu"],
        "training_seed": run.options()["manual_seed"],
        **({} if shipped.temperature == 1 else {"temperature": shipped.temperature}),
        "measured_on": shipped.measured_on,
        "samples_of_each_input": NUM_SAMPLES,
        "sampling_seed": SAMPLING_SEED,
        "distance": bench.distance.name,
    }


def held_out(
    tower: nn.Module, dataset: Dataset, distance: PerceptualDistance, device: torch.device | str
) -> list[Held]:
    """Sample and measure every image of a data set.

    Args:
        tower: In eval mode.
        dataset: With GT.
        distance: Between samples and GT.
        device: Where.
    """
    held: list[Held] = []
    gives_colours = isinstance(tower.degradation, Lightness)
    with tqdm(total=len(dataset), unit="image", desc="held out") as bar:

        def on_image(found: SampledImage, row: Row) -> None:
            colours = (colours_of(found.samples), colours_of(found.gt[None])) if gives_colours else None
            held.append(Held(row, _trivial_distance(found, distance, device), sheet_row(found), colours))
            bar.update()

        evaluate(
            tower,
            DataLoader(dataset),
            {},
            NUM_SAMPLES,
            SAMPLING_SEED,
            device=device,
            distance=distance,
            max_samples_per_batch=AT_ONCE,
            callback=on_image,
        )
    return held


@torch.no_grad()
def _trivial_distance(sampled: SampledImage, distance: PerceptualDistance, device: torch.device | str) -> float:
    """The distance to the GT of the input as it is: enlarged bicubically, or the JPEG, or the grey image itself."""
    gt = sampled.gt.expand(3, -1, -1)[None]
    picture = trivial_image(sampled.lq, tuple(gt.shape[-2:]))[None]
    return float(distance(picture.to(device), gt.to(device)))


def trivial_image(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an input's picture (3, h, w) at the size (H, W) of the samples, in [0, 1]."""
    return picture if tuple(picture.shape[-2:]) == size else bicubic_resize(picture, size).clamp(0, 1)


def shown(held: Sequence[Held]) -> list[Held]:
    """Return typical images, about the median of what the tower gains, and the worst; both labelled."""
    found = chosen([Compared(index, one.gain) for index, one in enumerate(held)], SHOWN)
    labelled = [(label, held[index]) for label, index in found]
    return [one._replace(shown=one.shown._replace(label=f"{label}: {one.row.name}")) for label, one in labelled]


def _figures(tower: nn.Module, held: Sequence[Held]) -> dict[str, Any]:
    measured = tower.degradation.measured
    better = {"distance": "lower", **{name: one.better for name, one in measured.items()}}
    found = summarise([one.row for one in held], better, set(measured))
    trivial = [one.trivial for one in held]
    means = [one.gain for one in held]
    colours = [one.colours for one in held if one.colours is not None]
    if colours:
        samples, originals = (mean_colours(one) for one in zip(*colours, strict=True))
        found |= {"colours": samples._asdict(), "colours_of_originals": originals._asdict()}
    return {
        "images": len(held),
        "trivial_distance": sum(trivial) / len(trivial),
        "images_nearer_than_trivial": sum(gain < 1 for gain in means) / len(means),
        **found,
    }


def _card(name: str, shipped: Shipped, figures: dict[str, Any], tower: nn.Module) -> list[str]:
    measured = [
        f"Consistency with the input: {measure}, {one.unit}: mean {figures[measure]:.4g}, "
        f"worst {figures[f'{measure}_worst']:.4g}."
        for measure, one in tower.degradation.measured.items()
        if measure in figures
    ]
    return [
        f"# {name}",
        "",
        _summary(name, shipped, tower),
        "",
        *_table(name, shipped, figures),
        "",
        f"{figures['images']} held-out images; {figures['images_nearer_than_trivial']:.0%} of them are nearer to the "
        f"ground truth, mean of {NUM_SAMPLES} samples, than {shipped.trivial}.",
        *([""] if measured else []),
        *measured,
        *(["", _of_colours(figures)] if "colours" in figures else []),
        "",
        f"![Typical and failed results]({name}.jpg)",
        "",
        "Typical: about the median of the ratio of the samples' mean distance to the trivial answer's. Failed: the "
        "largest ratios of all held-out images.",
        "",
        f"Limits: {shipped.limits}",
    ]


def _of_colours(figures: Mapping[str, Any]) -> str:
    ours, originals = figures["colours"], figures["colours_of_originals"]
    return (
        f"Colours (CIELAB): chroma {ours['chroma']:.1f}, the originals' {originals['chroma']:.1f}; deviation of a* and "
        f"b* between 8x8 regions of one image {ours['spread']:.1f}, the originals' {originals['spread']:.1f}."
    )


def _summary(name: str, shipped: Shipped, tower: nn.Module) -> str:
    size = pretrained.path_of(name).stat().st_size / 1e6
    teacher = f" --teacher {shipped.teacher.upper()}_STATE_DICT" if shipped.teacher else ""
    return (
        f"{shipped.what}. {parameters_of(tower):,} parameters, {size:.1f} MB. Made by "
        f"`python tools/make_weights.py --name {name} --data DATA --features SQUEEZENET_STATE_DICT{teacher}`; used by "
        f"`python tools/sample.py -i FILE --model {name}`."
    )


def _table(name: str, shipped: Shipped, figures: dict[str, Any]) -> list[str]:
    ours = [f"{figures[key]:.3f}" for key in ("distance", "distance_best", "diversity")]
    rows = [[shipped.trivial, f"{figures['trivial_distance']:.3f}", "-", "-"], [f"`{name}`", *ours]]
    return table(["", "mean distance", f"best of {NUM_SAMPLES}", "diversity"], rows)
