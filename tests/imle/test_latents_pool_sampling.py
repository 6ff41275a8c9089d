"""Latent codes, the pool and sampling: what they promise about seeds, order and reuse."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.imle.latents import Latents, LevelShape
from tim_plugin.imle.pool import ExamplePool
from tim_plugin.imle.types import Condition
from tim_plugin.inference.sampler import sample, sample_latents

SHAPES = [LevelShape((2, 3, 4), (5,)), LevelShape((2, 6, 8), (5,))]


def equal(a: Latents, b: Latents) -> bool:
    return all(torch.equal(x, y) for mine, theirs in zip(a, b, strict=True) for x, y in zip(mine, theirs, strict=True))


def test_a_seeded_draw_does_not_depend_on_the_batch_split():
    together = sample_latents(SHAPES, 0, "photo", range(5))
    assert equal(together.index(slice(3, 5)), sample_latents(SHAPES, 0, "photo", [3, 4]))
    assert equal(together, Latents.concatenate([sample_latents(SHAPES, 0, "photo", [j]) for j in range(5)]))


def test_codes_differ_by_seed_image_sample_and_level():
    base = sample_latents(SHAPES, 0, "a", [0])
    for other in (
        sample_latents(SHAPES, 1, "a", [0]),
        sample_latents(SHAPES, 0, "b", [0]),
        sample_latents(SHAPES, 0, "a", [1]),
    ):
        assert not torch.equal(base[0].style, other[0].style)
    assert not torch.equal(base[0].style, base[1].style)


def test_level_seeds_keep_the_coarse_code_and_vary_the_fine_one():
    free, fixed = sample_latents(SHAPES, 0, "a", range(3)), sample_latents(SHAPES, 0, "a", range(3), [2])
    for j in range(3):
        assert torch.equal(fixed[0].noise[j], free[0].noise[2])
    assert torch.equal(fixed[1].noise, free[1].noise)


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


def test_blend_ends_at_both_and_keeps_the_length_between():
    a, b = (Latents.draw([LevelShape((4, 16, 16), (128,))], 2, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert equal(a.blend(b, 0.0), a)
    assert equal(a.blend(b, 1.0), b)
    middle = a.blend(b, 0.5)[0].style.norm(dim=1)
    assert torch.allclose(middle, torch.full((2,), 128**0.5), rtol=0.15)
    assert torch.allclose(a.blend(a, 0.3)[0].noise, a[0].noise, atol=1e-5)


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


def searched(batch):
    """Codes that carry their example's value, so that a mix-up shows."""
    return Latents([(batch["lq"].clone(), batch["lq"].flatten(1).clone())])


def test_each_example_is_used_reuse_times_with_its_own_crop_and_codes():
    pool, seen = ExamplePool(capacity=4, reuse=3), []
    for batch in batches(30):
        pool.offer(batch)
        used = pool.next_batch(2, searched)
        assert torch.equal(used.batch["gt"], used.batch["lq"] + 0.5)
        assert torch.equal(used.batch["given"]["extra"], used.batch["lq"][:, 0, 0] + 1)
        assert torch.equal(used.latents[0].noise, used.batch["lq"])
        seen += used.batch["lq"].flatten().tolist()
    counts = {value: seen.count(value) for value in seen}
    complete = [count for value, count in counts.items() if value < max(seen) - 8]
    assert set(complete) == {3}
    assert len(seen) == 60  # one step an iteration, always


def test_the_pool_grows_to_its_capacity_and_no_further():
    pool, sizes = ExamplePool(capacity=4, reuse=3), []
    for batch in batches(40):
        pool.offer(batch)
        pool.next_batch(2, lambda batch: sizes.append(len(batch["lq"])) or searched(batch))
    assert sizes[:2] == [2, 4]
    assert set(sizes[1:]) == {4}


def test_reuse_one_is_a_search_for_every_step():
    pool, searches = ExamplePool(capacity=100, reuse=1), []
    for batch in batches(5):
        pool.offer(batch)
        used = pool.next_batch(2, lambda batch: searches.append(batch) or searched(batch))
        assert torch.equal(used.batch["lq"].flatten().sort().values, batch["lq"].flatten())
    assert len(searches) == 5


def test_a_pool_goes_on_where_it_was_saved():
    whole, first = ExamplePool(4, 3, seed=5), ExamplePool(4, 3, seed=5)
    expected, found = [], []
    for index, batch in enumerate(batches(20)):
        whole.offer(batch)
        expected.append(whole.next_batch(2, searched).batch["lq"].flatten().tolist())
        if index == 7:
            state = first.state_dict()
            first = ExamplePool(4, 3, seed=5)
            first.load_state_dict(state)
        first.offer(batch)
        found.append(first.next_batch(2, searched).batch["lq"].flatten().tolist())
    assert found == expected


@pytest.mark.parametrize(("seeds", "expected"), [(None, [5, 5, 5, 5]), ([2, 2], [1, 1, 5, 5]), ([None, 3], [5] * 4)])
def test_levels_whose_codes_all_samples_share_run_once(tiny_tower, monkeypatch, seeds, expected):
    tower, evaluations = tiny_tower().eval(), [0] * 4
    lq = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(3))
    conditions = [Condition(lq)] + [Condition(None)] * 3
    whole = tower(
        [Condition(lq.expand(5, -1, -1, -1)), *conditions[1:]],
        sample_latents(tower.latent_shapes(3, 3), 1, 0, range(5), seeds),
    )[-1]
    run = tower.forward_level

    def counting(level, condition, latent, state=None):
        evaluations[level] += len(latent.style)
        return run(level, condition, latent, state)

    monkeypatch.setattr(tower, "forward_level", counting)
    found = sample(tower, conditions, 5, seed=1, level_seeds=seeds, max_samples_per_batch=2)[0]
    assert evaluations == expected
    assert torch.allclose(found, whole, atol=1e-5)
