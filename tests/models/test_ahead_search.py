"""Searching the next pool in another process while this one trains."""

from __future__ import annotations

import os
import signal
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from basicsr.models import build_model

from tim_plugin.imle import pool
from tim_plugin.imle.latents import Latents
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.models.ahead_search import AheadSearch, Setting
from tim_plugin.models.pool_search import Found, PoolSearch
from tim_plugin.options.schema import ImleSpec
from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.trees import join

IMLE = {"samples_per_level": 3, "pool_size": 4, "reuse": 3, "search_batch": 2, "search_ahead": True}


def data(index):
    generator = torch.Generator().manual_seed(index)
    return {"lq": torch.rand(2, 3, 2, 2, generator=generator), "gt": torch.rand(2, 3, 32, 32, generator=generator)}


@pytest.fixture
def build(model_options):
    """Return a function that builds a model with these options of the search."""

    def made(**imle):
        torch.manual_seed(0)
        return build_model(model_options(2, {**IMLE, **imle}))

    return made


class InThisProcess:
    """Stands for AheadSearch: searches at once, with a copy of the weights."""

    def __init__(self, setting):
        from tim_plugin.utils.networks import network_of

        self.tower = network_of(setting.network)
        self.search = PoolSearch(self.tower, setting.distance, setting.imle, setting.seed, setting.rank)
        self.started = []

    def start(self, weights, batch, iteration):
        self.tower.load_state_dict({key: value.clone() for key, value in weights.items()})
        self.started.append((iteration, len(batch["lq"])))
        found = self.search(self.search.pyramids(batch), iteration)
        return lambda: found


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr("tim_plugin.models.tim_model.AheadSearch", InThisProcess)


def train(model, first, last):
    logs = []
    model.on_step = lambda iteration, log: logs.append(dict(log))
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        model.feed_data(data(iteration))
        model.optimize_parameters(iteration)
    return logs


def weights(model):
    return [p.detach().clone() for p in model.net_g.parameters()]


def test_a_search_begins_when_the_next_pool_is_full_and_its_age_is_reported(build, in_this_process, monkeypatch):
    """Pools of 2 and then 4 examples, 2 a step, each used 3 times: steps 1-3, 4-9, 10-15, 16-21."""
    model, joined = build(), []
    monkeypatch.setattr(pool, "join", lambda trees: joined.append(len(trees)) or join(trees))
    logs = train(model, 1, 21)
    assert len(joined) == 4 + 4  # a pool is copied when its search begins and when it is taken up, not at every step
    assert model.ahead.started == [(3, 4), (6, 4), (12, 4), (18, 4)]
    assert [log["search_age"] for log in logs] == [0] * 3 + [1] * 6 + [4] * 6 + [4] * 6
    assert "search_age" not in train(build(search_ahead=False), 1, 1)[0]


def test_the_other_process_finds_what_this_one_would(build, monkeypatch):
    beside = build()
    train(beside, 1, 12)
    monkeypatch.setattr("tim_plugin.models.tim_model.AheadSearch", InThisProcess)
    here = build()
    train(here, 1, 12)
    assert all(map(torch.equal, weights(beside), weights(here)))
    assert beside.selected_distance == here.selected_distance
    plain = build(search_ahead=False)
    train(plain, 1, 12)
    assert not all(map(torch.equal, weights(plain), weights(here)))  # its codes are of later weights


def test_the_other_process_refines_too(build, monkeypatch):
    beside = build(refine_steps=2)
    train(beside, 1, 6)
    monkeypatch.setattr("tim_plugin.models.tim_model.AheadSearch", InThisProcess)
    here, unrefined = build(refine_steps=2), build()
    train(here, 1, 6)
    train(unrefined, 1, 6)
    assert all(map(torch.equal, weights(beside), weights(here)))
    assert not all(map(torch.equal, weights(unrefined), weights(here)))


def test_refined_latents_are_nearer_than_what_the_search_chose(build):
    first = {}
    for steps in (0, 2):
        model = build(search_ahead=False, refine_steps=steps)
        train(model, 1, 1)
        first[steps] = model.selected_distance
    assert first[2] < first[0]  # the same weights and candidates


