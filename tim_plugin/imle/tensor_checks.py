"""What plain tensors must be to be searched or compared: shapes, ranges, devices; each says what would be right."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.plain_numbers import plain_number, plain_numbers

HIGHEST, LOWEST = 1.5, -0.5  # bicubic resizing and projection leave [0, 1] by less than that
OVERSHOT = 8.0  # what an untrained network gives may be as high; images of 8 bits are higher, and not below 0


def check_pair(lq: Any, gt: Any, generator: Any) -> None:
    """Check that inputs and observed images belong together and lie where the generator draws.

    Raises:
        TimError: They do not.
    """
    for name, images in (("lq", lq), ("gt", gt)):
        check_tensor(name, images)
    if len(lq) != len(gt):
        raise TimError(f"lq has {len(lq)} items and gt {len(gt)}: give one observed image for each input")
    if not isinstance(generator, torch.Generator):
        raise TimError(f"generator is {generator!r}: give torch.Generator().manual_seed(0), on the device of lq")
    if not same_device(lq.device, gt.device):
        raise TimError(f"lq is on {lq.device} and gt on {gt.device}: move one of them")
    if not same_device(lq.device, generator.device):
        raise TimError(f"generator is on {generator.device} and lq on {lq.device}: it must be on the same")
    check_range("gt", gt)


def check_compared(a: Any, b: Any, channels: Collection[int] | None = None) -> None:
    """Check that two batches of images can be compared, item by item.

    Their values are looked at where no gradient is taken, as a training step pays for shapes and types alone. What a
    network makes early in training may lie anywhere, so that only what is plainly another scale is refused: 8-bit
    values, or both in [-1, 1].

    Args:
        a: Images.
        b: As many of the same size, on the same device.
        channels: The numbers of channels that either may have; None: any, but the two have the same.

    Raises:
        TimError: They cannot.
    """
    for name, images in (("a", a), ("b", b)):
        check_batch(name, images, channels)
    same = "size and channels" if channels is None else "size"
    if (len(a), a.shape[2:]) != (len(b), b.shape[2:]) or (channels is None and a.shape != b.shape):
        raise TimError(f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}: give as many images of the same {same}")
    if not same_device(a.device, b.device):
        raise TimError(f"a is on {a.device} and b on {b.device}: move one of them")
    if not (torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)):
        check_scale(a=a, b=b)


def check_scale(**named: Tensor) -> None:
    """Check that images have the scale of [0, 1]; what a network makes early in training may lie anywhere.

    Args:
        named: Images by their names, which all have one scale.

    Raises:
        TimError: Some have 8-bit values, or all of them lie in [-1, 1].
    """
    ranges = {name: _range(name, images) for name, images in named.items()}
    for name, (low, high) in ranges.items():
        if low >= LOWEST and high > OVERSHOT:
            raise TimError(f"{name} has values up to {high:g}: they must lie in [0, 1]: divide by 255")
    if all(-1.01 <= low < LOWEST and high <= 1.01 for low, high in ranges.values()):
        name, (low, _) = next(iter(ranges.items()))
        raise TimError(f"{name} has values down to {low:g}: they must lie in [0, 1]; of [-1, 1] take ({name} + 1) / 2")


def check_images(name: str, images: Any) -> None:
    """Check that a tensor is a batch of images.

    Raises:
        TimError: It is not.
    """
    check_batch(name, images)
    _check_values(name, images)


def check_batch(name: str, images: Any, channels: Collection[int] | None = None) -> None:
    """Check by shape and type alone that a tensor is a batch of images.

    Args:
        name: For the error.
        images: The tensor.
        channels: The numbers of channels that they may have; None: any.

    Raises:
        TimError: It is not.
    """
    check_tensor(name, images)
    shape = tuple(images.shape)
    if len(shape) != 4:
        batch = ": [None] adds the batch" if len(shape) == 3 else ""
        raise TimError(f"{name} has shape {shape}: it must be (N, C, H, W){batch}")
    if channels is not None and shape[1] not in channels:
        way_out = f": use {name}.permute(0, 3, 1, 2)" if shape[3] in channels else ""
        raise TimError(f"{name} has shape {shape}: it must be (N, {' or '.join(map(str, channels))}, H, W){way_out}")
    _check_floats(name, images)


def check_tensor(name: str, images: Any) -> None:
    """Check that images are a tensor.

    Raises:
        TimError: They are not.
    """
    if not isinstance(images, Tensor):
        raise TimError(f"{name} is {type(images).__name__}: give a tensor, the batch first, of floats in [0, 1]")


def check_range(name: str, images: Tensor) -> None:
    """Check that the values are floats of about [0, 1].

    Raises:
        TimError: They are not.
    """
    _check_floats(name, images)
    _check_values(name, images)


def _check_floats(name: str, images: Tensor) -> None:
    if images.layout != torch.strided:
        raise TimError(f"{name} is a sparse tensor: give {name}.to_dense()")
    if not images.is_floating_point():
        raise TimError(f"{name} is {images.dtype}: give floats in [0, 1]; 8-bit values are {name}.float() / 255")
    if images.numel() == 0:
        raise TimError(f"{name} is empty, of shape {tuple(images.shape)}")


def _check_values(name: str, images: Tensor) -> None:
    low, high = _range(name, images)
    if high > HIGHEST:
        raise TimError(f"{name} has values up to {high:g}: they must lie in [0, 1]: divide by 255")
    if low < LOWEST:
        raise TimError(f"{name} has values down to {low:g}: they must lie in [0, 1]; of [-1, 1] take ({name} + 1) / 2")


def _range(name: str, images: Tensor) -> tuple[float, float]:
    if images.is_meta:
        raise TimError(f"{name} is on the meta device, where no tensor has values: give one on cpu or cuda")
    low, high = images.aminmax()
    return float(low), float(high)


def check_tower_reads(tower: Any, lq: Tensor) -> None:
    """Check that a tower reads such inputs: channels, device and type.

    Raises:
        TimError: It does not.
    """
    if lq.shape[1] != tower.spec.num_in_ch:
        raise TimError(f"lq has {lq.shape[1]} channels, and the tower reads {tower.spec.num_in_ch}")
    weight = next(tower.parameters())
    if not same_device(weight.device, lq.device):
        raise TimError(f"the tower is on {weight.device} and lq on {lq.device}: move one of them")
    if lq.dtype != weight.dtype and not torch.is_autocast_enabled(lq.device.type):
        raise TimError(f"lq is {lq.dtype} and the tower's weights are {weight.dtype}: give lq.to({weight.dtype})")


def check_tower_writes(spec: Any, lq: Tensor, gt: Tensor) -> None:
    """Check that the observed images are of the size and channels that a tower gives for these inputs.

    Raises:
        TimError: They are not.
    """
    if gt.shape[1] != spec.num_out_ch:
        raise TimError(f"gt has {gt.shape[1]} channels, and the tower gives {spec.num_out_ch}")
    height, width = (side * spec.scale for side in lq.shape[-2:])
    if tuple(gt.shape[-2:]) != (height, width):
        raise TimError(
            f"gt is {gt.shape[-1]}x{gt.shape[-2]}: of an lq of {lq.shape[-1]}x{lq.shape[-2]} the tower gives "
            f"{width}x{height}, {spec.scale} times the size"
        )


def check_latents(latents: Any, shapes: Sequence[Any], lq: Tensor) -> None:
    """Check that latents are of as many items and of the size as the inputs that a tower is to be run on.

    Args:
        latents: Of all levels.
        shapes: Of each level's noise and style without the batch, for the inputs' size.
        lq: (N, C, h, w).

    Raises:
        TimError: They are not.
    """
    try:
        found = [(tuple(one.noise.shape), tuple(one.style.shape)) for one in latents]
    except (AttributeError, TypeError):
        raise TimError(f"latents is {type(latents).__name__}: give those that tim_plugin.imle.search chose") from None
    if len(found) != len(shapes):
        raise TimError(f"latents has {len(found)} levels, and the tower {len(shapes)}")
    for level, (one, shape) in enumerate(zip(found, shapes, strict=True)):
        wanted = tuple((len(lq), *part) for part in shape)
        if one != wanted:
            raise TimError(
                f"latents of level {level + 1} have shapes {one[0]} and {one[1]}, and an lq of {tuple(lq.shape)} needs "
                f"{wanted[0]} and {wanted[1]}: give the latents that were chosen for this lq"
            )


def one_a_level(name: str, value: Any, num_levels: int, kind: type, minimum: float) -> list[Any]:
    """Return one number a level of a number or a list.

    Raises:
        TimError: The list has another length, or a number is too small or none.
    """
    values = plain_numbers(value)
    values = values if isinstance(values, list) else [values] * num_levels
    if len(values) != num_levels:
        raise TimError(f"{name} has {len(values)} entries for {num_levels} levels: give one number, or one a level")
    return [checked_number(name, one, kind, minimum) for one in values]


def checked_number(name: str, value: Any, kind: type, minimum: float) -> Any:
    """Return a number of at least ``minimum``, for the kind ``int`` a whole one, as Python's own.

    Raises:
        TimError: It is not.
    """
    value = plain_number(value)
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not minimum <= value < math.inf:
        whole = "a whole number" if kind is int else "a finite number" if value == math.inf else "a number"
        raise TimError(f"{name} is {value!r}: it must be {whole} of at least {minimum}")
    return value


def check_sampling(sampling: str, known: Iterable[str], samples_per_level: Any) -> None:
    """Check the way of sampling, and that the numbers of candidates go with it.

    Raises:
        TimError: It is unknown, or they do not.
    """
    if sampling not in known:
        raise TimError(f"sampling {sampling!r} is not known: {did_you_mean(str(sampling), known)}")
    if sampling == "vanilla" and isinstance(samples_per_level, Sequence) and len(set(samples_per_level)) > 1:
        raise TimError(
            f"samples_per_level {list(samples_per_level)} differs by level, and vanilla sampling draws all levels "
            "together: give one number, or use sampling='hierarchical'"
        )


def same_device(a: torch.device, b: torch.device) -> bool:
    """Tell whether two devices are the same; ``cuda`` without a number is any."""
    return a.type == b.type and (a.index == b.index or None in (a.index, b.index))
