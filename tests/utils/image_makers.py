"""Image files of every kind, made in memory."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, ImageCms

ORIENTATION = 274


def encoded(pixels: np.ndarray, kind: str, mode: str | None = None, **options) -> bytes:
    """What Pillow writes of 8-bit pixels."""
    stream = io.BytesIO()
    (Image.fromarray(pixels) if mode is None else Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())).save(
        stream, kind, **options
    )
    return stream.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block.tobytes()


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with another chunk behind its header."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def png_16_bit(pixels: np.ndarray, orientation: int = 1) -> bytes:
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    content = cv2.imencode(".png", pixels[..., order])[1].tobytes()
    return with_chunk(content, b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"))


def raw_tiff(
    pixels: np.ndarray, orientation: int = 1, extra: int | None = None, photometric: int | None = None, planar: int = 1
) -> bytes:
    """An uncompressed TIFF of pixels (H, W, C) of any type, as stored."""
    height, width, channels = pixels.shape
    data = np.ascontiguousarray(pixels if planar == 1 else pixels.transpose(2, 0, 1)).tobytes()
    strips = 1 if planar == 1 else channels
    photometric = photometric if photometric is not None else 2 if channels > 2 else 1
    entries = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8 * pixels.dtype.itemsize] * channels),
        (259, "H", [1]),
        (262, "H", [photometric]),
        (273, "I", [0] * strips),
        (ORIENTATION, "H", [orientation]),
        (277, "H", [channels]),
        (278, "I", [height]),
        (279, "I", [len(data) // strips] * strips),
        (284, "H", [planar]),
        *([] if extra is None else [(338, "H", [extra])]),
        (339, "H", [3 if pixels.dtype.kind == "f" else 1] * channels),
    ]
    begin = 8 + 2 + 12 * len(entries) + 4
    sizes = [len(values) * struct.calcsize(kind) for _, kind, values in entries]
    behind = sum(size for size in sizes if size > 4)
    directory, outside = struct.pack("<H", len(entries)), b""
    for tag, kind, values in entries:
        if tag == 273:
            values = [begin + behind + index * len(data) // strips for index in range(strips)]
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        directory += struct.pack("<HHI", tag, 3 if kind == "H" else 4, len(values))
        if len(packed) <= 4:
            directory += packed.ljust(4, b"\0")
        else:
            directory += struct.pack("<I", begin + len(outside))
            outside += packed
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + outside + data


def profile_like(name: str) -> bytes:
    """An ICC profile: ``sRGB``; ``P3``, whose red lies elsewhere; ``grey``, of linear light."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if name == "sRGB":
        return srgb
    tags = {"P3": _tags_of_p3, "grey": lambda tags: {b"kTRC": b"curv" + bytes(8), b"wtpt": tags[b"wtpt"]}}[name](
        _tags(srgb)
    )
    header = bytearray(srgb[:128])
    if name == "grey":
        header[16:20] = b"GRAY"
    start, table, data = 132 + 12 * len(tags), b"", b""
    for kind, content in tags.items():
        table += struct.pack(">4sII", kind, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header[:4] = struct.pack(">I", start + len(data))
    return bytes(header) + struct.pack(">I", len(tags)) + table + data


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(count)]
    return {kind: profile[start : start + size] for kind, start, size in entries}


def _tags_of_p3(tags: dict[bytes, bytes]) -> dict[bytes, bytes]:
    columns = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2920, 0.6922, 0.0419), b"bXYZ": (0.1571, 0.0666, 0.7841)}
    packed = {
        kind: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))
        for kind, values in columns.items()
    }
    return {**tags, **packed}
