"""Files of digits, as they come."""

from __future__ import annotations

import gzip

import pytest

from tim_plugin.utils.digit_files import read_digits
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
