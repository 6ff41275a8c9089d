"""Running all levels of a generator, and two options of training for levels: activation checkpointing, compilation."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tim_plugin.imle.latents import Latents
from tim_plugin.imle.types import Condition
from tim_plugin.utils.errors import TimError

_MOST_SHAPES = 64  # all levels are one piece of code to torch.compile, which by default gives up after 8 shapes of it
_COMPILERS = ("g++", "c++", "clang++")


def all_levels(network: Any, conditions: Sequence[Condition], latents: Latents) -> list[Tensor]:
    """Return the image of each level, coarse to fine.

    Args:
        network: A generator with ``forward_level``.
        conditions: One a level.
        latents: Of the network's ``latent_shapes``.

    Returns:
        Images (N, C, H, W), one a level.
    """
    run = network.forward_level
    if getattr(network, "checkpoints_levels", False) and torch.is_grad_enabled():
        run = partial(checkpoint, run, use_reentrant=False)
    images: list[Tensor] = []
    state = None
    for level, (condition, latent) in enumerate(zip(conditions, latents, strict=True)):
        image, state = run(level, condition, latent, state)
        images.append(image)
    return images


def checkpoint_levels(network: nn.Module) -> None:
    """Save memory in training: keep only the levels' inputs and outputs, and run each level again in the backward pass.

    Raises:
        TimError: The network has no levels.
    """
    if not hasattr(network, "forward_level"):
        raise TimError(f"train: checkpoint_levels: {type(network).__name__} has no levels: leave it out")
    network.checkpoints_levels = True


def compile_levels(network: nn.Module, device: torch.device) -> None:
    """Compile each level, or a network without levels as a whole, for passes with a gradient.

    Searches run the levels uncompiled: their chunks have many sizes, and each would be compiled anew.

    Raises:
        TimError: Triton (on a GPU) or a C++ compiler (on a CPU) is not installed.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise TimError("train: compile: torch.compile needs triton on a GPU, and it is not installed: use false")
    if device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
        raise TimError(f"train: compile: torch.compile needs a C++ compiler ({', '.join(_COMPILERS)}): use false")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_SHAPES)
    levels = getattr(network, "levels", None)
    for module in levels if isinstance(levels, nn.ModuleList) else [network]:
        # Shapes are fixed: with symbolic ones torch 2.14 does not compile levels of several sizes.
        module.forward = _in_training(torch.compile(module.forward, dynamic=False), module.forward)


def _in_training(compiled: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    def forward(*args: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*args)
        try:
            return compiled(*args)
        except TorchDynamoException as error:
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise TimError(f"train: compile: torch.compile failed ({reason}): use compile: false") from error

    return forward
