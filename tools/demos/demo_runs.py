"""What every demo does: train a small tower as its option file says, sample held-out images, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.losses import build_loss
from torch import nn

from tim_plugin.imle.search import DistanceLike
from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.metrics.summary import Row, summarise
from tim_plugin.metrics.validation import evaluate
from tim_plugin.models.pipeline import train_pipeline
from tim_plugin.options.option_file import read_option_file, read_with_overrides
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.resize import bicubic_resize

AVERAGED_ITERS = 10
# Left out of the distance of figures, which compares with other towers'.
OF_TRAINING = ("soften", "pixels", "precision")
OnImage = Callable[[SampledImage, Row], None]


@dataclass(frozen=True)
class Demo:
    """A demo: its option file below tools/demos/options, what differs from it, and how much is measured and shown.

    Attributes:
        option_file: Its name.
        what: One line for people.
        overrides: Options that replace the file's, as ``--force_yml`` names them.
        num_samples: Samples of each held-out image.
        shown_samples: So many of them in the contact sheet.
        shown_images: At most so many rows in the contact sheet, evenly spread over the held-out images.
        seed: Of the samples.
    """

    option_file: str
    what: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    num_samples: int = 8
    shown_samples: int = 6
    shown_images: int = 6
    seed: int = 0


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


@dataclass(frozen=True)
class Trained:
    """A trained demo: its options with folders below the project, its network, and what training showed."""

    opt: dict[str, Any]
    tower: nn.Module
    checkpoint: Path
    measures: dict[str, Any]


def train(demo: Demo, root: Path, overrides: Mapping[str, Any] | None = None) -> Trained:
    """Train a demo's tower.

    Args:
        demo: Names the option file.
        root: The project's folder; ``experiments/`` is made below it.
        overrides: Options that replace the demo's, as ``--force_yml`` names them.
    """
    option_file, history = root / "tools" / "demos" / "options" / demo.option_file, History()
    below = _below(root, read_option_file(option_file))
    opt, argv = read_with_overrides(option_file, {**below, **demo.overrides, **(overrides or {})})
    print(
        f"Training a small tower for {opt['train']['total_iter']} iterations ({option_file.relative_to(root)}).",
        flush=True,
    )
    started = time.perf_counter()
    train_pipeline(str(root), argv, history.record)
    seconds = time.perf_counter() - started
    checkpoint = root / "experiments" / opt["name"] / "models" / "net_g_latest.pth"
    tower, _ = load_network(checkpoint)
    return Trained(opt, tower, checkpoint, _training_measures(opt, tower, history, seconds))


def _training_measures(opt: Mapping[str, Any], tower: nn.Module, history: History, seconds: float) -> dict[str, Any]:
    return {
        "parameters": sum(p.numel() for p in tower.parameters()),
        "iterations": int(opt["train"]["total_iter"]),
        "seconds_training": round(seconds, 1),
        "seconds_an_iteration": round(seconds / len(history.loss), 3),
        "loss": History.ends(history.loss),
        "selected_distance": History.ends(history.selected),
        "training_seed": opt["manual_seed"],
    }


def _below(root: Path, opt: Mapping[str, Any]) -> dict[str, str]:
    """The option file's folders are below the project, wherever the command is started."""
    return {
        f"datasets:{phase}:{key}": str(root / dataset[key])
        for phase, dataset in opt["datasets"].items()
        for key in ("dataroot_gt", "dataroot_lq")
        if key in dataset and not dataset[key].startswith("sklearn:")
    }


def measure(
    demo: Demo, trained: Trained, consistency: str | None = None, on_image: OnImage | None = None
) -> dict[str, Any]:
    """Sample the held-out images and return the measures, as the paper's tables have them.

    Args:
        demo: How many samples, and their seed.
        trained: The tower and its options.
        consistency: ``off`` or ``project`` for what is done at the end; None does as the tower does.
        on_image: Called with each image's samples.

    Returns:
        ``input_distance`` is that of the input itself (enlarged bicubically); ``agreement`` holds for each measure of
        consistency with the input its mean and the worst sample's.
    """
    trained_by = trained.opt["train"]["perceptual_opt"].items()
    distance: DistanceLike = build_loss({key: value for key, value in trained_by if key not in OF_TRAINING}).distance
    section = {**trained.opt["datasets"]["val"], "phase": "val", "scale": trained.opt["scale"]}
    inputs: list[float] = []

    def take(sampled: SampledImage, row: Row) -> None:
        inputs.append(_input_distance(sampled, distance))
        if on_image is not None:
            on_image(sampled, row)

    rows = evaluate(
        trained.tower,
        torch.utils.data.DataLoader(build_dataset(section)),
        {},
        demo.num_samples,
        demo.seed,
        distance=distance,
        max_samples_per_batch=demo.num_samples,
        callback=take,
        consistency=consistency,
    )
    input_distance = {"distance": distance.name, "input_distance": sum(inputs) / len(inputs)}
    return {"validation_images": len(rows), **input_distance, **_summary(demo, trained, rows)}


@torch.no_grad()
def _input_distance(sampled: SampledImage, distance: DistanceLike) -> float:
    """The distance to the GT of the input itself, enlarged bicubically."""
    lq = sampled.lq[: sampled.gt.shape[0]]
    enlarged = bicubic_resize(lq, tuple(sampled.gt.shape[-2:])).clamp(0, 1)
    return float(distance(enlarged[None], sampled.gt[None]))


def _summary(demo: Demo, trained: Trained, rows: list[Row]) -> dict[str, Any]:
    measured = trained.tower.degradation.measured
    better = {"distance": "lower"} | {name: one.better for name, one in measured.items()}
    summary = summarise(rows, better, set(measured))
    return {
        "mean_distance": summary["distance"],
        f"best_of_{demo.num_samples}_distance": summary["distance_best"],
        "diversity": summary["diversity"],
        "agreement": {
            name: {"mean": summary[name], "worst": summary[f"{name}_worst"], "unit": one.unit}
            for name, one in measured.items()
        },
        "num_samples": demo.num_samples,
        "sampling_seed": demo.seed,
    }
