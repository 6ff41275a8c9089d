"""Whatever an input is given as, its samples are those of the file; what is no input is one sentence."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import tim_plugin as tim
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.labels import Labels
from tim_plugin.degradations.lightness import Lightness
from tim_plugin.inference.image_inputs import image_files
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)


def encoded(pixels, suffix=".png"):
    return cv2.imencode(suffix, np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def read(given, degradation):
    return [degradation.read(file.content, file.source).lq for file in image_files(given, degradation)]


FORMS = {
    "bytes": encoded(PIXELS),
    "PIL": Image.fromarray(PIXELS),
    "uint8": PIXELS,
    "float32": PIXELS.astype(np.float32) / 255,
    "float64": PIXELS / 255,
    "uint16": PIXELS.astype(np.uint16) * 257,
    "big-endian uint16": (PIXELS.astype(np.uint16) * 257).astype(">u2"),
    "big-endian float32": (PIXELS.astype(np.float32) / 255).astype(">f4"),
    "tensor": torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 255,
    "batch": torch.from_numpy(PIXELS).permute(2, 0, 1)[None].double() / 255,
    "bytes of a tensor": torch.from_numpy(PIXELS).permute(2, 0, 1),
}


@pytest.mark.parametrize("degradation", [Bicubic(scale=4), Lightness()], ids=["super-resolution", "colourisation"])
def test_every_form_of_an_image_is_read_as_its_file_is(tmp_path, degradation):
    (tmp_path / "a.png").write_bytes(FORMS["bytes"])
    (expected,) = read(tmp_path / "a.png", degradation)
    assert expected.shape == (degradation.channels, 20, 24)
    for name, given in FORMS.items():
        (found,) = read(given, degradation)
        assert torch.equal(found, expected), name


def test_grey_is_read_in_every_form():
    grey = PIXELS[..., 0]
    forms = [Image.fromarray(grey), grey, grey[..., None], torch.from_numpy(grey)[None] / 255, torch.from_numpy(grey)]
    lightness = [read(given, Lightness())[0] for given in forms]
    assert all(torch.equal(one, lightness[0]) for one in lightness)
    assert torch.equal(read(grey, Bicubic(scale=4))[0][0], torch.from_numpy(grey).float() / 255)


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_integers_of_pil_have_8_bits_or_16(tmp_path):
    grey = PIXELS[..., 0].astype(np.int32)
    eight = [Image.fromarray(grey), Image.fromarray(PIXELS[..., 0]).convert("I")]
    sixteen = [Image.fromarray(one) for one in (grey * 257, (grey * 257).astype(np.uint16), (grey * 257).astype(">u2"))]
    assert [one.mode for one in (*eight, *sixteen)] == ["I", "I", "I", "I;16", "I;16B"]
    for given in (*eight, *sixteen):
        assert torch.equal(read(given, Bicubic(scale=4))[0][0], torch.from_numpy(grey).float() / 255)
    dark = Image.fromarray(grey.astype(np.uint16))  # which has 16 bits, as its mode or its file says
    cv2.imwrite(str(tmp_path / "dark.pgm"), grey.astype(np.uint16))
    with Image.open(tmp_path / "dark.pgm") as opened:
        assert opened.mode == "I"
        for given in (dark, opened):
            assert torch.equal(read(given, Bicubic(scale=4))[0][0], torch.from_numpy(grey).float() / 65535)
    assert torch.equal(
        read(Image.fromarray(grey), Labels("indices", num_classes=256))[0].argmax(dim=0).int(), torch.from_numpy(grey)
    )


def test_floats_between_8_bit_steps_are_kept_to_16_bits():
    given = torch.rand(3, 4, 4)
    assert (read(given, Bicubic(scale=4))[0] - given).abs().max() <= 1 / 131000


def test_jpegs_are_read_from_paths_and_bytes_alone(tmp_path):
    content = encoded(PIXELS, ".jpg")
    (tmp_path / "a.jpg").write_bytes(content)
    degradation = Jpeg()
    (file,) = image_files(content, degradation)
    assert degradation.is_complete(degradation.read(file.content, file.source))
    assert torch.equal(read(tmp_path / "a.jpg", degradation)[0], read(content, degradation)[0])
    for given in (PIXELS, FORMS["tensor"], Image.open(io.BytesIO(content))):
        with pytest.raises(TimError, match="give the path of the JPEG file, or its bytes"):
            image_files(given, degradation)


def test_layouts_are_read_as_indices_and_as_colours():
    degradation = Labels("camvid")
    indices = np.random.default_rng(0).integers(0, 12, (6, 8))
    shown = np.array(degradation.palette.shown(), np.uint8)
    colours = torch.from_numpy(shown[indices]).permute(2, 0, 1)
    expected = torch.nn.functional.one_hot(torch.from_numpy(indices), 12).permute(2, 0, 1).float()
    forms = [
        indices,
        torch.from_numpy(indices),
        torch.from_numpy(indices)[None],
        shown[indices],
        colours / 255,
        colours,
    ]
    for given in [*forms, Image.fromarray(indices.astype(np.uint8)), Image.fromarray(shown[indices])]:
        assert torch.equal(read(given, degradation)[0], expected)
    wide = Labels("indices", num_classes=300)
    assert read(np.array([[299, 0]]), wide)[0][299, 0, 0] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.rand(3, 8, 8) * 255, r"lie in \[.*\], those of floats in \[0, 1\]: divide it by 255"),
        (torch.rand(3, 8, 8) * 2 - 1, r"for a range of \[-1, 1\] give \(x \+ 1\) / 2"),
        (torch.full((3, 8, 8), torch.nan), "NaN or infinite"),
        (torch.rand(8, 8, 3), r"shape \(8, 8, 3\).*; use tensor.permute\(2, 0, 1\)"),
        (torch.rand(2, 5, 8, 8), r"shape \(5, 8, 8\) for an image, not \(3, H, W\) or \(1, H, W\)"),
        (torch.zeros(0, 3, 8, 8), "a batch of no images"),
        (torch.ones(3, 8, 8, dtype=torch.int64), "values of type int64: an image is uint8"),
        (np.zeros((3, 8, 8)), r"shape \(3, 8, 8\).*use array.transpose\(1, 2, 0\)"),
        (np.zeros((2, 8, 8, 3)), r"several images of one size are a tensor \(N, 3, H, W\)"),
        (np.zeros((8, 8, 2)), "with 1, 3 or 4 channels"),
        (np.zeros((0, 8, 3)), "has no pixels"),
        (np.ones((8, 8, 3), bool), "values of type bool"),
        ([1, 2], "of type list: give a path, the bytes"),
        (Image.fromarray(np.zeros((8, 8), np.float32)), r"mode F: give np.asarray\(image\), in \[0, 1\]"),
        (Image.new("RGBa", (8, 8)), r"mode RGBa: convert it: image.convert\('RGB'\)"),
        (
            Image.fromarray(np.full((8, 8), 65536, np.int32)),
            "^the input is a PIL image of mode I with values from 0 to 65536",
        ),
        (
            Image.fromarray(np.full((8, 8), -1, np.int32)),
            "mode I with values from -1 to 0: an image's lie from 0 to 255",
        ),
        ((torch.rand(3, 8, 8) + 0j).conj(), "values of type complex64"),
        (torch.rand(3, 8, 8).to_sparse(), "sparse, nested or quantized tensor, .*: give a dense one"),
        (torch.rand(3, 8, 8, device="meta"), "or one without values: give a dense one"),
        ("a\0b", r"^the input 'a\\x00b' holds a character that no path can have"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_is_one_sentence_that_says_what_would_be_right(given, message):
    with pytest.raises(TimError, match=message) as caught:
        image_files(given, Bicubic(scale=4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.rand(1, 8, 8), "a label map of floats: give class indices as integers"),
        (torch.full((8, 8), -1), "with values from -1 to -1: class indices count from 0"),
        (torch.full((8, 8), 5.0), "give class indices as integers, or colours"),
    ],
)
def test_what_is_no_label_map_is_one_sentence(given, message):
    with pytest.raises(TimError, match=message):
        image_files(given, Labels("camvid"))


def test_paths_that_are_no_file_are_named(tmp_path):
    with pytest.raises(TimError, match="is a folder: give a file of it"):
        image_files(tmp_path, Bicubic(scale=4))
    for name in ("none.png", "n" * 5000):
        with pytest.raises(TimError, match=f"{name}: cannot be read"):
            image_files(tmp_path / name, Bicubic(scale=4))


def test_digits_and_layouts_are_sampled_from_memory():
    digit = torch.zeros(1, 28, 28)
    digit[:, 4:24, 12:16] = 1
    out = tim.load("mnist-pca", device="cpu").sample(digit, n=2)
    assert out.images.shape == (2, 1, 32, 32) and (out.consistency["pca_error"] < 0.05).all()
    labels = np.random.default_rng(0).integers(0, 11, (16, 16))
    assert tim.load("layout-camvid-small", device="cpu").sample(labels, n=1).images.shape == (1, 3, 16, 16)


def test_an_input_too_small_is_named(tiny_tower):
    with pytest.raises(TimError, match="image: is 8x1; an input has sides of at least 2 pixels"):
        tim.Tower(tiny_tower()).sample(torch.rand(3, 1, 8))


def test_a_tower_of_other_channels_than_files_are_read_with_is_refused(tiny_tower, tiny_network, tmp_path):
    tower = tim.Tower(tiny_tower(num_in_ch=1, num_out_ch=1))
    with pytest.raises(TimError, match=r"^image: is read with 3 channels, and the network has num_in_ch: 1: sample it"):
        tower.sample(PIXELS)
    network_g = {**tiny_network, "num_in_ch": 1, "num_out_ch": 1}
    torch.save({"params": tower.network.state_dict(), "network_g": network_g}, tmp_path / "a.pth")
    write_png(tmp_path / "in" / "x.png", torch.zeros(3, 8, 8))
    with pytest.raises(TimError, match=r"x\.png: is read with 3 channels, and the network has num_in_ch: 1"):
        tim.sample(tmp_path / "in", tmp_path / "out", model=tmp_path / "a.pth")
