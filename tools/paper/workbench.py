"""What all targets need: data at the preset's size, runs, figures of a checkpoint (once), conditions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from torch import nn
from torch.utils.data import Subset

from paper.cached_runs import content_of, finished_checkpoint, kept_file, kept_json
from paper.halved_photographs import halved, tiles
from paper.parallel_runs import Run, train_all
from paper.presets import Preset
from paper.run_conditions import machine, made_by
from paper.sample_cost import parameters_of
from paper.systems import System
from tim_plugin import __version__
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.case_measures import Tools, score
from tim_plugin.metrics.feature_extractors import (
    EFFICIENTNET_LITE0,
    INSTALL,
    Extractor,
    build_extractor,
    is_installed,
)
from tim_plugin.metrics.network_cases import NetworkCases
from tim_plugin.options.option_file import read_option_file, read_with_overrides
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images
from tim_plugin.utils.networks import network_of
from tim_plugin.utils.writing import write_json

SAMPLING_SEED = 0
AT_ONCE = 8


def evenly_spread(count: int, most: int) -> list[int]:
    """Return the indices of at most so many of ``count`` items, evenly spread, so that none is picked."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()


@dataclass(frozen=True)
class Workbench:
    """A preset with data, features and a machine.

    Attributes:
        root: The project's folder.
        preset: Sizes, seeds, systems.
        data: Folder with ``train`` and ``val``.
        features: Weights of the distance's network: ``random``, ``imagenet`` or a state dict's path.
        device: Where.
        jobs: Training runs at a time.
        finished_only: Nothing is trained: what is not there is left out.
        adds: Runs that a page has already stay on it, and are neither trained nor measured again.
    """

    root: Path
    preset: Preset
    data: Path
    features: str
    device: str | torch.device = "cpu"
    jobs: int = 1
    finished_only: bool = False
    adds: bool = False

    @cached_property
    def weights(self) -> str:
        """The distance's weights; a path made absolute."""
        known = self.features in ("random", "imagenet")
        return self.features if known else str(Path(self.features).expanduser().resolve())

    @property
    def content_of_weights(self) -> str:
        """What figures that were measured by the distance are kept under: the file's content, or the name."""
        return content_of(Path(self.weights)) if Path(self.weights).is_file() else self.weights

    @cached_property
    def distance(self) -> PerceptualDistance:
        """What images are compared by, in training and in the tables."""
        return PerceptualDistance(weights=self.weights, **self.preset.distance).to(self.device)

    @cached_property
    def extractor(self) -> Extractor:
        """What sets of images are compared by.

        Raises:
            TimError: Its weights are not there.
        """
        if self.preset.inception:
            return build_extractor("inception", "features", ())
        if self.weights == "random":
            raise TimError("--features random: sets of images need trained features: give squeezenet1_1's state dict")
        choice = "squeezenet" if self.weights == "imagenet" else self.weights
        return build_extractor(choice, "--features", ("imagenet",))

    @cached_property
    def folders(self) -> dict[str, Path]:
        """Photographs to train on, to validate on, and what is measured.

        Raises:
            TimError: They are not there, or damaged, or small.
        """
        if not self.preset.halve:
            found = {phase: self.data.expanduser().resolve() / phase for phase in ("train", "val")}
            return {**found, "measured": found["val"]}
        work = self.root / "datasets" / "reproduce_half"
        found = {phase: halved([self.data / phase], work / phase) for phase in ("train", "val")}
        cut = work / f"val_{self.preset.gt_px}" / found["val"].name
        return {**found, "measured": tiles(found["val"], cut, self.preset.gt_px)}

    @cached_property
    def judges(self) -> list[Extractor]:
        """What sets of all samples are compared by: the extractor, and a network that is neither loss nor teacher."""
        if is_installed():
            return [build_extractor(EFFICIENTNET_LITE0), self.extractor]
        print(f"sets are judged by {self.extractor.name} alone; for EfficientNet-Lite0 {INSTALL}", file=sys.stderr)
        return [self.extractor]

    @cached_property
    def set_images(self) -> tuple[Path, Path]:
        """Folders of what sets are measured on, more images than the rest, and of the real images of the floor.

        They are of the photographs of ``val`` and, where there is one, ``test``; and of ``train``. Halved ones are cut
        into all tiles that fit, those of ``test`` into every other one.
        """
        if not self.preset.halve:
            return self.folders["measured"], self.folders["train"]
        side, val, train = self.preset.gt_px, self.folders["val"], self.folders["train"]
        work = self.root / "datasets" / "reproduce_half"
        test = [halved([self.data / "test"], work / "test")] if (self.data / "test").is_dir() else []
        sets = work / f"sets_{side}" / "-".join(one.name for one in (val, *test))
        for folder in test:
            tiles(folder, sets, side)
        return tiles(val, sets, side, 1), tiles(train, work / f"train_{side}" / train.name, side, 1)

    def run(self, system: System, seed: int, changes: Mapping[str, Any] | None = None) -> Run:
        """Return a system's training run."""
        file = self.root / system.option_file
        overrides = {**system.overrides, **(changes or {}), "manual_seed": seed}
        overrides |= {f"datasets:{phase}:dataroot_gt": str(self.folders[phase]) for phase in ("train", "val")}
        if torch.device(self.device).type == "cuda":
            overrides["num_gpu"] = 1
        if "perceptual_opt" in read_option_file(file)["train"]:
            overrides["train:perceptual_opt:weights"] = self.weights
        return Run(file, overrides, f"reproduce_{file.stem.removeprefix('train_')}")

    def train(self, runs: Sequence[Run]) -> list[Path]:
        """Return the runs' checkpoints, training what is missing."""
        return train_all(runs, self.root, self.jobs)

    def checkpoints(self, runs: Mapping[Any, Run]) -> dict[Any, Path]:
        """Return the checkpoints of runs by key: of all, after training what is missing, or of what is finished."""
        if not self.finished_only:
            return dict(zip(runs, self.train(list(runs.values())), strict=True))
        found = {key: finished_checkpoint(*run, self.root) for key, run in runs.items()}
        return {key: path for key, path in found.items() if path is not None}

    def network(self, system: System, checkpoint: Path | None) -> nn.Module:
        """Return a trained network, or one that needs no training; the last one is kept, for each of its measures."""
        key = f"{_origin(system, checkpoint)} {dict(system.sampling)}"
        if key not in self._opened:
            self._opened.clear()
            self._opened[key] = self._network(system, checkpoint)
        return self._opened[key]

    @cached_property
    def _opened(self) -> dict[str, nn.Module]:
        return {}

    def _network(self, system: System, checkpoint: Path | None) -> nn.Module:
        if checkpoint is None:
            return network_of(self._options(system)["network_g"]).to(self.device)
        network, arguments = load_network(checkpoint, self.device)
        if not system.sampling:
            return network
        changed = network_of({**arguments, **system.sampling})
        changed.load_state_dict(network.state_dict())
        return changed.requires_grad_(False).to(self.device)

    def dataset(self, system: System, folder: Path | None = None) -> dict[str, Any]:
        """Return the section of the data set that a system is measured on, or that of other images."""
        opt = self._options(system)
        section = next(one for phase, one in opt["datasets"].items() if phase != "train")
        return {
            **{key: value for key, value in section.items() if key != "resize" or not self.preset.halve},
            "dataroot_gt": str(folder or self.folders["measured"]),
            "gt_size": self.preset.gt_px,
            "phase": "val",
            "scale": opt["scale"],
        }

    def _options(self, system: System) -> dict[str, Any]:
        return read_with_overrides(self.root / system.option_file, system.overrides)[0]

    def spread_images(self, system: System, count: int) -> Subset:
        """Return measured images that are spread evenly over all, none picked."""
        dataset = build_dataset(self.dataset(system))
        return Subset(dataset, list(range(0, len(dataset), max(len(dataset) // count, 1)))[:count])

    def figures(self, system: System, checkpoint: Path | None) -> dict[str, Any]:
        """Return the measures of a network on the measured images, from the run's folder if they are there.

        They are kept under a digest of the checkpoint, the images, the features and how much is measured.
        """
        count = self.preset.num_samples if system.several else 1
        what = {"features": self.extractor.digest, "samples": count, "fwv_scale": self.preset.fwv_scale}
        return self.kept("figures", system, checkpoint, what, lambda: self._measured(system, checkpoint, count))

    def kept(
        self,
        name: str,
        system: System,
        checkpoint: Path | None,
        what: Mapping[str, Any],
        measure: Callable[[], dict[str, Any]],
    ) -> dict[str, Any]:
        """Return what was measured of a network before, or measure and keep it.

        Args:
            name: Of the file, which lies in the run's folder.
            system: Of the network.
            checkpoint: Of the network, if it is trained.
            what: All that the measures depend on beside checkpoint, images, distance and seed.
            measure: Gives them.
        """
        place = self.root / "experiments" / "reproduce_untrained" if checkpoint is None else checkpoint.parent.parent
        key = {**self._key(system, checkpoint), **what}
        by = kept_file(place, f"{name}_by", key)
        if not kept_file(place, name, key).is_file():
            write_json(by, machine(self.root, self.device))
        self._measured_by.append(by)
        return kept_json(place, name, key, measure)

    @cached_property
    def _measured_by(self) -> list[Path]:
        return []

    def _key(self, system: System, checkpoint: Path | None) -> dict[str, Any]:
        dataset = self.dataset(system)
        return {
            "system": _origin(system, checkpoint),
            "dataset": {**dataset, "dataroot_gt": content_of(Path(dataset["dataroot_gt"]))},
            "distance": self.distance.name,
            "weights": self.content_of_weights,
            "seed": SAMPLING_SEED,
            "version": __version__,
            **({"sampling": dict(system.sampling)} if system.sampling else {}),
        }

    def _measured(self, system: System, checkpoint: Path | None, count: int) -> dict[str, Any]:
        dataset, network = self.dataset(system), self.network(system, checkpoint)
        cases = NetworkCases(dataset, network, count, SAMPLING_SEED, self.device, AT_ONCE)
        several = ("lpips_diversity", "fwv") if system.several else ()
        tools = Tools(
            ("lpips", *several, "psnr", "fid", "prc", *cases.measured),
            self.distance,
            extractor=self.extractor,
            device=self.device,
            fwv_scale=self.preset.fwv_scale,
            cache=self.root / "datasets" / "reproduce_features",
        )
        found = score(cases, tools, cases.measured, len(cases))
        return {**found, "parameters": parameters_of(network)}

    def conditions(self) -> dict[str, Any]:
        """Return what stands beside every figure that is measured: call it when all are."""
        return {
            **self.shown_conditions(),
            **made_by("measuring", self._measured_by),
            "images_measured": len(list_images(self.folders["measured"])),
            "samples_of_each_input": self.preset.num_samples,
            "distance": self.distance.name,
            "features_of_sets": self.extractor.name,
        }

    def shown_conditions(self) -> dict[str, Any]:
        """Return what stands beside samples that are shown."""
        side = self.preset.gt_px
        cut = f", halved; measured on {side}x{side} tiles of val" if self.preset.halve else ""
        return {
            "data_set": f"{self.data.resolve().name}{cut}",
            "output_px": self.preset.gt_px,
            "sampling_seed": SAMPLING_SEED,
            **machine(self.root, self.device),
        }


def _origin(system: System, checkpoint: Path | None) -> str:
    """What a network is told apart by: its checkpoint's content, or the option file that it is built of."""
    return system.option_file if checkpoint is None else content_of(checkpoint)
