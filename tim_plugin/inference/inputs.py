"""What a user names to be sampled, as a list of inputs: files, the images of folders, the frames of videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tim_plugin.inference.video import Video, is_video
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_bytes
from tim_plugin.utils.names import distinct_names, fitting_name

Sources = Path | str | Sequence[Path | str]


class Input(NamedTuple):
    """A file, or a frame of a video, that is to be sampled.

    Attributes:
        path: As ``samples.json`` and messages name it.
        name: What the names of its outputs begin with.
        key: What its samples are seeded with beside seed and number: the file's stem; of a frame, the video's.
        read: Returns its bytes; frames of a video are to be read in order. Raises TimError if it cannot be read.
    """

    path: Path
    name: str
    key: str
    read: Callable[[], bytes]


def as_paths(source: Sources) -> list[Path]:
    """Return one path or several as a list in which none stands twice."""
    several = [source] if isinstance(source, (str, Path)) else source
    return list(dict.fromkeys(Path(one).expanduser() for one in several))


def list_inputs(sources: Sequence[Path], output: Path, suffix: str) -> list[Input]:
    """List what is to be sampled, in order; a file that is named twice is listed once.

    Args:
        sources: Files, folders of images (subfolders are not read), videos.
        output: Folder of the samples.
        suffix: Put behind each output's name.

    Raises:
        TimError: A source is not there or holds no image; or the samples would lie among the inputs.
    """
    if not sources:
        raise TimError("-i: names no input: give an image, a folder of images, or a video")
    found: dict[Path, tuple[str, Callable[[], bytes]]] = {}
    for source in sources:
        _check_output(source, output)
        for path, key, read in _listed(source):
            found.setdefault(path, (key, read))
    names = [fitting_name(f"{name}_{suffix}") if suffix else name for name in distinct_names(list(found))]
    return [Input(path, name, *rest) for (path, rest), name in zip(found.items(), names, strict=True)]


def _listed(source: Path) -> list[tuple[Path, str, Callable[[], bytes]]]:
    """Return path, key and reader of each frame of a video, of each image of a folder, or of the file."""
    if is_video(source):
        video = Video(source)
        return [(frame, source.stem, partial(video.read, frame)) for frame in video.frames]
    return [(path, path.stem, partial(read_bytes, path)) for path in list_images(source)]


def _check_output(source: Path, output: Path) -> None:
    """Raise TimError where the samples would lie among the inputs; folders in the inputs' folder are not read."""
    if source.is_dir() and output.is_dir() and output.samefile(source):
        raise TimError(
            f"-o {output}: is the folder of inputs, and samples written there would be read as inputs in the next run: "
            f"give another folder, such as {output / 'samples'}"
        )
