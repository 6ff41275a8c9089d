"""Tensors whose values lie in temporary files (memory-mapped), for images that do not fit into memory.

To torch they are ordinary CPU tensors. What was read or written of them stays in memory until :func:`release` is called
or the system needs the room.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import shutil
import tempfile
import weakref

import torch
from torch import Tensor

from tim_plugin.utils.errors import TimError

FLOAT_BYTES = 4

_mappings: weakref.WeakValueDictionary[int, mmap.mmap] = weakref.WeakValueDictionary()  # by where their storage begins


def on_disk(*shape: int) -> Tensor:
    """Return a float32 tensor of undefined values in a temporary file, which is deleted with the tensor.

    Raises:
        TimError: The system's temporary folder has no room for it.
    """
    size = FLOAT_BYTES * math.prod(shape)
    with tempfile.TemporaryFile() as file:
        try:  # a full disk must show here: writing to a mapping without room behind it kills the process
            _reserve(file.fileno(), size)
        except OSError as error:
            raise TimError(
                f"{tempfile.gettempdir()}: has no room for a temporary file of {size / 2**30:.1f} GiB "
                f"({error.strerror}): set TMPDIR to a folder that has, or allow more memory with --memory-gib"
            ) from error
        mapping = mmap.mmap(file.fileno(), size)  # keeps the file
    made = torch.frombuffer(mapping, dtype=torch.float32)
    _mappings[_place(made)] = mapping
    return made.view(shape)


def is_on_disk(tensor: Tensor) -> bool:
    """Tell whether a tensor was made by :func:`on_disk`, or is a view of one that was."""
    return _place(tensor) in _mappings


def empty_like(tensor: Tensor) -> Tensor:
    """Return a tensor of undefined values of the same shape, on disk if the given one is."""
    return on_disk(*tensor.shape) if is_on_disk(tensor) else torch.empty_like(tensor)


def release(*tensors: Tensor) -> None:
    """Free the memory that tensors on disk occupy; their values stay in the files. Other tensors are left alone."""
    for tensor in tensors:
        mapping = _mappings.get(_place(tensor))
        if mapping is not None and hasattr(mapping, "madvise"):  # Windows has none, and does it by itself when it must
            mapping.madvise(mmap.MADV_DONTNEED)  # of a shared mapping: the file keeps what was written


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    if shutil.disk_usage(tempfile.gettempdir()).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, size)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
