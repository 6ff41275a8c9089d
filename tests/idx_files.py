"""The bytes of files of digits as MNIST's are."""

import numpy as np


def idx_content(pixels: np.ndarray) -> bytes:
    """Return the idx file of digits (N, H, W), uint8."""
    return b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in pixels.shape) + pixels.tobytes()
