"""``samples.json``: what was sampled from what, with which arguments, so that a run can go on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_json

SAVE_EVERY_S = 2.0  # rather than for each of thousands of images
Entry = dict[str, Any]


def sha256(content: bytes) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


class SampleRecord:
    """The entries of ``samples.json``, no two of which name the same file.

    Entries of earlier runs stay as long as one of their samples is there. Those whose files are overwritten are noted
    in a hidden file beside it until it is saved the next time: so a run that is killed leaves no entry that speaks for
    another one's files. To save thousands of entries for each image would take longer than the image.

    Args:
        path: Of the file.
        header: What the file says before its ``images``: of the last run that wrote something.
        resume: Whether what is there is to be relied on; if not, a damaged file is left out of account.

    Raises:
        TimError: ``resume``, and the file is damaged.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], resume: bool) -> None:
        self.path, self.header = path, header
        self._noted = path.with_name(f".{path.name}.overwritten")
        self._entries: dict[str, Entry] = {}  # by the name of their first sample
        self._owners: dict[str, str] = {}  # of each file that an entry names, the entry's key
        for entry in self._read(resume):
            self._put(entry)
        self._changed = False
        self._saved_at = time.monotonic()

    def _read(self, resume: bool) -> list[Entry]:
        if not self.path.is_file():
            return []
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))["images"]
            names = [(_files(entry), entry["input"]) for entry in entries]
            noted = self._noted.read_bytes().split(b"\0") if self._noted.is_file() else []
        except (OSError, ValueError, LookupError, TypeError) as error:
            if not resume:
                return []
            raise TimError(f"{self.path}: cannot be read: remove it, or leave out --skip-existing") from error
        gone = {os.fsdecode(name) for name in noted}
        count = Counter(name for files, _ in names for name in files)  # earlier versions let two entries name one file
        return [
            entry
            for entry, (files, _) in zip(entries, names, strict=True)
            if files[0] not in gone
            and all(count[name] == 1 for name in files)
            and any((self.path.parent / name).is_file() for name in files)
        ]

    def _put(self, entry: Mapping[str, Any]) -> None:
        files = _files(entry)
        self._entries[files[0]] = dict(entry)
        self._owners.update(dict.fromkeys(files, files[0]))

    def done(self, source: Path, made_with: Mapping[str, Any], files: Sequence[Path]) -> Entry | None:
        """Return the entry of an input that was sampled with the same arguments and whose files all exist, or None.

        Args:
            source: The input.
            made_with: As given to :meth:`add`.
            files: All that would be written, the samples first.
        """
        entry = self._entries.get(self._owners.get(files[0].name, ""))
        if entry is None or entry["input"] != str(source) or entry.get("made_with") != made_with:
            return None
        same = {file.name for file in files} <= set(_files(entry)) and all(file.is_file() for file in files)
        return entry if same else None

    def overwrite(self, files: Sequence[Path]) -> None:
        """Drop the entries that name one of these files; to be called before the first of them is written.

        Raises:
            TimError: It cannot be noted on the disk.
        """
        keys = {self._owners[file.name] for file in files if file.name in self._owners}
        for key in keys:
            for name in _files(self._entries.pop(key)):
                del self._owners[name]
        if keys:
            self._changed = True
            try:
                with self._noted.open("ab") as noted:
                    noted.write(b"".join(os.fsencode(key) + b"\0" for key in keys))
            except OSError as error:
                raise TimError(f"{self._noted}: cannot be written: {error.strerror or error}") from error

    def add(self, entry: Mapping[str, Any]) -> None:
        """Put in an entry whose files are written; the file follows after a while, see :meth:`save`.

        Args:
            entry: ``input``, ``made_with``, ``samples`` with a ``file`` each, and ``sheet``, the name of one or None.
        """
        self._put(entry)
        self._changed = True
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the file, if there is something new.

        Raises:
            TimError: It cannot be written.
        """
        if self._changed:
            try:
                write_json(self.path, {**self.header, "images": list(self._entries.values())})
                self._noted.unlink(missing_ok=True)
            except OSError as error:
                raise TimError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        self._changed = False
        self._saved_at = time.monotonic()


def _files(entry: Mapping[str, Any]) -> list[str]:
    """Names of the samples, and of the sheet where there is one."""
    samples = [sample["file"] for sample in entry["samples"]]
    if not samples:
        raise ValueError("an entry without samples")
    return [*samples, entry["sheet"]] if entry.get("sheet") else samples
