"""Distances between images, one number per item; a target's features are computed once.

:class:`PerceptualDistance` is LPIPS (Zhang et al. 2018) as in the ``lpips`` package, version 0.1; what differs is that
its gradient is finite where all features of a position are zero, and that images below the backbone's smallest input
are enlarged bilinearly to it.
"""

from __future__ import annotations

import math
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.imle.tensor_checks import check_compared, same_device
from tim_plugin.imle.types import Features, Weighted
from tim_plugin.losses.backbones import BACKBONES, TIM_SMALL, open_trunk, require_weights
from tim_plugin.losses.unit_norm import soft_unit, unit_norm
from tim_plugin.options.plain_checks import PRECISIONS, require_choice, require_number
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.plain_numbers import plain_number

CALIBRATIONS = ("lpips", "bundled", "none")


class WeightedMaps(NamedTuple):
    """Features of a target, (N, C_l, H_l, W_l) a layer, and the weight (N, 1, H_l, W_l) of each position."""

    maps: list[Tensor]
    weights: list[Tensor]


def _with_weights(maps: list[Tensor], weight: Tensor | None) -> list[Tensor] | WeightedMaps:
    if weight is None:
        return maps
    return WeightedMaps(maps, [F.interpolate(weight, one.shape[-2:], mode="area") for one in maps])


def _differences(a: list[Tensor], b: Features) -> list[Tensor]:
    """Squared differences, summed over channels and weighted: (N, H_l, W_l) each."""
    maps, weights = (b.maps, b.weights) if isinstance(b, WeightedMaps) else (b, [None] * len(b))
    differences = [x - y for x, y in zip(a, maps, strict=True)]
    parts = [one.mul(one).sum(dim=1) for one in differences]  # the gradient of square() takes longer
    return [part if w is None else part * w[:, 0] for part, w in zip(parts, weights, strict=True)]


def layer_distances(a: list[Tensor], b: Features) -> Tensor:
    """Return (L, N): the share of each of L layers in the distance between features of N items each."""
    return torch.stack([part.mean(dim=(1, 2)) for part in _differences(a, b)])


def _parts(images: Tensor | Weighted) -> tuple[Tensor, Tensor | None]:
    return images if isinstance(images, Weighted) else (images, None)


