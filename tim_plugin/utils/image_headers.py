"""What an image file says of itself, read before anything of it is decoded: format, size, depth, orientation, frames.

Files are known by their first bytes, whatever they are called. PNG and JPEG are walked to their end here, because
decoders fill what is missing with grey, or pass over checksums, and say nothing.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from PIL import Image, JpegImagePlugin, TiffImagePlugin

from tim_plugin.utils.errors import TimError

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # what the files begin with
# By Pillow's names; those that it does not read stand last. No text passes for one, and none runs another program.
_MAGIC = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WEBP": rb"RIFF.{4}WEBP",
    "AVIF": rb".{4}ftyp(avif|avis|mif1|msf1)",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "PPM": rb"P[1-6]\s",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    "QOI": rb"qoif",
    "SGI": rb"\x01\xda[\x00\x01][\x01\x02]",
    "PCX": rb"\n[\x00\x02\x03\x05]\x01[\x01\x02\x04\x08]",
    "SUN": rb"\x59\xa6\x6a\x95",
    "PFM": rb"P[Ff]\n",
    "PAM": rb"P7\n",
    "HDR": rb"#\?(RADIANCE|RGBE)\n",
}
_MAGIC = {kind: re.compile(pattern, re.DOTALL) for kind, pattern in _MAGIC.items()}
_NOT_BY_PILLOW = ("PFM", "PAM", "HDR")
_VIDEO = re.compile(
    rb"....(ftyp|moov|mdat|wide)|RIFF....AVI |\x1a\x45\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11|FLV\x01"
    rb"|\0\0\1[\xba\xb3]|OggS|G(.{187}G){3}|.{4}G(.{191}G){2}",  # also a transport stream, of 188 or 192 bytes a packet
    re.DOTALL,
)
_STILL = re.compile(rb"....ftyp(hei|hev|mif|msf|crx)", re.DOTALL)  # HEIC and raw files of cameras
SNIFFED_BYTES = 600  # what tells a format
MOST_PIXELS = 2**30  # OpenCV's own limit
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it tells of damaged files is an error of ours
_ORIENTATION = 274  # EXIF's tag, and TIFF's
_WHITE_IS_ZERO = 0
_DNG_VERSION = 50706
_RGB = 2


class Header(NamedTuple):
    """What is known of an image file before it is decoded.

    Attributes:
        content: The file's bytes, of a PNG those that its decoder needs.
        kind: Such as ``PNG``; of those that Pillow does not read no more is known.
        width: In pixels, of the image as it is to be seen; 0: not known.
        height: Likewise.
        bits: Of a channel.
        image: Pillow's, undecoded; None where it does not read the file.
        orientation: 1 to 8, as EXIF counts.
        has_frames: Whether there are other frames or pages behind the first.
        tags: Of a TIFF.
    """

    content: bytes
    kind: str
    width: int
    height: int
    bits: int = 8
    image: Image.Image | None = None
    orientation: int = 1
    has_frames: bool = False
    tags: Mapping[int, Any] = {}


def format_of(start: bytes) -> str | None:
    """Return the format of an image file by its first :data:`SNIFFED_BYTES`, or None where it is none that is read."""
    return next((kind for kind, magic in _MAGIC.items() if magic.match(start)), None)


def is_video_start(start: bytes) -> bool:
    """Tell by a file's first :data:`SNIFFED_BYTES` whether it is a video."""
    return bool(_VIDEO.match(start)) and not _STILL.match(start) and format_of(start) is None


def require_whole(content: bytes, name: str) -> None:
    """Raise TimError for an empty file, a PNG or JPEG that ends too early, or a PNG with a checksum that is wrong."""
    if not content:
        raise TimError(f"{name}: is an empty file")
    if content.startswith(PNG):
        for _ in _png_chunks(content, name):
            pass
    # Behind the headers, which may hold a thumbnail; a phone may have put a video behind the image.
    elif content.startswith(JPEG) and content.find(b"\xff\xd9", _jpeg_scan_start(content)) < 0:
        raise _truncated(name)


def read_header(content: bytes, name: str) -> Header:
    """Read what the bytes of an image file say of it; nothing is decoded.

    Raises:
        TimError: It is empty, truncated, damaged, no image, or larger than any image that is read.
    """
    require_whole(content, name)
    kind = format_of(content)
    if kind is None:
        raise TimError(f"{name}: cannot be decoded: damaged, or no image ({', '.join(_MAGIC)})")
    try:
        header = _READERS.get(kind, _read_other)(content, kind)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise TimError(f"{name}: cannot be decoded: damaged, or a kind of {kind} that is not read ({error})") from error
    if header.image is not None and not header.width * header.height:
        raise TimError(f"{name}: cannot be decoded: damaged, its size is {header.width}x{header.height}")
    if header.width * header.height > MOST_PIXELS:
        raise TimError(
            f"{name}: is {header.width}x{header.height} ({header.width * header.height / 1e6:.0f} megapixels), larger "
            f"than any image that is read ({MOST_PIXELS / 1e6:.0f}): crop or shrink it"
        )
    return header


# PNG ------------------------------------------------------------------------------------------------------------------


