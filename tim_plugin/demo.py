"""The demos: train a small tower on photographs that dependencies ship, sample held-out ones, measure, show.

No download, no GPU. The photographs are those of scikit-image, scikit-learn and matplotlib, which their wheels hold.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tim_plugin.checkpoints import load_network
from tim_plugin.contact_sheet import SheetRow, contact_sheet
from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.errors import TimError
from tim_plugin.evaluation import Answers, Row, evaluate, summarise
from tim_plugin.images import read_image, write_png
from tim_plugin.imle.distance import PerceptualDistance
from tim_plugin.option_file import read_option_file
from tim_plugin.resize import bicubic_resize
from tim_plugin.train_pipeline import train_pipeline

PHOTOS = {  # where each photograph stands: package and path inside it
    "astronaut": ("skimage", "data/astronaut.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "grass": ("skimage", "data/grass.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
HELD_OUT = ("chelsea", "flower", "coffee", "rocket")
SHORT_SIDES_PX = (96, 144, 216)  # each training photograph is there in several sizes, so that a crop shows more or less
AVERAGED_ITERS = 10


@dataclass(frozen=True)
class Demo:
    """A demo: its option file below options/demo, and how many samples are measured and shown."""

    option_file: str
    num_samples: int = 8
    shown_samples: int = 6
    seed: int = 0


DEMOS = {"sr16x": Demo("demo_sr16x.yml")}


@dataclass
class History:
    """What training logged, iteration by iteration."""

    loss: list[float] = field(default_factory=list)
    selected: list[float] = field(default_factory=list)

    def record(self, current_iter: int, log: Mapping[str, float]) -> None:
        """Take one iteration's log."""
        self.loss.append(log["l_total"])
        self.selected.append(log["d_selected"])

    @staticmethod
    def ends(values: list[float]) -> dict[str, float]:
        """Means over the first and the last iterations."""
        head, tail = values[:AVERAGED_ITERS], values[-AVERAGED_ITERS:]
        return {"start": sum(head) / len(head), "end": sum(tail) / len(tail)}


def run_demo(name: str, root: Path) -> dict[str, Any]:
    """Train, sample, measure and write ``results/demo_NAME/contact_sheet.png`` and ``metrics.json``.

    Args:
        name: A key of :data:`DEMOS`.
        root: The project's folder; data, experiments and results are made below it.

    Returns:
        The measures.

    Raises:
        TimError: A photograph's package is not installed.
    """
    demo, option_file = DEMOS[name], root / "options" / "demo" / DEMOS[name].option_file
    started = time.perf_counter()
    opt = read_option_file(option_file)
    print(
        f"Training a small tower for {opt['train']['total_iter']} iterations on photographs that are installed "
        f"with its dependencies ({option_file.relative_to(root)}).",
        flush=True,
    )
    write_photos(root / "datasets" / "demo_photos")
    # The option file's folders are below the project, wherever the command is started.
    folders = {phase: str(root / dataset["dataroot_gt"]) for phase, dataset in opt["datasets"].items()}
    forced = [f"datasets:{phase}:dataroot_gt={json.dumps(folder)}" for phase, folder in folders.items()]
    history = History()
    train_pipeline(str(root), ["-opt", str(option_file), "--force_yml", *forced], history.record)
    trained_seconds = time.perf_counter() - started
    checkpoint = root / "experiments" / opt["name"] / "models" / "net_g_latest.pth"
    tower, _ = load_network(checkpoint)
    result = root / "results" / opt["name"]
    measures = {
        "task": name,
        "parameters": sum(p.numel() for p in tower.parameters()),
        "iterations": int(opt["train"]["total_iter"]),
        "seconds_training": round(trained_seconds, 1),
        "loss": History.ends(history.loss),
        "selected_distance": History.ends(history.selected),
        **_measure(demo, opt, folders["val"], tower, result),
        "training_seed": opt["manual_seed"],
        "seconds": round(time.perf_counter() - started, 1),
    }
    (result / "metrics.json").write_text(json.dumps(measures, indent=2) + "\n", encoding="utf-8")
    _tell(measures, result, checkpoint, root)
    return measures


