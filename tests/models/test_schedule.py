"""The learning rate over the iterations: warm-up, milestones, restarts."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("warm_up", [1, 2, 3, 4])
def test_a_warm_up_reaches_the_rate_and_milestones_come_after_it(build, warm_up):
    scheduler = {"type": "MultiStepLR", "milestones": [6], "gamma": 0.5}
    model = build(scheduler=scheduler, warmup_iter=warm_up, optim_g={"lr": 1e-2, "mapping_lr_mult": 0.1})
    rates = []
    for iteration in range(1, 9):
        model.optimizer_g.step()  # without gradients: a schedule wants to follow a step
        model.update_learning_rate(iteration, warmup_iter=warm_up)
        rates.append(model.get_current_learning_rate())
    whole = [1e-2 * min(k / warm_up, 1) * (0.5 if k > 6 else 1) for k in range(1, 9)]
    assert [rate[0] for rate in rates] == pytest.approx(whole)
    assert [rate[1] for rate in rates] == pytest.approx([0.1 * rate for rate in whole])


def test_a_cosine_goes_on_where_it_is_after_a_warm_up(build):
    scheduler = {"type": "CosineAnnealingRestartLR", "periods": [8], "restart_weights": [1], "eta_min": 0}
    model, plain = (build(scheduler=dict(scheduler), total_iter=8) for _ in range(2))
    for iteration in range(1, 9):
        for one, warm_up in ((model, 3), (plain, -1)):
            one.optimizer_g.step()
            one.update_learning_rate(iteration, warmup_iter=warm_up)
        same = model.get_current_learning_rate() == plain.get_current_learning_rate()
        assert same == (iteration >= 3)
