"""Options of the search, the distance, an optimizer step and a validation's samples: a dataclass each; no torch.

A field is an option, and stands here once: its name, type, range, default and meaning. From it come the checks
(:mod:`tim_plugin.options.checks`), ``docs/options.md`` and the JSON schema of editors
(:mod:`tim_plugin.options.reference`). A tower's options are in :mod:`tim_plugin.options.tower_spec`, the rest of a file
is in :mod:`tim_plugin.options.sections`, and a degradation's own are its constructor's arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tim_plugin.options.plain_checks import per_level
from tim_plugin.options.values import Section, option
from tim_plugin.utils.errors import TimError

Sampling = Literal["hierarchical", "vanilla", "chimle"]


@dataclass(frozen=True, kw_only=True)
class ImleSpec(Section):
    """How latents are searched and how long the found ones are trained on (paper, section 4.2).

    Raises:
        TimError: A value is outside what it may be.
    """

    place: ClassVar[str] = "imle"
    removed: ClassVar[Mapping[str, str]] = {
        "beam": "several winners a level gained nothing when measured; leave it out, and raise samples_per_level to "
        "search more",
        "screen": "ranking candidates by the first feature maps saved no time when measured; leave it out, and use "
        "search_precision: bf16 or search_compile: true to search faster",
    }

    sampling: Sampling = option(
        "hierarchical",
        "How candidates are drawn: level by level (the paper's), all levels at once (vanilla), or level by level with "
        "more candidates on the coarse levels (chimle).",
    )
    samples_per_level: int | tuple[int, ...] = option(
        120, "Candidates m of each example: one number, or one a level, coarse to fine.", least=1, most=1_000_000
    )
    pool_size: int = option(400, "Examples that are searched together.", least=1)
    reuse: int = option(25, "How often each example of a pool is trained on before the next search.", least=1)
    search_batch: int = option(1, "Examples that are searched at once.", least=1)
    max_candidates_per_batch: int = option(
        20, "Candidates that a level runs on at once; fewer take less memory.", least=1
    )
    intermediate_supervision: bool = option(True, "Train every level's image, and not the last level's only.")
    reject_radius: float | tuple[float, ...] = option(
        0.0, "Candidates nearer than this distance are not taken (RS-IMLE): one number, or one a level.", least=0
    )
    jitter: float = option(
        0.0, "Deviation of the noise on the chosen latents, drawn anew for each step (cIMLE).", least=0
    )
    shift_px: int = option(
        0,
        "In each step images and targets are moved alike, by up to so many pixels drawn anew, before their distance is "
        "taken: the strides of the distance's network then leave no pattern.",
        least=0,
        most=64,
    )
    refine_steps: int = option(
        0,
        "Gradient steps on the latents that a search has chosen, each of which keeps their norm, where they bring the "
        "image nearer to its target.",
        least=0,
        most=100,
    )
    refine_size: float = option(0.1, "Size of such a step, as a share of the norm.", above=0, most=1)
    energy_score: float = option(
        0.0,
        "Weight of the energy score of two more samples of each target, drawn anew in each step, beside the distance "
        "of the chosen one: samples then differ more. A step takes three times the memory.",
        least=0,
        most=1_000_000,
    )
    search_ahead: bool = option(
        False, "Another process searches the next pool as soon as it is full, with the weights of that moment."
    )
    search_precision: Literal["fp32", "bf16"] = option(
        "fp32", "Precision of the candidates; with bf16 each winner is run once more in full precision."
    )
    channels_last: bool | None = option(
        None,
        "Run the search's levels with channels last in memory; left out, on CPUs with a tower whose trunks have "
        "8 channels or more.",
    )
    search_compile: bool = option(False, "Compile the levels for the search.")
    search_memory_gib: float | None = option(
        None, "Memory that the search's tensors may take, in GiB, in place of max_candidates_per_batch.", above=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        samples = self.samples_per_level
        if self.search_ahead and self.reuse == 1:
            raise TimError(
                "imle: search_ahead searches the next pool while the current one is used again, and reuse is 1: use "
                "reuse: 2 or more, or search_ahead: false"
            )
        if isinstance(samples, tuple) and self.sampling == "vanilla" and len(set(samples)) > 1:
            raise TimError(
                "imle: samples_per_level differs by level, but vanilla sampling draws all levels' codes together: give "
                "one number, or use sampling: hierarchical"
            )
        if isinstance(samples, int) and self.sampling == "chimle":
            raise TimError(
                "imle: sampling 'chimle' spends more candidates on the coarse levels: give samples_per_level a number "
                "a level, [200, 200, 20, 10] as published for four"
            )

    def samples(self, num_levels: int) -> tuple[int, ...]:
        """Return the number of candidates of each level, coarse to fine."""
        return per_level("imle: samples_per_level", self.samples_per_level, num_levels)

    def supervised(self, num_levels: int) -> range:
        """Return the levels that the loss sees: all, or without intermediate supervision the last."""
        return range(num_levels) if self.intermediate_supervision else range(num_levels - 1, num_levels)

    def radii(self, num_levels: int) -> tuple[float, ...]:
        """Return the radius of rejection of each level, coarse to fine.

        Raises:
            TimError: There is not one a level.
        """
        return per_level("imle: reject_radius", self.reject_radius, num_levels)


@dataclass(frozen=True, kw_only=True)
class DistanceSpec(Section):
    """The perceptual distance (LPIPS) that candidates are ranked by and that is trained on."""

    place: ClassVar[str] = "train: perceptual_opt"

    type: str = option("PerceptualDistanceLoss", "PerceptualDistanceLoss.")
    loss_weight: float = option(1.0, "Weight of the loss.", above=0, most=1_000_000)
    backbone: Literal["vgg16", "alexnet", "squeezenet1_1", "tim_small"] = option(
        "vgg16", "Network whose features are compared: `vgg16`, `alexnet`, `squeezenet1_1` or `tim_small`."
    )
    weights: str = option(
        "imagenet", "Its weights: `imagenet`, `bundled` (tim_small), `random`, or the path of a state dict."
    )
    calibration: Literal["lpips", "bundled", "none"] = option(
        "lpips", "Weights of the feature maps: LPIPS's (`lpips`), `bundled` (tim_small), or `none`."
    )
    seed: int = option(0, "Of random weights.", least=0)
    soften: float = option(
        0.0,
        "How much less the flat parts of an image count: 0, as in LPIPS, as much as any; 1 makes less grain.",
        least=0,
        most=1_000,
    )
    pixels: float = option(
        0.0,
        "Weight of the pixels' squared difference (summed over R, G, B), which is added: 0, as in LPIPS, none.",
        least=0,
        most=1_000_000,
    )
    precision: Literal["fp32", "bf16"] = option(
        "fp32",
        "Precision of the backbone; `bf16` is for GPUs and for CPUs with units for it (AMX), and slow without them.",
    )


@dataclass(frozen=True, kw_only=True)
class PixelSpec(Section):
    """The mean squared difference of pixels as the distance."""

    place: ClassVar[str] = "train: perceptual_opt"

    type: str = option("PixelDistanceLoss", "PixelDistanceLoss.")
    loss_weight: float = option(1.0, "Weight of the loss.", above=0, most=1_000_000)


@dataclass(frozen=True, kw_only=True)
class TrainSpec(Section):
    """How an optimizer step is computed, which no result should depend on.

    Raises:
        TimError: A value is outside what it may be, or two do not go together.
    """

    place: ClassVar[str] = "train"

    amp: Literal["off", "bf16", "fp16"] = option(
        "off",
        "Run the network in half precision, fp16 with a loss scale; weights, losses, projection and optimizer stay in "
        "single.",
    )
    accumulate: int = option(1, "Parts that a batch is split into; the gradients are those of the whole.", least=1)
    clip_grad_norm: float | None = option(None, "Largest norm of the gradient; left out, it is not clipped.", least=0)
    checkpoint_levels: bool = option(
        False, "Keep only what goes in and out of each level, and run it again in the backward pass, to save memory."
    )
    compile: bool = option(False, "Compile each level for training.")
    fsdp: bool = option(
        False, "Shard weights, gradients, optimizer and EMA over the processes, level by level; they are built whole."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_grad_norm == 0:
            raise TimError("train: clip_grad_norm 0 would stop all learning: use a number above 0, or ~ for none")
        if self.fsdp and self.amp == "fp16":
            raise TimError("train: fsdp has no loss scale, which amp: fp16 needs: use amp: bf16")
        if self.fsdp and self.compile:
            raise TimError("train: fsdp does not go with compile: use one of them")


@dataclass(frozen=True, kw_only=True)
class ValSpec(Section):
    """What validation and test do with several samples of an input."""

    place: ClassVar[str] = "val"

    num_samples: int = option(8, "Samples of each input.", least=1, most=1_000_000)
    seed: int = option(0, "Sample j of input i depends on (seed, i, j) alone.", least=0)
    contact_sheet: bool = option(True, "Save a sheet that shows an input, its samples and its GT.")
    max_samples_per_batch: int = option(4, "Samples that the network runs on at once; fewer take less memory.", least=1)
