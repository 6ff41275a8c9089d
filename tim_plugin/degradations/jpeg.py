"""Image decompression: the LQ is a decoded JPEG, whose coefficients say in which intervals the original's lay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.degradations.base import Degradation, Given, Measure, Observed
from tim_plugin.degradations.jpeg_blocks import (
    BLOCK_PX,
    dct,
    inverse_dct,
    rgb_to_ycc,
    shrink_plane,
    spread_plane,
    tile_table,
    ycc_to_rgb,
)
from tim_plugin.degradations.jpeg_file import read_jpeg
from tim_plugin.degradations.saving import improve_for_saving, of_items
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.images import round_to_8_bit
from tim_plugin.utils.plain_numbers import is_whole, plain_numbers
from tim_plugin.utils.strips import by_strips, is_very_large, joined, strips

_GREY = 0  # in place of a factor of sub-sampling
_UNIT_PX = 16  # a whole number of blocks, also of sub-sampled chroma
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
_SUBSAMPLINGS = {
    name: getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name.replace(':', '')}") for name in get_args(Subsampling)
}
# Clamped coefficients stay this far inside their interval, so that rounding to 8 bits (about 0.4, one deviation, with
# libjpeg's own rounding of Y, Cb and Cr) seldom carries them across; a quarter of narrow intervals.
_MARGIN = 1.5
_SAVING_ROUNDS = 60
_PATIENCE = 12  # rounds without gain after which an image is left as it is
_SAVED_WELL = 0.9995  # share of coefficients at which a saved image is done


class Jpeg(Degradation):
    """The LQ is the GT, compressed and decoded by OpenCV (libjpeg).

    The projection clamps each DCT coefficient to the interval that the file's quantisation allows, chroma as the file
    sub-samples it: what is compressed again with the same tables gives the same coefficients.

    Args:
        quality: JPEG quality, 1 to 100, or the two ends of a range from which each image draws.
        subsampling: How chroma is sub-sampled (4:2:0 is libjpeg's default), or a list from which each image draws.

    Raises:
        TimError: A value that is none of these.
    """

    suffix = ".jpg"
    crop_step = _UNIT_PX
    can_flip = False
    projects = True
    dataset_only = ("quality", "subsampling")  # a file says them itself
    saving_copies = strip_copies = 11.5  # mostly blocks of coefficients
    needs = ("y", "cb", "cr", "tables", "sampling")
    measured = {"dct_agreement": Measure("share of equal DCT coefficients after compressing again", "higher")}

    def __init__(
        self, quality: int | tuple[int, int] = 1, subsampling: Subsampling | tuple[Subsampling, ...] = "4:2:0"
    ) -> None:
        quality = plain_numbers(quality)
        ends = quality if isinstance(quality, list) else [quality, quality]
        if len(ends) != 2 or any(not is_whole(q) for q in ends):
            raise TimError(f"quality {quality!r} must be a whole number, or a range [lowest, highest]")
        if not 1 <= ends[0] <= ends[1] <= 100:
            raise TimError(f"quality {quality!r} must lie within 1 and 100, lowest first")
        drawn_from = list(subsampling) if isinstance(subsampling, (list, tuple)) else [subsampling]
        if not drawn_from:
            raise TimError(f"subsampling {subsampling!r} is empty: name one of {', '.join(_SUBSAMPLINGS)}, or several")
        for one in drawn_from:
            if one not in list(_SUBSAMPLINGS):
                raise TimError(f"subsampling {one!r} is not known: {did_you_mean(str(one), _SUBSAMPLINGS)}")
        self.ends, self.subsamplings = ends, drawn_from

    def encode(self, gt: Tensor, generator: torch.Generator | None = None) -> bytes:
        """Return the JPEG file of one GT (3, H, W) in [0, 1]; the generator draws from what has several values."""
        low, high = self.ends
        quality = low if low == high else int(torch.randint(low, high + 1, (), generator=generator))
        index = 0
        if len(self.subsamplings) > 1:
            index = int(torch.randint(len(self.subsamplings), (), generator=generator))
        pixels = (round_to_8_bit(gt) * 255).round().byte().permute(1, 2, 0).numpy()
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            _SUBSAMPLINGS[self.subsamplings[index]],
        ]
        _, content = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), options)
        return content.tobytes()

    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Return the decoded JPEG (3, H, W) of one GT, with the coefficients and tables of its file in ``given``."""
        return self.read(self.encode(gt, generator), "the compressed GT")

    def read(self, content: bytes, name: str) -> Observed:
        """Read the pixels and the coefficients of a JPEG file.

        Raises:
            TimError: It is no JPEG, damaged, or of a kind that is not supported.
        """
        return Observed(*read_jpeg(content, name))

    def project(self, images: Tensor, given: Given) -> Tensor:
        """Clamp the coefficients of images whose sides are multiples of 16; nearest in Y, Cb, Cr.

        The images may be larger than what the file's blocks cover, which lies at the top left. The samples of a grey
        file are grey.
        """
        return _by_strips(_project, images, given)

    def project_for_saving(self, images: Tensor, observed: Observed) -> Tensor:
        """Return images on the 8-bit grid that compress to 99.95 % of the coefficients, or the best that rounds find.

        Strips of very large images are projected one by one.
        """
        return _by_strips(_project_for_saving, images, observed.given)

    def measure(self, images: Tensor, observed: Observed) -> dict[str, Tensor]:
        """Return ``dct_agreement`` (N,): the share of equal coefficients when compressed again as libjpeg would."""
        return {"dct_agreement": _share_of_equal(images, observed.given)}

    def crop(self, observed: Observed, top: int, left: int, height: int, width: int) -> Observed:
        """Return a part of one observation, pixels and blocks; all four numbers are multiples of 16 pixels.

        Raises:
            TimError: They are not.
        """
        if any(value % _UNIT_PX for value in (top, left, height, width)):
            raise TimError(
                f"a JPEG is cropped at multiples of {_UNIT_PX} pixels, not {width}x{height} at {left}, {top}"
            )
        whole, given = super().crop(observed, top, left, height, width), dict(observed.given)
        for key in ("y", "cb", "cr"):
            rows, columns = (1, 1) if key == "y" else (max(factor, 1) for factor in given["sampling"].tolist())
            part = given[key][top // rows :, left // columns :][: height // rows, : width // columns]
            given[key] = F.pad(part, (0, width - part.shape[1], 0, height - part.shape[0]))
        return Observed(whole.lq, given)


def _project(images: Tensor, given: Given) -> Tensor:
    ycc, tables = rgb_to_ycc(images), given["tables"]
    planes = [_clamped(ycc[:, 0], given["y"], tables[:, 0], (1, 1))]
    groups = _by_sampling(given)
    order = torch.cat([items for _, items in groups]).argsort()
    for index, key in enumerate(("cb", "cr"), start=1):
        parts = [
            _clamped(ycc[items, index], given[key][items], tables[items, index], factors) for factors, items in groups
        ]
        planes.append(torch.cat(parts)[order])
    return ycc_to_rgb(torch.stack(planes, dim=1))


def _project_for_saving(images: Tensor, given: Given) -> Tensor:
    best, _ = improve_for_saving(
        images,
        lambda some, items: _cut(_project(_padded(some), _items_of(given, items)), images),
        lambda some, items: _share_of_equal(some, _items_of(given, items)),
        _SAVED_WELL,
        _SAVING_ROUNDS,
        _PATIENCE,
    )
    return best


def _share_of_equal(images: Tensor, given: Given) -> Tensor:
    """Return the share (N,) of coefficients that are equal after compressing again."""
    share = torch.zeros(len(images), device=images.device)
    for factors, items in _by_sampling(given):
        some, theirs = of_items(images, items), _items_of(given, items)
        equal, count = 0, 0
        for rows in strips(some, _UNIT_PX):
            equal_here, count_here = _count_equal_rows(some[..., rows, :], _given_of(theirs, rows, factors), factors)
            equal, count = equal + equal_here, count + count_here
        share[items] = equal / count
    return share


def _count_equal_rows(images: Tensor, given: Given, factors: tuple[int, int]) -> tuple[Tensor, int]:
    ycc = rgb_to_ycc(_padded(round_to_8_bit(images))).round()
    equal, count = _count_equal(ycc[:, 0], given["y"], given["tables"][:, 0])
    for index, key in enumerate(("cb", "cr"), start=1):
        if _GREY not in factors:
            plane = shrink_plane(ycc[:, index], factors).round()
            wanted = _covered(given[key], factors)
            equal_here, count_here = _count_equal(plane, wanted, given["tables"][:, index])
            equal, count = equal + equal_here, count + count_here
    return equal, count


def _by_strips(function: Callable[[Tensor, Given], Tensor], images: Tensor, given: Given) -> Tensor:
    """Run a function on images, or on each strip of each very large one, with what is given of it."""
    if not is_very_large(images):
        return function(images, given)
    items = torch.arange(len(images), device=images.device).split(1)
    return joined([_strips_of_one(function, of_items(images, item), _items_of(given, item)) for item in items])


def _strips_of_one(function: Callable[[Tensor, Given], Tensor], image: Tensor, given: Given) -> Tensor:
    ((factors, _),) = _by_sampling(given)

    def of_strip(part: Tensor, rows: slice) -> Tensor:
        theirs = _given_of(given, rows, factors)
        return function(part, theirs) if theirs["y"].shape[1] else part  # what no block covers stays as it is

    return by_strips(of_strip, image, _UNIT_PX)


def _items_of(given: Given, items: Tensor) -> Given:
    return {key: of_items(value, items) for key, value in given.items()}


def _given_of(given: Given, rows: slice, factors: tuple[int, int]) -> Given:
    """Cut what is given of some rows, which begin at a multiple of 16, for images of one kind of sub-sampling."""
    luma = given["y"][:, rows.start : -(-rows.stop // _UNIT_PX) * _UNIT_PX]  # blocks may reach beyond the last row
    top = rows.start // max(factors[0], 1)
    chroma = {key: given[key][:, top : top + luma.shape[1]] for key in ("cb", "cr")}
    return {**given, "y": luma, **chroma}


def _by_sampling(given: Mapping[str, Tensor]) -> list[tuple[tuple[int, int], Tensor]]:
    """Return the items of a batch by how their chroma is sub-sampled: (rows, columns) and indices."""
    kinds = [(int(rows), int(columns)) for rows, columns in given["sampling"].tolist()]
    device = given["sampling"].device
    return [
        (kind, torch.tensor([index for index, one in enumerate(kinds) if one == kind], device=device))
        for kind in sorted(set(kinds))
    ]


def _covered(plane: Tensor, factors: tuple[int, int]) -> Tensor:
    """Cut the part that sub-sampled blocks fill out of planes of Y's size; those of an odd size are rounded up."""
    rows, columns = (
        -(-side // (BLOCK_PX * factor)) * BLOCK_PX for side, factor in zip(plane.shape[1:], factors, strict=True)
    )
    return plane[:, :rows, :columns]


def _count_equal(plane: Tensor, wanted: Tensor, tables: Tensor) -> tuple[Tensor, int]:
    """Return how many coefficients of planes (N, H, W) are the wanted ones once they are quantised, and of how many."""
    found = dct(plane[:, : wanted.shape[1], : wanted.shape[2]])
    steps = tile_table(tables, wanted.shape[1:])
    equal = (found / steps).round() == (wanted / steps).round()
    return equal.flatten(1).sum(dim=1), wanted[0].numel()


def _clamped(plane: Tensor, centre: Tensor, tables: Tensor, factors: tuple[int, int]) -> Tensor:
    """Clamp the coefficients of one component (N, H, W) to their intervals; a grey file has no chroma."""
    if _GREY in factors:
        return torch.zeros_like(plane)
    centre = _covered(centre, factors)
    steps = tile_table(tables.to(plane), centre.shape[1:])
    half = steps / 2 - torch.minimum(steps / 4, torch.full_like(steps, _MARGIN))
    small = shrink_plane(plane, factors)
    inside = small[:, : centre.shape[1], : centre.shape[2]]
    coefficients = dct(inside)
    nearest = torch.minimum(torch.maximum(coefficients, centre - half), centre + half)
    change = F.pad(
        inverse_dct(nearest - coefficients),
        (0, small.shape[2] - centre.shape[2], 0, small.shape[1] - centre.shape[1]),
    )
    return plane + spread_plane(change, factors)


def _padded(images: Tensor) -> Tensor:
    """Continue at the edges to whole blocks, as libjpeg does."""
    below, right = (-side % _UNIT_PX for side in images.shape[-2:])
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def _cut(padded: Tensor, images: Tensor) -> Tensor:
    return padded[..., : images.shape[-2], : images.shape[-1]]
