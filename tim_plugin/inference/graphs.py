"""Networks as ONNX graphs for any size: one level without its latents' mapping, or a whole tower.

The legacy exporter of torch traces them (``dynamo=False``): the new one takes ten times as long and needs one package
more. Weights are folded: a weight-normalised one is stored as what it comes to.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tim_plugin.archs.folded import with_plain_weights
from tim_plugin.archs.tower_arch import TowerGenerator, TowerLevel
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents, LevelLatent
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.options.tower_spec import LevelSpec

OPSET = 20  # the newest that torch's exporter writes
_TRACED_PX = (6, 5)  # of the coarsest level: sides that no constant of a network equals
_MODULATION = ("scales", "offsets")


def _for_tracing(network: nn.Module) -> nn.Module:
    """Return a copy in float32 on the CPU, in eval mode, whose weights are plain tensors, however large it is."""
    return with_plain_weights(copy.deepcopy(network).to("cpu", torch.float32).eval().requires_grad_(False))


class _LevelNetwork(nn.Module):
    """A level's convolutions: what it reads (N, C, H, W), and scales and offsets (N, K, C) of its blocks."""

    def __init__(self, level: TowerLevel, is_last: bool) -> None:
        super().__init__()
        self.level, self.is_last = level, is_last

    def forward(self, read: Tensor, *modulation: Tensor) -> tuple[Tensor, ...]:
        first = self.level.conv_first(read)
        found = self.level.finish(first, self.level.trunk(first, modulation or None))
        return found[:1] if self.is_last else found


def level_graph(level: TowerLevel, spec: LevelSpec, is_last: bool) -> bytes:
    """Return the graph of a level: ``read``, ``scales`` and ``offsets`` to ``raw`` and, below the last, ``features``.

    Args:
        level: As it was trained, on any device.
        spec: The level's.
        is_last: Whether nothing reads its features.
    """
    module = _LevelNetwork(_for_tracing(level), is_last).eval()
    shape = (2, spec.num_blocks, spec.trunk_channels)
    inputs = {"read": torch.zeros(2, spec.in_channels, *_TRACED_PX)}
    inputs |= {} if level.mapping is None else {name: torch.zeros(shape) for name in _MODULATION}
    outputs = ["raw"] if is_last else ["raw", "features"]
    return _exported(module, inputs, outputs, {name: ("height", "width") for name in ("read", *outputs)})


class _TowerNetwork(nn.Module):
    """A whole tower: an LQ, and each level's noise and style in turn, to the finest image."""

    def __init__(self, tower: TowerGenerator) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, lq: Tensor, *latents: Tensor) -> Tensor:
        levels = [LevelLatent(*pair) for pair in zip(latents[::2], latents[1::2], strict=True)]
        conditions = condition_pyramid(Observed(lq), self.tower.spec, self.tower.degradation)
        return self.tower(conditions, Latents(levels))[-1]


def tower_network(tower: TowerGenerator, with_projection: bool) -> nn.Module:
    """Return what :func:`tower_graph` is traced of: a function of the graph's inputs, in their order."""
    tower = _for_tracing(tower)
    if not with_projection:
        tower.spec = dataclasses.replace(tower.spec, consistency="off", fade_contrast=0.0)
    return _TowerNetwork(tower).eval()


def tower_graph(tower: TowerGenerator, with_projection: bool) -> bytes:
    """Return the graph of a whole tower: ``lq``, ``noise_0``, ``style_0``, ``noise_1``, ... to ``image``.

    Args:
        tower: As it was trained, on any device.
        with_projection: Whether each level's image is projected, as the tower does where its ``consistency`` says so.
    """
    inputs = graph_inputs(tower, 2, *size_of_lq(tower, _TRACED_PX))
    sides = {name: _sides(name, tower.spec.num_levels, tower.spec.keeps_size) for name in inputs if "style" not in name}
    scale = "" if tower.spec.keeps_size else f"*{tower.spec.scale}"
    sides["image"] = f"height{scale}", f"width{scale}"
    return _exported(tower_network(tower, with_projection), inputs, ["image"], sides)


def graph_inputs(tower: TowerGenerator, count: int, height: int, width: int) -> dict[str, Tensor]:
    """Return zeros of the shapes of a tower graph's inputs, by name, for an LQ of ``height`` x ``width`` pixels."""
    coarsest = height, width
    if tower.spec.keeps_size:
        coarsest = height // tower.spec.gt_multiple, width // tower.spec.gt_multiple
    found = {"lq": torch.zeros(count, tower.spec.num_in_ch, height, width)}
    for level, shape in enumerate(tower.latent_shapes(*coarsest)):
        found |= {f"{kind}_{level}": torch.zeros(count, *getattr(shape, kind)) for kind in shape._fields}
    return found


def size_of_lq(tower: TowerGenerator, coarsest: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the LQ of which the coarsest level reads ``coarsest``; or the only one that there is."""
    own = getattr(tower.degradation, "size_px", None)  # of what is of one size only
    if own is not None:
        return own, own
    height, width = coarsest
    factor = tower.spec.gt_multiple if tower.spec.keeps_size else 1
    return height * factor, width * factor


def _sides(name: str, num_levels: int, keeps_size: bool) -> tuple[str, str]:
    """Name an input's sides by what they are of the LQ's: ``height*4``."""
    if name == "lq":
        return "height", "width"
    level = int(name.rsplit("_", 1)[1])
    factor = f"/{2 ** (num_levels - 1 - level)}" if keeps_size else f"*{2**level}"
    return f"height{factor}", f"width{factor}"


def _exported(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], sides: Mapping[str, tuple[str, str]]
) -> bytes:
    """Trace a module; the batch is free everywhere, and the sides of what ``sides`` names."""
    axes: dict[str, Any] = {name: {0: "n"} for name in (*inputs, *outputs)}
    for name, (height, width) in sides.items():
        axes[name] |= {2: height, 3: width}
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that the exporter is old, and that sizes which are checked are not traced
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            content,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    return content.getvalue()
