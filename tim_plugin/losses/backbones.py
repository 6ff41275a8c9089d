"""Feature networks of the distance: torchvision's VGG16, AlexNet and SqueezeNet 1.1 up to LPIPS's last layer, and
``tim_small``.

Of torchvision's only the ``features`` part is built (on the meta device first, so that nothing is initialised in vain
and global random state stays as it is).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from tim_plugin.losses.backbone_files import feature_state, imagenet_file, require_file
from tim_plugin.losses.tim_small import SmallTrunk
from tim_plugin.utils.bundled import Weights, read_bundled, read_weights
from tim_plugin.utils.errors import TimError, did_you_mean

TIM_SMALL = "tim_small"
HEADS_KEY, TRUNK_KEY = "heads", "trunk."  # in the files of TIM_SMALL's weights


@dataclass(frozen=True)
class Backbone:
    """What is known of one of torchvision's networks.

    Attributes:
        build: torchvision's constructor.
        weights: torchvision's ImageNet weights (their address names the file).
        taps: The layer of ``features`` after which each feature map is taken (LPIPS v0.1).
        channels: Channels of each map.
        heads: Name of the lpips package's head file.
        min_px: Smallest side that leaves every map at least one position; smaller images are enlarged to it.
    """

    build: Callable[..., nn.Module]
    weights: torchvision.models.WeightsEnum
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    heads: str
    min_px: int


BACKBONES = {
    "vgg16": Backbone(
        torchvision.models.vgg16,
        torchvision.models.VGG16_Weights.IMAGENET1K_V1,
        (3, 8, 15, 22, 29),
        (64, 128, 256, 512, 512),
        "vgg",
        16,
    ),
    "alexnet": Backbone(
        torchvision.models.alexnet,
        torchvision.models.AlexNet_Weights.IMAGENET1K_V1,
        (1, 4, 7, 9, 11),
        (64, 192, 384, 256, 256),
        "alex",
        31,
    ),
    "squeezenet1_1": Backbone(
        torchvision.models.squeezenet1_1,
        torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
        (1, 4, 7, 9, 10, 11, 12),
        (64, 128, 256, 384, 384, 512, 512),
        "squeeze",
        17,
    ),
}


def open_trunk(name: str, weights: str, seed: int = 0) -> tuple[Trunk | SmallTrunk, Tensor | None]:
    """Return a frozen trunk (with ``channels`` and ``min_px``), and the channel weights that lie beside its weights.

    Args:
        name: A key of :data:`BACKBONES`, or TIM_SMALL.
        weights: ``imagenet``, ``random`` or a path of a torchvision state dict; for TIM_SMALL ``bundled``, ``random``
            or a path of a file of ``tools/train_backbone.py``.
        seed: For ``random``.

    Raises:
        MissingWeightsError: ImageNet weights are not there and cannot be downloaded.
        TimError: An unknown name, no such file, or a file that does not fit.
    """
    require_weights(name, weights)
    return _open_small(weights, seed) if name == TIM_SMALL else (Trunk(name, weights, seed, whole=False), None)


def require_weights(name: str, weights: str) -> None:
    """See that a trunk's weights are there; ImageNet's are downloaded if they are not. Nothing is built.

    Args:
        name: See :func:`open_trunk`; so is ``weights``.
        weights: Of the trunk.

    Raises:
        MissingWeightsError: ImageNet weights are not there and cannot be downloaded.
        TimError: An unknown name, or no such file.
    """
    if name not in (*BACKBONES, TIM_SMALL):
        raise TimError(f"backbone {name!r} is not known: {did_you_mean(str(name), (*BACKBONES, TIM_SMALL))}")
    own, others = ("bundled", "imagenet") if name == TIM_SMALL else ("imagenet", "bundled")
    if weights == others == "imagenet":
        raise TimError(f"weights 'imagenet': there are none for backbone {TIM_SMALL}: use weights: bundled")
    if weights == others:
        raise TimError(f"weights 'bundled': only {TIM_SMALL} has them, {name} has not: use backbone: {TIM_SMALL}")
    if weights == "imagenet":
        imagenet_file(BACKBONES[name].weights.url)
    elif weights not in (own, "random"):
        require_file(Path(str(weights)).expanduser(), (own, "random"))


def _open_small(weights: str, seed: int) -> tuple[SmallTrunk, Tensor | None]:
    if weights == "random":
        with torch.random.fork_rng(devices=[]):  # a constructor draws from the global generator
            trunk = SmallTrunk()
        return trunk.randomise(torch.Generator().manual_seed(seed)).requires_grad_(False).eval(), None
    if weights == "bundled":
        return _small_of(read_bundled(TIM_SMALL), "bundled")
    path = Path(str(weights)).expanduser()
    return _small_of(read_weights(path), str(path))


def _small_of(found: Weights, where: str) -> tuple[SmallTrunk, Tensor]:
    """Return TIM_SMALL's trunk, frozen, and its heads (channels of all maps,), from what a file holds.

    Args:
        found: What was read.
        where: From where, for errors.

    Raises:
        TimError: It is of another network.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            trunk = SmallTrunk(**found.arguments)
        trunk.load_state_dict(
            {key.removeprefix(TRUNK_KEY): value for key, value in found.state.items() if key != HEADS_KEY}
        )
        heads = found.state[HEADS_KEY]
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise TimError(
            f"weights {where} do not fit backbone {TIM_SMALL} ({str(error).splitlines()[0]}); give a file of "
            "tools/train_backbone.py"
        ) from error
    if heads.shape != (sum(trunk.channels),) or (heads < 0).any():
        raise TimError(f"weights {where}: heads must be {sum(trunk.channels)} numbers, none of them negative")
    return trunk.requires_grad_(False).eval(), heads


