"""Text files as they come: what is not UTF-8 is refused in one sentence that says how it begins."""

from __future__ import annotations

import codecs
from pathlib import Path

from tim_plugin.utils.errors import TimError

BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def read_text(path: str | Path, where: str, most_bytes: int | None = None, any_names: bool = False) -> str:
    """Read a file of UTF-8 text, with or without a byte order mark.

    Args:
        path: Of the file.
        where: What to call it in errors.
        most_bytes: A larger one is refused unread.
        any_names: It lists files, whose names may be no text on their disk: such bytes are taken as Python's own
            functions of files take them.

    Raises:
        TimError: It is no file, cannot be read, is too large, or is no text or no UTF-8.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise TimError(f"{where}: is {'a folder' if path.is_dir() else 'no regular file'}")
        if most_bytes is not None and path.stat().st_size > most_bytes:
            raise TimError(f"{where}: has {path.stat().st_size:,} bytes, too many for such a file ({most_bytes:,})")
        content = path.read_bytes()
    except OSError as error:
        raise TimError(f"{where}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, TimError):
            raise
        raise TimError(f"{where}: is no file's name ({error})") from error
    is_marked, no_text = content[:2] in BYTE_ORDER_MARKS, f"{where}: is no text, but perhaps an image: give a text file"
    takes_any = any_names and not is_marked
    if takes_any and b"\0" in content:
        raise TimError(no_text)
    try:
        return content.decode("utf-8-sig", "surrogateescape" if takes_any else "strict")
    except UnicodeDecodeError as error:
        if b"\0" in content and not is_marked:
            raise TimError(no_text) from error
        coding = BYTE_ORDER_MARKS.get(content[:2], "perhaps Latin-1")
        line = content[: error.start].count(b"\n") + 1
        raise TimError(f"{where}: is not UTF-8 in line {line} ({coding}): save it as UTF-8") from error
