"""The table of tasks."""

from __future__ import annotations

import pytest
import torch

from tim_plugin.errors import TimError
from tim_plugin.tasks import TASKS, get_task


@pytest.mark.parametrize("name", TASKS)
def test_each_task_degrades_its_smallest_gt_to_what_a_file_holds(name):
    task = get_task(name)
    lq = task.degrade(torch.rand(3, task.gt_multiple, 2 * task.gt_multiple))
    assert lq.shape[-2:] == (task.gt_multiple // task.scale, 2 * task.gt_multiple // task.scale)
    assert 0 <= lq.min() and lq.max() <= 1
    assert torch.equal(lq, lq.mul(255).round().div(255))


@pytest.mark.parametrize("name", ["sr16", "SR16x", "", None])
def test_an_unknown_task_names_the_nearest(name):
    with pytest.raises(TimError, match="sr16x"):
        get_task(name)
