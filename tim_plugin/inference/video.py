"""Videos as inputs and outputs: their frames one after the other, decoded and encoded by OpenCV."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_headers import format_of, is_video_start
from tim_plugin.utils.images import encode_pixels, first_bytes
from tim_plugin.utils.raw_samples import opencv_silenced
from tim_plugin.utils.writing import make_writable, move, temporary_folder

WRITTEN_SUFFIX, CODEC = ".mp4", "mp4v"  # MPEG-4 Part 2, which OpenCV's wheels bring
LARGEST_SIDE_PX = 8191  # the format has 13 bits for it
USUAL_FPS = 25.0  # where a file says nothing
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".ts", ".flv", ".mpg", ".mpeg", ".3gp")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what it tells of damaged files is an error of ours


def is_video(path: Path) -> bool:
    """Tell by its first bytes, or else by its suffix, whether a path is a video, and no image."""
    if not path.is_file():
        return False
    start = first_bytes(path)
    return is_video_start(start) or (path.suffix.lower() in VIDEO_SUFFIXES and format_of(start) is None)


class Video:
    """A video whose frames are read in order, each as the bytes of a PNG; it is closed after the last one.

    Args:
        path: Of the video.

    Attributes:
        fps: Frames a second.
        frames: A name for each frame, as if the video were a folder: ``VIDEO/STEM_000000.png`` and so on.

    Raises:
        TimError: No frame of it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._next = path, 0
        self._capture: cv2.VideoCapture | None = None  # open while frames are read, as it holds a file and threads
        count, counted = 0, _opened(path)
        try:
            fps = counted.get(cv2.CAP_PROP_FPS)
            while counted.grab():  # what the file says of itself is often an estimate
                count += 1
        finally:
            counted.release()
        if not count:
            raise TimError(f"{path}: no frame of it can be decoded: give a video that OpenCV reads, or its frames")
        self.fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else USUAL_FPS
        self.frames = [path / f"{path.stem}_{index:06d}.png" for index in range(count)]

    def read_next(self) -> bytes:
        """Return the next frame as a PNG.

        Raises:
            TimError: It is damaged.
        """
        return self.read(self.frames[self._next])

    def read_first(self) -> bytes:
        """Return the first frame as a PNG, and close the video until another one is read.

        Raises:
            TimError: It is damaged.
        """
        try:
            return self.read(self.frames[0])
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; the next frame that is read opens it again."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def read(self, frame: Path) -> bytes:
        """Return a frame as a PNG; those before it that were not read are left out.

        Args:
            frame: The next one of ``frames``, or a later one.

        Raises:
            TimError: It is damaged.
        """
        index, there = self.frames.index(frame, self._next), False
        try:
            there, bgr = self._read(index)
        finally:
            self._next = index + 1
            if not there or self._next == len(self.frames):
                self.close()
        if not there:
            raise TimError(f"{self.path}: frame {self._next - 1} is damaged")
        return encode_pixels(np.ascontiguousarray(bgr[..., ::-1]))

    def _read(self, index: int) -> tuple[bool, np.ndarray | None]:
        passed = self._next
        if self._capture is None:
            self._capture, passed = _opened(self.path), 0
        for _ in range(passed, index):
            self._capture.grab()
        return self._capture.read()


def _opened(path: Path) -> cv2.VideoCapture:
    with opencv_silenced(), tempfile.TemporaryDirectory() as folder:
        try:
            str(path).encode()
        except UnicodeEncodeError:  # OpenCV crashes on a name that is no text
            link = Path(folder) / f"video{path.suffix if path.suffix.isascii() else ''}"
            link.symlink_to(path.absolute())
            path = link
        return cv2.VideoCapture(str(path))


class VideoFiles:
    """Writes videos of one size side by side, frame by frame; they appear when the context ends without an error.

    OpenCV reports no failure to write, so what it wrote is asked for its number of frames.

    Args:
        paths: Of the videos, in one folder, which is made.
        fps: Frames a second.

    Raises:
        TimError: The folder cannot be written to.
    """

    def __init__(self, paths: Sequence[Path], fps: float) -> None:
        self.paths, self.fps = paths, fps
        self._writers: list[cv2.VideoWriter] = []
        self._counts = [0] * len(paths)
        self._leaving = ExitStack()
        try:
            make_writable(paths[0].parent)
            self._folder = self._leaving.enter_context(temporary_folder(paths[0].parent))
        except OSError as error:
            raise TimError(f"{paths[0].parent}: cannot be written to: {error.strerror or error}") from error

    def add(self, index: int, pixels: np.ndarray) -> None:
        """Write the next frame (H, W, 1 | 3), uint8, RGB, of the video with this index.

        Raises:
            TimError: OpenCV cannot write such a video.
        """
        if not self._writers:
            self._writers = [self._open(path, pixels) for path in self.paths]
        rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        self._writers[index].write(np.ascontiguousarray(rgb[..., ::-1]))
        self._counts[index] += 1

    def _open(self, path: Path, pixels: np.ndarray) -> cv2.VideoWriter:
        size = (pixels.shape[1], pixels.shape[0])
        if not 2 <= min(size) <= max(size) <= LARGEST_SIDE_PX:
            raise TimError(
                f"{path}: a video's sides ({CODEC}) are 2 to {LARGEST_SIDE_PX} pixels, not {size[0]}x{size[1]}: "
                "--frames writes the frames as PNGs"
            )
        with opencv_silenced():
            writer = cv2.VideoWriter(str(self._temporary(path)), cv2.VideoWriter_fourcc(*CODEC), self.fps, size)
        if not writer.isOpened():
            raise TimError(f"{path}: this OpenCV cannot write {CODEC} videos: --frames writes the frames as PNGs")
        return writer

    def _temporary(self, path: Path) -> Path:
        return self._folder / f"{self.paths.index(path)}{WRITTEN_SUFFIX}"  # OpenCV takes text only

    def __enter__(self) -> VideoFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers:
            writer.release()
        with self._leaving:
            if error is None:
                for path, count in zip(self.paths, self._counts, strict=True):
                    self._check(path, count)
                for path in self.paths:
                    move(self._temporary(path), path)

    def _check(self, path: Path, count: int) -> None:
        written = _opened(self._temporary(path)).get(cv2.CAP_PROP_FRAME_COUNT)
        if round(written) != count:
            raise TimError(
                f"{path}: only {max(round(written), 0)} of {count} frames could be written: is the disk full? --frames "
                "writes them as PNGs"
            )
