"""Reading what users have, and writing PNGs whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image, write_png


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def save(path, array, mode=None):
    Image.fromarray(array, mode).save(path)
    return path


def test_reads_colour_exactly(tmp_path, rgb):
    loaded = read_image(save(tmp_path / "a.png", rgb))
    assert loaded.alpha is None
    assert np.array_equal((loaded.rgb * 255).round().numpy().transpose(1, 2, 0), rgb)


def test_reads_grey_as_three_equal_channels(tmp_path, rgb):
    loaded = read_image(save(tmp_path / "a.png", rgb[..., 0])).rgb
    assert loaded.shape == (3, 7, 5)
    assert torch.equal(loaded[0], loaded[1]) and torch.equal(loaded[0], loaded[2])
    assert np.array_equal((loaded[0] * 255).round().numpy(), rgb[..., 0])


def test_reads_alpha(tmp_path, rgb):
    rgba = np.concatenate([rgb, rgb[..., :1]], axis=2)
    loaded = read_image(save(tmp_path / "a.png", rgba))
    assert np.array_equal((loaded.alpha[0] * 255).round().numpy(), rgb[..., 0])
    assert np.array_equal((loaded.rgb * 255).round().numpy().transpose(1, 2, 0), rgb)
    grey = read_image(save(tmp_path / "la.png", rgb[..., :2], "LA"))
    assert np.array_equal((grey.rgb[1] * 255).round().numpy(), rgb[..., 0])
    assert np.array_equal((grey.alpha[0] * 255).round().numpy(), rgb[..., 1])


def test_reads_16_bit(tmp_path):
    values = np.array([[[0, 1000, 65535], [32768, 5, 40000]]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    expected = values[..., ::-1].transpose(2, 0, 1) / 65535
    assert np.allclose(read_image(tmp_path / "a.png").rgb.numpy(), expected, atol=1e-7)
    cv2.imwrite(str(tmp_path / "grey.png"), values[..., 0])
    assert np.allclose(read_image(tmp_path / "grey.png").rgb[1].numpy(), values[..., 0] / 65535, atol=1e-7)


def test_reads_palette_and_applies_exif_rotation(tmp_path, rgb):
    Image.fromarray(rgb).quantize(8).save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").rgb.shape == (3, 7, 5)
    image = Image.fromarray(rgb)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "r.jpg", exif=exif)
    assert read_image(tmp_path / "r.jpg").rgb.shape == (3, 5, 7)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = save(tmp_path / f"photo.{suffix}", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = path.read_bytes()
    for broken in (b"", content[: len(content) // 2], b"no image at all"):
        path.write_bytes(broken)
        with pytest.raises(TimError, match=f"photo.{suffix}"):
            read_image(path)
    with pytest.raises(TimError, match="missing.png"):
        read_image(tmp_path / "missing.png")


def test_lists_images_by_name_and_says_what_is_missing(tmp_path, rgb):
    for name in ("b.png", "a.JPG", ".hidden.png"):
        save(tmp_path / name.lower(), rgb)
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.png"]
    assert list_images(tmp_path / "b.png") == [tmp_path / "b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TimError, match="holds no image"):
        list_images(tmp_path / "empty")
    with pytest.raises(TimError, match="no such image or folder"):
        list_images(tmp_path / "nowhere")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.png"
    write_png(path, torch.zeros(3, 4, 4))
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_png(path, torch.ones(3, 4, 4))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trip_clips_and_rounds(tmp_path, channels):
    image = torch.rand(channels, 6, 5) * 1.5 - 0.25
    write_png(tmp_path / "a.png", image)
    loaded = read_image(tmp_path / "a.png")
    expected = image.clamp(0, 1).mul(255).round() / 255
    assert torch.allclose(loaded.rgb, expected[:3].expand(3, -1, -1))
    if channels == 4:
        assert torch.allclose(loaded.alpha, expected[3:])


def test_palette_and_low_bit_images_keep_their_colours_and_transparency(tmp_path, rgb):
    image = Image.fromarray(rgb).quantize(8)
    image.save(tmp_path / "p.png", transparency=0)
    expected = np.asarray(image.convert("RGB"))
    loaded = read_image(tmp_path / "p.png")
    assert np.array_equal((loaded.rgb * 255).round().numpy().transpose(1, 2, 0), expected)
    assert set(loaded.alpha.unique().tolist()) == {0.0, 1.0}
    Image.fromarray(rgb[..., 0] > 127).save(tmp_path / "bits.png")
    assert np.array_equal(read_image(tmp_path / "bits.png").rgb[2].numpy(), rgb[..., 0] > 127)


def test_exif_rotation_turns_the_right_way(tmp_path):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left of how it is meant
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "r.jpg", exif=exif)
    loaded = read_image(tmp_path / "r.jpg").rgb
    assert loaded.shape == (3, 16, 32)
    assert loaded[..., :14].mean() > 0.95 and loaded[..., 18:].mean() < 0.05


def test_what_stands_behind_an_image_does_not_make_it_truncated(tmp_path):
    """Phones put a film behind a photograph; a thumbnail in the header must not pass for the image's end."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("jpg", "png"):
        path = save(tmp_path / f"photo.{suffix}", noise)
        path.write_bytes(path.read_bytes() + bytes(10_000))
        assert read_image(path).rgb.shape == (3, 64, 64)
    content = save(tmp_path / "small.jpg", noise[:8, :8]).read_bytes()
    photo = save(tmp_path / "photo.jpg", noise).read_bytes()
    header = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content  # APP1 with a whole JPEG
    (tmp_path / "cut.jpg").write_bytes(photo[:2] + header + photo[2:-500])
    with pytest.raises(TimError, match="cut.jpg.*truncated"):
        read_image(tmp_path / "cut.jpg")
    (tmp_path / "whole.jpg").write_bytes(photo[:2] + header + photo[2:])
    assert read_image(tmp_path / "whole.jpg").rgb.shape == (3, 64, 64)


def test_a_png_damaged_inside_is_named(tmp_path):
    path = save(tmp_path / "photo.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(TimError, match="photo.png"):
        read_image(path)