class PixelDistance(nn.Module):
    """Mean squared difference of the pixels."""

    name = "mean squared pixel difference"

    def features(self, images: Tensor | Weighted) -> Features:
        """Return images (N, C, H, W) themselves as the only feature map, with the weights of their positions if any."""
        images, weight = _parts(images)
        return _with_weights([images], weight)

    def distance(self, a: list[Tensor], b: Features) -> Tensor:
        """Return the mean squared difference (N,) of features of N items; ``b`` may be those of a weighted target."""
        return _differences(a, b)[0].flatten(1).mean(dim=1) / a[0].shape[1]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean squared difference (N,) of images (N, C, H, W), nominally in [0, 1].

        Raises:
            TimError: Kinds, shapes or devices differ; or, where no gradient is taken, values have another scale.
        """
        check_compared(a, b)
        return self.distance(self.features(a), self.features(b))


class PerceptualDistance(nn.Module):
    """LPIPS: squared difference of unit-normalised features, weighted by heads, mean over positions, sum over layers.

    Args:
        backbone: ``vgg16``, ``alexnet`` or ``squeezenet1_1``; or ``tim_small``, our own, which the package holds.
        weights: ``imagenet`` (torchvision's file, downloaded if it is not there), ``bundled`` (tim_small's),
            ``random`` (for tests: not perceptual, and named so), or a path: of a torchvision state dict (with
            ``calibration: none`` also of the first layers alone, up to one that a map is taken from), for tim_small of
            what ``tools/train_backbone.py`` writes; None: ``bundled`` for tim_small, else ``imagenet``.
        calibration: ``lpips`` weights the channels by the lpips package's heads (which fit ImageNet weights only),
            ``bundled`` by those that lie beside tim_small's weights; ``none`` sums them; None: for tim_small
            ``bundled``, or ``none`` with random weights, else ``lpips``.
        seed: Of random weights, from 0.
        soften: How much less the flat parts of an image count
            (:func:`tim_plugin.losses.unit_norm.soft_unit`); 0: as much as any, as in LPIPS.
        pixels: Weight of the pixels' squared difference, summed over R, G, B, which is added; 0: LPIPS.
        precision: Of the backbone, ``fp32`` or ``bf16`` (for training where the device has units for it); norms and
            differences are taken in the precision of the module's other tensors.

    Attributes:
        name: What the figures are to be called: ``LPIPS (vgg16)``, or else what was used.

    Raises:
        MissingWeightsError: ImageNet weights are not there and cannot be downloaded.
        TimError: An unknown name, no such file, or one that does not fit, or a number below 0.

    Example::

        distance = PerceptualDistance("tim_small")  # needs no download
        distance(a, b)  # (N,) for images (N, 3, H, W) in [0, 1]
    """

    def __init__(
        self,
        backbone: str = "vgg16",
        *,
        weights: str | None = None,
        calibration: str | None = None,
        seed: int = 0,
        soften: float = 0.0,
        pixels: float = 0.0,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        require_choice("precision", precision, PRECISIONS)
        seed = plain_number(seed)
        require_number("seed", seed, int, 0)
        self.soften, self.pixels = _at_least_0("soften", soften), _at_least_0("pixels", pixels)
        weights, calibration = _by_default(backbone, weights, calibration)
        if calibration not in CALIBRATIONS:
            raise TimError(f"calibration {calibration!r} is not known: {did_you_mean(str(calibration), CALIBRATIONS)}")
        self.trunk, own_heads = open_trunk(backbone, weights, seed)
        if precision == "bf16":
            self.trunk.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
        heads = _heads(backbone, weights, calibration, own_heads)
        self.name = _name(backbone, weights, calibration, seed) + self._share_of_maps(backbone, weights, heads)
        self.name += f", softened by {self.soften:g}" if self.soften else ""
        self.name += f", and {self.pixels:g} times the squared pixel difference" if self.pixels else ""
        self.name += ", in bf16" if precision == "bf16" else ""
        # LPIPS's own constants, for inputs 2 x - 1.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        # No head is negative, so that their roots go into the features and a distance is a plain squared difference.
        self.register_buffer("roots", None if heads is None else heads.sqrt().view(1, -1, 1, 1), persistent=False)
        super().train(False)

    def features(self, images: Tensor | Weighted) -> Features:
        """Return the calibrated, unit-normalised maps, batch first, of images (N, 3 or 1, H, W) nominally in [0, 1].

        Autocast changes nothing here, and norms are taken in the module's own precision: fp16 loses the small ones.

        Args:
            images: With the weight of each position, if they are a weighted target.
        """
        images, weight = _parts(images)
        with torch.autocast(images.device.type, enabled=False):
            maps = [one.to(self.scale.dtype) for one in self.trunk(self._for_trunk(images))]
            maps = [soft_unit(one, self.soften) if self.soften else unit_norm(one) for one in maps]
            if self.roots is not None:
                roots = self.roots.split(self.trunk.channels, dim=1)  # (1, C_l, 1, 1) each
                maps = [one * root for one, root in zip(maps, roots, strict=True)]
            if self.pixels:
                maps = [*maps, math.sqrt(self.pixels) * self._rgb(images)]
            return _with_weights(maps, weight)

    def prepared(self, images: Tensor) -> Tensor:
        """Return what the trunk is given for images (N, 3 or 1, H, W) nominally in [0, 1]: (N, 3, H', W')."""
        return ((self._enlarged(self._rgb(images)) * 2 - 1) - self.shift) / self.scale

    def _for_trunk(self, images: Tensor) -> Tensor:
        prepared, dtype = self.prepared(images), next(self.trunk.parameters()).dtype
        return prepared if dtype == prepared.dtype else prepared.to(dtype=dtype, memory_format=torch.channels_last)

    def distance(self, a: list[Tensor], b: Features) -> Tensor:
        """Return the distance (N,) between features of N items each; ``b`` may be those of a weighted target."""
        return layer_distances(a, b).sum(dim=0)

    def maps(self, a: list[Tensor], b: Features, size: tuple[int, int]) -> Tensor:
        """Return the distance at each position, (N, H, W), as the lpips package's ``spatial=True`` does.

        Args:
            a: Features of N items.
            b: Features of N items, or of a weighted target.
            size: (H, W), to which each layer's map is enlarged bilinearly.
        """
        parts = [
            F.interpolate(part[:, None], size, mode="bilinear", align_corners=False) for part in _differences(a, b)
        ]
        return torch.cat(parts, dim=1).sum(dim=1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (N,) between images (N, 3 or 1, H, W), nominally in [0, 1]; one may be grey alone.

        Raises:
            TimError: Kinds, shapes or devices differ; or, where no gradient is taken, values have another scale.
        """
        check_compared(a, b, channels=(3, 1))
        if not same_device(a.device, self.scale.device):
            raise TimError(f"a and b are on {a.device}, and the distance on {self.scale.device}: use distance.to(...)")
        return self.distance(self.features(a), self.features(b))

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Stay in eval mode: a distance is a fixed measure."""
        return self

    def _share_of_maps(self, backbone: str, weights: str, heads: Tensor | None) -> str:
        """Return how many of the backbone's maps there are, if not all, for the name; heads are for all of them."""
        found = len(self.trunk.channels)
        all_maps = found if backbone == TIM_SMALL else len(BACKBONES[backbone].channels)
        if found == all_maps:
            return ""
        if heads is not None:
            raise TimError(
                f"weights {weights} have {backbone}'s layers up to the {found}. of {all_maps} maps, and calibration "
                "'lpips' has weights for all: use calibration: none"
            )
        return f", the first {found} of {all_maps} maps"

    def _rgb(self, images: Tensor) -> Tensor:
        """Return images (N, 3 or 1, H, W) as (N, 3, H, W) in the module's precision; a grey channel is repeated."""
        return images.to(self.scale.dtype).expand(-1, 3, -1, -1)

    def _enlarged(self, images: Tensor) -> Tensor:
        short, smallest = min(images.shape[-2:]), self.trunk.min_px
        if short >= smallest:
            return images
        size = [math.ceil(side * smallest / short) for side in images.shape[-2:]]
        return F.interpolate(images, size, mode="bilinear", align_corners=False)


