"""Memory runs out in a search: which passes are done in halves, what is an error, and a network sharded by FSDP."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard

from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import draw_level
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search import hierarchical
from tim_plugin.imle.search_runner import SearchPlan, SearchRunner
from tim_plugin.imle.tower_runner import is_sharded, kept_weights
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.utils.errors import TimError


class Crowded:
    """A tower and a distance on a device of little memory.

    ``levels`` and ``features`` are how many items at once they still run on; an autocast level runs on any number.
    """

    def __init__(self, tower, levels=10**6, features=10**6, autocast_is_free=False):
        self.tower, self.levels, self.most, self.autocast_is_free = tower, levels, features, autocast_is_free
        self.run, self.compared = [], []

    def latent_shapes(self, height, width):
        return self.tower.latent_shapes(height, width)

    def forward_level(self, level, condition, latent, state=None):
        self.run.append(len(latent.style))
        if len(latent.style) > self.levels and not (self.autocast_is_free and torch.is_autocast_enabled("cpu")):
            raise torch.OutOfMemoryError("no memory")
        return self.tower.forward_level(level, condition, latent, state)

    def features(self, images):
        self.compared.append(len(images))
        if len(images) > self.most:
            torch.empty(2**60, dtype=torch.uint8)  # a true one of the CPU's
        return [images]

    def distance(self, a, b):
        return PixelDistance().distance(a, b)


@pytest.fixture
def problem(tiny_tower):
    """A tower, conditions and targets of three examples."""
    tower = tiny_tower()
    torch.manual_seed(3)
    lq, gt = torch.rand(3, 3, 3, 2), torch.rand(3, 3, 48, 32)
    return tower, condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 4)


def search(problem, crowded, plan=None, limit=24, runner=None, candidates=8, **more):
    runner = runner or SearchRunner(crowded, plan)
    source = torch.Generator().manual_seed(7)
    return hierarchical(crowded, crowded, *problem[1:], [candidates] * 4, source, limit, runner=runner, **more)


def same_codes(a, b):
    return all(torch.equal(x, y) for p, q in zip(a.latents, b.latents, strict=True) for x, y in zip(p, q, strict=True))


def test_a_distance_that_does_not_fit_is_computed_in_halves_too(problem):
    """By the CPU's own error: 8 candidates of 3 examples, then 4."""
    plain = search(problem, Crowded(problem[0]))
    crowded = Crowded(problem[0], features=12)
    with pytest.warns(RuntimeWarning, match="level .: 24 items at once"):
        found = search(problem, crowded)
    assert same_codes(plain, found) and torch.allclose(plain.distances, found.distances)
    assert crowded.compared[:4] == [3, 24, 12, 12]


def test_the_winner_does_not_fit_is_one_clear_error(problem):
    crowded = Crowded(problem[0], levels=2, autocast_is_free=True)
    with pytest.raises(TimError, match="level 1: 3 items .* do not fit in memory, and they are the fewest"):
        search(problem, crowded, SearchPlan(precision="bf16"))


def test_a_probe_that_does_not_fit_is_one_clear_error(problem):
    with pytest.raises(TimError, match="level 1: 3 items .* the fewest.*lower imle: search_batch") as caught:
        search(problem, Crowded(problem[0], levels=2), SearchPlan(memory_gib=1.0))
    assert "half" not in str(caught.value) and "max_candidates_per_batch" not in str(caught.value)


@pytest.mark.parametrize(
    ("plan", "named", "other"),
    [
        (SearchPlan(), "max_candidates_per_batch", "search_memory_gib"),
        (SearchPlan(memory_gib=1.0), "search_memory_gib", "max_candidates_per_batch"),
    ],
)
def test_warning_and_error_name_the_option_that_counts(problem, plan, named, other):
    said = f"level 1: 24 items at once .candidates x examples.* half as many. Lower imle: {named}"
    with pytest.warns(RuntimeWarning, match=said) as warned, pytest.raises(TimError) as caught:
        search(problem, Crowded(problem[0], levels=6), plan)
    said = "level 1: 12 items at once (candidates x examples) do not fit in memory, and they were halved before"
    assert str(caught.value).startswith(f"{said}: lower imle: {named}")
    assert other not in str(caught.value) and other not in str(warned[0].message)


def test_the_next_search_begins_with_what_fitted(problem):
    """Also where the limit is far above the candidates there are."""
    crowded = Crowded(problem[0], levels=12)
    runner = SearchRunner(crowded)
    with pytest.warns(RuntimeWarning):
        search(problem, crowded, runner=runner, limit=1000)
    crowded.run.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(problem, crowded, runner=runner, limit=1000)
    assert crowded.run == [12, 12] * 4


# a sharded network ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(problem):
    """The tower sharded over one process, as FSDP shards it over several."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    for level in problem[0].levels:
        fully_shard(level, reshard_after_forward=True)
    yield problem[0]
    distributed.destroy_process_group()


def test_a_sharded_network_keeps_no_whole_weights(problem, sharded, tiny_tower):
    """What is kept between two uses of a weight is one tensor, else each use computes it anew."""
    plain, kept = tiny_tower(), []
    for tower in (plain, sharded):
        weights = []
        hook = tower.levels[0].conv_last.register_forward_pre_hook(lambda m, _, seen=weights: seen.append(m.weight))
        with kept_weights(tower), torch.no_grad():
            for _ in range(2):
                tower.forward_level(0, problem[1][0], draw_level(tower.latent_shapes(3, 2)[0], 3))
        hook.remove()
        kept.append(weights[0] is weights[1])
    assert kept == [True, False]
    assert is_sharded(sharded) and not is_sharded(plain) and not is_sharded(Crowded(plain))


def test_a_search_of_a_sharded_network_finds_the_same(problem, sharded, tiny_tower):
    found = search(problem, Crowded(sharded), runner=SearchRunner(sharded))
    plain = search(problem, Crowded(tiny_tower()))
    assert same_codes(plain, found)


def test_one_process_does_not_halve_what_all_must_run(problem, sharded):
    crowded = Crowded(sharded, features=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TimError, match="level 1: 24 items .* train: fsdp .* lower imle: max_candidates_per_batch"):
            hierarchical(
                sharded,
                crowded,
                *problem[1:],
                [8] * 4,
                torch.Generator().manual_seed(7),
                24,
                runner=SearchRunner(sharded),
            )


def test_targets_that_do_not_fit_are_an_error_that_says_what_to_lower(problem):
    with pytest.raises(
        TimError, match=r"features of 3 targets .* lower imle: search_batch, or datasets: train: gt_siz"
    ):
        search(problem, Crowded(problem[0], features=2))
