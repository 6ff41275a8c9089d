"""What a user names to be sampled, as a list of inputs: files, the images of folders, videos or their frames."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tim_plugin.inference.record import RECORD, unnumbered, written_files
from tim_plugin.inference.video import Video, is_video
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_bytes
from tim_plugin.utils.names import distinct_names, fitting_name, require_path

Sources = Path | str | Sequence[Path | str]


class Input(NamedTuple):
    """A file, or a frame of a video, that is to be sampled; or a whole video.

    Attributes:
        path: As ``samples.json`` and messages name it.
        name: What the names of its outputs begin with.
        key: What its samples are seeded with beside seed and number: the file's stem; of a frame, the video's.
        read: Returns its bytes, of a video those of its first frame; frames of a video are to be read in order. Raises
            TimError if it cannot be read.
        video: What a frame is of, or the video itself; None of an image.
    """

    path: Path
    name: str
    key: str
    read: Callable[[], bytes]
    video: Video | None = None

    @property
    def is_video(self) -> bool:
        """Whether it is a whole video."""
        return self.video is not None and self.path == self.video.path


def as_paths(source: Sources) -> list[Path]:
    """Return one path or several as a list in which none stands twice.

    Raises:
        TimError: One is no path.
    """
    several = source if isinstance(source, Iterable) and not isinstance(source, (str, bytes, os.PathLike)) else [source]
    way_out = (
        "give the path of a file or folder, or a list of paths; an image in memory is for tim_plugin.load(...).sample"
    )
    return list(dict.fromkeys(require_path("-i", one, way_out) for one in several))


def list_inputs(sources: Sequence[Path], output: Path, suffix: str, frames: bool = False) -> list[Input]:
    """List what is to be sampled, in order; a file that is named twice is listed once.

    Of a folder's images, those that its ``samples.json`` lists as written by an earlier run are left out, which a line
    on stderr says.

    Args:
        sources: Files, folders of images (subfolders are not read), videos.
        output: Folder of the samples.
        suffix: Put behind each output's name.
        frames: Each frame of a video is an input of its own.

    Raises:
        TimError: A source is not there or holds no image; or the samples would lie among the inputs.
    """
    if not sources:
        raise TimError("-i: names no input: give an image, a folder of images, or a video")
    found: dict[Path, Input] = {}
    for source in sources:
        _check_output(source, output)
        for one in _listed(source, frames):
            found.setdefault(one.path, one)
    names = [fitting_name(f"{name}_{suffix}") if suffix else name for name in distinct_names(list(found))]
    return [one._replace(name=name) for one, name in zip(found.values(), names, strict=True)]


def _listed(source: Path, frames: bool) -> list[Input]:
    """Return a video or each of its frames, each image of a folder that is no sample, or the file."""
    if is_video(source):
        video = Video(source)
        if not frames:
            return [Input(source, "", source.stem, video.read_first, video)]
        return [Input(frame, "", source.stem, partial(video.read, frame), video) for frame in video.frames]
    files = list_images(source)
    if source.is_dir():
        files = _without_samples(source, files)
    return [Input(path, "", path.stem, partial(read_bytes, path)) for path in files]


def _without_samples(folder: Path, files: Sequence[Path]) -> list[Path]:
    written = written_files(folder / RECORD)
    kept = [path for path in files if unnumbered(path.name) not in written]
    if not kept:
        raise TimError(f"{folder}: holds no image but what an earlier run wrote, as its samples.json lists")
    if len(kept) < len(files):
        print(
            f"left out: {len(files) - len(kept)} of {len(files)} images of {folder}, which its samples.json lists as "
            "written by an earlier run; name them one by one to sample them",
            file=sys.stderr,
        )
    return kept


def _check_output(source: Path, output: Path) -> None:
    """Raise TimError where the samples would lie among the inputs; folders in the inputs' folder are not read."""
    folder = source if source.is_dir() else source.parent
    if folder.is_dir() and output.is_dir() and output.samefile(folder):
        raise TimError(
            f"-o {output}: is the folder of {'inputs' if source.is_dir() else 'the input'}, and samples written there "
            f"would be read as inputs in the next run: give another folder, such as {output / 'samples'}"
        )
