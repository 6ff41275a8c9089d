"""The demos' photographs: those that the wheels of scikit-image, scikit-learn and matplotlib hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.resize import bicubic_resize

PHOTOS = {  # where each photograph stands: package and path inside it
    "astronaut": ("skimage", "data/astronaut.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "grass": ("skimage", "data/grass.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
HELD_OUT = ("chelsea", "flower", "coffee", "rocket")
BLUR = 3  # of the noisy photographs, in pixels
NOISE_STD = 0.05
SHORT_SIDES_PX = (96, 144, 216)  # each training photograph is there in several sizes, so that a crop shows more or less


def write_photos(folder: Path) -> None:
    """Write the installed photographs to ``folder/train`` (several sizes each) and ``folder/val``, once.

    Raises:
        TimError: A package is not installed or does not hold its photograph.
    """
    for name in PHOTOS:
        phase, sides = ("val", (SHORT_SIDES_PX[1],)) if name in HELD_OUT else ("train", SHORT_SIDES_PX)
        for side in sides:
            target = folder / phase / f"{name}_{side}.png"
            if not target.exists():
                rgb = read_image(_installed(name)).rgb
                height, width = (round(size * side / min(rgb.shape[-2:])) for size in rgb.shape[-2:])
                write_png(target, bicubic_resize(rgb, (height, width)).clamp(0, 1))


def write_noisy(photos: Path, folder: Path) -> None:
    """Write an LQ of the same size for each photograph, once: blurred (shrunk by 3 and enlarged) and noisy.

    Args:
        photos: What :func:`write_photos` has written.
        folder: ``train`` and ``val`` are made in it, with files of the photographs' names.
    """
    for number, path in enumerate(sorted(photos.glob("*/*.png"))):
        target = folder / path.parent.name / path.name
        if not target.exists():
            rgb, generator = read_image(path).rgb, torch.Generator().manual_seed(number)
            size = tuple(rgb.shape[-2:])
            blurred = bicubic_resize(bicubic_resize(rgb, tuple(side // BLUR for side in size)), size)
            write_png(target, (blurred + NOISE_STD * torch.randn(rgb.shape, generator=generator)).clamp(0, 1))


def _installed(name: str) -> Path:
    package, path = PHOTOS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / path).is_file():
        raise TimError(
            f"the demo's photograph {path} of the package '{package}' is not installed: "
            "pip install 'tim_plugin[demo]', or run make demo"
        )
    return Path(spec.origin).parent / path
