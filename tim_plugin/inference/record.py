"""``samples.json``: which samples were made from which file, by which model and options.

A run with ``--skip-existing`` reads there what need not be sampled again.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_bytes
from tim_plugin.utils.json_files import NONE, parse_json
from tim_plugin.utils.notes import say_once
from tim_plugin.utils.writing import appending, write_json

RECORD = "samples.json"
SAVE_EVERY_S = 2.0  # rather than for each of thousands of images
SHAPE = {"images": [{"input": str, "samples": [{"file": str}], "sheet?": (str, NONE), "made_with?": dict}]}
Entry = dict[str, Any]


def sha256(content: bytes) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the digest of a file that may be too large to be held.

    Raises:
        TimError: It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    except OSError as error:
        raise TimError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


class SampleRecord:
    """Reads and writes ``samples.json``: an entry for each input, no two of which name the same file.

    Entries of earlier runs are kept as long as one of their samples exists, with those samples that no later run has
    overwritten. An entry must never describe files that a later run has overwritten, even if that run is killed. To
    save the file for each image would be slow with thousands of entries, so the files that were overwritten since the
    last save are listed in a small hidden file beside it, which is read at the start and removed by the next save.

    As a context manager it saves the file at the end, also after an error.

    Args:
        path: Of ``samples.json``; made by the first save.
        header: What the file holds beside its ``images``; that of the last run that wrote something stays.

    Raises:
        TimError: The file is damaged, or another program's.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.header = path, header
        self._noted = _noted(path)
        self._entries: dict[str, Entry] = {}  # by the name of their first sample
        self._owners: dict[str, str] = {}  # of each file that an entry names, the entry's key
        self._overview: str | None = None
        self._noted_another = False
        for entry in self._read():
            self._put(entry)
        self._changed = False
        self._saved_at = time.monotonic()

    def __enter__(self) -> SampleRecord:
        return self

    def __exit__(self, *error: object) -> None:
        self.save()

    def _read(self) -> list[Entry]:
        """Return the entries of earlier runs that still describe files which exist."""
        if not self.path.exists():
            return []
        try:
            content = parse_json(read_bytes(self.path), SHAPE)
            entries, overview = content["images"], content.get("overview")
            names = [_files(entry) for entry in entries]
            gone = _overwritten(self._noted)
        except (OSError, ValueError) as error:
            raise TimError(
                f"{self.path}: is no record of samples that can be read: remove it, or give another folder ({error})"
            ) from error
        if isinstance(overview, str) and os.path.isfile(self.path.parent / overview):
            self._overview = overview
        count = Counter(name for files in names for name in files)  # earlier versions let two entries name one file
        kept = [
            _without(entry, gone)
            for entry, files in zip(entries, names, strict=True)
            if all(count[name] == 1 for name in files)
            and any(os.path.isfile(self.path.parent / name) for name in files)  # False also where it is no name
        ]
        return [entry for entry in kept if entry is not None]

    def _put(self, entry: Mapping[str, Any]) -> None:
        files = _files(entry)
        self._entries[files[0]] = dict(entry)
        self._owners.update(dict.fromkeys(files, files[0]))

    def done(self, source: Path, made_with: Mapping[str, Any], files: Sequence[Path]) -> Entry | None:
        """Return the entry of an input that need not be sampled again, or None.

        Args:
            source: The input, as its entry names it.
            made_with: What its samples depend on: digests of model and input, and options; to equal the entry's.
            files: All that would be written, the samples first; all have to exist.
        """
        entry = self._entries.get(self._owners.get(files[0].name, ""))
        if entry is None or entry["input"] != str(source) or entry.get("made_with") != made_with:
            return None
        same = {file.name for file in files} <= set(_files(entry)) and all(file.is_file() for file in files)
        return entry if same else None

    def overwrite(self, files: Sequence[Path], source: Path | str | None = None) -> None:
        """Drop these files from the entries, on the disk too; call it before the first of them is written.

        The first of them that another input's entry names is told on stderr.

        Args:
            files: That will be written.
            source: Their input, as its entry will name it; None: not known, and nothing is told.

        Raises:
            TimError: The hidden file that lists the dropped files cannot be written.
        """
        names = {file.name for file in files if file.name in self._owners}
        for key in {self._owners[name] for name in names}:
            entry = self._entries.pop(key)
            self._note_another(entry["input"], source)
            for name in _files(entry):
                del self._owners[name]
            kept = _without(entry, names)
            if kept is not None:
                self._put(kept)
        if names:
            self._changed = True
            try:
                with appending(self._noted) as noted:
                    noted.write(b"".join(os.fsencode(name) + b"\0" for name in sorted(names)))
            except OSError as error:
                raise TimError(f"{self._noted}: cannot be written: {error.strerror or error}") from error

    def _note_another(self, before: str, source: Path | str | None) -> None:
        """Tell once that samples of another input are lost; that of several inputs would be a line for each."""
        if source is None or self._noted_another or os.path.abspath(before) == os.path.abspath(source):
            return
        self._noted_another = True
        say_once(
            (self.path, before, str(source)),
            f"{self.path.parent}: the samples of {before} are overwritten by those of {source}, whose files have the "
            "same names; another folder keeps both",
        )

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an entry whose files are all written, and save ``samples.json`` if the last save is a while ago.

        Args:
            entry: ``input``, ``made_with``, ``samples`` with a ``file`` each, and ``sheet``: the contact sheet's name
                or None.

        Raises:
            TimError: ``samples.json`` cannot be written.
        """
        self._put(entry)
        self._changed = True
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self.save()

    def add_overview(self, name: str) -> None:
        """Name the picture of all images in ``samples.json``, as its ``overview``."""
        self._overview = name
        self._changed = True

    def save(self) -> None:
        """Write ``samples.json``, if an entry was added or dropped since the last time.

        Raises:
            TimError: It cannot be written.
        """
        if self._changed:
            try:
                overview = {} if self._overview is None else {"overview": self._overview}
                write_json(self.path, {**self.header, **overview, "images": list(self._entries.values())})
                self._noted.unlink(missing_ok=True)
            except OSError as error:
                raise TimError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        self._changed = False
        self._saved_at = time.monotonic()


def written_files(path: Path) -> set[str]:
    """Return the names, without a sample's number, of all files that a ``samples.json`` lists as written.

    Without the number (:func:`unnumbered`), as earlier versions left samples of the run before a later one unlisted.
    None where there is no such file.
    """
    try:
        content = parse_json(read_bytes(path), SHAPE)  # of a regular file: a pipe would be waited for
        names = {unnumbered(name) for entry in content["images"] for name in _files(entry)}
        overview = content.get("overview")
        return names | {overview} if isinstance(overview, str) else names
    except (OSError, ValueError):  # not there, or another program's
        return set()


def origins(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return what each sample that a ``samples.json`` lists was made with, by the sample's name, where it says so.

    Nothing (an empty mapping) for one that a run was to overwrite which was killed before it said so.
    """
    try:
        entries = parse_json(read_bytes(path), SHAPE)["images"]
        overwritten = _overwritten(_noted(path))
    except (OSError, ValueError):  # not there, or another program's
        return {}
    return {
        sample["file"]: {} if sample["file"] in overwritten else entry["made_with"]
        for entry in entries
        if "made_with" in entry
        for sample in entry["samples"]
    }


