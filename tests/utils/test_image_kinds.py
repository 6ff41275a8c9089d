"""Images as they are in the world: every orientation with every depth, transparency and format; colour profiles."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tests.utils.image_makers import encoded, exif, png_16_bit, profile_like, raw_tiff, with_chunk
from tim_plugin.utils import notes
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image, stored_image

HEIGHT, WIDTH = 6, 8
RNG = np.random.default_rng(0)
BYTES = RNG.integers(1, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
WORDS = RNG.integers(1, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
FLOATS = RNG.random((HEIGHT, WIDTH, 4), dtype=np.float32)
WITHOUT_LA = ("L", "RGB", "RGBA")  # OpenCV writes and reads no grey with alpha
CHANNELS = {"L": slice(0, 1), "LA": slice(0, 2), "RGB": slice(0, 3), "RGBA": slice(0, 4)}


def of_mode(pixels: np.ndarray, mode: str) -> np.ndarray:
    return np.ascontiguousarray(pixels[..., CHANNELS[mode]])


def by_pillow(kind: str, mode: str, **options):
    pixels = of_mode(BYTES, mode)
    return lambda turn: encoded(pixels, kind, mode, exif=exif(turn), **options), pixels / 255


def of_16_bits(mode: str):
    pixels = of_mode(WORDS, mode)
    return lambda turn: png_16_bit(pixels, turn), pixels / 65535


def with_one_clear_colour(mode: str, depth: int):
    """A PNG whose transparent colour is that of the pixel at the top left."""
    pixels = of_mode(BYTES if depth == 8 else WORDS, mode)
    data = b"".join(int(value).to_bytes(2, "big") for value in pixels[0, 0])
    alpha = (pixels != pixels[0, 0]).any(axis=2, keepdims=True)

    def make(turn: int) -> bytes:
        content = encoded(pixels, "PNG", mode, exif=exif(turn)) if depth == 8 else png_16_bit(pixels, turn)
        return with_chunk(content, b"tRNS", data)

    return make, np.concatenate([pixels / (2**depth - 1), alpha], axis=2)


def palette_png():
    image = Image.frombytes("P", (WIDTH, HEIGHT), of_mode(BYTES, "L").tobytes())
    image.putpalette(RNG.bytes(768))
    clear = bytes(range(256))  # of each palette entry

    def make(turn: int) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "PNG", transparency=clear, exif=exif(turn))
        return stream.getvalue()

    alpha = np.array(list(clear))[BYTES[..., :1]]
    return make, np.concatenate([np.asarray(image.convert("RGB")), alpha], axis=2) / 255


def tiff(pixels: np.ndarray, extra: int | None = None):
    top = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    return lambda turn: raw_tiff(pixels, turn, extra), pixels / top


def premultiplied(pixels: np.ndarray):
    """Stored as multiplied with alpha; the colours come back to what rounding has left of them."""
    top = np.iinfo(pixels.dtype).max
    opaque = pixels.copy()
    opaque[..., 3] = pixels[..., 3] // 2 + top // 2
    stored = opaque.copy()
    stored[..., :3] = np.rint(opaque[..., :3] * (opaque[..., 3:] / top))
    return lambda turn: raw_tiff(stored, turn, 1), opaque / top


KINDS = {
    **{f"png {mode}": by_pillow("PNG", mode) for mode in CHANNELS},
    **{f"tiff {mode}": by_pillow("TIFF", mode) for mode in CHANNELS},
    **{f"packed tiff {mode}": by_pillow("TIFF", mode, compression="tiff_lzw") for mode in ("RGB", "RGBA")},
    **{f"webp {mode}": by_pillow("WEBP", mode, lossless=True, exact=True) for mode in ("RGB", "RGBA")},
    **{f"16-bit png {mode}": of_16_bits(mode) for mode in WITHOUT_LA},
    **{f"png {mode} clear {depth}": with_one_clear_colour(mode, depth) for mode in ("L", "RGB") for depth in (8, 16)},
    "palette png": palette_png(),
    **{f"16-bit tiff {mode}": tiff(of_mode(WORDS, mode), 2 if mode == "RGBA" else None) for mode in WITHOUT_LA},
    **{f"float tiff {mode}": tiff(of_mode(FLOATS, mode), 2 if mode == "RGBA" else None) for mode in WITHOUT_LA},
    "premultiplied tiff": premultiplied(BYTES),
    "premultiplied 16-bit tiff": premultiplied(WORDS),
    "jpeg": by_pillow("JPEG", "RGB", quality=100, subsampling=0),
    "avif": by_pillow("AVIF", "RGBA", quality=100, subsampling="4:4:4"),
}
TOLERANCE = {"premultiplied tiff": 1 / 255, "premultiplied 16-bit tiff": 1e-4, "jpeg": 0.02, "avif": 0.02}


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What Pillow makes of the position of each pixel, applied to the pixels."""
    places = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH))
    places.getexif()[0x0112] = orientation
    order = np.asarray(ImageOps.exif_transpose(places))
    return pixels.reshape(-1, pixels.shape[2])[order]


