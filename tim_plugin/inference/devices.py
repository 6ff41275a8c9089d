"""The device that a command computes on, and how much memory this process takes of it already."""

from __future__ import annotations

import sys

import torch

from tim_plugin.inference.arguments import GIB
from tim_plugin.utils.errors import TimError

LIBRARIES_BYTES = GIB  # where nothing tells what the process takes


def choose_device(name: str | None) -> torch.device:
    """Return the device that ``--device`` names; None takes CUDA where there is one.

    Raises:
        TimError: It is not to be had on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # a device that computes: ``meta`` makes tensors, but without values
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        raise TimError(f"--device {name}: is not to be had on this machine; leave it out or use cpu") from error
    return device


def own_bytes(device: torch.device) -> int:
    """Return what the process takes already: its largest size so far, or on CUDA what lies on the device."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return LIBRARIES_BYTES
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