def unnumbered(name: str) -> str:
    """Return a file's name, without the number if it is a sample's: ``a_s.png`` for ``a_s03.png``."""
    return re.sub(r"_s\d+(\.\w+)$", r"_s\1", name)


def _noted(path: Path) -> Path:
    return path.with_name(f".{path.name}.overwritten")


def _overwritten(noted: Path) -> set[str]:
    """Names of the files that a run has begun to overwrite since the record was saved last."""
    return {os.fsdecode(name) for name in noted.read_bytes().split(b"\0")} if noted.is_file() else set()


def _files(entry: Mapping[str, Any]) -> list[str]:
    """Names of the files of an entry: its samples, and its contact sheet where there is one."""
    samples = [sample["file"] for sample in entry["samples"]]
    if not samples:
        raise ValueError("an entry without samples")
    return [*samples, entry["sheet"]] if entry.get("sheet") else samples


def _without(entry: Entry, names: set[str]) -> Entry | None:
    """Return an entry without the files of these names; None if that leaves no sample.

    Its sheet shows all of its samples, and is left out with the first of them.
    """
    if names.isdisjoint(_files(entry)):
        return entry
    samples = [sample for sample in entry["samples"] if sample["file"] not in names]
    with_sheet = len(samples) == len(entry["samples"]) and entry.get("sheet") not in names
    return {**entry, "samples": samples, "sheet": entry.get("sheet") if with_sheet else None} if samples else None