@pytest.mark.parametrize("kind", KINDS)
def test_every_orientation_turns_colour_and_alpha_alike(kind):
    make, pixels = KINDS[kind]
    for orientation in range(1, 9):
        loaded, expected = decode_image(make(orientation), "x"), turned(pixels, orientation)
        has_alpha = pixels.shape[2] in (2, 4)
        colours = expected[..., :-1] if has_alpha else expected
        tolerance = TOLERANCE.get(kind, 1e-6)
        assert loaded.rgb.shape == (3, *expected.shape[:2])
        assert np.abs(loaded.rgb.numpy().transpose(1, 2, 0) - colours).max() <= tolerance
        assert (loaded.alpha is not None) == has_alpha
        if has_alpha:
            assert np.abs(loaded.alpha[0].numpy() - expected[..., -1]).max() <= tolerance


def test_a_label_map_is_turned_and_keeps_its_indices():
    make, _ = KINDS["palette png"]
    for orientation in range(1, 9):
        found = np.asarray(stored_image(make(orientation), "x"))
        assert np.array_equal(found, turned(BYTES[..., :1], orientation)[..., 0])


def test_plain_png_and_jpeg_are_what_opencv_decodes(photos):
    """Figures were published of these; another decoder must not move them."""
    for path in sorted(photos.iterdir()):
        pixels = cv2.imread(str(path))
        for suffix, options in ((".png", []), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 40])):
            content = cv2.imencode(suffix, pixels, options)[1]
            expected = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].transpose(2, 0, 1).astype(np.float32) / 255
            assert np.array_equal(decode_image(content.tobytes(), "x").rgb.numpy(), expected)


# transparency, CMYK, few bits -----------------------------------------------------------------------------------------


def test_grey_of_two_bits_is_transparent_where_the_file_says():
    header = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", bytes([0, 0, 0, 4, 0, 0, 0, 1, 2, 0, 0, 0, 0]))
    row = png_chunk(b"IDAT", zlib.compress(b"\0\x1b")) + png_chunk(b"IEND", b"")  # 0, 1, 2, 3
    loaded = decode_image(header + png_chunk(b"tRNS", b"\0\2") + row, "x")
    assert (loaded.alpha * 3).round().flatten().tolist() == [3, 3, 0, 3]
    assert (loaded.rgb[1] * 3).round().flatten().tolist() == [0, 1, 2, 3]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_becomes_rgb_without_alpha(kind):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 0] = 255  # cyan
    loaded = decode_image(encoded(ink, kind, "CMYK"), "x")
    assert loaded.alpha is None
    assert loaded.rgb[0].max() < 0.1 and loaded.rgb[1:].min() > 0.9


