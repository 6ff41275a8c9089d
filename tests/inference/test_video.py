"""A video as input: frame by frame, with the same latents for each."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tim_plugin.inference.files import sample_files
from tim_plugin.utils.errors import TimError


def write_video(path, frames):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, frames[0].shape[1::-1])
    for frame in frames:
        video.write(frame)
    video.release()


def test_a_video_is_sampled_frame_by_frame_with_the_same_latents(checkpoint, tmp_path):
    bright, dark = (np.full((16, 16, 3), value, np.uint8) for value in (200, 60))
    write_video(tmp_path / "clip.avi", [bright, dark, bright])
    output = tmp_path / "out"
    entries = sample_files(tmp_path / "clip.avi", output, checkpoint, num_samples=2)
    assert [entry["samples"][1]["file"] for entry in entries] == [f"clip_00000{index}_s01.png" for index in range(3)]
    first, second, third = (cv2.imread(str(output / f"clip_00000{index}_s01.png")) for index in range(3))
    assert first.shape == (256, 256, 3) and abs(float(first.mean()) - 200) < 20 and abs(float(second.mean()) - 60) < 20
    assert np.array_equal(first, third)  # the same frame, the same latents
    other = cv2.imread(str(output / "clip_000000_s00.png"))
    assert not np.array_equal(first, other)
    (output / "clip_000001_s00.png").unlink()
    sample_files(tmp_path / "clip.avi", output, checkpoint, num_samples=2, skip_existing=True)
    assert (output / "clip_000001_s00.png").is_file()


def test_what_is_no_video_is_named(checkpoint, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(TimError, match="clip.mp4: no frame of it can be decoded"):
        sample_files(tmp_path / "clip.mp4", tmp_path / "out", checkpoint)
    assert not (tmp_path / "out").exists()
