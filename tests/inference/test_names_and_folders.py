"""Files as they lie on disks: any name, any kind, in folders of which some cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tim_plugin.inference.files import sample_files
from tim_plugin.inference.inputs import list_inputs
from tim_plugin.inference.video import Video
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.names import MOST_BYTES
from tim_plugin.utils.seeds import derive_seed
from tim_plugin.utils.writing import write_atomically

NO_TEXT = os.fsdecode(b"caf\xe9")


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def test_a_folder_gives_all_that_can_be_decoded_and_names_the_rest(tmp_path, capsys):
    folder, image = tmp_path / "in", Image.fromarray(np.full((5, 6, 3), 99, np.uint8))
    folder.mkdir()
    for name, kind in (("a.png", "PNG"), ("b.jfif", "JPEG"), ("c.jpe", "JPEG"), ("d.avif", "AVIF"), ("e.gif", "GIF")):
        image.save(folder / name, kind)
    image.save(folder / "f.pgm", "PPM")
    image.save(folder / "no_suffix", "WEBP")
    write_video(folder / "clip.avi", 1)
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    for name in ("notes.txt", "Pythonic.md", "raw.nef", ".hidden"):
        (folder / name).write_text("Python, BMW, MMXX" if name != "raw.nef" else "II*\0")
    (folder / "sub").mkdir()
    found = list_inputs([folder], tmp_path / "out", "")
    assert [one.path.name for one in found] == ["a.png", "b.jfif", "c.jpe", "d.avif", "e.gif", "f.pgm", "no_suffix"]
    assert capsys.readouterr().err == (
        f"note: {folder}: left out: Pythonic.md, notes.txt, raw.nef (no image that is read); clip.avi, clip.mp4 (a "
        "video: give it by itself); sub (a folder, whose files are not read)\n"
    )


def write_video(path: Path, frames: int) -> None:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (16, 16))
    for index in range(frames):
        video.write(np.full((16, 16, 3), 60 * index, np.uint8))
    video.release()


def test_a_video_is_known_by_its_content_whatever_it_is_called(tmp_path):
    write_video(tmp_path / "clip.avi", 2)
    for name in ("clip.wmv", "clip.dat", "clip.txt", f"{NO_TEXT}.flv"):
        (tmp_path / name).write_bytes((tmp_path / "clip.avi").read_bytes())
        (found,) = list_inputs([tmp_path / name], tmp_path / "out", "")
        assert len(found.video.frames) == 2
    video = Video(tmp_path / f"{NO_TEXT}.flv")
    assert video.read(video.frames[1]).startswith(b"\x89PNG")


def test_a_damaged_video_is_one_error_and_nothing_beside_it(tmp_path, capfd):
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(500))
    with pytest.raises(TimError, match="clip.mp4: no frame of it can be decoded"):
        list_inputs([tmp_path / "clip.mp4"], tmp_path / "out", "")
    assert capfd.readouterr().err == ""


def test_a_named_pipe_is_refused_and_stops_no_other(tmp_path, frames, checkpoint, capsys):
    os.mkfifo(frames / "pipe.png")
    with pytest.raises(TimError, match="pipe.png: is no regular file, but a named pipe"):
        list_inputs([frames / "pipe.png"], tmp_path / "out", "")
    with pytest.raises(TimError, match="1 of 4 images could not be sampled"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    assert "pipe.png: cannot be read: is no regular file" in capsys.readouterr().err


def test_names_that_are_no_text_or_fill_the_disks_limit_are_sampled(tmp_path, frames, command):
    rename(frames / "f0.png", f"{NO_TEXT}.png")
    rename(frames / "f1.png", "l" * (MOST_BYTES - 4) + ".png")
    output = tmp_path / NO_TEXT
    status, printed, errors = command(output=output)
    assert (status, "3 image(s), 1 sample(s) each" in printed) == (0, True), errors
    assert (output / f"{NO_TEXT}_s00.png").is_file() and (output / "f2_s00.png").is_file()
    (long,) = output.glob("lll*_s00.png")
    assert len(long.name) <= MOST_BYTES
    entries = json.loads((output / "samples.json").read_text())["images"]
    assert {Path(entry["input"]) for entry in entries} == set(frames.iterdir())


def test_the_seed_of_a_name_is_that_of_its_bytes():
    assert derive_seed("café") == derive_seed(os.fsdecode("café".encode()))
    assert derive_seed("caf\udcc3\udca9") == derive_seed("café")  # as an ASCII locale has it
    assert derive_seed(NO_TEXT) != derive_seed("caf")


def test_a_file_of_the_longest_name_is_written(tmp_path):
    path = tmp_path / ("x" * MOST_BYTES)
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content" and list(tmp_path.iterdir()) == [path]


def test_what_the_network_cannot_sample_stops_no_other(tmp_path, frames, checkpoint, monkeypatch, capsys):
    from tim_plugin.inference import files

    sample = files.sample_image_chunks

    def without_memory(tower, observed, *others, **named):
        if len(seen := [*without_memory.seen, 1]) == 2:
            without_memory.seen = seen
            raise MemoryError
        without_memory.seen = seen
        yield from sample(tower, observed, *others, **named)

    without_memory.seen = []
    monkeypatch.setattr(files, "sample_image_chunks", without_memory)
    with pytest.raises(TimError, match="1 of 3 images could not be sampled, see above; the others are done"):
        sample_files(frames, tmp_path / "out", checkpoint, num_samples=1)
    assert "f1.png: its samples do not fit into memory" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").glob("*_s00.png")} == {"f0_s00.png", "f2_s00.png"}


def test_a_large_image_is_refused_before_it_is_decoded(tmp_path, checkpoint):
    """A million pixels in a file whose data are damaged: the size is told, not the damage."""
    photo = np.zeros((1000, 1000, 3), np.uint8)
    content = cv2.imencode(".jpg", photo)[1].tobytes()
    (tmp_path / "large.jpg").write_bytes(content[:700] + bytes(100) + content[800:])
    with pytest.raises(TimError, match="large.jpg: is 1000x1000, its 16x output .* --max-megapixels"):
        sample_files(tmp_path / "large.jpg", tmp_path / "out", checkpoint, num_samples=1)
