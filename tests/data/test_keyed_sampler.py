"""The sampler: BasicSR's order, enlarged indices for datasets that take them, and going on where a run stopped."""

from __future__ import annotations

import pytest
from basicsr.data.data_sampler import EnlargedSampler

from tim_plugin.data.keyed_sampler import KeyedSampler


class Plain:
    def __len__(self):
        return 5


class Keyed(Plain):
    accepts_enlarged_indices = True
    epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch


@pytest.mark.parametrize(("replicas", "rank", "ratio"), [(1, 0, 1), (1, 0, 3), (2, 1, 3), (3, 0, 2)])
def test_order_is_basicsrs(replicas, rank, ratio):
    ours, keyed, basicsrs = (
        sampler(dataset, replicas, rank, ratio)
        for sampler, dataset in ((KeyedSampler, Plain()), (KeyedSampler, Keyed()), (EnlargedSampler, Plain()))
    )
    for epoch in (0, 4):
        for sampler in (ours, keyed, basicsrs):
            sampler.set_epoch(epoch)
        expected = list(basicsrs)
        assert list(ours) == expected and len(ours) == len(expected)
        assert [index % 5 for index in keyed] == expected


def test_another_seed_gives_another_order():
    orders = {}
    for seed in (0, 1, 2):
        sampler = KeyedSampler(Keyed(), 1, 0, 4)
        sampler.seed = seed
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            orders[seed, epoch] = tuple(sampler)
            assert sorted(orders[seed, epoch]) == list(range(20))
    assert len(set(orders.values())) == len(orders)


def test_each_enlarged_index_comes_once_over_all_ranks():
    indices = [index for rank in range(2) for index in KeyedSampler(Keyed(), 2, rank, 4)]
    assert sorted(indices) == list(range(20))


def test_the_dataset_hears_of_the_epoch():
    dataset = Keyed()
    KeyedSampler(dataset, 1, 0).set_epoch(7)
    assert dataset.epoch == 7
    KeyedSampler(Plain(), 1, 0).set_epoch(7)  # one that does not listen is no error


@pytest.mark.parametrize("rank", [0, 1])
def test_skip_leaves_out_the_beginning_of_its_epoch_only(rank):
    sampler = KeyedSampler(Keyed(), 2, rank, 4)
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.skip(3, 4)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole[4:]  # BasicSR's prefetchers begin an iteration that they throw away
    sampler.set_epoch(4)
    assert len(list(sampler)) == 10
