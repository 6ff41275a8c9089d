"""spandrel: towers among the architectures that ``spandrel.ModelLoader`` knows, and so in the programs that use it.

``tim_plugin.spandrel.install()`` once, before a file is loaded. A tower cannot be rebuilt from its weights alone, and
spandrel hands an architecture nothing but those: the arguments that our files hold are passed on beside them.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, ModelLoader, ModelTiling
from torch import Tensor

from tim_plugin.inference.tower import Tower
from tim_plugin.utils.checkpoints import read_checkpoint
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.networks import network_of
from tim_plugin.utils.weight_headers import TOWER

ID = "TowerImplicitModel"
ARGUMENTS = "tim_plugin.network_g"  # beside the weights, between the loader and the architecture
KEYS = {"levels.0.conv_first.bias", "levels.0.conv_last.bias"}  # that every tower has
OF_PICTURES = ("bicubic", "lightness", "unknown")  # degradations whose inputs are pictures in RGB


def install(seed: int = 0, sample: int = 0) -> None:
    """Add towers to spandrel's main registry; a second call sets seed and sample of what is loaded from then on.

    Args:
        seed: That a descriptor's samples are drawn with, so that the same image gives the same result.
        sample: Which of the samples of the seed.

    Example::

        tim_plugin.spandrel.install()
        tower = spandrel.ModelLoader().load_from_file("net_g_latest.pth")
        enlarged = tower(image)                     # (1, 3, H, W) in [0, 1] -> (1, 3, scale H, scale W)
        another = tower(image, seed=0, sample=1)
    """
    if ID not in MAIN_REGISTRY:
        MAIN_REGISTRY.add(ArchSupport.from_architecture(TowerArchitecture()))
        _keep_arguments()
    architecture = MAIN_REGISTRY[ID].architecture
    architecture.seed, architecture.sample = seed, sample


class TowerArchitecture(Architecture):
    """What spandrel asks of an architecture.

    Attributes:
        seed: Of the descriptors that it makes.
        sample: Of the descriptors that it makes.
    """

    def __init__(self) -> None:
        super().__init__(id=ID, name="Tower Implicit Model", detect=lambda state: ARGUMENTS in state)
        self.seed = self.sample = 0

    def load(self, state_dict: dict[str, Any]) -> TowerDescriptor:
        """Return the descriptor of weights with their arguments.

        Raises:
            TimError: The tower's inputs are no pictures: JPEG files, label maps, digits.
        """
        options = state_dict[ARGUMENTS]
        network = network_of(options)
        return TowerDescriptor(
            Tower(network, ID, options),
            network.renamed({key: value for key, value in state_dict.items() if key != ARGUMENTS}),
            self,
        )


class TowerDescriptor(ImageModelDescriptor):
    """A tower as spandrel's users know models: called with an image, it returns one sample.

    Args:
        tower: The tower.
        state: Its weights.
        architecture: Where it is from.

    Attributes:
        tower: With all that :class:`tim_plugin.Tower` has, such as ``sample``.
        seed: Of what is drawn, where a call names none.
        sample: Which of the samples of the seed, where a call names none.

    Raises:
        TimError: Its inputs are no pictures.
    """

    def __init__(self, tower: Tower, state: dict[str, Tensor], architecture: TowerArchitecture) -> None:
        kind = tower.network.spec.degradation["type"]
        channels = tower.network.spec.num_in_ch, tower.network.spec.num_out_ch
        if kind not in OF_PICTURES or (kind == "unknown" and channels != (3, 3)):
            raise TimError(f"this tower reads '{kind}' inputs, and spandrel's are pictures: use tim_plugin.load")
        self.tower, self.seed, self.sample = tower, architecture.seed, architecture.sample
        super().__init__(
            tower.network,
            state,
            architecture,
            purpose="SR" if tower.scale > 1 else "Restoration",
            tags=[f"{tower.num_levels} levels", kind],
            supports_half=False,
            supports_bfloat16=False,
            scale=tower.scale,
            input_channels=3,
            output_channels=3,
            tiling=ModelTiling.INTERNAL,
        )

    def __call__(self, image: Tensor, seed: int | None = None, sample: int | None = None) -> Tensor:
        """Return one sample of an image.

        Args:
            image: (1, 3, H, W) in [0, 1].
            seed: None: that of the descriptor.
            sample: Which of the samples of the seed; None: that of the descriptor.

        Returns:
            (1, 3, scale H, scale W) in [0, 1], on the 8-bit grid, as ``tim_plugin.Tower.sample`` gives it.

        Raises:
            TimError: The image is of another shape or range.
        """
        seed, sample = self.seed if seed is None else seed, self.sample if sample is None else sample
        if image.dim() != 4 or len(image) != 1:
            raise TimError(f"the image is a tensor of shape {tuple(image.shape)}: give (1, 3, H, W)")
        with torch.inference_mode():
            found = self.tower.sample(image[0], 1, seed, level_seeds=[sample] * self.tower.num_levels)
        return found.images.to(image)


def _keep_arguments() -> None:
    """Let ``ModelLoader`` keep a tower's arguments, which it would drop with what else a file holds."""
    load = ModelLoader.load_state_dict_from_file

    @wraps(load)
    def load_with_arguments(self: ModelLoader, path: str | Path) -> dict[str, Any]:
        state = load(self, path)
        if not KEYS <= state.keys():
            return state
        options = read_checkpoint(path).get("network_g", {})
        return {**state, ARGUMENTS: options} if options.get("type") == TOWER else state

    ModelLoader.load_state_dict_from_file = load_with_arguments