def _png_chunks(content: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Give type and data of each chunk up to the last.

    Raises:
        TimError: There is no end, or the checksum of a chunk that the image needs is wrong.
    """
    position = len(PNG)
    while position + 12 <= len(content):  # a chunk: length, type, data, checksum
        length, kind = int.from_bytes(content[position : position + 4], "big"), content[position + 4 : position + 8]
        end = position + 8 + length
        data = content[position + 8 : end]
        if end + 4 > len(content):
            break
        is_critical = kind[:1].isupper()
        if is_critical and zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(content[end : end + 4], "big"):
            raise TimError(f"{name}: is damaged (the checksum of its {kind.decode('latin-1')} is wrong)")
        yield kind, data
        if kind == b"IEND":
            return
        position = end + 4
    raise _truncated(name)


def _truncated(name: str) -> TimError:
    return TimError(f"{name}: is truncated (the file ends before the image does)")


_PNG_NEEDS = (b"tRNS", b"iCCP")  # beside what every decoder needs; Pillow refuses others, such as long texts


def _read_png(content: bytes, kind: str) -> Header:
    orientation, has_frames, kept = 1, False, [PNG]
    for chunk, data in _png_chunks(content, ""):
        if chunk == b"eXIf":
            orientation = exif_orientation(data)
        has_frames |= chunk == b"acTL" and int.from_bytes(data[:4], "big") > 1
        if chunk[:1].isupper() or chunk in _PNG_NEEDS:
            checksum = zlib.crc32(data, zlib.crc32(chunk))
            kept += [len(data).to_bytes(4, "big"), chunk, data, checksum.to_bytes(4, "big")]
    needed = b"".join(kept)
    image = open_lazily(needed, kind)
    return _upright(Header(needed, kind, *image.size, content[24], image, orientation, has_frames))


# other formats --------------------------------------------------------------------------------------------------------


def open_lazily(content: bytes, kind: str) -> Image.Image:
    """Open a file as Pillow does, without its limit of size, which warns at first and then is no user's error."""
    (Image.preinit if kind in ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF") else Image.init)()  # all readers take long
    return Image.OPEN[kind][0](io.BytesIO(content), "")


def _upright(header: Header) -> Header:
    turned = header.orientation > 4
    return header._replace(width=header.height, height=header.width) if turned else header


def _read_jpeg(content: bytes, kind: str) -> Header:
    # Pillow's door for JPEGs takes the depth maps and gains of phones for further frames.
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(content), "")
    return _upright(Header(content, kind, *image.size, 8, image, exif_orientation(image.info.get("exif", b""))))


def _jpeg_scan_start(content: bytes) -> int:
    position = 2
    while content[position : position + 1] == b"\xff" and content[position : position + 2] != b"\xff\xda":
        if content[position + 1 : position + 2] == b"\xff":  # a marker may be filled up in front
            position += 1
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return position


def _read_tiff(content: bytes, kind: str) -> Header:
    big = content[2:3] == b"+" or content[3:4] == b"+"
    tags = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if big else 8])
    stream = io.BytesIO(content)
    stream.seek(tags.next)
    tags.load(stream)
    has_frames = tags.next != 0
    tags = dict(tags)
    bits = max(_several(tags.get(258, 1)))
    if _DNG_VERSION in tags or tags.get(254, 0) == 1:
        raise ValueError("a camera's raw file, of which there is but a preview")
    # Pillow cuts 16-bit colours to 8 bits and knows no floating-point ones.
    _require_data(content, tags, bits)
    is_raw = bits > 8 and tags.get(262) in (_WHITE_IS_ZERO, 1, _RGB)
    orientation = tags.get(_ORIENTATION, 1)
    image = None if is_raw else open_lazily(content, kind)
    header = Header(content, kind, int(tags[256]), int(tags[257]), bits, image, orientation, has_frames, tags)
    return _upright(header)


def _require_data(content: bytes, tags: Mapping[int, Any], bits: int) -> None:
    """Raise ValueError for an uncompressed image of which the file cannot hold as much as it says."""
    is_subsampled = tags.get(262) == 6
    if tags.get(259, 1) == 1 and not is_subsampled:
        if tags[256] * tags[257] * tags.get(277, 1) * bits > 8 * len(content):
            raise ValueError("it ends before the image does")


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _read_jpeg_2000(content: bytes, kind: str) -> Header:
    image = open_lazily(content, kind)
    size = content.find(b"\xff\x4f\xff\x51")  # begin of the code stream and its size
    return Header(content, kind, *image.size, (content[size + 42] & 0x7F) + 1 if size >= 0 else 8, image)


def _read_pnm(content: bytes, kind: str) -> Header:
    image = open_lazily(content, kind)
    largest = largest_of_pnm(image)
    return Header(content, kind, *image.size, 16 if largest > 255 else 8, image)


def largest_of_pnm(image: Image.Image) -> int:
    """Return what stands for white in an undecoded PGM or PPM with bytes; 255 in one with text."""
    decoder, _, _, arguments = image.tile[0]
    if arguments == "I;16B":
        return 65535
    return arguments[1] if decoder == "ppm" else 255


def _read_nothing(content: bytes, kind: str) -> Header:
    return Header(content, kind, 0, 0, 32)


def _read_other(content: bytes, kind: str) -> Header:
    image = open_lazily(content, kind)
    orientation = exif_orientation(image.info.get("exif", b""))
    return _upright(
        Header(content, kind, *image.size, 8, image, orientation, bool(getattr(image, "is_animated", False)))
    )


_READERS = {
    "PNG": _read_png,
    "JPEG": _read_jpeg,
    "TIFF": _read_tiff,
    "JPEG2000": _read_jpeg_2000,
    "PPM": _read_pnm,
    **dict.fromkeys(_NOT_BY_PILLOW, _read_nothing),
}


def exif_orientation(block: bytes) -> int:
    """Return the orientation, 1 to 8, that a block of EXIF data tells; 1 where it tells none or is damaged."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}L", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for position in range(start + 2, start + 2 + 12 * count, 12):
            tag, size = struct.unpack_from(f"{order}HH", block, position)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(f"{order}{'L' if size == 4 else 'H'}", block, position + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
