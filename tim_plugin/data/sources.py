"""Where a dataset's GT images come from: photographs in a folder, an lmdb or a meta-info file's list; or digits."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import lmdb
import torch
from basicsr.utils import FileClient
from torch import Tensor

from tim_plugin.utils.digit_files import is_digits, read_digits
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.images import list_images, read_bytes
from tim_plugin.utils.texts import read_text


class Source(Protocol):
    """Where a dataset reads its GT images: images by number, with names."""

    names: list[str]

    def read(self, index: int) -> Tensor:
        """Return image ``index``, (C, H, W) float32 in [0, 1]."""


class _Photographs:
    """RGB photographs: a folder's, those that a meta-info file lists, or an lmdb's.

    Args:
        options: A dataset's section; read here: ``dataroot_gt``, ``meta_info_file``, ``io_backend``.
        where: What to call the dataset in errors.

    Raises:
        TimError: The folder, the list or the lmdb cannot be read, or holds no image.
    """

    def __init__(self, options: Mapping[str, Any], where: str) -> None:
        self.backend = dict(options.get("io_backend") or {"type": "disk"})
        self.client: FileClient | None = None
        self.root, listed = os.path.expanduser(options["dataroot_gt"]), options.get("meta_info_file")
        if self.backend["type"] == "lmdb":
            self.backend.update(db_paths=[self.root], client_keys=["gt"])
            self.names = [name.rsplit(".", 1)[0] for name in listed_names(Path(self.root) / "meta_info.txt", where)]
        elif listed:
            self.names = [str(Path(self.root) / name) for name in listed_names(Path(listed).expanduser(), where)]
        else:
            self.names = [str(path) for path in list_images(self.root)]

    def read(self, index: int) -> Tensor:
        """Return (3, H, W) float32 in [0, 1].

        Raises:
            TimError: The file is missing or damaged.
        """
        if self.client is None:  # made in the worker: an lmdb environment does not survive a fork
            options = dict(self.backend)
            try:
                self.client = FileClient(options.pop("type"), **options)
            except lmdb.Error as error:
                raise TimError(f"{self.root}: cannot be opened as an lmdb: {error}") from error
        path = self.names[index]
        if self.backend["type"] == "disk":
            return decode_image(read_bytes(path), path).rgb
        try:
            content = self.client.get(path, "gt")
        except OSError as error:
            raise TimError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeEncodeError as error:
            raise TimError(f"{path}: is no key of an lmdb, which BasicSR writes in ASCII") from error
        if content is None:
            raise TimError(f"{path}: is not in the lmdb {self.root}, though its meta_info.txt names it")
        return decode_image(bytes(content), path).rgb


class Digits:
    """Handwritten digits, padded to 32x32.

    Args:
        source: The digits, as :func:`tim_plugin.utils.digit_files.read_digits` takes them.

    Raises:
        TimError: They cannot be read.
    """

    def __init__(self, source: str) -> None:
        self.digits = read_digits(source)
        self.name = Path(source).name.split(".")[0]
        self.names = [f"{self.name}_{index:05d}" for index in range(len(self.digits))]

    def read(self, index: int) -> Tensor:
        """Return (1, 32, 32) float32 in [0, 1]."""
        return self.digits[index].to(torch.float32) / 255


def open_source(options: Mapping[str, Any], where: str) -> Source:
    """Open the images that a dataset's ``dataroot_gt`` names, or the first ``max_images`` of them.

    Args:
        options: The dataset's section.
        where: What to call the dataset in errors.

    Raises:
        TimError: It is missing, or cannot be read.
    """
    root = options.get("dataroot_gt")
    if root is None:
        raise TimError(f"{where}: dataroot_gt is missing: the folder of photographs")
    source = Digits(str(root)) if is_digits(str(root)) else _Photographs(options, where)
    source.names = source.names[: options.get("max_images")]
    return source


def listed_names(path: Path, where: str) -> list[str]:
    """Return the name of the image of each line of a meta-info file: what stands before its size, or the first word.

    Raises:
        TimError: It cannot be read, is no UTF-8 text, or is empty.
    """
    lines = read_text(path, f"{where}: meta_info_file {path}", any_names=True).splitlines()
    found = [(line, re.match(r"(.+?) \(\d+ *,", line)) for line in map(str.strip, lines) if line]
    names = [match.group(1) if match else line.split()[0] for line, match in found]
    if not names:
        raise TimError(f"{where}: meta_info_file {path} is empty: one line an image, 'NAME.png (256,256,3)'")
    return names
