"""A video as input: a video for each sample, or its frames, with the same latents for each frame."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest

from tim_plugin.inference.files import sample_files
from tim_plugin.inference.inputs import list_inputs
from tim_plugin.inference.video import Video
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image


def write_video(path, frames):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, frames[0].shape[1::-1])
    for frame in frames:
        video.write(frame)
    video.release()


def test_a_video_is_sampled_frame_by_frame_with_the_same_latents(checkpoint, tmp_path):
    bright, dark = (np.full((16, 16, 3), value, np.uint8) for value in (200, 60))
    write_video(tmp_path / "clip.avi", [bright, dark, bright])
    output = tmp_path / "out"
    entries = sample_files(tmp_path / "clip.avi", output, checkpoint, num_samples=2, frames=True)
    assert [entry["samples"][1]["file"] for entry in entries] == [f"clip_00000{index}_s01.png" for index in range(3)]
    first, second, third = (cv2.imread(str(output / f"clip_00000{index}_s01.png")) for index in range(3))
    assert first.shape == (256, 256, 3) and abs(float(first.mean()) - 200) < 20 and abs(float(second.mean()) - 60) < 20
    assert np.array_equal(first, third)  # the same frame, the same latents
    other = cv2.imread(str(output / "clip_000000_s00.png"))
    assert not np.array_equal(first, other)
    (output / "clip_000001_s00.png").unlink()
    sample_files(tmp_path / "clip.avi", output, checkpoint, num_samples=2, skip_existing=True, frames=True)
    assert (output / "clip_000001_s00.png").is_file()


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_a_video_gives_a_video_for_each_sample(command, tmp_path):
    clip, output = tmp_path / "clip.avi", tmp_path / "out"
    write_video(clip, [np.full((16, 24, 3), (value, 90, 120), np.uint8) for value in (200, 60, 130)])
    status, printed, errors = command("-n", 2, source=clip)
    assert status == 0, errors
    assert "1 video(s), 2 sample(s) each" in printed
    written = sorted(path.name for path in output.iterdir())
    assert written == ["clip_s00.mp4", "clip_s01.mp4", "clip_sheet.png", "samples.json"]
    assert cv2.VideoCapture(str(output / "clip_s01.mp4")).get(cv2.CAP_PROP_FPS) == 5
    (entry,) = json.loads((output / "samples.json").read_text())["images"]
    assert [sample["file"] for sample in entry["samples"]] == written[:2] and entry["sheet"] == "clip_sheet.png"
    assert entry["input"] == str(clip) and all(40 < sample["lr_psnr"] for sample in entry["samples"])

    assert command("-n", 2, "--frames", source=clip, output=tmp_path / "frames")[0] == 0
    for j in range(2):
        frames = frames_of(output / f"clip_s0{j}.mp4")
        assert len(frames) == 3
        for index, frame in enumerate(frames):  # the same samples, but for what the codec loses
            exact = cv2.imread(str(tmp_path / "frames" / f"clip_{index:06d}_s0{j}.png"))
            assert frame.shape == exact.shape == (256, 384, 3)
            frame, exact = (
                cv2.resize(one, (24, 16), interpolation=cv2.INTER_AREA).astype(int) for one in (frame, exact)
            )
            assert np.abs(frame - exact).max() < 12

    before = os.stat(output / "clip_s00.mp4").st_mtime_ns
    status, printed, _ = command("-n", 2, "--skip-existing", source=clip)
    assert "(1 of them were there)" in printed and os.stat(output / "clip_s00.mp4").st_mtime_ns == before


def test_a_video_that_cannot_be_written_is_one_error_that_names_the_frames(command, tmp_path):
    clip, output = tmp_path / "clip.avi", tmp_path / "out"
    write_video(clip, [np.full((2, 514, 3), 100, np.uint8)])  # 8224 pixels wide when enlarged, above 8191
    status, printed, errors = command(source=clip)
    assert status == 2 and not printed and "error: " in errors
    assert "clip_s00.mp4: a video's sides (mp4v) are 2 to 8191 pixels, not 8224x32: --frames writes" in errors
    assert not output.exists()
    status, _, errors = command("--frames", source=clip)
    assert status == 0 and (output / "clip_000000_s00.png").is_file(), errors


def test_what_is_no_video_is_named(checkpoint, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(TimError, match="clip.mp4: no frame of it can be decoded"):
        sample_files(tmp_path / "clip.mp4", tmp_path / "out", checkpoint)
    assert not (tmp_path / "out").exists()


def held_open():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts files that are open by /proc")
@pytest.mark.parametrize("frames", [False, True])
def test_videos_are_open_only_while_they_are_read(tmp_path, frames):
    for index in range(3):
        write_video(tmp_path / f"{index}.avi", [np.full((16, 16, 3), value, np.uint8) for value in (200, 60, 130)])
    paths, before = [tmp_path / f"{index}.avi" for index in range(3)], held_open()
    inputs = list_inputs(paths, tmp_path / "out", "", frames)
    assert held_open() == before
    read = [one.read() for one in inputs]
    assert len(read) == (9 if frames else 3) and held_open() == before
    video = inputs[0].video
    if not frames:  # the others after the first
        read = [read[0], *(video.read(frame) for frame in video.frames[1:])]
    shades = [round(float(decode_image(one, "it").rgb.mean()) * 255) for one in read[:3]]
    assert np.abs(np.array(shades) - (200, 60, 130)).max() < 5 and held_open() == before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts files that are open by /proc")
def test_a_damaged_video_is_not_left_open(tmp_path):
    write_video(tmp_path / "clip.avi", [np.full((16, 16, 3), 99, np.uint8)] * 3)
    before, video = held_open(), Video(tmp_path / "clip.avi")
    video.frames.append(tmp_path / "one that is not there")
    with pytest.raises(TimError, match="clip.avi: frame 3 is damaged"):
        video.read(video.frames[-1])
    assert held_open() == before
