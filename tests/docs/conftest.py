"""The real inputs that the guide's Python blocks name, small."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tim_plugin.degradations.palettes import get_palette

PHOTO_PX, THUMB_PX, DIGIT_PX = 32, 8, 28


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder with a thumbnail, a photograph (PNG and JPEG), two in a folder, a label map and a digit."""
    data, digits = pytest.importorskip("skimage.data"), pytest.importorskip("sklearn.datasets")
    cat = cv2.cvtColor(data.chelsea()[20:276, 100:356], cv2.COLOR_RGB2BGR)
    photo = cv2.resize(cat, (PHOTO_PX, PHOTO_PX), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "thumb.png"), cv2.resize(cat, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    cv2.imwrite(str(tmp_path / "photo.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 10])
    cv2.imwrite(str(tmp_path / "labels.png"), street()[..., ::-1])
    (tmp_path / "photos").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), photo[:, ::-1] if index else photo)
    digit = (digits.load_digits().images[3] / 16 * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "digit.png"), cv2.resize(digit, (DIGIT_PX, DIGIT_PX), interpolation=cv2.INTER_AREA))
    return tmp_path


def street() -> np.ndarray:
    """A label map in CamVid's colours: sky above, buildings beside a road, a car on it."""
    camvid = get_palette("camvid")
    named = dict(zip(camvid.classes, camvid.shown(), strict=False))
    colours = np.zeros((32, 64, 3), np.uint8)
    colours[:12], colours[12:20], colours[20:] = named["Sky"], named["Building"], named["Road"]
    colours[18:24, 28:40] = named["Car"]
    return colours