class Trunk(nn.Module):
    """The feature layers of one of torchvision's networks, frozen; returns its maps before normalisation.

    Args:
        name: A key of :data:`BACKBONES`.
        weights: ``imagenet``, ``random`` or the path of a torchvision state dict.
        seed: For ``random``.
        whole: Whether a file must have all layers; else it may end after one that a map is taken from, and the trunk
            ends there too.

    Attributes:
        taps: The layers after which maps are taken.
        channels: Of each map.

    Raises:
        TimError: An unknown name, weights that are not to be had, or a file that does not fit.
    """

    def __init__(self, name: str, weights: str, seed: int = 0, *, whole: bool = True) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise TimError(f"backbone {name!r} is not known: {did_you_mean(str(name), BACKBONES)}")
        self.facts = BACKBONES[name]
        with torch.device("meta"):
            layers = list(self.facts.build(weights=None).features)[: self.facts.taps[-1] + 1]
        path = None if weights == "random" else self._file(weights)
        state = {} if path is None else feature_state(path)
        self.taps = self.facts.taps if whole or path is None else _taps_of(layers, self.facts.taps, state)
        self.channels, self.min_px = self.facts.channels[: len(self.taps)], self.facts.min_px
        self.layers = nn.Sequential(*layers[: self.taps[-1] + 1]).to_empty(device="cpu")
        if path is None:
            _randomise(self.layers, torch.Generator().manual_seed(seed))
        else:
            self._load(name, path, state)
        self.requires_grad_(False)
        super().train(False)

    def _file(self, weights: str) -> Path:
        return imagenet_file(self.facts.weights.url) if weights == "imagenet" else Path(str(weights)).expanduser()

    def _load(self, name: str, path: Path, state: Mapping[str, Tensor]) -> None:
        own = self.layers.state_dict()
        wrong = [
            _difference(key, value, state.get(key))
            for key, value in own.items()
            if getattr(state.get(key), "shape", None) != value.shape
        ]
        if wrong:
            raise TimError(
                f"weights {path} do not fit backbone {name} ({len(wrong)} of {len(own)} keys differ): "
                f"{'; '.join(wrong[:3])}; give torchvision's state dict of {name}"
            )
        self.layers.load_state_dict({key: state[key].float() for key in own})

    def train(self, mode: bool = True) -> Trunk:
        """Stay in eval mode: the trunk is a fixed measure."""
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps (N, C_l, H_l, W_l) of inputs (N, 3, H, W), normalised as for LPIPS."""
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        return maps


def _taps_of(layers: list[nn.Module], taps: tuple[int, ...], state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return those of the taps that a file has all layers for, if it has no others; else all of them."""
    weighted = [index for index, layer in enumerate(layers) if layer.state_dict()]
    there = [index for index in weighted if any(key.startswith(f"{index}.") for key in state)]
    reached = [tap for tap in taps if {index for index in weighted if index <= tap} <= set(there)]
    return tuple(reached) if reached and there[-1] <= reached[-1] else taps


def _randomise(layers: nn.Module, generator: torch.Generator) -> None:
    """He initialisation, which keeps the size of activations, and no biases.

    Filters without their mean follow trained features more closely over distorted photographs, but a small tower
    trained with them gives half the diversity for the same best-of-n: they see little but the finest detail.
    """
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)


def _difference(key: str, wanted: Tensor, found: Tensor | None) -> str:
    if found is None:
        return f"features.{key} is missing"
    return f"features.{key} is {tuple(getattr(found, 'shape', ()))}, not {tuple(wanted.shape)}"
