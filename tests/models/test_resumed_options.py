"""A resumed run's rates are those that its options give, whatever its state was written with."""

from __future__ import annotations

import re

import pytest
import torch
from basicsr.utils import get_root_logger

STEPS = {"type": "MultiStepLR", "milestones": [3], "gamma": 0.5}
COSINE = {"type": "CosineAnnealingRestartLR", "periods": [100], "eta_min": 1e-5}
CHANGED = {
    "lr": ({"optim_g": {"lr": 1e-6}}, r"initial learning rates \[1e-06, 1e-08\], not \[0.001, 1e-05\]"),
    "the mapping networks' lr": (
        {"optim_g": {"mapping_lr_mult": 0.5}},
        r"initial .* \[0.001, 0.0005\], not \[0.001, 1e",
    ),
    "an lr of 0": ({"optim_g": {"mapping_lr_mult": 0}}, r"initial learning rates \[0.001, 0.0\], not"),
    "a milestone to come": ({"scheduler": {**STEPS, "milestones": [3, 6]}}, r"milestones \[3, 6\], not \[3\]"),
    "a milestone gone by": ({"scheduler": {**STEPS, "milestones": [1]}}, r"milestones \[1\], not \[3\]"),
    "gamma": ({"scheduler": {**STEPS, "gamma": 0.1}}, "gamma 0.1, not 0.5"),
    "restarts": ({"scheduler": {**STEPS, "restarts": [0, 2, 6], "restart_weights": [1, 0.7, 0.3]}}, "restart_weights"),
    "a warm-up that is over": ({"warmup_iter": 3}, ""),
    "a warm-up that goes on": ({"warmup_iter": 6, "scheduler": {**STEPS, "milestones": [6]}}, r"milestones \[6\]"),
    "a cosine": ({"scheduler": COSINE}, r"milestones None, not \[3\]"),
    "a longer cosine": ({"scheduler": COSINE}, r"periods \[100\], not \[50\]"),
    "weight_decay": ({"optim_g": {"weight_decay": 0.1}}, "weight_decay 0.1, not 0"),
    "betas": ({"optim_g": {"betas": [0.5, 0.9]}}, r"betas \[0.5, 0.9\], not \[0.9, 0.999\]"),
}


@pytest.fixture
def logged(monkeypatch, caplog):
    """Return a function that gives what the log has of other options."""
    monkeypatch.setattr(get_root_logger(), "propagate", True)
    with caplog.at_level("INFO", logger="basicsr"):
        yield lambda: [text for text in caplog.messages if text.startswith("Other options")]


def step(model, iterations, warmup):
    """Take optimizer steps without gradients; return what its groups have in each."""
    seen = []
    for iteration in iterations:
        model.update_learning_rate(iteration, warmup)
        model.optimizer_g.step()
        for group in model.optimizer_g.param_groups:
            seen += [group["lr"], group["initial_lr"], group["weight_decay"], *group["betas"]]
    return seen


@pytest.mark.parametrize(("done", "turned"), [(1, False), (5, False), (5, True)])
@pytest.mark.parametrize("kind", CHANGED)
def test_a_resumed_run_has_the_rates_of_its_options(build, tmp_path, logged, kind, turned, done):
    """From there on they are those of a run that had them from the start, and one line says what differs."""
    after, said = CHANGED[kind]
    before = {"scheduler": {**COSINE, "periods": [50]} if kind == "a longer cosine" else STEPS, "total_iter": 50}
    after = {**before, **after}
    before, after = (after, before) if turned else (before, after)
    first, second, whole = (build(**train) for train in (before, after, after))
    warm = [train.get("warmup_iter", -1) for train in (before, after)]
    step(first, range(1, done + 1), warm[0])
    first.save_training_state(0, done)
    state = torch.load(tmp_path / f"{done}.state", weights_only=True)
    second.resume_training(state)
    told = logged()
    step(whole, range(1, done + 1), warm[1])
    ahead = range(done + 1, 9)
    assert step(second, ahead, warm[1]) == pytest.approx(step(whole, ahead, warm[1]), rel=1e-9)
    assert len(told) == (0 if not said and done >= 3 else 1)
    if told and not turned:
        assert re.search(said, told[0])


def test_with_the_same_options_a_state_is_taken_as_it_is(build, tmp_path, logged):
    train = {"scheduler": {**STEPS, "milestones": [2, 3, 3, 4], "gamma": 0.3}, "optim_g": {"betas": [0.9, 0.99]}}
    first, second = build(**train), build(**train)
    step(first, range(1, 8), -1)
    first.save_training_state(0, 7)
    second.resume_training(torch.load(tmp_path / "7.state", weights_only=True))
    assert step(second, range(8, 11), -1) == step(first, range(8, 11), -1)
    assert not logged()