def write_photos(folder: Path) -> None:
    """Write the installed photographs to ``folder/train`` (several sizes each) and ``folder/val``, once.

    Raises:
        TimError: A package is not installed or does not hold its photograph.
    """
    for name in PHOTOS:
        phase, sides = ("val", (SHORT_SIDES_PX[1],)) if name in HELD_OUT else ("train", SHORT_SIDES_PX)
        for side in sides:
            target = folder / phase / f"{name}_{side}.png"
            if not target.exists():
                rgb = read_image(_installed(name)).rgb
                height, width = (round(size * side / min(rgb.shape[-2:])) for size in rgb.shape[-2:])
                write_png(target, bicubic_resize(rgb, (height, width)).clamp(0, 1))


def _installed(name: str) -> Path:
    package, path = PHOTOS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / path).is_file():
        raise TimError(
            f"the demo's photograph {path} of the package '{package}' is not installed: "
            "pip install 'tim_plugin[demo]', or run make demo"
        )
    return Path(spec.origin).parent / path


def _measure(demo: Demo, opt: Mapping[str, Any], photos: str, tower: nn.Module, result: Path) -> dict[str, Any]:
    """Sample the held-out photographs, write the contact sheet, and return the measures."""
    options = {
        key: value for key, value in opt["train"]["perceptual_opt"].items() if key not in ("type", "loss_weight")
    }
    distance = PerceptualDistance(**options)
    section = {**opt["datasets"]["val"], "phase": "val", "scale": opt["scale"], "dataroot_gt": photos}
    dataset = DegradedImageDataset(section)
    sheet: list[SheetRow] = []
    bicubic: list[float] = []

    def on_image(answers: Answers, row: Row) -> None:
        enlarged = bicubic_resize(answers.lq, tuple(answers.gt.shape[-2:])).clamp(0, 1)
        with torch.no_grad():
            bicubic.append(float(distance(enlarged[None], answers.gt[None])))
        sheet.append(SheetRow(answers.lq, answers.samples, answers.gt, answers.name))

    rows = evaluate(
        tower,
        torch.utils.data.DataLoader(dataset),
        {},
        demo.num_samples,
        demo.seed,
        distance=distance,
        callback=on_image,
    )
    write_png(result / "contact_sheet.png", contact_sheet(sheet, max_samples=demo.shown_samples))
    summary = summarise(rows, {"distance": "lower"})
    return {
        "validation_images": [row.name for row in rows],
        "distance": distance.name,
        "bicubic_distance": sum(bicubic) / len(bicubic),
        "mean_distance": summary["distance"],
        f"best_of_{demo.num_samples}_distance": summary["distance_best"],
        "diversity": summary["diversity"],
        "lr_psnr_db": {"mean": summary["lr_psnr"], "worst": summary["lr_psnr_worst"]},
        "num_samples": demo.num_samples,
        "sampling_seed": demo.seed,
    }


def _tell(measures: Mapping[str, Any], result: Path, checkpoint: Path, root: Path) -> None:
    best = measures[f"best_of_{measures['num_samples']}_distance"]
    here, model = result.relative_to(root), checkpoint.relative_to(root)
    print(
        f"""
Done in {measures["seconds"]:.0f} s: {measures["parameters"]:,} parameters, {measures["iterations"]} iterations.
  loss               {measures["loss"]["start"]:.3f} -> {measures["loss"]["end"]:.3f}
  selected distance  {measures["selected_distance"]["start"]:.3f} -> {measures["selected_distance"]["end"]:.3f}
  held-out photographs (distance: {measures["distance"]}):
    bicubic {measures["bicubic_distance"]:.3f}, mean {measures["mean_distance"]:.3f}, \
best of {measures["num_samples"]} {best:.3f}, diversity {measures["diversity"]:.3f}, \
LR-PSNR at least {measures["lr_psnr_db"]["worst"]:.1f} dB
Look at  {here / "contact_sheet.png"}  and  {here / "metrics.json"}.
Next, many answers for a small image of your own:
  .venv/bin/python tools/sample.py -i IMAGE_OR_FOLDER -o results/mine -m {model} -n 8
or the published network on your own photographs (see README.md):
  .venv/bin/python tools/train.py -opt options/train_tim_sr16x.yml""",
        flush=True,
    )
