"""A user's mistake stays one line, wherever it is found."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader

from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.utils.errors import TimError, did_you_mean


def test_an_unreadable_photograph_is_one_line_also_from_a_loaders_worker(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    dataset = DegradedImageDataset({"task": "sr16x", "dataroot_gt": str(tmp_path), "phase": "train", "gt_size": 32})
    messages = []
    for workers in (0, 1):
        with pytest.raises(TimError) as caught:
            next(iter(DataLoader(dataset, num_workers=workers)))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "bad.png" in messages[0] and "\n" not in messages[0]


def test_the_nearest_names_are_offered_or_all():
    assert did_you_mean("pool_sise", ["pool_size", "reuse"]) == "did you mean 'pool_size'?"
    assert did_you_mean("zzz", ["b", "a"]) == "valid: a, b"
    assert did_you_mean("hier", ["chimle", "hierarchical"]) == "did you mean 'hierarchical'?"
    assert did_you_mean("", ["b", "a"]) == "valid: a, b"
