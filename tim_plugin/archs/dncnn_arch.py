"""DnCNN (Zhang et al. 2017): a plain network that gives what is to be subtracted from its input."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class DnCNN(nn.Module):
    """Convolution, ReLU; then convolution, batch norm, ReLU again and again; a last convolution; input minus that.

    Args:
        num_in_ch: Channels of input and output.
        num_feat: Channels between convolutions.
        num_layers: Convolutions: 17 for grey noise, 20 for colour and for JPEG (DnCNN-3).
        batch_norm: False for weights into which it was folded, as most public files are.
        norm_eps: What batch norm adds to the variances: 1e-4 for weights that the authors' training code made.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_feat: int = 64,
        num_layers: int = 20,
        batch_norm: bool = True,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=not batch_norm) for _ in range(num_layers - 2)
        )
        norms = (nn.BatchNorm2d(num_feat, eps=norm_eps) for _ in range(num_layers - 2))
        self.norms = nn.ModuleList(norms) if batch_norm else None
        self.last = nn.Conv2d(num_feat, num_in_ch, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image (N, C, H, W), nominally in [0, 1], of an LQ (N, C, H, W) in [0, 1]."""
        out = self.relu(self.first(x))
        for index, conv in enumerate(self.convs):
            out = conv(out)
            out = self.relu(out if self.norms is None else self.norms[index](out))
        return x - self.last(out)

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a public state dict under this network's keys; one of its own is returned as it is.

        Public files are one chain, ``model.K`` or ``dncnn.K``: convolutions at 0, 2, 4, ... where batch norm is folded
        in; else at 0, 2, 5, 8, ..., each but the first and last with its batch norm behind it. Running means tell
        which. Some have no bias in the first or last convolution: it is 0. Others have one in front of a batch norm,
        where this network has none: the running mean takes it.
        """
        parts = {key: re.fullmatch(r"(?:model|dncnn)\.(\d+)\.(\w+)", key) for key in state}
        if not all(parts.values()):
            return dict(state)
        norms = sorted({int(found[1]) for key, found in parts.items() if found[2] == "running_mean"})
        convs = sorted({int(found[1]) for found in parts.values()} - set(norms))
        places = {place: f"convs.{index - 1}" for index, place in enumerate(convs)}
        places |= {convs[0]: "first", convs[-1]: "last"}
        places |= {place: f"norms.{index}" for index, place in enumerate(norms)}
        ours = {f"{places[int(found[1])]}.{found[2]}": state[key] for key, found in parts.items()}
        for name in ("first", "last"):
            if f"{name}.weight" in ours:
                ours.setdefault(f"{name}.bias", torch.zeros(len(ours[f"{name}.weight"])))
        for index in range(len(norms)):
            if (bias := ours.pop(f"convs.{index}.bias", None)) is not None:
                ours[f"norms.{index}.running_mean"] = ours[f"norms.{index}.running_mean"] - bias
        return ours
