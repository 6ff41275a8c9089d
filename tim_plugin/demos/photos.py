"""The demos' photographs: those that the wheels of scikit-image, scikit-learn and matplotlib hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tim_plugin.errors import TimError
from tim_plugin.images import read_image, write_png
from tim_plugin.resize import bicubic_resize

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


def _installed(name: str) -> Path:
    package, path = PHOTOS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / path).is_file():
        raise TimError(
            f"the demo's photograph {path} of the package '{package}' is not installed: "
            "pip install 'tim_plugin[demo]', or run make demo"
        )
    return Path(spec.origin).parent / path
