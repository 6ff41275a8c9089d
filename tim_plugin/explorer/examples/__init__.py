"""An input to begin with for each kind of tower.

``photo.png``, ``thumbnail.png``: scikit-image's ``chelsea`` (CC0); ``grey.png``: its ``coffee`` (CC0);
``compressed.jpg``: its ``astronaut`` (NASA, in the public domain); ``flower.png``, ``grey_flower.png``: the middle,
reduced to 16x16 and to 128x128, of a photograph by vultilion on Flickr (CC BY 2.0) that scikit-learn holds;
``street.png`` and ``digit.png`` were drawn.
"""

from __future__ import annotations

from pathlib import Path

from tim_plugin.degradations.labels import Labels
from tim_plugin.inference.tower import Tower
from tim_plugin.utils.errors import TimError

_OF_KIND = {"lightness": "grey.png", "jpeg": "compressed.jpg", "pca": "digit.png"}
_FLOWERS = "flowers-"  # towers of that domain alone are named so
_OF_FLOWERS = {"bicubic": "flower.png", "lightness": "grey_flower.png"}
_SMALL_SCALE = 4  # up to which a photograph of 32 pixels is enlarged, and not one of 16


def example_for(tower: Tower) -> tuple[str, bytes]:
    """Return the name and content of an input for a tower.

    Raises:
        TimError: There is none for what it reads.
    """
    section = tower.network.spec.degradation
    kind = section["type"]
    name = _OF_KIND.get(kind)
    if tower.name.startswith(_FLOWERS) and kind in _OF_FLOWERS:
        name = _OF_FLOWERS[kind]
    elif kind == "bicubic":
        name = "photo.png" if tower.scale <= _SMALL_SCALE else "thumbnail.png"
    elif isinstance(tower.degradation, Labels) and tower.degradation.palette.name == "camvid":
        name = "street.png"
    if name is None:
        raise TimError(f"there is no example for {tower.name}: open an image of your own")
    return name, (Path(__file__).parent / name).read_bytes()
