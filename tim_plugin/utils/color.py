"""RGB <-> CIE Lab (sRGB, D65, 2 degrees; scikit-image's constants), differentiable with finite gradients everywhere.

Out of gamut both directions go on: the gamma curve is continued as an odd function and Lab's cube root by its own
linear part, so that each is the other's inverse there too. All is done in single precision at least, whatever is given,
also under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tim_plugin.utils.constants import constant
from tim_plugin.utils.precision import full_precision

L_MAX = 100.0
L_STEP = L_MAX / 255  # of lightness in an 8-bit file
_RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_F_LINEAR_BELOW, _F_SLOPE, _F_OFFSET = 0.008856, 7.787, 16 / 116
_F_AT_THRESHOLD = 0.2068966
BISECTIONS = 20  # the chroma that fits is found to 2^-20 of what was asked for: one step moves no RGB by 1e-5
_INSIDE = 1e-6  # of the linear range: where a channel counts as clipped


def _to_xyz() -> Tensor:
    """Linear RGB -> XYZ over white."""
    return torch.tensor(_RGB_TO_XYZ, dtype=torch.float64) / torch.tensor(_WHITE, dtype=torch.float64)[:, None]


def _from_xyz() -> Tensor:
    return torch.linalg.inv(_to_xyz())


def _mix(matrix: Tensor, images: Tensor) -> Tensor:
    with full_precision(images.device):  # autocast would round a and b to steps of a unit
        return torch.einsum("ij,...jhw->...ihw", matrix, images)


def _at_least_single(images: Tensor) -> Tensor:
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def _srgb_to_linear(values: Tensor) -> Tensor:
    """Undo sRGB's gamma; odd beyond [0, 1]."""
    size = values.abs()
    curved = ((size.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(size > 0.04045, curved * values.sign(), values / 12.92)


def _linear_to_srgb(values: Tensor) -> Tensor:
    """Apply sRGB's gamma; odd beyond [0, 1]."""
    size = values.abs()
    curved = 1.055 * size.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(size > 0.0031308, curved * values.sign(), values * 12.92)


def rgb_to_lab(images: Tensor) -> Tensor:
    """Convert (..., 3, H, W) RGB in [0, 1] to Lab: L 0 to 100, a and b about -110 to 110."""
    images = _at_least_single(images)
    ratios = _mix(constant(_to_xyz, images), _srgb_to_linear(images))
    root = ratios.clamp_min(_F_LINEAR_BELOW) ** (1 / 3)
    x, y, z = torch.where(ratios > _F_LINEAR_BELOW, root, _F_SLOPE * ratios + _F_OFFSET).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert (..., 3, H, W) Lab to RGB, in [0, 1] where the colour is in the gamut."""
    return _linear_to_srgb(_lab_to_linear(lab))


def _lab_to_linear(lab: Tensor) -> Tensor:
    lab = _at_least_single(lab)
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], dim=-3)
    ratios = torch.where(roots > _F_AT_THRESHOLD, roots**3, (roots - _F_OFFSET) / _F_SLOPE)
    return _mix(constant(_from_xyz, lab), ratios)


def lightness_of(images: Tensor) -> Tensor:
    """Return L / 100 of RGB (..., 3, H, W): (..., 1, H, W) in [0, 1]."""
    return rgb_to_lab(images)[..., :1, :, :] / L_MAX


def grey_of(lightness: Tensor) -> Tensor:
    """Return the grey value (sRGB, in [0, 1]) that has this L / 100, of any shape."""
    y = (_at_least_single(lightness) * L_MAX + 16) / 116
    return _linear_to_srgb(torch.where(y > _F_AT_THRESHOLD, y**3, (y - _F_OFFSET) / _F_SLOPE))


def into_gamut(lab: Tensor) -> Tensor:
    """Scale the chroma of each colour (..., 3, H, W) down until it lies in sRGB; L and hue stay.

    A colour in the gamut is unchanged. The scale is found by bisection; its exact derivative (implicit function
    theorem) is attached by one Newton step. L must lie in [0, 100].
    """
    lab = _at_least_single(lab)
    with torch.no_grad():
        scale, inside = _largest_scale(lab.detach())
    linear = _lab_to_linear(_scaled(lab, scale))
    scaled = _scaled(lab, scale - _newton_step(lab, linear, scale))
    return torch.where(inside, lab, scaled)


def _scaled(lab: Tensor, scale: Tensor) -> Tensor:
    return torch.cat([lab[..., :1, :, :], lab[..., 1:, :, :] * scale], dim=-3)


def _is_inside(linear: Tensor) -> Tensor:
    return ((linear >= -_INSIDE) & (linear <= 1 + _INSIDE)).all(dim=-3, keepdim=True)


def _largest_scale(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale (..., 1, H, W) in [0, 1] of the chroma, and where it is 1."""
    inside = _is_inside(_lab_to_linear(lab))
    low, high = torch.zeros_like(lab[..., :1, :, :]), torch.ones_like(lab[..., :1, :, :])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        fits = _is_inside(_lab_to_linear(_scaled(lab, middle)))
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return torch.where(inside, torch.ones_like(low), low), inside


def _newton_step(lab: Tensor, linear: Tensor, scale: Tensor) -> Tensor:
    """Return 0 with a gradient: (value - itself, detached) / slope, of the channel that leaves the gamut first."""
    beyond = torch.maximum(linear.detach() - 1, -linear.detach())
    binding = beyond.argmax(dim=-3, keepdim=True)
    value = linear.gather(-3, binding)
    slope = _slope(lab.detach(), scale).gather(-3, binding)
    safe = torch.where(slope.abs() > 1e-3, slope, torch.full_like(slope, torch.inf))  # black and white have no chroma
    return (value - value.detach()) / safe


def _slope(lab: Tensor, scale: Tensor) -> Tensor:
    """Derivative of linear RGB by the chroma's scale."""
    lightness, a, b = lab.unbind(-3)
    y, times = (lightness + 16) / 116, scale.squeeze(-3)
    roots = torch.stack([y + times * a / 500, y, y - times * b / 200], dim=-3)
    rates = torch.stack([a / 500, torch.zeros_like(a), -b / 200], dim=-3)
    ratios = torch.where(roots > _F_AT_THRESHOLD, 3 * roots**2, torch.full_like(roots, 1 / _F_SLOPE)) * rates
    return _mix(constant(_from_xyz, lab), ratios)
