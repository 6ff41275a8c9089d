"""Label maps: palettes, one-hot and area averages by brute force, and what is refused with its position."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.labels import Labels
from tim_plugin.degradations.palettes import PALETTES, get_palette
from tim_plugin.utils.errors import TimError


def png(array, mode=None, palette=None) -> bytes:
    image = Image.fromarray(np.asarray(array, np.uint8), mode)
    if palette is not None:
        image.putpalette(palette)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def indices(height=6, width=9, count=12):
    return np.random.default_rng(0).integers(0, count, (height, width))


@pytest.mark.parametrize("palette", sorted(PALETTES))
def test_indices_and_colours_mean_the_same(palette):
    labels = Labels(palette)
    shown = labels.palette.shown()
    assert len(shown) == labels.channels == len(labels.palette.classes) + 1
    raw = indices(count=labels.channels)
    one_hot = labels.read(png(raw), "x").lq
    colours = labels.read(png(np.array(shown)[raw]), "x").lq
    assert torch.equal(one_hot, colours)
    for channel in range(labels.channels):
        assert np.array_equal(one_hot[channel], raw == channel)
    rgba = np.dstack([np.array(shown)[raw], np.full(raw.shape, 255)])
    assert torch.equal(labels.read(png(rgba), "x").lq, one_hot)


def test_the_published_layout_has_twenty_channels_and_void_is_255_too():
    labels = Labels("gta")
    assert labels.channels == 20
    lq = labels.read(png([[0, 18, 19, 255]]), "x").lq
    assert lq[:, 0].argmax(dim=0).tolist() == [0, 18, 19, 19]
    void = labels.read(png([[[111, 74, 0], [0, 0, 90], [0, 0, 0], [0, 0, 142]]]), "x").lq
    assert void[:, 0].argmax(dim=0).tolist() == [19, 19, 19, 13]


def test_a_file_with_a_palette_of_its_own():
    labels = Labels("camvid")
    raw = indices()
    colours = [value for colour in labels.palette.shown() for value in colour]
    expected = labels.read(png(raw), "x").lq
    assert torch.equal(labels.read(png(raw, "P", colours), "x").lq, expected)
    grey = [value for value in range(256) for _ in range(3)]  # index 0 is black, which is void's colour
    with pytest.raises(TimError, match="x: is ambiguous: at x 0, y 0 its colour means class 11 and its raw index clas"):
        labels.read(png([[0, 0]], "P", grey), "x")
    foreign = [(37 * value + 5) % 256 for value in range(36)]  # colours that mean nothing: its indices count
    assert torch.equal(labels.read(png(raw, "P", foreign), "x").lq, expected)


def test_masked_void_has_no_channel_and_no_weight():
    labels = Labels("camvid", void="mask")
    raw = indices()
    observed = labels.read(png(raw), "x")
    assert observed.lq.shape == (11, 6, 9)
    assert np.array_equal(observed.lq.sum(dim=0), raw != 11)
    weight = labels.pixel_weight(observed)
    assert np.array_equal(weight[0] > 0, raw != 11) and abs(weight.mean() - 1) < 1e-6
    assert Labels("camvid").pixel_weight(observed) is None
    assert torch.equal(labels.pixel_weight(Observed(torch.zeros(11, 4, 4))), torch.zeros(1, 4, 4))


def test_any_number_of_classes():
    labels = Labels("indices", num_classes=5)
    assert labels.channels == 5
    assert labels.read(png([[4, 0]]), "x").lq[:, 0].argmax(dim=0).tolist() == [4, 0]
    assert len(set(labels.palette.shown())) == 5
    with pytest.raises(TimError, match="x.png: class index 5 at x 1, y 0 is not in palette 'indices'"):
        labels.read(png([[4, 5]]), "x.png")


def test_numbered_classes_may_have_a_void_index():
    labels = Labels("indices", num_classes=5, void_index=255)
    assert labels.channels == 6 and labels.read(png([[4, 255]]), "x").lq[:, 0].argmax(dim=0).tolist() == [4, 5]
    masked = Labels("indices", "mask", 5, 255)
    observed = masked.read(png([[4, 255]]), "x")
    assert masked.channels == 5 and masked.pixel_weight(observed).tolist() == [[[2.0, 0.0]]]
    assert labels.describe() != Labels("indices", num_classes=5, void_index=250).describe()


def test_levels_read_the_share_of_each_class_in_each_cell():
    lq = Labels("camvid").read(png(indices(16, 24)), "x").lq[None]
    for size in ((8, 12), (4, 6), (2, 3)):
        shares = Labels("camvid").shrink(lq, size)
        rows, columns = 16 // size[0], 24 // size[1]
        for y in range(size[0]):
            for x in range(size[1]):
                cell = lq[0, :, y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
                assert torch.allclose(shares[0, :, y, x], cell.mean(dim=(1, 2)))


def test_resizing_keeps_one_hot_and_pictures_show_the_palette():
    labels = Labels("camvid")
    observed = labels.read(png(indices()), "x")
    resized = labels.resize(observed, (13, 5)).lq
    assert resized.shape == (12, 13, 5) and torch.equal(resized.sum(dim=0), torch.ones(13, 5))
    picture = labels.picture(observed.lq)
    assert torch.equal(picture[:, 0, 0] * 255, torch.tensor(labels.palette.shown()[indices()[0, 0]]).float())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            png([[0, 0], [0, 12]]),
            r"map.png: class index 12 at x 1, y 1 is not in palette 'camvid' \(11 classes and void\)",
        ),
        (png([[[128, 0, 0], [1, 2, 3]]]), r"map.png: colour \(1, 2, 3\) at x 1, y 0 is not in palette 'camvid'"),
        (b"", "map.png: is an empty file"),
        (png(indices())[:-20], "map.png: is truncated"),
        (b"hello", "map.png: cannot be decoded"),
        (png(np.random.default_rng(0).integers(0, 256, (20, 20, 3))), "save label maps without loss"),
    ],
)
def test_what_is_wrong_with_a_label_map_is_said_with_its_place(content, message):
    with pytest.raises(TimError, match=message):
        Labels("camvid").read(content, "map.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"palette": "camvit"}, "palette 'camvit' is not known: did you mean 'camvid'"),
        ({"void": "masked"}, "void 'masked' is not known: did you mean 'mask'"),
        ({"palette": "indices"}, "palette 'indices' needs num_classes"),
        ({"palette": "gta", "num_classes": 20}, "palette 'gta' has 19 classes, not num_classes 20"),
        ({"palette": "gta", "void_index": 255}, "void_index is for palette 'indices'; palette 'gta' knows its void"),
        ({"palette": "indices", "num_classes": 5, "void_index": 3}, "void_index 3 must be a whole number beyond the 5"),
        ({"palette": "indices", "num_classes": 5, "void": "mask"}, "which index is void"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(TimError, match=message):
        Labels(**arguments)


def test_palettes_are_looked_up_by_name():
    assert get_palette("gta").classes == get_palette("cityscapes").classes
    assert get_palette("camvid").void == 11 and get_palette("indices", 3).void is None
    assert get_palette("indices", np.int64(3), np.uint8(255)) == get_palette("indices", 3, 255)


def test_a_checkpoint_that_read_its_cells_otherwise_is_refused():
    stored = {"type": "labels", "palette": "camvid", "cells": "nearest"}
    Labels("camvid", cells="nearest").require_same(stored, "net.pth")
    Labels("camvid").require_same({"type": "labels", "palette": "camvid"}, "net.pth")
    Labels("camvid", cells="nearest").require_same({}, "net.pth")  # says nothing
    with pytest.raises(TimError, match="net.pth: was trained with cells 'nearest' .*: use cells: nearest there"):
        Labels("camvid").require_same(stored, "net.pth")


def packed(raw, bits):
    """Rows of indices, so many bits each."""
    each = np.unpackbits(raw.astype(np.uint8)[..., None], axis=2)[..., -bits:].reshape(len(raw), -1)
    return np.packbits(each, axis=1)


def grey_tiff(raw, bits):
    (height, width), rows = raw.shape, packed(raw, bits).tobytes()
    size = 8 + 2 + 12 * 8 + 4
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: size, 278: height, 279: len(rows)}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + rows


def grey_png(raw, bits):
    """A grey PNG of fewer than 8 bits, which Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in packed(raw, bits))
    head = struct.pack(">IIBBBBB", *raw.shape[::-1], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_grey_of_few_or_many_bits_holds_the_same_indices():
    labels, raw = Labels("camvid"), indices(4, 6, 4)
    contents = [write(raw, bits) for write in (grey_png, grey_tiff) for bits in (2, 4)]
    for top in (3, 12, 1000):
        contents.append(f"P5 6 4 {top}\n".encode() + raw.astype(">u2" if top > 255 else "u1").tobytes())
        contents.append(f"P2 6 4 {top}\n{' '.join(map(str, raw.ravel()))}\n".encode())
    for image in (Image.fromarray(raw.astype(">u2")), Image.fromarray(raw.astype(np.uint8)).convert("LA")):
        file = io.BytesIO()
        image.save(file, "TIFF")
        contents.append(file.getvalue())
    expected = labels.read(png(raw), "x").lq
    for content in contents:
        assert torch.equal(labels.read(content, "x").lq, expected)
