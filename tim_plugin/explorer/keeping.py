"""What a session keeps of masks and pictures, and what a ``choice.json`` has room for."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import torch
from torch import Tensor

from tim_plugin.explorer.rounds import Picture, Wish
from tim_plugin.explorer.tree import Tree
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image


def with_mask(wish: Wish, mask: Tensor | None, masks: list[Tensor]) -> Wish:
    """Return a wish with the number of a mask, which is added to those that are kept if it is new.

    Args:
        wish: One without a parent has no use for a mask.
        mask: Bool (H, W); None: that of the wish.
        masks: That are kept.

    Raises:
        TimError: The wish's was dropped.
    """
    if mask is None or wish.parent is None:
        if wish.mask is not None and not (0 <= wish.mask < len(masks) and masks[wish.mask].numel()):
            raise TimError("what was marked is gone: mark it again")
        return wish
    for number, known in enumerate(masks):
        if torch.equal(known, mask):
            return wish._replace(mask=number)
    masks.append(mask)
    return wish._replace(mask=len(masks) - 1)


def drop_masks(masks: list[Tensor], named: Container[int | None]) -> None:
    """Leave no pixels of the masks whose numbers are not ``named``; the others keep their numbers."""
    for number, mask in enumerate(masks):
        if number not in named and mask.numel():
            masks[number] = mask.new_empty(0)


def held_bytes(pictures: Mapping[int, Picture], masks: Sequence[Tensor]) -> int:
    """Return how many bytes pictures and masks take."""
    return sum(len(one.png) for one in pictures.values()) + sum(map(Tensor.numel, masks))


def fitting_part(tree: Tree, numbers: Sequence[int], most_masks: int) -> tuple[Tree, dict[int, int]]:
    """Return a tree of the last of some answers, as many as need no more than ``most_masks``, and their new numbers.

    Raises:
        TimError: The very last one needs more.
    """
    for start in range(len(numbers)):
        part, names = tree.only(numbers[start:])
        if len(part.masks) <= most_masks:
            return part, names
    raise TimError(
        f"a choice.json holds up to {most_masks} masks of this size, and this answer was made with "
        f"{len(part.masks)}: choose one that was made with fewer"
    )


def pixels(picture: Picture) -> Tensor:
    """Return the pixels (C, H, W) in [0, 1] of an answer's picture."""
    return decode_image(picture.png, "an answer").rgb
