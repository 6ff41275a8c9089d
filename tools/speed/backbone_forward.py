"""The forward pass of our trunk against SqueezeNet's, on the same images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speed.timing import Comparison, compare
from tim_plugin.losses.backbones import TIM_SMALL, open_trunk

PLAIN = "squeezenet1_1"
SIZES = ((64, 64), (1, 256))  # images, side in pixels
LAYOUTS = {torch.contiguous_format: "forward", torch.channels_last: "forward, SqueezeNet in channels_last"}


@torch.no_grad()
def benchmark_backbone(repeats: int = 5, device: str = "cpu") -> list[Comparison]:
    """Time both trunks; random weights take as long as trained ones.

    SqueezeNet is given images as PyTorch makes them, and laid out as our trunk lays them out itself.

    Args:
        repeats: Pairs that are timed.
        device: ``cpu`` or ``cuda``.
    """
    trunks = {name: open_trunk(name, "random")[0].to(device) for name in (PLAIN, TIM_SMALL)}
    generator, found = torch.Generator().manual_seed(0), []
    for count, side in SIZES:
        images = torch.randn(count, 3, side, side, generator=generator).to(device)
        counts = {
            f"{name}, {what} an image": amount
            for name in trunks
            for what, amount in work(trunks[name], images[:1]).items()
        }
        ours = (TIM_SMALL, lambda images=images: trunks[TIM_SMALL](images))
        for layout, what in LAYOUTS.items():
            given = images.contiguous(memory_format=layout)
            plain = (PLAIN, lambda given=given: trunks[PLAIN](given))
            setting = f"{count} of {side}x{side}, {what}"
            found.append(compare("backbone", setting, plain, ours, repeats, device, counts=counts))
    return found


def work(trunk: nn.Module, image: Tensor) -> dict[str, float]:
    """Return what a trunk does for (1, 3, H, W): multiplications of its convolutions, numbers that its layers write."""
    found = {"million multiplications": 0.0, "million numbers written": 0.0}

    def count(layer: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
        found["million numbers written"] += made.numel() / 1e6
        if isinstance(layer, nn.Conv2d):
            found["million multiplications"] += made[0].numel() * layer.weight[0].numel() / 1e6

    hooks = [one.register_forward_hook(count) for one in trunk.modules() if not list(one.children())]
    trunk(image)
    for hook in hooks:
        hook.remove()
    return found
