"""What tools/train_backbone.py and tools/evaluate_backbone.py do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from backbone.card import card, follow_table, times_table, verdict
from backbone.correlation import follow
from backbone.crops import Crops
from backbone.objectives import TEACHER
from backbone.projections import put_projections
from backbone.student_training import SIDES_PX, Trainer, TrainSpec
from paper.cached_runs import content_of
from speed.backbone_forward import benchmark_backbone
from speed.timing import as_json
from tim_plugin import __version__
from tim_plugin.losses.backbones import TIM_SMALL
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.utils.bundled import SUFFIX, bundle, path_of, read_bundled, read_weights, write_weights
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.writing import write_atomically, write_json
from towers.judge import Judge


def train_backbone(root: Path, args: argparse.Namespace) -> None:
    """Train, or go on with training, and write the weights with their card beside them.

    Args:
        root: The project's folder.
        args: As tools/train_backbone.py has them.

    Raises:
        TimError: An option, a photograph, the teacher or the state of an earlier run is wrong.
    """
    fields = ("iters", "crops", "lr", "seed", "save_every_iters")
    spec = TrainSpec(**{name: getattr(args, name) for name in fields}, often=tuple(args.often))
    output, teacher = args.output.expanduser(), _teacher(args.teacher)
    if output.suffix != SUFFIX:
        raise TimError(f"-o {output}: must end with {SUFFIX}")
    trainer = Trainer(spec, Crops(args.data, max(SIDES_PX), progress=True), teacher)
    output.parent.mkdir(parents=True, exist_ok=True)
    if args.init is not None:
        trainer.start_from(args.init.expanduser())
    _run(trainer, output.with_suffix(".state.pth"))
    about = _about(args, trainer)
    if teacher is not None:
        put_projections(trainer.student, trainer.objective, trainer.crops, spec.seed)
    write_weights(output, trainer.student.weights(), trainer.student.measure.trunk.arguments, about)
    pages, written = [output.with_suffix(".md")], [output]
    if args.bundle:
        written.append(bundle(TIM_SMALL, output))
        pages.append(_card_of(root))
    for page in pages:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, card(about, None).encode())
    print("\n".join(f"written: {path}" for path in (*written, *pages)))


def _run(trainer: Trainer, state: Path) -> None:
    """Go on from the state of an earlier run, if there is one, to the end."""
    trainer.resume(state)
    with tqdm(total=trainer.spec.iters, initial=trainer.iteration, unit="it", desc=TIM_SMALL, mininterval=1.0) as bar:

        def show(iteration: int, log: dict[str, float]) -> None:
            bar.set_postfix({name: f"{value:.3f}" for name, value in log.items()}, refresh=False)
            bar.update(iteration - bar.n)

        trainer.run(state, show)


def evaluate_backbone(root: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure a backbone, print the tables, write JSON and card; return the measures.

    Args:
        root: The project's folder.
        args: As tools/evaluate_backbone.py has them.

    Raises:
        MissingWeightsError: The judge's weights are not installed.
        TimError: A photograph, weights, or those of a network to compare with are wrong.
    """
    if args.images < 2:
        raise TimError(f"--images {args.images}: must be 2 or more")
    path = path_of(TIM_SMALL) if args.weights == "bundled" else Path(args.weights).expanduser()
    weights = read_bundled(TIM_SMALL) if args.weights == "bundled" else read_weights(path)
    judge, crops = Judge("cpu").distance, Crops(args.data, max(SIDES_PX), progress=True)
    judged = _judged(args.weights, args.seed) | _beside(args)
    measures = {
        "name": judged["tim_small"].name,
        "weights": content_of(path),
        "judge": judge.name,
        "folders": _names(args.data),
        "photographs": len(crops.photos),
        "images": args.images,
        "seed": args.seed,
        "follow": follow(judged, judge, crops, args.images, args.seed, progress=True),
        "times": as_json(benchmark_backbone(args.repeats), root, "cpu"),
    }
    _tell(measures)
    if args.output is not None:
        write_json(args.output, measures)
        print(f"written: {args.output}")
    if args.card is not None:
        args.card.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.card, card(weights.about, measures).encode())
        print(f"written: {args.card}")
    return measures


def _judged(weights: str, seed: int) -> dict[str, PerceptualDistance | PixelDistance]:
    """The distances that are compared with the judge's, by name."""
    random = PerceptualDistance(backbone=TIM_SMALL, weights="random", calibration="none", seed=seed)
    return {
        "tim_small": PerceptualDistance(backbone=TIM_SMALL, weights=weights, calibration="bundled"),
        "tim_small, uncalibrated": PerceptualDistance(backbone=TIM_SMALL, weights=weights, calibration="none"),
        "random features of the same trunk": random,
        "raw pixels": PixelDistance(),
    }


def _beside(args: argparse.Namespace) -> dict[str, PerceptualDistance]:
    """Distances of whole networks, for rows of their own."""
    given = {TEACHER: ("--teacher", args.teacher), "vgg16": ("--vgg16", args.vgg16)}
    found = (_distance(network, *one) for network, one in given.items() if one[1] is not None)
    return {one.name: one for one in found}


def _teacher(path: Path | None) -> PerceptualDistance | None:
    return None if path is None else _distance(TEACHER, "--teacher", path)


def _distance(network: str, option: str, path: Path) -> PerceptualDistance:
    try:
        return PerceptualDistance(backbone=network, weights=str(path), calibration="none")
    except TimError as error:
        raise TimError(f"{option}: {error}") from error


def _card_of(root: Path) -> Path:
    return root / "docs" / "models" / f"{TIM_SMALL}.md"


def _names(folders: list[Path]) -> list[str]:
    return ["/".join(folder.expanduser().resolve().parts[-2:]) for folder in folders]


def _about(args: argparse.Namespace, trainer: Trainer) -> dict[str, Any]:
    teacher = None
    if args.teacher is not None:
        teacher = {
            "network": TEACHER,
            "file": args.teacher.name,
            "sha256": content_of(args.teacher.expanduser()),
            "terms": args.teacher_terms,
        }
    trunk = trainer.student.measure.trunk
    return {
        "data": {
            "folders": _names(args.data),
            "photographs": len(trainer.crops.photos),
            "sha256": ", ".join(content_of(folder.expanduser()) for folder in args.data),
            "terms": args.data_terms,
        },
        "teacher": teacher,
        "training": trainer.state()["spec"],
        "before": trainer.before,
        "objective": trainer.state()["objective"],
        "parameters": sum(one.numel() for one in trunk.parameters()),
        "version": __version__,
        "torch": torch.__version__,
    }


def _tell(measures: dict[str, Any]) -> None:
    print(f"Spearman's correlation with {measures['judge']}; in how many steps of strength the distance grows\n")
    print("\n".join(follow_table(measures["follow"])))
    print(f"\n{measures['name']}: {verdict(measures['follow']['tim_small'])}\n")
    print("\n".join(times_table(measures["times"])))
