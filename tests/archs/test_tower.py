"""The tower: published sizes, level by level equals whole, every option changes something."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tim_plugin.archs.mapping_arch import MappingNetwork
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.resize import bicubic_resize

PUBLISHED_PARAMETERS = 209.05e6


def inputs(tower, height=4, width=6, batch=2):
    lq = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    coarse = conditions[0].image.shape[-2:]
    return conditions, Latents.draw(tower.latent_shapes(*coarse), batch, torch.Generator().manual_seed(1))


def test_published_configuration_has_209_million_parameters():
    with torch.device("meta"):
        tower = TowerGenerator()
    count = sum(p.numel() for p in tower.parameters())
    assert abs(count / PUBLISHED_PARAMETERS - 1) < 0.01
    assert tower.spec.scale == 16 and len(tower.levels) == 4


def test_published_levels_write_32_to_256_pixels():
    tower = TowerGenerator(trunk_channels=8, growth_channels=8, num_blocks=1, mapping_width=8)
    conditions, latents = inputs(tower, 16, 16, 1)
    assert [tuple(image.shape) for image in tower(conditions, latents)] == [
        (1, 3, 32, 32),
        (1, 3, 64, 64),
        (1, 3, 128, 128),
        (1, 3, 256, 256),
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"consistency": "project"},
        {"consistency": "project", "fade_contrast": 0.1},
        {"placement": "same"},
        {"condition_every_level": True},
        {"mapping_sees_below": True},
        {"image_below": "signed"},
        {"image_below": "none", "placement": "same", "head_at": "trunk_below_last"},
    ],
)
def test_level_by_level_equals_the_whole_bit_for_bit(tiny_tower, options):
    tower = tiny_tower(**options)
    size = (32, 48) if options.get("placement") == "same" else (3, 5)
    conditions, latents = inputs(tower, *size)
    whole, state = tower(conditions, latents), None
    for level, image in enumerate(whole):
        again, state = tower.forward_level(level, conditions[level], latents[level], state)
        assert torch.equal(again, image)


def test_same_placement_keeps_the_size(tiny_tower):
    tower = tiny_tower(placement="same")
    images = tower(*inputs(tower, 32, 48))
    assert [tuple(image.shape[-2:]) for image in images] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    assert tower.spec.scale == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"consistency": "project"},
        {"consistency": "project", "fade_contrast": 0.1},
        {"placement": "same"},
        {"mapping": False},
        {"mapping_sees_below": True},
        {"condition_every_level": True},
        {"feature_scale": 0.0},
        {"normalise": False},
        {"weight_norm": False},
    ],
)
def test_gradients_reach_every_parameter(tiny_tower, options):
    tower = tiny_tower(**options)
    size = (32, 32) if options.get("placement") == "same" else (4, 4)
    sum(image.square().mean() for image in tower(*inputs(tower, *size))).backward()
    missing = [name for name, p in tower.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


def test_initialisation_took_effect_under_weight_norm(tiny_tower):
    plain = dict(tiny_tower(weight_norm=False).named_modules())
    normed = dict(tiny_tower(weight_norm=True).named_modules())
    convolutions = [name for name, module in plain.items() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 4 * (5 + 15)
    for name in convolutions:
        assert torch.allclose(normed[name].weight, plain[name].weight, atol=1e-6)
        assert torch.equal(normed[name].bias, plain[name].bias)
        # BasicSR's RRDB zeroes its biases, PyTorch's default does not; the latter was trained when it was published.
        assert plain[name].bias.abs().sum() > 0
        assert hasattr(normed[name], "parametrizations")


def test_the_style_acts_from_the_first_step_with_he_and_hardly_without():
    spread = {}
    for init in ("he", "pytorch"):
        torch.manual_seed(0)
        scales, offsets = MappingNetwork(init=init)(torch.randn(64, 128))
        assert scales.shape == offsets.shape == (64, 6, 64)
        spread[init] = scales.std(dim=0).mean().item()
    assert spread["pytorch"] < 0.01 < 0.1 < spread["he"] < 2


def test_codes_change_the_answer_at_their_level_and_above_only(tiny_tower):
    tower = tiny_tower()
    conditions, latents = inputs(tower)
    fresh = Latents.draw(tower.latent_shapes(4, 6), 2, torch.Generator().manual_seed(9))
    other = Latents([*latents.levels[:2], *fresh.levels[2:]])
    same = [torch.equal(a, b) for a, b in zip(tower(conditions, latents), tower(conditions, other), strict=True)]
    assert same == [True, True, False, False]


def test_a_mapping_network_sees_the_styles_below_it_and_only_then(tiny_tower):
    """The first level's style reaches the third level's modulation by itself: image and features are held fixed."""
    for sees, reached in ((True, True), (False, False)):
        tower = tiny_tower(mapping_sees_below=sees)
        conditions, latents = inputs(tower)
        mapped = []
        state = None
        for level in range(2):
            _, state = tower.forward_level(level, conditions[level], latents[level], state)
        for shift in (0.0, 1.0):
            first = tower.levels[0].mapping.mapped(latents[0].style + shift)
            other = state._replace(mapped=(first, *state.mapped[1:]) if sees else ())
            mapped.append(tower.forward_level(2, conditions[2], latents[2], other)[0])
        assert (not torch.allclose(*mapped, atol=1e-5)) is reached
        assert len(state.mapped) == (2 if sees else 0)


def test_the_second_dense_layer_is_the_wider_one(tiny_tower):
    tower = tiny_tower(mapping_sees_below=True)
    for index, level in enumerate(tower.levels):
        dense = [layer.in_features for layer in level.mapping.hidden if isinstance(layer, nn.Linear)]
        assert dense == [4, 8 * (1 + index)]
    with pytest.raises(TimError, match="mapping_sees_below needs mapping: true and mapping_layers of at least 2"):
        tiny_tower(mapping_sees_below=True, mapping_layers=1)


def test_projected_images_degrade_to_the_lq_at_every_level(tiny_tower):
    tower = tiny_tower(consistency="project")
    conditions, latents = inputs(tower, 3, 5)
    for image in tower(conditions, latents):
        assert torch.allclose(bicubic_resize(image, (3, 5)), conditions[0].image, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_blocks", 2),
        ("trunk_channels", [4, 4, 4, 6]),
        ("growth_channels", 6),
        ("noise_channels", 3),
        ("style_dim", 6),
        ("mapping_width", 12),
        ("mapping_layers", 3),
        ("mapping_init", "pytorch"),
        ("feature_scale", 0.5),
        ("condition_every_level", True),
        ("image_below", "signed"),
        ("image_below", "none"),
        ("consistency", "project"),
        ("mapping", False),
        ("mapping_sees_below", True),
        ("normalise", False),
    ],
)
def test_each_option_changes_the_answer(tiny_tower, name, value):
    base, changed = tiny_tower(), tiny_tower(**{name: value})
    outputs = [tower(*inputs(tower))[-1] for tower in (base, changed)]
    assert not torch.allclose(*outputs, atol=1e-6)


@pytest.mark.parametrize("changed", [{"image_below": "none"}, {"head_at": "trunk"}, {"head_at": "trunk_below_last"}])
def test_each_option_of_a_tower_that_keeps_the_size_changes_the_answer(tiny_tower, changed):
    outputs = [tiny_tower(placement="same", **one) for one in ({}, changed)]
    outputs = [tower(*inputs(tower, 32, 32))[-1] for tower in outputs]
    assert not torch.allclose(*outputs, atol=1e-6)


def test_an_input_of_the_images_size_is_read_at_half_of_each(tiny_tower):
    tower = tiny_tower(
        num_in_ch=12,
        condition_every_level=True,
        image_below="none",
        degradation={"type": "labels", "palette": "camvid"},
    )
    lq = torch.rand(1, 12, 32, 48)
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    images = tower(conditions, Latents.draw(tower.latent_shapes(2, 3), 1))
    assert [tuple(condition.image.shape[-2:]) for condition in conditions] == [(2, 3), (4, 6), (8, 12), (16, 24)]
    assert images[-1].shape[-2:] == lq.shape[-2:] and tower.spec.scale == 1


def test_wrong_arguments_are_named():
    with pytest.raises(TimError, match="head_at 'trunk' .* needs placement 'same'"):
        TowerGenerator(head_at="trunk")
    with pytest.raises(TimError, match="image_below 'none' with feature_scale 0"):
        TowerGenerator(image_below="none", feature_scale=0)
    with pytest.raises(TimError, match="trunk_channels has 2 entries for 4 levels"):
        TowerGenerator(trunk_channels=[4, 4])
    with pytest.raises(TimError, match="placement 'up' is not known"):
        TowerGenerator(placement="up")
    with pytest.raises(TimError, match="use consistency: off"):
        TowerGenerator(placement="same", consistency="project")
    for options in ({}, {"consistency": "project", "placement": "same", "degradation": "jpeg"}):
        with pytest.raises(TimError, match="fade_contrast 0.1 .* needs degradation 'bicubic' and consistency: project"):
            TowerGenerator(fade_contrast=0.1, **options)
    with pytest.raises(TimError, match="num_blocks must be at least 1"):
        TowerGenerator(num_blocks=0)
    with pytest.raises(TimError, match="network_g: unknown key 'nun_blocks': did you mean 'num_blocks'"):
        TowerGenerator(nun_blocks=2)