def test_white_may_be_zero_and_largest_value_another_than_a_power_of_two():
    for pixels in (BYTES, WORDS):
        top = np.iinfo(pixels.dtype).max
        found = decode_image(raw_tiff(of_mode(pixels, "L"), photometric=0), "x").rgb[1]
        assert np.allclose(found, (top - pixels[..., 0]) / top)
    found = decode_image(b"P6\n# a comment\n8 6 1023\n" + (WORDS[..., :3] % 1024).astype(">u2").tobytes(), "x").rgb
    assert np.allclose(found.numpy().transpose(1, 2, 0), (WORDS[..., :3] % 1024) / 1023)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: raw_tiff(of_mode(WORDS, "RGB"), planar=2), "x.tif: has 3 channels of 16 bits, in planes"),
        (lambda: raw_tiff(of_mode(WORDS, "LA"), extra=2), "x.tif: has 2 channels of 16 bits"),
        (lambda: raw_tiff(of_mode(WORDS, "RGB").astype(np.uint32)), "x.tif: has pixels of type uint32"),
        (lambda: raw_tiff(255 * of_mode(FLOATS, "RGB")), r"x.tif: its values lie in \[.*, 25.*\], those of floats in"),
    ],
)
def test_what_would_be_read_wrong_is_refused(content, message):
    with pytest.raises(TimError, match=message):
        decode_image(content(), "x.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    pixels = of_mode(FLOATS, "RGB")
    pixels[2, 3, 1] = value
    with pytest.raises(TimError, match="x.tif: holds values that are NaN or infinite"):
        decode_image(raw_tiff(pixels), "x.tif")


# colour profiles ------------------------------------------------------------------------------------------------------


def test_a_colour_profile_is_applied_and_said_once(capsys, monkeypatch):
    monkeypatch.setattr(notes, "_said", set())
    photo = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile_like("P3")))
    expected = np.asarray(
        ImageCms.profileToProfile(Image.fromarray(photo), source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    )
    assert np.abs(expected.astype(int) - photo).max() > 5
    for kind in ("PNG", "TIFF", "WEBP"):
        content = encoded(photo, kind, icc_profile=profile_like("P3"), **({"lossless": True} if kind == "WEBP" else {}))
        found = (decode_image(content, "x").rgb * 255).round().numpy().transpose(1, 2, 0)
        assert np.array_equal(found, expected)
    said = capsys.readouterr().err
    assert said.count("note:") == 1 and "converted to sRGB" in said


def test_a_profile_of_16_bit_colours_keeps_16_bits():
    data = b"x\0\0" + zlib.compress(profile_like("P3"))
    fine = np.linspace(20000, 20100, 48).astype(np.uint16).reshape(6, 8, 1).repeat(3, axis=2)
    fine[..., 0] += 9000
    found = decode_image(with_chunk(png_16_bit(fine), b"iCCP", data), "x").rgb
    assert len(found[0].unique()) > 40
    eight_bit = decode_image(encoded((fine // 257).astype(np.uint8), "PNG", icc_profile=profile_like("P3")), "x").rgb
    assert np.abs((found - eight_bit).numpy()).max() < 2 / 255


def test_the_profile_of_srgb_moves_nothing_and_a_wrong_one_is_left_out(capsys, monkeypatch):
    monkeypatch.setattr(notes, "_said", set())
    pixels = of_mode(BYTES, "RGB")
    expected = decode_image(encoded(pixels, "PNG"), "x").rgb
    for profile in (profile_like("sRGB"), profile_like("grey"), b"damaged", bytes(500)):
        assert np.array_equal(decode_image(encoded(pixels, "PNG", icc_profile=profile), "x").rgb, expected)
    assert capsys.readouterr().err.count("does not fit it") == 3


def test_grey_has_a_profile_too():
    grey = np.full((4, 4), 55, np.uint8)  # linear light
    found = decode_image(encoded(grey, "PNG", icc_profile=profile_like("grey")), "x").rgb
    assert np.abs(found * 255 - 128).max() < 2


# frames, sizes, damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_taken_and_that_is_said(kind, capsys):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("white", "red"))
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=[second])
    assert decode_image(stream.getvalue(), f"moving.{kind}").rgb.min() > 0.98
    assert f"moving.{kind}: has several frames: the first is taken" in capsys.readouterr().err


def test_a_jpeg_may_have_fill_bytes_before_a_marker():
    content = encoded(of_mode(BYTES, "RGB"), "JPEG")
    filled = content[:2] + b"\xff\xff\xff" + content[2:]
    assert np.array_equal(decode_image(filled, "x").rgb, decode_image(content, "x").rgb)


def large_png(side: int) -> bytes:
    """A small file of a large image: all rows are black."""
    packer = zlib.compressobj(1)
    rows = b"".join([*(packer.compress(bytes(side // 8 + 1)) for _ in range(64)), packer.flush()])
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(png_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, rows, b"")))


def test_what_is_too_large_is_refused_by_its_header():
    with pytest.raises(TimError, match=r"x.png: is 60000x60000 \(3600 megapixels\), larger than any image"):
        decode_image(large_png(60_000), "x.png")


def test_what_memory_cannot_hold_is_not_called_damaged(monkeypatch):
    content = encoded(of_mode(BYTES, "RGB"), "PNG")
    monkeypatch.setattr("tim_plugin.utils.image_decoding.free_bytes", lambda: 1000)
    with pytest.raises(TimError, match=r"x.png: is 8x6, which takes 0.00 GiB of memory, and 0.00 are free"):
        decode_image(content, "x.png")


def test_damage_is_named_and_nothing_but_that_is_said(capfd):
    """Each format, cut and with flipped bytes: read, or refused by name."""
    refused, generator = 0, np.random.default_rng(0)
    contents = [make(6) for make, _ in KINDS.values()]
    for content in contents:
        for trial in range(12):
            broken = bytearray(content[: generator.integers(1, len(content))] if trial % 2 else content)
            for position in generator.integers(len(broken), size=3):
                broken[position] ^= 1 << int(generator.integers(8))
            try:
                assert decode_image(bytes(broken), "x.bin").rgb.isfinite().all()
            except TimError as error:
                refused += str(error).startswith("x.bin: ")
    assert refused > 4 * len(contents)
    assert all(line.startswith("note: ") for line in capfd.readouterr().err.splitlines())


@pytest.mark.parametrize(
    ("kind", "depth", "top", "values", "colour", "alpha"),
    [
        ("RGB", 3, 255, [255, 0, 0, 0, 51, 255], [[1, 0, 0], [0, 0.2, 1]], None),
        ("RGB_ALPHA", 4, 255, [255, 0, 0, 102, 0, 255, 0, 0], [[1, 0, 0], [0, 1, 0]], [0.4, 0]),
        ("RGB", 3, 1000, [1000, 0, 500, 0, 250, 0], [[1, 0, 0.5], [0, 0.25, 0]], None),
        ("GRAYSCALE", 1, 100, [100, 20], [[1, 1, 1], [0.2, 0.2, 0.2]], None),
        ("GRAYSCALE_ALPHA", 2, 255, [255, 0, 51, 255], [[1, 1, 1], [0.2, 0.2, 0.2]], [0, 1]),
        ("BLACKANDWHITE", 1, 1, [0, 1], [[0, 0, 0], [1, 1, 1]], None),
    ],
)
def test_pam_is_read_in_the_file_s_order_with_its_own_white(kind, depth, top, values, colour, alpha):
    head = f"P7\n# a comment\nWIDTH 2\nHEIGHT 1\nDEPTH {depth}\nMAXVAL {top}\nTUPLTYPE {kind}\nENDHDR\n"
    content = head.encode() + np.array(values, ">u2" if top > 255 else "u1").tobytes()
    image = decode_image(content, "x.pam")
    np.testing.assert_allclose(image.rgb[:, 0].T, colour, atol=1e-6)
    assert (image.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_allclose(image.alpha[0, 0], alpha, atol=1e-6)
    for damaged in (content[:-1], content.replace(b"DEPTH", b"DEPHT"), content.replace(b"WIDTH 2", b"WIDTH 0")):
        with pytest.raises(TimError, match=r"^x.pam: cannot be decoded: damaged"):
            decode_image(damaged, "x.pam")


def test_jpeg_2000_of_12_bits_is_as_bright_as_it_was():
    values = np.arange(4096).reshape(64, 64)
    stored = (values - 2048 + 32768).astype(np.uint16)  # about the middle of 16 bits, where that of 12 is said to be
    content = bytearray(cv2.imencode(".jp2", stored, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes())
    content[content.find(b"\xff\x4f\xff\x51") + 42] = content[content.find(b"ihdr") + 14] = 12 - 1
    image = decode_image(bytes(content), "x.jp2").rgb
    np.testing.assert_allclose(image[0], values / 4095, atol=1 / 4095)


def test_16_bits_of_grey_keep_their_steps_through_a_profile():
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64, 1)

    def of_profile(content, name):
        return decode_image(with_chunk(content, b"iCCP", b"a\0\0" + zlib.compress(profile_like(name))), "x.png").rgb[0]

    linear = values[..., 0] / 65535
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(of_profile(png_16_bit(values), "grey"), expected, atol=1 / 65535)
    fine = of_profile(png_16_bit(values), "P3").numpy()
    steps = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    coarse = of_profile(encoded(steps, "PNG", "L"), "P3")
    np.testing.assert_allclose(np.interp(steps[..., 0] / 255, linear.ravel(), fine.ravel()), coarse, atol=1.5 / 255)
    assert len(np.unique(fine)) > 3500