@pytest.mark.parametrize("saved_at", [5, 7])
def test_a_run_that_is_resumed_while_it_searches_ahead_equals_an_unbroken_one(
    build, in_this_process, saved_at, tmp_path
):
    unbroken, first, resumed = build(), build(), build()
    train(unbroken, 1, 16)
    train(first, 1, saved_at)
    first.save(0, saved_at)
    train(first, saved_at + 1, 16)  # saving does not disturb it
    assert all(map(torch.equal, weights(unbroken), weights(first)))
    resumed.load_network(resumed.net_g, Path(tmp_path) / f"net_g_{saved_at}.pth", True, "params")
    resumed.resume_training(torch.load(Path(tmp_path) / f"{saved_at}.state", weights_only=True))
    train(resumed, saved_at + 1, 16)
    assert all(map(torch.equal, weights(unbroken), weights(resumed)))


def test_a_run_that_is_resumed_with_a_larger_pool_searches_anew(build, in_this_process, tmp_path):
    first, resumed = build(), build(pool_size=8)
    train(first, 1, 5)
    first.save(0, 5)
    state = torch.load(Path(tmp_path) / "5.state", weights_only=True)
    resumed.resume_training(state)
    train(resumed, 6, 16)
    assert torch.isfinite(torch.tensor(resumed.selected_distance))


def test_the_two_share_the_threads_while_both_work(build, in_this_process, monkeypatch):
    used = []
    model = build()
    model.threads = 5
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    train(model, 1, 6)
    assert used == [5, 5, 3, 5, 5, 3]  # what is searched from step 3 on is taken up in step 4


@pytest.fixture
def searcher(tiny_network):
    imle = ImleSpec(**IMLE)
    made = AheadSearch(Setting(tiny_network, PixelDistance(), imle, 0, 0, torch.device("cpu"), None, 1))
    yield made


def test_what_goes_wrong_in_the_other_process_is_said_here(searcher, tiny_tower):
    state = tiny_tower().state_dict()
    found = searcher.start(state, data(1), 1)()
    assert isinstance(found, Found) and isinstance(found.latents, Latents) and found.latents.batch_size == 2
    broken = {key: value * float("nan") for key, value in state.items()}
    with pytest.raises(NonFiniteError, match="imle: search_ahead: level 1: the distance of every candidate is NaN"):
        searcher.start(broken, data(1), 1)()
    assert searcher.start(state, data(1), 1)().distance == found.distance  # and it goes on


def test_a_process_that_was_killed_is_one_clear_error(searcher, tiny_tower):
    state = tiny_tower().state_dict()
    searcher.start(state, data(1), 1)()
    children = active_children()
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    with pytest.raises(TimError, match="the process that searches has ended .*search_ahead: false"):
        searcher.start(state, data(1), 1)()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reuse": 1}, "imle: search_ahead searches the next pool .* reuse is 1: use reuse: 2 or more"),
        ({"search_ahead": "yes"}, "imle: search_ahead must be true or false"),
    ],
)
def test_options_that_do_not_go_with_it_are_named(build, change, message):
    with pytest.raises(TimError, match=message):
        build(**change)


def test_the_other_process_searches_on_this_processs_own_gpu(build, in_this_process, monkeypatch):
    """BasicSR's device has no number, and in a new process it would be the first GPU."""
    model = build()
    model.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert model._ahead_setting().device == torch.device("cuda", 3)
    model.device = torch.device("cpu")
    assert model._ahead_setting().device == torch.device("cpu")


@pytest.mark.parametrize(
    ("imle", "message"),
    [
        ({"reuse": 2, "search_ahead": True}, "search_ahead gives another process a copy .* train: fsdp"),
        ({"search_memory_gib": 4}, "search_memory_gib .* may differ .*fsdp.*: use max_candidates_per_batch"),
    ],
)
def test_what_does_not_go_with_a_divided_network_is_refused(model_options, imle, message):
    imle = {"pool_size": 2, "search_batch": 1, **imle}
    with pytest.raises(TimError, match=message):
        build_model({**model_options(2, imle, fsdp=True), "dist": True})
