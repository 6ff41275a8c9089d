"""The tree of choices: each answer is made from another one, of which it keeps coarse levels, or a part of the picture.

An answer is a few numbers; its recipe follows from its ancestors, and its pixels from the recipe and the input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from tim_plugin.inference.recipes import Draw, LevelRecipe, Patch
from tim_plugin.utils.errors import TimError


class Answer(NamedTuple):
    """An answer to the input.

    Attributes:
        parent: The answer that it varies; None: it is drawn anew.
        kept: How many of the parent's levels it keeps, coarse to fine.
        seed: Of the levels that are drawn.
        number: Of the sample whose latents they have.
        temperature: What those are multiplied by.
        mask: Number of the mask inside which they replace the parent's noise; None: everywhere, and with new styles.
    """

    parent: int | None
    kept: int
    seed: int
    number: int
    temperature: float = 1.0
    mask: int | None = None


class Tree:
    """Answers by number, and the masks that they name.

    Args:
        num_levels: Of the tower.

    Attributes:
        answers: By number; a parent's number is less than its children's.
        masks: bool (H, W), of the answers' size.
    """

    def __init__(self, num_levels: int) -> None:
        self.num_levels = num_levels
        self.answers: dict[int, Answer] = {}
        self.masks: list[Tensor] = []
        self._next = 0

    def add(self, answer: Answer) -> int:
        """Add an answer and return its number.

        Raises:
            TimError: Its parent or mask is not there, or a number is out of range.
        """
        if answer.parent is None:
            if answer.kept or answer.mask is not None:
                raise TimError("an answer without a parent keeps no levels and has no mask")
        elif answer.parent not in self.answers:
            raise TimError(f"there is no answer {answer.parent}, which another one is made from")
        if not 0 <= answer.kept < self.num_levels:
            raise TimError(f"{answer.kept} kept levels: must be from 0 to {self.num_levels - 1}, all but the finest")
        if answer.mask is not None and not 0 <= answer.mask < len(self.masks):
            raise TimError(f"there is no mask {answer.mask}")
        self._next += 1
        self.answers[self._next] = answer
        return self._next

    def path(self, number: int | None) -> list[int]:
        """Return the numbers of an answer's ancestors and its own, the first one first."""
        found: list[int] = []
        while number is not None:
            found.append(number)
            number = self.answers[number].parent
        return found[::-1]

    def fresh_numbers(self, parent: int | None, seed: int, count: int) -> list[int]:
        """Return the numbers of samples for as many variations of a parent, of which none gives the parent again."""
        before = [self.answers[number] for number in self.path(parent)]
        taken = {answer.number for answer in before if answer.seed == seed}
        return [number for number in range(count + len(taken)) if number not in taken][:count]

    def recipe(self, answer: Answer) -> tuple[LevelRecipe, ...]:
        """Return from which draws each level's latents of an answer are made."""
        levels: list[LevelRecipe] = []
        for one in [*(self.answers[number] for number in self.path(answer.parent)), answer]:
            draw = Draw(one.seed, one.number, one.temperature)
            if one.mask is None:
                fresh = [LevelRecipe(draw)] * (self.num_levels - one.kept)
            else:
                patch = Patch(draw, self.masks[one.mask])
                fresh = [LevelRecipe(base, (*patches, patch)) for base, patches in levels[one.kept :]]
            levels = [*levels[: one.kept], *fresh]
        return tuple(levels)

    def only(self, numbers: Iterable[int]) -> tuple[Tree, dict[int, int]]:
        """Return a tree of some answers and all their ancestors, and the new number of each."""
        wanted = sorted({one for number in numbers for one in self.path(number)})
        tree, names = Tree(self.num_levels), {}
        masks: dict[int, int] = {}
        for number in wanted:
            answer = self.answers[number]
            if answer.mask is not None and answer.mask not in masks:
                masks[answer.mask] = len(tree.masks)
                tree.masks.append(self.masks[answer.mask])
            parent = None if answer.parent is None else names[answer.parent]
            mask = None if answer.mask is None else masks[answer.mask]
            names[number] = tree.add(answer._replace(parent=parent, mask=mask))
        return tree, names
