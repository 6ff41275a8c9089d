"""The forward pass of our trunk against SqueezeNet's, on the same images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tim_plugin.benchmarks.timing import Comparison, compare
from tim_plugin.imle.backbones import TIM_SMALL, open_trunk

PLAIN = "squeezenet1_1"
SIZES = ((64, 64), (1, 256))  # images, side in pixels


@torch.no_grad()
def benchmark_backbone(repeats: int = 5, device: str = "cpu") -> list[Comparison]:
    """Time both trunks; random weights take as long as trained ones.

    Args:
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
    """
    trunks = {name: open_trunk(name, "random")[0].to(device) for name in (PLAIN, TIM_SMALL)}
    generator, found = torch.Generator().manual_seed(0), []
    for count, side in SIZES:
        images = torch.randn(count, 3, side, side, generator=generator).to(device)
        counts = {
            f"{name}, million multiplications an image": multiplications(trunks[name], images[:1]) / 1e6
            for name in trunks
        }
        plain, ours = ((name, lambda trunk=trunks[name], images=images: trunk(images)) for name in (PLAIN, TIM_SMALL))
        found.append(
            compare("backbone", f"{count} of {side}x{side}, forward", plain, ours, repeats, device, counts=counts)
        )
    return found


def multiplications(trunk: nn.Module, image: Tensor) -> int:
    """Return how many multiplications a trunk's convolutions make of (1, 3, H, W)."""
    total = 0

    def count(layer: nn.Conv2d, given: tuple[Tensor], made: Tensor) -> None:
        nonlocal total
        total += made[0].numel() * layer.weight[0].numel()

    hooks = [one.register_forward_hook(count) for one in trunk.modules() if isinstance(one, nn.Conv2d)]
    trunk(image)
    for hook in hooks:
        hook.remove()
    return total
