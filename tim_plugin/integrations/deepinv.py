"""deepinv: degradations as its operators, and a tower as its reconstructor, for its metrics and its samplers.

An operator leaves out the rounding to 8 bits that our LQ has, which would make it non-linear.
"""

from __future__ import annotations

from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import LinearPhysics, Physics
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.degradations.base import Degradation
from tim_plugin.degradations.bicubic import Bicubic, project
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.inference.tower import Tower
from tim_plugin.utils.color import L_MAX, lightness_of
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.resize import bicubic_matrix, bicubic_resize


class BicubicDownsampling(LinearPhysics):
    """Antialiased bicubic down-sampling, from (N, C, H, W) to (N, C, H / scale, W / scale).

    Args:
        scale: A divisor of H and W.
        arguments: ``LinearPhysics``'s, such as ``noise_model``.
    """

    def __init__(self, scale: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scale = scale

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """Return the smaller images."""
        return bicubic_resize(x, (x.shape[-2] // self.scale, x.shape[-1] // self.scale))

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        """Return the transpose, applied to (N, C, h, w)."""
        vertical, horizontal = (bicubic_matrix(side * self.scale, side).to(y) for side in y.shape[-2:])
        return vertical.T @ y @ horizontal

    def A_dagger(self, y: Tensor, **_: Any) -> Tensor:
        """Return the smallest images that down-sample to (N, C, h, w), in closed form."""
        return project(y.new_zeros(*y.shape[:-2], *(side * self.scale for side in y.shape[-2:])), y)


class LightnessOfLab(LinearPhysics):
    """Lightness, L / 100 (N, 1, H, W), of images in Lab (N, 3, H, W), in which it is linear; in RGB it is not."""

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """Return L / 100."""
        return x[:, :1] / L_MAX

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        """Return the transpose, applied to (N, 1, H, W)."""
        return F.pad(y / L_MAX, (0, 0, 0, 0, 0, 2))

    def A_dagger(self, y: Tensor, **_: Any) -> Tensor:
        """Return the grey images in Lab that have a lightness."""
        return F.pad(y * L_MAX, (0, 0, 0, 0, 0, 2))


class Coordinates(LinearPhysics):
    """The first coordinates (N, k), on a PCA basis, of images (N, 1, H, W), which the mean is not taken from.

    Args:
        degradation: Has the basis; its rows are orthonormal, so that the transpose is the pseudo-inverse.
        arguments: ``LinearPhysics``'s.
    """

    def __init__(self, degradation: PrincipalComponents, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.size_px = degradation.size_px
        self.register_buffer("components", degradation.components)

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """Return the coordinates."""
        return F.linear(x.flatten(1), self.components.to(x))

    def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
        """Return the transpose, applied to (N, k)."""
        return F.linear(y, self.components.to(y).T).view(-1, 1, self.size_px, self.size_px)

    def A_dagger(self, y: Tensor, **_: Any) -> Tensor:
        """Return the smallest images of some coordinates."""
        return self.A_adjoint(y)


class LightnessOfRgb(Physics):
    """Lightness, L / 100 (N, 1, H, W), of RGB images (N, 3, H, W) in [0, 1]; differentiable, not linear."""

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """Return L / 100."""
        return lightness_of(x)


class JpegCompression(Physics):
    """Decoded JPEGs of images (N, 3, H, W) in [0, 1]; neither linear nor differentiable.

    Args:
        degradation: Says quality and sub-sampling.
        seed: That a quality is drawn with, where there is a range of them; it is the same for all images.
        arguments: ``Physics``'s.
    """

    def __init__(self, degradation: Jpeg, seed: int = 0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.degradation, self.seed = degradation, seed

    def A(self, x: Tensor, **_: Any) -> Tensor:
        """Return the images as they are after compression."""
        return torch.stack([self._degraded(image) for image in x.detach().cpu()]).to(x)

    def _degraded(self, image: Tensor) -> Tensor:
        return self.degradation.degrade(image, torch.Generator().manual_seed(self.seed)).lq


def physics_of(degradation: Degradation, **arguments: Any) -> Physics:
    """Return a degradation, such as ``tower.degradation``, as an operator of deepinv.

    Args:
        degradation: Bicubic (linear), principal components (linear), lightness of RGB images, or JPEG; lightness is
            linear in Lab: :class:`LightnessOfLab`.
        arguments: deepinv's, such as ``noise_model``.

    Raises:
        TimError: There is no operator: what made the inputs is unknown, or they were drawn by people (label maps).
    """
    if isinstance(degradation, Bicubic):
        return BicubicDownsampling(degradation.scale, **arguments)
    if isinstance(degradation, PrincipalComponents):
        return Coordinates(degradation, **arguments)
    if isinstance(degradation, Lightness):
        return LightnessOfRgb(**arguments)
    if isinstance(degradation, Jpeg):
        return JpegCompression(degradation, **arguments)
    kind = type(degradation).__name__.lower()
    raise TimError(
        f"{kind} inputs are not computed from an image, so that there is no operator: use bicubic, "
        "lightness, jpeg or pca"
    )


class TowerReconstructor(Reconstructor):
    """A tower as a reconstructor: one sample of each measurement, so that ``deepinv.test`` measures towers.

    Args:
        tower: Of super-resolution or colourisation, whose measurements are pictures.
        seed: That samples are drawn with.
        sample: Which of the samples of the seed.

    Raises:
        TimError: The tower's inputs are no pictures.
    """

    def __init__(self, tower: Tower, seed: int = 0, sample: int = 0) -> None:
        if not isinstance(tower.degradation, (Bicubic, Lightness)):
            raise TimError(f"{tower.name}: its inputs are no pictures: sample it by tower.sample")
        super().__init__(tower.device)
        self.tower, self.seed, self.sample = tower, seed, sample

    def forward(self, y: Tensor, physics: Physics | None = None, **_: Any) -> Tensor:
        """Return samples (N, 3, H, W) of measurements (N, C, h, w) without noise, as :func:`physics_of` gives them.

        Each is as it is alone: ``image_0`` by name.
        """
        return torch.stack([self._reconstructed(one) for one in y]).to(y)

    def _reconstructed(self, measurement: Tensor) -> Tensor:
        picture = self.tower.degradation.picture(measurement)[None]
        levels = [self.sample] * self.tower.num_levels
        return self.tower.sample(picture, 1, self.seed, level_seeds=levels).images[0, 0]
