"""Pictures that are put together of others."""

from __future__ import annotations

import torch

from paper.ablation_pictures import stack_samples
from tim_plugin.utils.images import read_image, write_png


def test_figure_9_stacks_what_the_page_shows(tmp_path):
    tasks = {"sr16x": torch.zeros(3, 20, 120), "decompression": torch.full((3, 10, 100), 0.2)}
    for task, picture in tasks.items():
        write_png(tmp_path / f"fig9_{task}.png", picture)
    stack_samples(tmp_path, {task: f"fig9_{task}.png" for task in (*tasks, "removed")}, tmp_path / "fig9.png")
    joint = read_image(tmp_path / "fig9.png").rgb
    title = (joint.shape[1] - 30) // 2
    assert torch.equal(joint[:, title : title + 20], tasks["sr16x"])
    assert torch.equal(joint[:, -10:, :100], tasks["decompression"]) and (joint[:, -10:, 100:] == 1).all()
    for row in (0, title + 20):
        assert joint[:, row : row + title].min() < 0.5  # the task's name above its picture
