"""The compared systems: published sizes, public weights' keys, several answers, losses against brute force."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from torch.nn import functional as F

from tim_plugin.archs.colour_bins import annealed_mean, bin_centres, drawn, rebalancing, soft_targets
from tim_plugin.archs.crn_arch import CRN, MEAN_SHARE, MIN_SHARE
from tim_plugin.inference.image_samples import sample_image
from tim_plugin.losses.distance import PerceptualDistance, PixelDistance
from tim_plugin.utils.color import rgb_to_lab
from tim_plugin.utils.errors import TimError

TINY = {
    "StackedGenerator": {"num_stacks": 2, "width": 4},
    "RFBESRGAN": {"num_feat": 16, "num_block": 1, "num_rfb_block": 1, "num_grow_ch": 16},
    "RepeatedRRDBNet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 4},
    "BicubicUpsampler": {},
    "DnCNN": {"num_feat": 4, "num_layers": 4},
    "Zhang2016": {"widths": (4, 4, 8, 8)},
    "Iizuka2016": {"width": 4, "global_px": 32},
    "Larsson2016": {"stage_channels": (2, 2, 4, 4, 4), "fc_channels": 4, "fc_kernel": 3, "hidden": 8},
    "CRN": {"num_in_ch": 5, "num_modules": 3, "widths": 4, "num_images": 3},
    "CRNGenerator": {"num_in_ch": 5, "num_modules": 3, "widths": 4},
}
ENLARGING = {"StackedGenerator": 4, "RFBESRGAN": 16, "RepeatedRRDBNet": 16, "BicubicUpsampler": 16}
SEVERAL = {"StackedGenerator", "Zhang2016", "CRN", "CRNGenerator"}
LIGHTNESS = {"Zhang2016", "Iizuka2016", "Larsson2016"}


def tiny(name, **changes):
    torch.manual_seed(0)
    return build_network({"type": name, **TINY[name], **changes}).eval()


def an_input(name, height=20, width=26):
    torch.manual_seed(1)
    if name in ENLARGING:
        return torch.rand(1, 3, 3, 5)
    if name.startswith("CRN"):
        return F.one_hot(torch.randint(5, (1, height, width)), 5).movedim(-1, 1).float()
    return torch.rand(1, 1 if name in LIGHTNESS else 3, height, width)


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("DnCNN", {"batch_norm": False}, 668_227),  # its public file is 2.7 MB
        ("Zhang2016", {}, 32_235_385),  # 129 MB, less the 626 numbers that are the bins' centres
        ("Larsson2016", {}, 147_065_856),  # 588 MB
        ("RepeatedRRDBNet", {}, 16_697_987),  # ESRGAN's
        ("StackedGenerator", {}, 4 * 769_030),
        ("RFBESRGAN", {}, 20_530_659),
        # Summed by hand from the layers: convolutions with bias, batch norm or layer norm with a gain and a shift each.
        ("Iizuka2016", {}, 42_182_306),
        ("CRN", {}, 97_887_771),
        ("CRNGenerator", {}, 98_547_029),
    ],
)
def test_published_sizes(name, arguments, parameters):
    with torch.device("meta"):
        assert sum(one.numel() for one in build_network({"type": name, **arguments}).parameters()) == parameters


@pytest.mark.parametrize("name", TINY)
def test_answers_of_any_size_are_seeded_and_differ_where_they_should(name):
    network, lq = tiny(name), an_input(name)
    first = sample_image(network, lq, 3, seed=0, image_key="a")
    scale = ENLARGING.get(name, 1)
    assert first.shape == (3, 3, lq.shape[-2] * scale, lq.shape[-1] * scale)
    assert 0 <= first.min() and first.max() <= 1
    assert torch.equal(first[1:2], sample_image(network, lq, 2, seed=0, image_key="a")[1:2])
    assert torch.equal(first[0], first[1]) != (name in SEVERAL)
    if name in SEVERAL - {"CRN"}:
        assert not torch.equal(first[0], sample_image(network, lq, 1, seed=1, image_key="a")[0])


@pytest.mark.parametrize("name", sorted(LIGHTNESS))
def test_the_given_lightness_is_kept(name):
    lq = 0.3 + 0.4 * an_input(name)
    image = tiny(name)(lq)
    assert torch.allclose(rgb_to_lab(image)[:, :1] / 100, lq, atol=2e-3)


def test_channels_that_do_not_divide_are_named():
    with pytest.raises(TimError, match="num_grow_ch 12 must be a multiple of 16"):
        tiny("RFBESRGAN", num_grow_ch=12)


@pytest.mark.parametrize("name", ["StackedGenerator", "CRNGenerator"])
def test_a_degradation_that_is_not_known_is_named(name):
    with pytest.raises(TimError, match="degradation: type 'jpegg' is not known: did you mean 'jpeg'"):
        tiny(name, degradation="jpegg")


def test_colour_bins_cover_the_gamut():
    centres = bin_centres()
    assert centres.shape == (313, 2) and len(torch.unique(centres, dim=0)) == 313
    ab = rgb_to_lab(torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)))[:, 1:]
    away = torch.cdist(ab.flatten(2)[0].T, centres).amin(dim=1)
    assert away.max() < 7.1  # half of a cell's diagonal


def test_soft_targets_lie_on_the_five_nearest_bins():
    centres, ab = bin_centres(), torch.tensor([13.0, -32.0]).view(1, 2, 1, 1)
    target = soft_targets(ab, centres)[0, :, 0, 0]
    away = (centres - ab.flatten()).norm(dim=1)
    nearest = away.argsort()[:5]
    weights = torch.exp(-(away[nearest] ** 2) / 50)
    assert torch.allclose(target[nearest], weights / weights.sum(), atol=1e-6) and (target > 0).sum() == 5


def test_rebalancing_is_one_on_average_and_higher_for_rare_bins():
    centres, counts = bin_centres(), torch.zeros(313)
    counts[100], counts[200] = 90, 10
    weights = rebalancing(counts, centres)
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1, abs=1e-3)
    assert weights[200] > weights[100]


def test_annealed_mean_and_draws():
    centres, logits = bin_centres(), torch.full((1, 313, 2, 2), -30.0)
    logits[:, 7] = logits[:, 9] = 0.0
    assert torch.allclose(annealed_mean(logits, centres, 0.38)[0, :, 0, 0], (centres[7] + centres[9]) / 2, atol=1e-3)
    found = drawn(logits.expand(1, 313, 2, 2), centres, torch.Generator().manual_seed(0))
    assert all(any(torch.equal(one, centres[k]) for k in (7, 9)) for one in found[0].flatten(1).T)


def test_crn_counts_the_nearest_image_of_each_class():
    network, labels = tiny("CRN"), an_input("CRN", 32, 32)
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")
    gt = torch.rand(1, 3, 32, 32)
    loss = network.losses(labels, gt, distance)["l_diversity"]
    target, expected = distance.features(gt), 0.0
    maps = [distance.maps(distance.features(one[None]), target, (32, 32))[0] for one in network.images(labels)[0]]
    for label in range(5):
        sums = [float((one * labels[0, label]).detach().sum()) / 32**2 for one in maps]
        expected += MIN_SHARE * min(sums) + MEAN_SHARE * sum(sums) / len(sums)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    samples = sample_image(network, labels, 5, seed=0, image_key="a")
    assert torch.equal(samples[0], samples[3]) and not torch.equal(samples[0], samples[1])


def test_larsson_targets_of_one_colour_are_one_bin():
    network = tiny("Larsson2016")
    ab = torch.tensor([30.0, 40.0]).view(1, 2, 1, 1).expand(1, 2, 12, 12)
    hue, chroma, weight = network._targets(ab, torch.tensor([[0, 77]]))
    angle = torch.atan2(torch.tensor(40.0), torch.tensor(30.0)) % (2 * torch.pi)
    assert hue[0, :, int(angle / (2 * torch.pi) * 32)].tolist() == [1, 1]
    assert chroma[0, :, int(50 / 110 * 32)].tolist() == [1, 1]
    assert torch.allclose(weight, torch.tensor(50 / 110))


@pytest.mark.parametrize("name", ["Zhang2016", "Iizuka2016", "Larsson2016", "CRN"])
def test_own_losses_reach_every_parameter(name):
    network = tiny(name).train()
    distance = PerceptualDistance(backbone="squeezenet1_1", weights="random", calibration="none")
    lq = an_input(name, 32, 32).repeat(2, 1, 1, 1)
    sum(network.losses(lq, torch.rand(2, 3, 32, 32), distance).values()).backward()
    assert [key for key, one in network.named_parameters() if one.grad is None] == []


@pytest.mark.parametrize("distance", [None, PixelDistance()])
def test_crn_says_what_it_trains_by(distance):
    crn = CRN(num_in_ch=5, num_modules=3, widths=4, num_images=2)
    with pytest.raises(TimError, match="perceptual_opt: CRN trains by feature maps: use type: PerceptualDistanceLoss"):
        crn.losses(torch.zeros(1, 5, 16, 16), torch.zeros(1, 3, 16, 16), distance)


@pytest.mark.parametrize(
    "name, changes",
    [
        ("StackedGenerator", {}),
        ("StackedGenerator", {"placement": "same", "head": "ab", "num_in_ch": 1, "degradation": "lightness"}),
        ("CRNGenerator", {}),
    ],
)
def test_images_are_single_under_autocast(name, changes):
    """In bfloat16 neighbouring values near white are a whole 8-bit step apart."""
    lq = an_input(name)[:, : changes.get("num_in_ch")]
    with torch.autocast("cpu", torch.bfloat16):
        image = sample_image(tiny(name, **changes), lq, 1, seed=0, image_key="a")
    assert image.dtype == torch.float32
    assert not torch.equal(image, image.bfloat16().float())