def _at_least_0(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < math.inf:
        raise TimError(f"{name} {value!r} is not a number of 0 or more")
    return float(value)


def require_distance(backbone: str = "vgg16", weights: str | None = None) -> None:
    """See that what a :class:`PerceptualDistance` of these arguments reads is there, before anything is built.

    Raises:
        MissingWeightsError: ImageNet weights are not there and cannot be downloaded.
        TimError: An unknown name, or no such file.
    """
    require_weights(backbone, _by_default(backbone, weights, None)[0])


def _by_default(backbone: str, weights: str | None, calibration: str | None) -> tuple[str, str]:
    """Return weights and calibration, for None those that fit the backbone."""
    is_ours = backbone == TIM_SMALL
    weights = ("bundled" if is_ours else "imagenet") if weights is None else weights
    of_ours = "none" if weights == "random" else "bundled"
    return weights, (of_ours if is_ours else "lpips") if calibration is None else calibration


def _heads(backbone: str, weights: str, calibration: str, own: Tensor | None) -> Tensor | None:
    """All layers' channel weights; those of its own lie beside the trunk's weights, if it has any."""
    if calibration == "none":
        return None
    if calibration == "lpips":
        if backbone == TIM_SMALL:
            raise TimError(f"calibration 'lpips': the lpips package has no heads for {TIM_SMALL}: use bundled, or none")
        return _lpips_heads(backbone)
    if own is None:
        of = f"weights: {weights}" if backbone == TIM_SMALL else f"backbone: {backbone}"
        raise TimError(f"calibration 'bundled': {of} has no heads of its own: use calibration: none")
    return own


def _lpips_heads(backbone: str) -> Tensor:
    """All layers' channel weights, one after the other."""
    import lpips  # here: it imports torchvision's models

    facts = BACKBONES[backbone]
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{facts.heads}.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return torch.cat([state[f"lin{index}.model.1.weight"].flatten() for index in range(len(facts.channels))])


def _name(backbone: str, weights: str, calibration: str, seed: int) -> str:
    if weights == "imagenet" and calibration == "lpips":
        return f"LPIPS ({backbone})"
    named = {"imagenet": "ImageNet weights", "random": f"random weights, seed {seed}", "bundled": "bundled weights"}
    if calibration == "bundled":
        return f"{backbone} feature distance" + ("" if weights == "bundled" else f" ({Path(weights).name})")
    if calibration == "none":
        uncalibrated = ", uncalibrated" if backbone == TIM_SMALL and weights != "random" else ""
        return f"{backbone} feature distance ({named.get(weights, Path(weights).name)}{uncalibrated})"
    return f"LPIPS heads on {backbone} {named.get(weights, f'weights {Path(weights).name}')}"
