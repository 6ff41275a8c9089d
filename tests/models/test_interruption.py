"""Ctrl-C and SIGTERM in training: what is finished, what is saved, and that a resumed run equals an unbroken one."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tim_plugin.models import sampling_model
from tim_plugin.models.interruption import Interruption
from tim_plugin.models.pool_search import PoolSearch
from tim_plugin.utils.processes import Interrupted

TOTAL = 6


def send(number, times=1):
    for _ in range(times):
        os.kill(os.getpid(), number)


def weights(folder):
    return torch.load(folder / "models" / "net_g_latest.pth", weights_only=True)["params"]


def test_the_iteration_is_finished_and_saved_and_the_resumed_run_equals_an_unbroken_one(train, tmp_path):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    unbroken = weights(train("unbroken"))
    for number, at in ((signal.SIGINT, 2), (signal.SIGTERM, 3), (signal.SIGINT, TOTAL)):
        name, said = f"broken_{at}", rf"^interrupted at iteration {at}, which was saved: .*/{at}\.state$"
        with pytest.raises(Interrupted, match=said) as found:
            train(name, on_step=lambda iteration, log, n=number, at=at: send(n) if iteration == at else None)
        assert found.value.signal == number
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
        folder = tmp_path / "experiments" / name
        assert [path.name for path in (folder / "training_states").iterdir()] == [f"{at}.state"]
        assert [path.name for path in (folder / "models").iterdir()] == [f"net_g_{at}.pth"]
        seen = []
        resumed = weights(
            train(name, auto_resume=True, on_step=lambda iteration, log, seen=seen: seen.append(iteration))
        )
        assert seen == list(range(at + 1, TOTAL + 1))
        assert all(torch.equal(resumed[name], value) for name, value in unbroken.items())


def test_a_search_is_finished_with_its_iteration(train, tmp_path, monkeypatch, capfd):
    search, searches = PoolSearch.__call__, []

    def interrupted(self, pyramids, iteration):
        searches.append(iteration)
        if iteration > 1:
            send(signal.SIGINT)
        return search(self, pyramids, iteration)

    monkeypatch.setattr(PoolSearch, "__call__", interrupted)
    with pytest.raises(Interrupted, match="at iteration 3, which was saved"):
        train("searching")
    assert searches == [1, 3] and "this iteration is finished and saved first" in capfd.readouterr().err
    assert (tmp_path / "experiments" / "searching" / "training_states" / "3.state").is_file()


def test_a_second_signal_ends_the_run_at_once(train, tmp_path, monkeypatch):
    monkeypatch.setattr(PoolSearch, "__call__", lambda *_: send(signal.SIGINT, 2))
    with pytest.raises(Interrupted, match="^interrupted at once; nothing more was saved$"):
        train("twice")
    assert not any((tmp_path / "experiments" / "twice" / "training_states").iterdir())


def test_a_validation_is_left_and_what_is_trained_is_saved(train, tmp_path, monkeypatch):
    save, saved = sampling_model.save_samples, []

    def interrupted(sampled, *args, **options):
        save(sampled, *args, **options)
        saved.append(sampled.name)
        send(signal.SIGTERM)

    monkeypatch.setattr(sampling_model, "save_samples", interrupted)
    with pytest.raises(Interrupted, match="at iteration 4, which was saved"):
        train("validating", **{"val": {"val_freq": 4, "save_img": True, "num_samples": 1, "metrics": None}})
    assert len(saved) == 1
    assert (tmp_path / "experiments" / "validating" / "training_states" / "4.state").is_file()


def test_before_the_first_iteration_it_ends_at_once():
    with pytest.raises(Interrupted, match="^interrupted before an iteration was done; nothing was saved$"):
        Interruption().guard(lambda: send(signal.SIGINT))
