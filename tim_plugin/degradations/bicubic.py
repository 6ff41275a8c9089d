"""Super-resolution: antialiased bicubic down-sampling, and the nearest image whose down-sampling is exactly the LQ.

With A the (separable) down-sampling and A+ its pseudo-inverse, the projection of x is x + A+ (y - A x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tim_plugin.degradations.base import Degradation, Given, Measure, Observed
from tim_plugin.degradations.saving import improve_for_saving, out_of_reach
from tim_plugin.utils.disk_tensors import empty_like, release
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.images import round_to_8_bit
from tim_plugin.utils.resize import bicubic_matrix, bicubic_resize, kept_matrices, shrink_by_strips
from tim_plugin.utils.strips import is_very_large, strips

_CONSISTENT_DB = 45.0  # LR-PSNR from which on an image counts as consistent
_SAVING_ROUNDS = 60
_TOO_FAR = 1.95  # of the way to the projection: where clipping undoes part of it, this takes half of the rounds
EQUAL_DB = 100.0  # stands for infinity, which neither a mean nor JSON survives
_MATRIX_BYTES = 36  # of an entry: both A+ in single precision, and while one is made A, what is solved for, the result


class Bicubic(Degradation):
    """The LQ is the GT shrunk by antialiased bicubic (MATLAB's and BasicSR's), rounded as an 8-bit PNG holds it.

    Args:
        scale: Size of the GT over the size of the LQ.
    """

    keeps_alpha = True
    projects = True
    saving_copies = 10.5
    strip_copies = 9.0  # some in double precision
    measured = {"lr_psnr": Measure("dB", "higher")}

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Return the LQ (C, H / scale, W / scale) of a GT (C, H, W) whose sides ``scale`` divides."""
        return Observed(bicubic_downsample(gt, self.scale))

    def read(self, content: bytes, name: str) -> Observed:
        """Read any image file as the LQ.

        Raises:
            TimError: It is no image, or damaged.
        """
        return Observed(decode_image(content, name).rgb)

    def given_at_level(self, observed: Observed, level_lq: Tensor | None, is_last: bool) -> Given | None:
        """Return the whole LQ for every level: each level's image is larger than the LQ and degrades to it."""
        return {"lq": observed.lq}

    def project(self, images: Tensor, given: Given) -> Tensor:
        """Return the nearest images (N, C, H, W) that down-sample to the LQ exactly, by :func:`project`."""
        return project(images, given["lq"])

    def strip_bytes(self, height: int, width: int) -> int:
        """Return the bytes of strips and of the projection's matrices while they are made."""
        longer = max(height, width)
        return super().strip_bytes(height, width) + _MATRIX_BYTES * longer * longer // self.scale

    def project_for_saving(self, images: Tensor, observed: Observed) -> Tensor:
        """Return images on the 8-bit grid whose down-sampling is the LQ to 45 dB, by :func:`project_for_saving`."""
        return project_for_saving(images, observed.lq)[0]

    def measure(self, images: Tensor, observed: Observed) -> dict[str, Tensor]:
        """Return ``lr_psnr`` (N,) in dB, by :func:`lr_psnr`."""
        return {"lr_psnr": lr_psnr(images, observed.lq)}


