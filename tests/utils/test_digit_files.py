"""Files of digits, as they come."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
import torch

from idx_files import idx_content
from tim_plugin.utils.digit_files import fit_to_digits, read_digits
from tim_plugin.utils.errors import TimError


def test_digits_are_unpacked_no_further_than_they_say(tmp_path):
    header = (0x803).to_bytes(4, "big") + (1).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header + bytes(28 * 28 + 50_000_000)))
    with pytest.raises(TimError, match="train-images-idx3-ubyte.gz: is truncated or damaged: 1 images"):
        read_digits(str(path))
    path.write_bytes(gzip.compress(header[:4] + b"\xff\xff\xff\xff" + header[8:]))
    with pytest.raises(TimError, match="train-images-idx3-ubyte.gz: announces 4294967295 images"):
        read_digits(str(path))


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "some-idx3-ubyte"
    digits, means = [], []
    for seed in (1, 2):
        path.write_bytes(idx_content(np.random.default_rng(seed).integers(0, 256, (4, 28, 28), np.uint8)))
        os.utime(path, (seed, seed))  # two writes within one tick of the clock would have one time
        digits.append(read_digits(str(path)))
        means.append(fit_to_digits(str(path), 2)[0])
    assert not torch.equal(*digits) and not torch.equal(*means)
    assert torch.allclose(means[1], digits[1].flatten(1).float().mean(dim=0) / 255)
