"""The search of a pool by the options of ``imle``: each against the plain search, on the same candidates."""

from __future__ import annotations

import pytest
import torch

from support.tiny_runs import build, same, train, weights
from tim_plugin.imle.latents import Latents, draw_level
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.models import pool_search
from tim_plugin.models.pool_search import PoolSearch
from tim_plugin.options.schema import ImleSpec
from tim_plugin.utils.seeds import keyed_generator

EXAMPLES, CANDIDATES, LEVELS = 4, 3, 4


@pytest.fixture
def search(tiny_tower):
    """Return a function that searches four examples by keys of ``imle``."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        "lq": torch.rand(EXAMPLES, 3, 2, 2, generator=generator),
        "gt": torch.rand(EXAMPLES, 3, 32, 32, generator=generator),
    }

    def found(draw=draw_level, tower=None, **imle):
        spec = ImleSpec(**{"samples_per_level": CANDIDATES, "max_candidates_per_batch": 12, **imle})
        search = PoolSearch(tower or tiny_tower(), PixelDistance(), spec, 0, 0)
        search.runner.draw = draw
        return search(search.pyramids(batch), 1)

    return found


def same_codes(a, b):
    pairs = zip(a.latents, b.latents, strict=True)
    return all(torch.equal(x, y) for one, other in pairs for x, y in zip(one, other, strict=True))


def codes_by_example():
    """Return what draws codes that depend on level, candidate and example alone, however many are searched together."""
    drawn = []

    def draw(shape, size, generator):
        calls = LEVELS * CANDIDATES  # for as many examples as are searched together
        first = len(drawn) // calls * size
        key = ("codes", len(drawn) % calls)
        drawn.append(shape)
        items = [draw_level(shape, 1, keyed_generator(*key, example)) for example in range(first, first + size)]
        return Latents.concatenate([Latents([item]) for item in items])[0]

    return draw


@pytest.mark.parametrize("sampling", ["hierarchical", "vanilla"])
def test_examples_searched_together_get_the_codes_they_get_alone(search, sampling):
    found = [search(codes_by_example(), sampling=sampling, search_batch=together) for together in (1, 2, 4)]
    alone = found[0]
    chosen = alone.latents[0].style
    assert len(torch.unique(chosen, dim=0)) == EXAMPLES
    for other in found[1:]:
        assert same_codes(alone, other)
        assert other.distance == pytest.approx(alone.distance, rel=1e-5)


@pytest.mark.parametrize("vanilla", [{}, {"sampling": "vanilla"}])
def test_features_of_targets_are_computed_once_a_pool_where_they_are_few(model_options, monkeypatch, vanilla):
    """Pools of 2 and then 4 examples, two at a time: four steps take three searches."""

    def trained():
        imle = {"samples_per_level": 3, "pool_size": 4, "reuse": 3, "search_batch": 2, **vanilla}
        distance = {"type": "PerceptualDistanceLoss", "backbone": "tim_small", "weights": "bundled"}
        model = build(model_options(2, imle, perceptual_opt={**distance, "calibration": "bundled"}))
        features, constant = model.distance.features, []
        model.distance.features = lambda images: constant.append(not torch.is_grad_enabled()) or features(images)
        train(model, 1, 4)
        return weights(model.net_g), sum(constant)

    kept, fewer = trained()
    monkeypatch.setattr(pool_search, "KEPT_BYTES", 0)
    plain, more = trained()
    assert same(kept, plain)
    assert more - fewer == LEVELS * (2 + 4)  # a trial of each pool's size, and the steps


def test_channels_last_is_the_default_where_it_gains_and_finds_the_same(search, tiny_tower):
    wide, layouts = tiny_tower(trunk_channels=8), []
    hook = wide.levels[0].conv_first.register_forward_pre_hook(
        lambda _, given: layouts.append(given[0].is_contiguous(memory_format=torch.channels_last))
    )
    default, plain = search(tower=wide), search(tower=wide, channels_last=False)
    hook.remove()
    assert layouts == [True] * EXAMPLES + [False] * EXAMPLES
    assert same_codes(default, plain) and default.distance == pytest.approx(plain.distance, rel=1e-5)

    def is_on(tower, **imle):
        return PoolSearch(tower, PixelDistance(), ImleSpec(**imle), 0, 0).runner.plan.channels_last

    assert is_on(wide) and not is_on(wide.to("meta")) and not is_on(tiny_tower(trunk_channels=(8, 8, 8, 7)))
    assert is_on(tiny_tower(), channels_last=True)


def test_compiled_levels_find_the_same(search, monkeypatch):
    """The compiler is handed each level once, with chunks of one size, and here gives it back as it is."""
    compiled, sizes = [], []

    def as_it_is(function, **options):
        compiled.append(options)

        def run(condition, latent, state):
            sizes.append(len(latent.style))
            return function(condition, latent, state)

        return run

    monkeypatch.setattr(torch, "compile", as_it_is)
    plain = search(search_batch=2, max_candidates_per_batch=4)
    assert compiled == []
    found = search(search_batch=2, max_candidates_per_batch=4, search_compile=True)
    assert same_codes(plain, found) and found.distance == pytest.approx(plain.distance, rel=1e-5)
    assert [options["dynamic"] for options in compiled] == [False] * LEVELS
    assert sizes == [4] * 2 * 2 * LEVELS  # chunks of 4 and, filled up, 2 items for each of two pairs
