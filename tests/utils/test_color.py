"""RGB and Lab against scikit-image, out of the gamut and at its corners, and what the gamut mapping keeps."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.utils import color
from tim_plugin.utils.color import grey_of, into_gamut, lab_to_rgb, lightness_of, rgb_to_lab


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_lab_equals_scikit_image_and_goes_back():
    skimage_color = pytest.importorskip("skimage.color")
    rgb = torch.rand(3, 40, 50, dtype=torch.float64, generator=generator())
    rgb[:, 0, :8] = torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)]).T  # the cube's corners
    rgb[:, 1] = torch.linspace(0, 1, 50)  # greys
    expected = torch.from_numpy(skimage_color.rgb2lab(rgb.permute(1, 2, 0).numpy())).permute(2, 0, 1)
    assert torch.allclose(rgb_to_lab(rgb), expected, atol=1e-3)
    assert torch.allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-9)
    single = rgb.float()
    assert torch.allclose(lab_to_rgb(rgb_to_lab(single)), single, atol=1e-3)
    back = torch.from_numpy(skimage_color.lab2rgb(expected.permute(1, 2, 0).numpy())).permute(2, 0, 1)
    assert torch.allclose(lab_to_rgb(expected), back, atol=1e-3)


def test_each_direction_undoes_the_other_out_of_gamut():
    rgb = 4 * torch.rand(3, 20, 20, dtype=torch.float64, generator=generator()) - 1.5
    assert torch.allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-9)


@pytest.mark.parametrize("function", [rgb_to_lab, lab_to_rgb, into_gamut])
@pytest.mark.parametrize(
    "colour",
    [(0, 0, 0), (100, 0, 0), (1, 1, 1), (50, 110, -110), (0, 110, 110), (100, -110, 90), (50, 0, 0), (-1, 2, 3)],
)
def test_gradients_are_finite_everywhere(function, colour):
    values = torch.tensor(colour, dtype=torch.float32).view(3, 1, 1).requires_grad_()
    function(values).square().sum().backward()
    assert torch.isfinite(values.grad).all()


def test_the_gamut_mapping_keeps_lightness_and_hue_and_colours_that_fit():
    lab = 60 * torch.randn(3, 40, 40, dtype=torch.float64, generator=generator())
    lab[0] = 100 * torch.rand(40, 40, dtype=torch.float64, generator=generator(1))
    mapped = into_gamut(lab)
    rgb = lab_to_rgb(mapped)
    assert rgb.min() >= -1e-4 and rgb.max() <= 1 + 1e-4
    assert torch.equal(mapped[0], lab[0])
    assert torch.allclose(mapped[1] * lab[2], mapped[2] * lab[1], atol=1e-6)  # same direction in the ab plane
    inside = rgb_to_lab(torch.rand(3, 30, 30, dtype=torch.float64, generator=generator(2)))
    assert torch.equal(into_gamut(inside), inside)
    assert torch.allclose(into_gamut(mapped), mapped, atol=1e-3)


def test_the_gamut_mapping_takes_no_more_chroma_than_it_must():
    lab = torch.tensor([60.0, 90.0, 60.0], dtype=torch.float64).view(3, 1, 1)
    mapped = into_gamut(lab)
    more = torch.cat([lab[:1], mapped[1:] * 1.001])
    assert lab_to_rgb(more).max() > 1 or lab_to_rgb(more).min() < 0


def test_the_gamut_mappings_derivative_is_exact(monkeypatch):
    monkeypatch.setattr(color, "BISECTIONS", 50)  # so that the numerical derivative sees no steps
    lab = torch.tensor([[60.0, 90, 60], [30, -70, 40], [80, 20, -90], [50, 5, 5], [95, 60, 20]], dtype=torch.float64)
    lab = lab.T.reshape(1, 3, 1, 5).requires_grad_()
    assert torch.autograd.gradcheck(into_gamut, (lab,), eps=1e-5, atol=1e-3, rtol=1e-2)


def test_grey_of_undoes_lightness_of():
    grey = torch.linspace(0, 1, 256, dtype=torch.float64).view(1, 1, -1)
    lightness = lightness_of(grey.expand(3, -1, -1))
    assert torch.allclose(grey_of(lightness), grey, atol=1e-6)
    assert lightness[0, 0, 0] == 0 and abs(lightness[0, 0, -1] - 1) < 1e-6


def test_constants_kept_in_inference_mode_serve_training():
    lab = torch.tensor([50.0, 30.0, 20.0], dtype=torch.float64).view(3, 1, 1)
    with torch.inference_mode():
        lab_to_rgb(lab)
    variable = lab.clone().requires_grad_()
    lab_to_rgb(variable).sum().backward()
    assert variable.grad.abs().sum() > 0


def test_half_precision_is_converted_in_single_precision():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    lab = rgb_to_lab(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rgb_to_lab(images), lab)
        assert torch.equal(lab_to_rgb(lab), lab_to_rgb(lab.clone())) and lab_to_rgb(lab).dtype == torch.float32
        assert (lab_to_rgb(lab) - images).abs().max() < 1e-5
    coarse = images.bfloat16()
    assert torch.equal(rgb_to_lab(coarse), rgb_to_lab(coarse.float()))
    assert torch.equal(into_gamut(lab.bfloat16()), into_gamut(lab.bfloat16().float()))
