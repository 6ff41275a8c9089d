"""Recipes of latents: the sampler's bits, kept levels, and changes that stay where they are wanted."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.inference.recipes import Draw, LevelRecipe, Patch
from tim_plugin.inference.tower import Tower

# Of the last level: the first convolution, a block and the one behind it at half the image's size, then three more.
REACH_PX = 2 * (1 + 15 + 1) + 3


@pytest.fixture
def tower(tiny_tower):
    return Tower(tiny_tower(num_levels=2, num_blocks=1).eval())


def image(height=5, width=6):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


def drawn(number, seed=0, levels=2, temperature=1.0):
    return (LevelRecipe(Draw(seed, number, temperature)),) * levels


def sampled(opened, recipes, at_once=2):
    return torch.cat([images for images, _ in opened.sample(recipes, at_once)])


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_recipe_of_draws_gives_the_samplers_bits(tower, at_once):
    opened = tower.open_input(image())
    expected = tower.sample(image(), n=4, seed=3, temperature=1.5, backend="torch")
    assert torch.equal(
        sampled(opened, [drawn(number, 3, temperature=1.5) for number in range(4)], at_once), expected.images
    )


def test_kept_levels_are_those_of_the_sampler(tower):
    out = tower.sample(image(), n=4, backend="torch")
    kept = tower.sample(image(), n=3, keep=(out, 2), levels=1, backend="torch")
    recipes = [(drawn(2)[0], drawn(number)[1]) for number in range(3)]
    assert torch.equal(sampled(tower.open_input(image()), recipes), kept.images)


def patched(mask, first_level=0, levels=2):
    patch = Patch(Draw(9, 1), mask)
    return tuple(LevelRecipe(Draw(0, 0), (patch,) if level >= first_level else ()) for level in range(levels))


def test_a_patch_changes_no_pixel_beyond_the_reach_of_the_convolutions(tower):
    opened = tower.open_input(image(8, 40))
    mask = torch.zeros(32, 160, dtype=torch.bool)
    mask[4:12, 2:10] = True
    before, after = sampled(opened, [drawn(0)])[0], sampled(opened, [patched(mask, first_level=1)])[0]
    changed = (before != after).any(dim=0)
    assert changed[mask].float().mean() > 0.5
    assert not changed[:, 10 + REACH_PX :].any()


def test_everything_marked_keeps_styles_and_takes_the_other_noise(tower):
    mask = torch.ones(20, 24, dtype=torch.bool)
    opened = tower.open_input(image())
    whole = sampled(opened, [patched(mask)])[0]
    assert not torch.equal(whole, sampled(opened, [drawn(0)])[0])
    assert not torch.equal(whole, sampled(opened, [drawn(1, 9)])[0])  # whose styles are others


def test_without_a_mark_nothing_changes(tower):
    opened = tower.open_input(image())
    nothing = patched(torch.zeros(20, 24, dtype=torch.bool))
    difference = sampled(opened, [nothing])[0] - sampled(opened, [drawn(0)])[0]
    assert difference.abs().max() <= 1.5 / 255  # the same norms, computed in another order


def test_patched_and_plain_recipes_share_a_batch(tower):
    mask = torch.zeros(20, 24, dtype=torch.bool)
    mask[:8] = True
    opened = tower.open_input(image())
    alone = [sampled(opened, [recipe])[0] for recipe in (patched(mask), patched(mask, first_level=1))]
    assert torch.equal(sampled(opened, [patched(mask), patched(mask, first_level=1)]), torch.stack(alone))


def test_consistency_holds_inside_and_outside_of_a_patch(tiny_tower):
    tower = Tower(tiny_tower(num_levels=2, consistency="project").eval())
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[8:20, 8:20] = True
    _, measures = next(tower.open_input(image(8, 8)).sample([patched(mask)]))
    assert measures["lr_psnr"][0] >= 45


def test_the_input_may_be_continued_at_its_edges(tiny_tower):
    changes = {"placement": "same", "degradation": {"type": "lightness"}, "num_in_ch": 1, "head": "ab"}
    tower = Tower(tiny_tower(num_levels=2, **changes).eval())
    opened = tower.open_input(image(7, 9))
    mask = torch.zeros(7, 9, dtype=torch.bool)
    mask[:, 8] = True
    before, after = sampled(opened, [drawn(0)])[0], sampled(opened, [patched(mask)])[0]
    assert after.shape == (3, 7, 9) and not torch.equal(before, after)


def test_work_is_ended_before_the_next_level(tower):
    class Ended(Exception):
        pass

    seen = []

    def stop():
        seen.append(1)
        if len(seen) == 2:
            raise Ended

    with pytest.raises(Ended):
        next(tower.open_input(image()).sample([drawn(0)], stop=stop))
    assert len(seen) == 2
