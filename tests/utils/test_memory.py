"""Memory of tensors: what a function takes at most, and a lack of it told from other errors."""

from __future__ import annotations

import cv2
import pytest
import torch

from tim_plugin.utils.memory import in_memory, peak_bytes


def test_the_peak_of_what_is_alive_is_counted():
    base = torch.zeros(1000)

    def function():
        one = base + 1  # 4000 bytes
        view = one.view(10, 100)  # none
        two = view * 2  # 4000 more
        del one, view
        return torch.cat([two.flatten(), two.flatten()])  # 4000 freed, 8000 more

    assert peak_bytes(function, torch.device("cpu")) == 12000


def test_a_lack_of_memory_is_told_from_other_errors():
    assert in_memory(lambda: torch.empty(2**60, dtype=torch.uint8)) is None
    assert in_memory(lambda: 3) == 3

    def with_opencv():
        raise cv2.error("(-4:Insufficient memory) Failed to allocate 12 bytes in function 'OutOfMemoryError'")

    assert in_memory(with_opencv) is None
    with pytest.raises(RuntimeError, match="must match the size"):
        in_memory(lambda: torch.ones(2) + torch.ones(3))