def bicubic_downsample(gt: Tensor, scale: int) -> Tensor:
    """Shrink by antialiased bicubic (MATLAB's and BasicSR's), clipped and rounded as an 8-bit PNG would hold it.

    Args:
        gt: (..., C, H, W) in [0, 1], sides divisible by ``scale``.
        scale: 16 for 16x super-resolution.

    Returns:
        (..., C, H / scale, W / scale) in [0, 1].
    """
    height, width = gt.shape[-2:]
    return round_to_8_bit(bicubic_resize(gt, (height // scale, width // scale)))


def project(images: Tensor, lq: Tensor) -> Tensor:
    """Return the images nearest to ``images`` that down-sample to ``lq``; differentiable in both.

    Args:
        images: (N, C, H, W).
        lq: (N, C, h, w) with h <= H, w <= W.
    """
    (height, width), (lq_height, lq_width) = images.shape[-2:], lq.shape[-2:]
    assert height >= lq_height and width >= lq_width, f"{width}x{height} is smaller than the LQ {lq_width}x{lq_height}"
    inverses = vertical, horizontal = kept_matrices(_pseudo_inverse, images.shape[-2:], lq.shape[-2:], images)
    if is_very_large(images):
        result = empty_like(images)
        for plane, given, projected in zip(*(one.flatten(0, 1) for one in (images, lq, result)), strict=True):
            _project_plane(plane, given, inverses, projected)
        return result
    missing = lq - bicubic_resize(images, tuple(lq.shape[-2:]))  # (N, C, h, w)
    return images + vertical @ missing @ horizontal.T


def _project_plane(
    plane: Tensor, lq: Tensor, inverses: tuple[Tensor, Tensor], result: Tensor, clip: bool = False, way: float = 1.0
) -> None:
    """Write the projection of a very large plane (H, W), or a part of the way there, to ``result``, maybe the plane."""
    vertical, horizontal = inverses
    missing = lq - shrink_by_strips(plane, tuple(lq.shape), lambda rows: rows)
    across = (missing @ horizontal.T).mul_(way)  # (h, W)
    for rows in strips(plane):
        projected = torch.addmm(plane[rows], vertical[rows], across)
        result[rows] = projected.clamp_(0, 1) if clip else projected
        release(result)


def _pseudo_inverse(in_px: int, out_px: int) -> Tensor:
    """A+ = A^T (A A^T)^-1, (in_px, out_px) float64: A has full row rank."""
    matrix = bicubic_matrix(in_px, out_px)
    if torch.jit.is_tracing():  # no exchange format has a solver
        return matrix.T @ _inverse_by_cosines(matrix @ matrix.T, out_px)
    return torch.linalg.solve(matrix @ matrix.T, matrix).T.contiguous()


def _inverse_by_cosines(square: Tensor, px: int) -> Tensor:
    """Invert A A^T (px, px): lines are continued symmetrically, so that the DCT-II's basis diagonalises it."""
    count = torch.arange(px)
    phase = count[:, None] * (2 * count[None] + 1) % (4 * px)  # whole numbers: no digits are lost at large sizes
    cosines = torch.cos(phase.to(square) * (math.pi / 2) / px)  # (frequency, position)
    return (cosines / ((cosines @ square) * cosines).sum(dim=1, keepdim=True)).T @ cosines


def _to_8_bit(images: Tensor) -> Tensor:
    return images.clamp(0, 1).mul(255).round()


def lr_psnr(images: Tensor, lq: Tensor) -> Tensor:
    """Return (N,) dB: PSNR between ``lq`` and the down-sampled images, all rounded to 8 bits; 100 where equal.

    The NTIRE 'learning the super-resolution space' measure, without its crop; 45 dB or more counts as consistent.
    """
    size = tuple(lq.shape[-2:])
    if is_very_large(images):
        planes = [shrink_by_strips(one, size, lambda rows: _to_8_bit(rows.double())) for one in images.flatten(0, 1)]
        down = torch.stack(planes).view(lq.shape)
    else:
        down = bicubic_resize(_to_8_bit(images.double()), size)
    return _db(down.flatten(1), lq.flatten(1))


def _db(down: Tensor, lq: Tensor) -> Tensor:
    """PSNR over the last dimension of what images, in 8-bit steps, shrink to, and of an LQ in [0, 1]."""
    error = (down.clamp(0, 255).round() - _to_8_bit(lq.double())).square().mean(dim=-1)
    return (10 * torch.log10(255**2 / error)).clamp(max=EQUAL_DB)


def project_for_saving(images: Tensor, lq: Tensor) -> tuple[Tensor, Tensor]:
    """Project, clip and round until what an 8-bit PNG holds still degrades to the LQ (45 dB).

    That takes no round for most LQs that were made by shrinking an image bicubically; others, whose images would have
    to leave [0, 1], take some, at most 60. From the second one on each goes nearly twice as far as the projection.

    Args:
        images: (N, C, H, W).
        lq: (N, C, h, w) in [0, 1].

    Returns:
        The images in [0, 1] on the 8-bit grid and their LR-PSNR (N,), the best that was found: less than 45 dB for an
        LQ that no image in [0, 1] degrades to, which is given up once the rounds left will not do. Of very large
        images each plane is done by itself, and has to reach the target by itself.
    """
    if is_very_large(images):
        saved = empty_like(images)
        inverses = kept_matrices(_pseudo_inverse, images.shape[-2:], lq.shape[-2:], images)
        for plane, given, result in zip(*(one.flatten(0, 1) for one in (images, lq, saved)), strict=True):
            _save_plane(plane, given, inverses, result)
        return saved, lr_psnr(saved, lq)
    return improve_for_saving(
        images,
        lambda some, items: project(some, lq[items]),
        lambda some, items: lr_psnr(some, lq[items]),
        _CONSISTENT_DB,
        _SAVING_ROUNDS,
        give_up=True,
        way=_TOO_FAR,
    )


@torch.no_grad()
def _save_plane(plane: Tensor, lq: Tensor, inverses: tuple[Tensor, Tensor], saved: Tensor) -> None:
    """Do :func:`project_for_saving` of a very large plane (H, W), strip by strip, into ``saved``."""
    current, best, reached = plane, -torch.inf, []
    for done in range(_SAVING_ROUNDS + 1):
        if done:
            result = empty_like(plane) if current is plane else current
            _project_plane(current, lq, inverses, result, clip=True, way=1.0 if done == 1 else _TOO_FAR)
            current = result
        down = shrink_by_strips(current, tuple(lq.shape), lambda rows: _to_8_bit(round_to_8_bit(rows).double()))
        found = float(_db(down.flatten(), lq.flatten()))
        if found > best:
            best = found
            for rows in strips(current):
                saved[rows] = round_to_8_bit(current[rows])
                release(saved)
        reached.append(torch.tensor(best))
        if best >= _CONSISTENT_DB or out_of_reach(reached, _CONSISTENT_DB, _SAVING_ROUNDS - done):
            return
