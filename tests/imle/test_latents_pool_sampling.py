"""Latents, the pool and sampling: what they promise about seeds, order and reuse."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.imle.latents import Latents, LevelShape
from tim_plugin.imle.pool import ExamplePool
from tim_plugin.imle.types import Condition
from tim_plugin.inference.sampler import sample

SHAPES = [LevelShape((2, 3, 4), (5,)), LevelShape((2, 6, 8), (5,))]


def equal(a: Latents, b: Latents) -> bool:
    return all(torch.equal(x, y) for mine, theirs in zip(a, b, strict=True) for x, y in zip(mine, theirs, strict=True))


def test_keyed_draws_differ_by_each_part_of_the_key_and_not_by_the_batch():
    keys = [[(0, "a", 0, level) for level in range(2)], [(0, "a", 1, level) for level in range(2)]]
    keys += [[(1, "a", 0, level) for level in range(2)], [(0, "b", 0, level) for level in range(2)]]
    together = Latents.from_keys(SHAPES, keys)
    assert equal(together, Latents.concatenate([Latents.from_keys(SHAPES, [key]) for key in keys]))
    drawn = torch.cat([level.style for level in together])
    assert len(torch.unique(drawn, dim=0)) == 8


def test_draws_are_standard_normal():
    latents = Latents.draw([LevelShape((5, 32, 32), (128,))], 16, torch.Generator().manual_seed(0))
    for tensor in latents[0]:
        assert abs(tensor.mean()) < 0.05
        assert abs(tensor.std() - 1) < 0.05


def test_latents_index_repeat_and_save():
    latents = Latents.draw(SHAPES, 3, torch.Generator().manual_seed(0))
    assert len(latents) == 2 and latents.batch_size == 3
    assert equal(latents.repeat(2).index([0, 2, 4]), latents)
    assert equal(Latents.from_state_dict(latents.state_dict()), latents)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_samples_do_not_depend_on_batch_order_or_count(tiny_tower, batch):
    tower = tiny_tower().eval()
    lq = torch.rand(2, 3, 3, 3, generator=torch.Generator().manual_seed(3))
    conditions, turned = ([Condition(one)] + [Condition(None)] * 3 for one in (lq, lq.flip(0)))
    base = sample(tower, conditions, 5, seed=1, image_keys=["a", "b"], max_samples_per_batch=4)
    assert base.shape == (2, 5, 3, 48, 48)
    other = sample(tower, turned, 3, seed=1, image_keys=["b", "a"], max_samples_per_batch=batch)
    assert torch.allclose(base[:, :3], other.flip(0), atol=1e-5)
    assert not torch.allclose(base[0, 0], base[0, 1], atol=1e-3)


def batches(count, size=2):
    for index in range(count):
        value = torch.arange(index * size, (index + 1) * size, dtype=torch.float32).view(-1, 1, 1, 1)
        yield {"lq": value, "gt": value + 0.5, "given": {"extra": value[:, 0, 0] + 1}}


def searched(batch, pyramids):
    """Latents that carry their example's value, so that a mix-up shows."""
    return Latents([(batch["lq"].clone(), batch["lq"].flatten(1).clone())])


def doubled(batch):
    """Stands for the pyramids: what is made of a batch once."""
    return [batch["lq"] * 2]


def test_each_example_is_used_reuse_times_with_its_own_crop_and_codes():
    pool, seen = ExamplePool(capacity=4, reuse=3, pyramids=doubled), []
    for batch in batches(30):
        pool.offer(batch)
        used = pool.next_batch(2, searched)
        assert torch.equal(used.batch["gt"], used.batch["lq"] + 0.5)
        assert torch.equal(used.batch["given"]["extra"], used.batch["lq"][:, 0, 0] + 1)
        assert torch.equal(used.latents[0].noise, used.batch["lq"])
        assert torch.equal(used.pyramids[0], used.batch["lq"] * 2)
        seen += used.batch["lq"].flatten().tolist()
    counts = {value: seen.count(value) for value in seen}
    complete = [count for value, count in counts.items() if value < max(seen) - 8]
    assert set(complete) == {3}
    assert len(seen) == 60  # one step an iteration, always


def test_the_pool_grows_to_its_capacity_and_no_further():
    pool, sizes = ExamplePool(capacity=4, reuse=3, pyramids=doubled), []
    for batch in batches(40):
        pool.offer(batch)
        pool.next_batch(2, lambda *given: sizes.append(len(given[0]["lq"])) or searched(*given))
    assert sizes[:2] == [2, 4]
    assert set(sizes[1:]) == {4}


def test_reuse_one_is_a_search_for_every_step():
    pool, searches = ExamplePool(capacity=100, reuse=1, pyramids=doubled), []
    for batch in batches(5):
        pool.offer(batch)
        used = pool.next_batch(2, lambda *given: searches.append(given) or searched(*given))
        assert torch.equal(used.batch["lq"].flatten().sort().values, batch["lq"].flatten())
    assert len(searches) == 5


def test_pyramids_are_made_once_a_pool_and_after_a_resume():
    made, pool = [], None
    for index, batch in enumerate(batches(14)):
        if index in (0, 8):
            state = None if pool is None else pool.state_dict()
            pool = ExamplePool(4, 3, lambda batch: made.append(len(batch["lq"])) or doubled(batch))
            if state is not None:
                pool.load_state_dict(state)
        pool.offer(batch)
        used = pool.next_batch(2, searched)
        assert torch.equal(used.pyramids[0], used.batch["lq"] * 2)
    assert made == [2, 4, 4, 4]  # steps 1-3, 4-9, once more when resumed at the 8th, 10-15


def test_a_pool_goes_on_where_it_was_saved():
    whole, first = ExamplePool(4, 3, doubled, seed=5), ExamplePool(4, 3, doubled, seed=5)
    expected, found = [], []
    for index, batch in enumerate(batches(20)):
        whole.offer(batch)
        expected.append(whole.next_batch(2, searched).batch["lq"].flatten().tolist())
        if index == 7:
            state = first.state_dict()
            first = ExamplePool(4, 3, doubled, seed=5)
            first.load_state_dict(state)
        first.offer(batch)
        found.append(first.next_batch(2, searched).batch["lq"].flatten().tolist())
    assert found == expected


@pytest.mark.parametrize(("seeds", "expected"), [(None, [5, 5, 5, 5]), ([2, 2], [1, 1, 5, 5]), ([None, 3], [5] * 4)])
def test_levels_whose_codes_all_samples_share_run_once(tiny_tower, monkeypatch, seeds, expected):
    tower, evaluations = tiny_tower().eval(), [0] * 4
    lq = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(3))
    conditions = [Condition(lq)] + [Condition(None)] * 3
    kept = [*(seeds or []), *[None] * 4][:4]
    whole = tower(
        [Condition(lq.expand(5, -1, -1, -1)), *conditions[1:]],
        Latents.from_keys(
            tower.latent_shapes(3, 3),
            [[(1, 0, j if fixed is None else fixed, level) for level, fixed in enumerate(kept)] for j in range(5)],
        ),
    )[-1]
    run = tower.forward_level

    def counting(level, condition, latent, state=None):
        evaluations[level] += len(latent.style)
        return run(level, condition, latent, state)

    monkeypatch.setattr(tower, "forward_level", counting)
    found = sample(tower, conditions, 5, seed=1, level_seeds=seeds, max_samples_per_batch=2)[0]
    assert evaluations == expected
    assert torch.allclose(found, whole, atol=1e-5)
