"""Videos as inputs: their frames one after the other, decoded by OpenCV."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_headers import format_of, is_video_start
from tim_plugin.utils.images import encode_pixels, first_bytes
from tim_plugin.utils.raw_samples import opencv_silenced

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".ts", ".flv", ".mpg", ".mpeg", ".3gp")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what it tells of damaged files is an error of ours


def is_video(path: Path) -> bool:
    """Tell by its first bytes, or else by its suffix, whether a path is a video, and no image."""
    if not path.is_file():
        return False
    start = first_bytes(path)
    return is_video_start(start) or (path.suffix.lower() in VIDEO_SUFFIXES and format_of(start) is None)


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
        self._capture = _opened(path)
        count = 0  # what the file says of itself is often an estimate
        while self._capture.grab():
            count += 1
        if not count:
            raise TimError(f"{path}: no frame of it can be decoded: give a video that OpenCV reads, or its frames")
        self._capture.release()
        self._capture = _opened(path)
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


def _opened(path: Path) -> cv2.VideoCapture:
    with opencv_silenced(), tempfile.TemporaryDirectory() as folder:
        try:
            str(path).encode()
        except UnicodeEncodeError:  # OpenCV crashes on a name that is no text
            link = Path(folder) / f"video{path.suffix if path.suffix.isascii() else ''}"
            link.symlink_to(path.absolute())
            path = link
        return cv2.VideoCapture(str(path))
