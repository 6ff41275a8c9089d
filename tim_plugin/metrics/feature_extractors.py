"""What distances between sets of images are measured on: Inception by torch-fidelity, or SqueezeNet 1.1.

A Frechet distance on other features than Inception's is not called FID: :attr:`Extractor.frechet` is its name.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from tim_plugin.losses.backbones import Trunk, require_weights
from tim_plugin.utils.errors import MissingWeightsError, TimError
from tim_plugin.utils.tensor_files import read_tensors
from tim_plugin.utils.weight_headers import SUFFIX

SQUEEZENET = "tim-squeezenet"
INCEPTION = "inception-v3-compat"
KNOWN = ("inception", "squeezenet")
MARKS = {"Conv2d_1a_3x3.conv.weight": "inception", "features.0.weight": "squeezenet"}  # a key that only this has
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, what torchvision's networks read
SMALLEST_SIDE_PX = 64  # smaller images are enlarged: below, the last map has hardly a position


class SqueezeNetFeatures(FeatureExtractorBase):
    """The last map of SqueezeNet 1.1, averaged over positions; registered with torch-fidelity as ``tim-squeezenet``.

    Args:
        name: As registered.
        features_list: ``["512"]``.
        feature_extractor_weights_path: torchvision's state dict; None takes (and may download) torchvision's own file.
        kwargs: torch-fidelity's other options, which do not matter here.

    Raises:
        TimError: The weights are not to be had, or do not fit.
    """

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name, features_list)
        self.trunk = Trunk("squeezenet1_1", feature_extractor_weights_path or "imagenet")
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """Return the names of the features there are."""
        return ("512",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """Return the features that a metric is measured on."""
        return "512"

    @staticmethod
    def can_be_compiled() -> bool:
        """Tell torch-fidelity to leave the network as it is."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """Return an input of the right kind."""
        return torch.zeros(1, 3, SMALLEST_SIDE_PX, SMALLEST_SIDE_PX, dtype=torch.uint8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return ((N, 512),) of uint8 images (N, 3, H, W)."""
        images = x.to(self.mean.dtype) / 255
        short = min(images.shape[-2:])
        if short < SMALLEST_SIDE_PX:
            size = [max(round(side * SMALLEST_SIDE_PX / short), SMALLEST_SIDE_PX) for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return (self.trunk((images - self.mean) / self.std)[-1].mean(dim=(2, 3)),)


class Extractor(NamedTuple):
    """A feature network and how what is measured on it is called.

    Attributes:
        network: Gives ((N, D),) of uint8 images (N, 3, H, W).
        name: For people, with the weights' file.
        frechet: ``fid``, or ``frechet_squeezenet``.
        kid: ``kid``, or ``kid_squeezenet``.
        digest: Of the weights, for caches.
        width: D, the number of features.
    """

    network: FeatureExtractorBase
    name: str
    frechet: str
    kid: str
    digest: str
    width: int

    @property
    def cfid(self) -> str:
        """``cfid``, or ``cfid_squeezenet``."""
        return self.kid.replace("kid", "cfid")


def build_extractor(choice: str, option: str = "--feature-extractor", names: Sequence[str] = KNOWN) -> Extractor:
    """Build what ``--feature-extractor`` names.

    Args:
        choice: ``inception``, ``squeezenet``, or the path of a state dict of one of them.
        option: Where the user chose it, for errors.
        names: What the user can give there in place of a path, for errors; none where no path can be given.

    Raises:
        MissingWeightsError: The public file of the weights is not there.
        TimError: The user's own file is not there, or is of another network.
    """
    path = require_extractor(choice, option, names)
    # torch-fidelity reads the file with pickle: only what holds nothing but tensors is handed over.
    kind = choice if path is None else _kind_of(path, option)
    if kind == "squeezenet":
        return _squeezenet(path, option)
    with tempfile.TemporaryDirectory() as folder:
        file = path
        if path.suffix == SUFFIX:  # which torch-fidelity does not read
            file = Path(folder) / "inception.pth"
            torch.save(read_tensors(path), file)
        network = FeatureExtractorInceptionV3(INCEPTION, ["2048"], feature_extractor_weights_path=str(file))
    return Extractor(network, f"Inception v3 ({path.name}), 2048 features", "fid", "kid", _digest(network), 2048)


def require_extractor(choice: str, option: str = "--feature-extractor", names: Sequence[str] = KNOWN) -> Path | None:
    """Return the file that :func:`build_extractor` reads, which is there; None for torchvision's own of SqueezeNet.

    Args:
        choice: See :func:`build_extractor`; so are ``option`` and ``names``.
        option: For errors.
        names: For errors.

    Raises:
        MissingWeightsError: The public file of the weights is not there.
        TimError: The user's own file is not there.
    """
    if choice == "inception":
        return _inception_file(option, names)
    if choice == "squeezenet":
        with _naming(option):
            require_weights("squeezenet1_1", "imagenet")
        return None
    path = Path(choice).expanduser()
    if not path.is_file():
        raise TimError(f"{option} {path}: is neither {' nor '.join(names)} nor a file that is there; give one of these")
    return path


def _squeezenet(path: Path | None, option: str) -> Extractor:
    """Build SqueezeNet from a file, or from torchvision's own."""
    if SQUEEZENET not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(SQUEEZENET, SqueezeNetFeatures)
    with _naming(option):
        network = SqueezeNetFeatures(SQUEEZENET, ["512"], None if path is None else str(path))
    name = f"squeezenet1_1 ({'torchvision' if path is None else path.name}), last map, 512 features"
    return Extractor(network, name, "frechet_squeezenet", "kid_squeezenet", _digest(network), 512)


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Say of missing weights of SqueezeNet which option asked for them."""
    try:
        yield
    except MissingWeightsError as error:
        what = str(error).replace("weights 'imagenet'", f"{option} squeezenet").replace("weights: ", f"{option} ")
        raise MissingWeightsError(what) from error


def _inception_file(option: str, names: Sequence[str]) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]
    if not path.is_file():
        what = f"{option} inception: {path.name} is not in {path.parent}: put torch-fidelity's file of that name there"
        other = f", or give the path of your copy as {option} PATH; squeezenet gives frechet_squeezenet, kid_squeezenet"
        raise MissingWeightsError(what + (other if names else ""))
    return path


def _kind_of(path: Path, option: str) -> str:
    try:
        state = read_tensors(path)
    except Exception as error:  # unpickling fails in many ways
        raise TimError(
            f"{option} {path}: cannot be read: damaged, or more than a state dict ({type(error).__name__})"
        ) from error
    for mark, kind in MARKS.items():
        if isinstance(state, Mapping) and mark in state:
            return kind
    raise TimError(
        f"{option} {path}: is the state dict of neither torch-fidelity's Inception nor torchvision's squeezenet1_1"
    )


def _digest(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
