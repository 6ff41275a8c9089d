"""Videos as inputs: their frames one after the other, decoded by OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_pixels

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")


def is_video(path: Path) -> bool:
    """Tell by its suffix whether a path is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


class Video:
    """A video whose frames are read in order, each as the bytes of a PNG.

    Args:
        path: Of the video.

    Attributes:
        frames: A name for each frame, as if the video were a folder: ``VIDEO/STEM_000000.png`` and so on.

    Raises:
        TimError: No frame of it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._next = path, 0
        self._capture = cv2.VideoCapture(str(path))
        count = 0  # what the file says of itself is often an estimate
        while self._capture.grab():
            count += 1
        if not count:
            raise TimError(f"{path}: no frame of it can be decoded: give a video that OpenCV reads, or its frames")
        self._capture.release()
        self._capture = cv2.VideoCapture(str(path))
        self.frames = [path / f"{path.stem}_{index:06d}.png" for index in range(count)]

    def read(self, frame: Path) -> bytes:
        """Return a frame as a PNG; those before it that were not read are left out.

        Args:
            frame: The next one of ``frames``, or a later one.

        Raises:
            TimError: It is damaged.
        """
        while self.frames[self._next] != frame:
            self._capture.grab()
            self._next += 1
        there, bgr = self._capture.read()
        self._next += 1
        if not there:
            raise TimError(f"{self.path}: frame {self._next - 1} is damaged")
        return encode_pixels(np.ascontiguousarray(bgr[..., ::-1]))
