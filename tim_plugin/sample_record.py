"""``samples.json``: what was sampled from what, with which arguments, so that a run can go on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tim_plugin.errors import TimError
from tim_plugin.images import write_json

SAVE_EVERY_S = 2.0  # rather than for each of thousands of images


def sha256(content: bytes) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


class SampleRecord:
    """The entries of ``samples.json``, by input.

    Args:
        path: Of the file.
        header: What the file says before its ``images``.
        resume: Begin with the entries that the file holds already.

    Raises:
        TimError: ``resume``, and the file is damaged.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], resume: bool) -> None:
        self.path, self.header = path, header
        self._entries = self._read() if resume and path.is_file() else {}
        self._saved_at = time.monotonic()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            return {entry["input"]: entry for entry in json.loads(self.path.read_text(encoding="utf-8"))["images"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TimError(f"{self.path}: cannot be read: remove it, or leave out --skip-existing") from error

    def done(self, source: Path, made_with: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any] | None:
        """Return the entry of an input that was sampled with the same arguments and whose files all exist, or None.

        Args:
            source: The input.
            made_with: As given to :meth:`add`.
            files: All that would be written, the samples first.
        """
        entry = self._entries.get(str(source))
        if entry is None or entry.get("made_with") != made_with:
            return None
        names = [sample["file"] for sample in entry["samples"]]
        same = names == [file.name for file in files[: len(names)]] and all(file.is_file() for file in files)
        return entry if same else None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Put in an entry whose files are written; the file follows after a while, see :meth:`save`."""
        self._entries[entry["input"]] = dict(entry)
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the file, if there is an entry."""
        if self._entries:
            write_json(self.path, {**self.header, "images": list(self._entries.values())})
        self._saved_at = time.monotonic()
