"""Palettes of label maps: the names of classes, and the colours or raw indices that stand for them in files."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.plain_numbers import is_whole, plain_number

Colour = tuple[int, int, int]
_NUMBERED = "indices"


@dataclass(frozen=True)
class Palette:
    """The classes of a kind of label maps, and how a file stores them.

    Attributes:
        name: As in option files.
        classes: Names in index order; without void.
        colours: RGB -> class index. Void has the index after the last class.
        indices: Raw index in a single-channel file -> class index.
        has_void: Whether there is a void class.
    """

    name: str
    classes: tuple[str, ...]
    colours: Mapping[Colour, int]
    indices: Mapping[int, int]
    has_void: bool

    @property
    def void(self) -> int | None:
        """Index of void, if there is one."""
        return len(self.classes) if self.has_void else None

    def shown(self) -> list[Colour]:
        """Return a colour for each class and void: the first that stands for it, or one of a wheel of hues."""
        count = len(self.classes) + self.has_void
        first = {index: colour for colour, index in reversed(list(self.colours.items()))}
        return [first.get(index) or _hue(index, count) for index in range(count)]


def _hue(index: int, count: int) -> Colour:
    red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(index / count, 0.7, 0.9))
    return red, green, blue


_CAMVID = {  # SegNet's eleven classes
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}
_CAMVID_VOID = ((0, 0, 0),)
_CITYSCAPES = {  # the classes of its benchmark, in the order of their train ids
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_CITYSCAPES_VOID = (  # classes that its benchmark leaves out
    (0, 0, 0),
    (20, 20, 20),
    (111, 74, 0),
    (81, 0, 81),
    (250, 170, 160),
    (230, 150, 140),
    (180, 165, 180),
    (150, 100, 100),
    (150, 120, 90),
    (0, 0, 90),
    (0, 0, 110),
)
_IGNORED_TRAIN_ID = 255


def _palette(name: str, named: Mapping[str, Colour], void: tuple[Colour, ...], raw_void: tuple[int, ...]) -> Palette:
    count = len(named)
    colours = {colour: index for index, colour in enumerate(named.values())} | {colour: count for colour in void}
    indices = {index: index for index in range(count + 1)} | {raw: count for raw in raw_void}
    return Palette(name, tuple(named), colours, indices, has_void=True)


PALETTES = {
    "camvid": _palette("camvid", _CAMVID, _CAMVID_VOID, ()),
    "cityscapes": _palette("cityscapes", _CITYSCAPES, _CITYSCAPES_VOID, (_IGNORED_TRAIN_ID,)),
    "gta": _palette("gta", _CITYSCAPES, _CITYSCAPES_VOID, (_IGNORED_TRAIN_ID,)),
}


def get_palette(name: str, num_classes: int | None = None, void_index: int | None = None) -> Palette:
    """Return the palette of a name, or one of plain class indices.

    Args:
        name: A key of :data:`PALETTES`, or ``indices``: maps of plain class indices.
        num_classes: With ``indices``: how many classes, without void.
        void_index: With ``indices``: which raw index is void (255, for instance); None: there is no void.

    Raises:
        TimError: There is none of that name, or ``num_classes`` or ``void_index`` is missing or does not fit.
    """
    num_classes, void_index = plain_number(num_classes), plain_number(void_index)
    if name == _NUMBERED:
        if not is_whole(num_classes) or num_classes < 1:
            raise TimError(f"palette '{_NUMBERED}' needs num_classes, the number of classes, not {num_classes!r}")
        classes, indices = tuple(f"class {index}" for index in range(num_classes)), {k: k for k in range(num_classes)}
        if void_index is None:
            return Palette(_NUMBERED, classes, {}, indices, has_void=False)
        if not is_whole(void_index) or void_index < num_classes:
            raise TimError(f"void_index {void_index!r} must be a whole number beyond the {num_classes} classes, as 255")
        return Palette(_NUMBERED, classes, {}, {**indices, void_index: num_classes}, has_void=True)
    if void_index is not None:
        raise TimError(f"void_index is for palette '{_NUMBERED}'; palette '{name}' knows its void")
    if name not in PALETTES:
        raise TimError(f"palette {name!r} is not known: {did_you_mean(str(name), [*PALETTES, _NUMBERED])}")
    palette = PALETTES[name]
    if num_classes not in (None, len(palette.classes)):
        raise TimError(f"palette '{name}' has {len(palette.classes)} classes, not num_classes {num_classes}")
    return palette
