"""The paper's worked example (section 2): an image is known by its first principal components only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.degradations.base import Degradation, Given, Measure, Observed
from tim_plugin.degradations.saving import improve_for_saving
from tim_plugin.utils.checkpoints import read_checkpoint
from tim_plugin.utils.digit_files import DIGIT_PX, PADDED_PX, fit_to_digits
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.images import encode_png, round_to_8_bit
from tim_plugin.utils.plain_numbers import is_whole, plain_number
from tim_plugin.utils.weight_headers import SUFFIX

_SAVING_ROUNDS = 100
_SAVED_WELL = 1e-3  # relative error of the coordinates at which a saved image is done; rounding alone gives about this


class PrincipalComponents(Degradation):
    """The LQ is the reconstruction of a grey image from its first coordinates on a PCA basis; not clipped.

    Args:
        mean: (H * W,).
        components: (k, H * W), orthonormal rows.
        size_px: H = W.
    """

    channels = 1
    image_channels = 1
    can_flip = False  # a mirrored digit has other coordinates
    projects = True
    measured = {"pca_error": Measure("relative error of the given coordinates", "lower")}

    def __init__(self, mean: Tensor, components: Tensor, size_px: int = PADDED_PX) -> None:
        self.mean, self.components, self.size_px = mean, components, size_px

    @classmethod
    def builder(cls) -> Callable[..., PrincipalComponents]:
        """Return :meth:`from_options`."""
        return cls.from_options

    @classmethod
    def from_options(cls, basis: str | Mapping[str, Tensor], num_components: int = 10) -> PrincipalComponents:
        """Build from training digits (:mod:`tim_plugin.utils.digit_files`), or from a basis that a checkpoint holds.

        Args:
            basis: Training digits (an idx file, or ``sklearn:digits/train``) whose principal components are taken, or a
                checkpoint (``.pth``, ``.safetensors``) of a network that was trained with this degradation.
            num_components: Number of principal components that are known of an image.

        Raises:
            TimError: The digits cannot be read, or are too few; or what is given as a basis is none.
        """
        num_components = plain_number(num_components)
        if not is_whole(num_components) or num_components < 1:
            raise TimError(f"num_components {num_components!r} must be a whole number from 1")
        if isinstance(basis, str) and is_checkpoint(basis):
            stored = _stored(basis)
            mean, components = _tensors_of(stored, f"{basis}: its PCA basis")
            if len(components) != num_components:
                raise TimError(f"num_components {num_components}: {basis} was trained with {len(components)}: use that")
            return cls(mean, components)
        if isinstance(basis, Mapping):
            return cls(*_tensors_of(basis, "basis"))
        return cls(*fit_to_digits(str(basis), num_components))

    def require_same(self, stored: Mapping[str, Any], where: str) -> None:
        """Raise TimError if a checkpoint was trained with another PCA basis, or holds what is none.

        Args:
            stored: The checkpoint's section of the degradation.
            where: The checkpoint's path, for the error.
        """
        basis = stored.get("basis")
        if not isinstance(basis, Mapping):
            return
        ours, theirs = self.components, _tensors_of(basis, f"{where}: its PCA basis")[1]
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-3):
            raise TimError(
                f"{where}: was trained with another PCA basis ({len(theirs)} components) than network_g: degradation: "
                f"basis gives ({len(ours)}): use basis: {where} there and in the datasets"
            )

    def portable(self) -> dict[str, Any]:
        """Return the basis itself in place of the digits that it was computed from."""
        return {"basis": {"mean": self.mean, "components": self.components}}

    def coordinates(self, images: Tensor) -> Tensor:
        """Return the coordinates (..., k) on the basis of images (..., 1, H, W)."""
        return F.linear(images.flatten(-3) - self.mean.to(images), self.components.to(images))

    def degrade(self, gt: Tensor, generator: torch.Generator | None = None) -> Observed:
        """Return the reconstruction (1, H, W) of a GT from its coordinates on the basis.

        Raises:
            TimError: It is no square of ``size_px``.
        """
        if tuple(gt.shape[-2:]) != (self.size_px, self.size_px):
            raise TimError(
                f"a digit must be {self.size_px}x{self.size_px} pixels, not {gt.shape[-1]}x{gt.shape[-2]}: use "
                f"gt_size: {self.size_px}"
            )
        flat = self.mean.to(gt) + self.coordinates(gt) @ self.components.to(gt)
        return Observed(flat.view(gt.shape))

    def encode(self, gt: Tensor, generator: torch.Generator | None = None) -> bytes:
        """Return the PNG nearest to the reconstruction whose coordinates are right to 0.1 %, inside [0, 1]."""
        observed = Observed(self.degrade(gt).lq[None])
        return encode_png(self.project_for_saving(observed.lq, observed)[0])

    def read(self, content: bytes, name: str) -> Observed:
        """Read a digit, white on black, 28x28 or padded to 32x32, and return its reconstruction.

        Raises:
            TimError: It is no image, damaged, or of another size.
        """
        grey = decode_image(content, name).rgb.mean(dim=0, keepdim=True)
        if tuple(grey.shape[1:]) == (DIGIT_PX, DIGIT_PX):
            grey = F.pad(grey, [(self.size_px - DIGIT_PX) // 2] * 4)
        if tuple(grey.shape[1:]) != (self.size_px, self.size_px):
            raise TimError(
                f"{name}: is {grey.shape[2]}x{grey.shape[1]}; a digit is {DIGIT_PX}x{DIGIT_PX} or "
                f"{self.size_px}x{self.size_px} pixels"
            )
        return self.degrade(grey)

    def project(self, images: Tensor, given: Given) -> Tensor:
        """Return images (N, 1, H, W) with the given coordinates; what is orthogonal to the basis stays."""
        components = self.components.to(images)
        missing = F.linear((given["lq"] - images).flatten(1), components)  # (N, k)
        return images + F.linear(missing, components.T).view(images.shape)

    def project_for_saving(self, images: Tensor, observed: Observed) -> Tensor:
        """Return images on the 8-bit grid whose coordinates are right to 0.1 %, or the best that 100 rounds find."""
        best, _ = improve_for_saving(
            images,
            lambda some, items: self.project(some, {"lq": observed.lq[items]}),
            lambda some, items: -self.measure(some, Observed(observed.lq[items]))["pca_error"],
            -_SAVED_WELL,
            _SAVING_ROUNDS,
        )
        return best

    def measure(self, images: Tensor, observed: Observed) -> dict[str, Tensor]:
        """Return ``pca_error`` (N,) of images as they are saved: the error of the coordinates over their norm."""
        given = self.coordinates(observed.lq)
        error = (self.coordinates(round_to_8_bit(images)) - given).norm(dim=-1)
        return {"pca_error": error / given.norm(dim=-1).clamp_min(1e-6)}


def is_checkpoint(basis: str) -> bool:
    """Tell whether a ``basis`` names a checkpoint that holds one, and no digits."""
    return basis.endswith((".pth", SUFFIX))


def _stored(path: str) -> Mapping[str, Tensor]:
    basis = read_checkpoint(Path(path).expanduser())
    for key in ("network_g", "degradation", "basis"):
        basis = basis.get(key) if isinstance(basis, Mapping) else None
    if not isinstance(basis, Mapping):
        raise TimError(f"{path}: holds no PCA basis: give a checkpoint of a network with degradation 'pca'")
    return basis


def _tensors_of(basis: Mapping[str, Any], where: str) -> tuple[Tensor, Tensor]:
    """Return mean (1024,) and components (k, 1024) of what a section or a checkpoint holds; raise TimError for others.

    Args:
        basis: Tensors, or lists, as a JSON header has them.
        where: What holds them, for the error.
    """
    use = "use the digits, or a checkpoint that was trained with them"
    if set(basis) != {"mean", "components"}:
        held = ", ".join(map(str, basis)) or "nothing"
        raise TimError(f"{where} holds {held[:80]}, and a basis has mean and components: {use}")
    try:
        mean, components = (torch.as_tensor(basis[key]) for key in ("mean", "components"))
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise TimError(f"{where} holds what are no rows of numbers: {use}") from error
    size = PADDED_PX**2
    if mean.shape != (size,) or components.dim() != 2 or components.shape[1] != size or not len(components):
        shapes = " and components of ".join(str(list(tensor.shape)) for tensor in (mean, components))
        raise TimError(f"{where} has a mean of shape {shapes}, not [{size}] and [k, {size}]: {use}")
    if not all(one.is_floating_point() and one.isfinite().all() for one in (mean, components)):
        raise TimError(f"{where} holds numbers that are not finite or no decimals: {use}")
    return mean, components
