"""The features of ground truths, kept between runs: by content, so that nothing stale is ever taken."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from torch import Tensor

from tim_plugin.metrics.image_sets import FeatureSet
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_bytes
from tim_plugin.utils.writing import write_atomically


def cached_features(features: FeatureSet, gt: Tensor, cache: Path | None) -> np.ndarray:
    """Return the features (1, D) of a ground truth (3, H, W) in [0, 1], from the cache if it has them.

    Args:
        features: Computes them.
        gt: On the 8-bit grid.
        cache: A folder, made if it is not there: a file for each image and feature network. None keeps nothing.

    Raises:
        TimError: A cached file is damaged, or cannot be written.
    """
    if cache is None:
        return features.compute(gt[None])
    digest = hashlib.sha256(f"{features.extractor.digest} {tuple(gt.shape)}".encode())
    digest.update(gt.cpu().contiguous().numpy().tobytes())
    path = cache / f"{digest.hexdigest()[:32]}.npz"  # a zip, which has a checksum
    if path.is_file():
        return _read(path)
    found = features.compute(gt[None])
    _write(path, found)
    return found


def _read(path: Path) -> np.ndarray:
    try:
        return np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)["features"]
    except (ValueError, EOFError, KeyError, IndexError, BadZipFile) as error:
        raise TimError(f"{path}: is no file of cached features, or damaged: remove it") from error


def _write(path: Path, features: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez(content, features=features)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise TimError(f"{path}: cannot be written: {error.strerror or error}") from error
