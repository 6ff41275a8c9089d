"""One person's session: an input, a tower, the tree of choices, and answers that are drawn as they are asked for.

All of it lies in memory and goes with the session. Nothing here knows a page: pictures are tensors and PNGs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tim_plugin.explorer.choice import MOST_PIXELS, Choice
from tim_plugin.explorer.computing import computing
from tim_plugin.explorer.keeping import drop_masks, fitting_part, held_bytes, pixels, with_mask
from tim_plugin.explorer.rounds import Picture, Round, Stale, Wish, in_place, require_in_range
from tim_plugin.explorer.tree import Answer, Tree
from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.inference.open_input import OpenInput
from tim_plugin.inference.outputs import sheet_row, with_alpha
from tim_plugin.inference.record import sha256
from tim_plugin.inference.tower import Tower
from tim_plugin.inference.variety import most_different
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.contact_sheet import contact_sheet, deviation_map
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_png

MOST_ROUNDS = 60  # whose pictures are kept; older ones are drawn again where they are gone back to
MOST_HELD_BYTES = 2**28  # of pictures and masks; the newest round and answers that were looked into stay
AT_ONCE = 4
# Up to how many pixels of an answer so many are drawn for each one that is shown.
CANDIDATES = ((2**15, 3), (2**18, 2), (2**62, 1))


class Session:
    """What one person does with one input.

    A new wish ends the work for the one before, at the next level of the network. Every public method may be called
    from any thread.

    Args:
        tower: Draws.
        image: The input's file content.
        file_name: Without folder.
        name: By which latents are drawn.
        max_megapixels: Of an answer.
        distance: Opens that by which the most different answers are found; None: each grid opens it.

    Raises:
        TimError: The input cannot be read, or is too large.
    """

    def __init__(
        self,
        tower: Tower,
        image: bytes,
        file_name: str,
        name: str,
        max_megapixels: float,
        distance: Callable[[], PerceptualDistance] | None = None,
    ) -> None:
        self.tower, self.file_name, self._distance = tower, file_name, distance or (lambda: None)
        self.opened: OpenInput = tower.open_input(image, name, source=file_name, max_megapixels=max_megapixels)
        self._pixels = self.opened.size[0] * self.opened.size[1]
        self.tree = Tree(tower.num_levels)
        self.pictures: dict[int, Picture] = {}
        self.rounds: dict[Wish, Round] = {}
        self.last_wish: dict[int | None, Wish] = {}
        self.visited: list[int] = []  # answers that were looked into, in order
        self.round = Round(Wish())
        self._to_paint: list[int] = []  # of a restored tree
        self._restored: int | None = None  # what it has as the chosen answer
        self._lock = threading.Lock()
        self._work = 0

    @property
    def path(self) -> list[int]:
        """Numbers of the answers from the first choice to the one whose variations are shown."""
        return self.tree.path(self.round.wish.parent)

    def stop(self) -> None:
        """End the work that goes on, at the next level of the network."""
        with self._lock:
            self._work += 1

    def draw(self, wish: Wish, mask: Tensor | None = None) -> Iterator[Round]:
        """Draw the answers of a wish, and give the round whenever some have come; what was drawn before is kept.

        The last time, ``shown`` are those that lie farthest from one another among all that were drawn.
        A ``mask``, bool (H, W), replaces that of the wish, and is kept while a round or an answer names it.

        Raises:
            TimError: The wish is out of range, or an answer cannot be computed.
            Stale: Another wish, or :meth:`stop`, has ended this work.
        """
        work = self._begin(self._checked(wish), mask)
        current = self.round
        yield current
        if current.is_done:
            return
        with self._lock:  # a wish that comes meanwhile may drop them
            self._require(work)
            before = {number: self.pictures[number] for number in current.drawn}
        images = {number: pixels(picture) for number, picture in before.items()}
        while len(current.drawn) < current.num_candidates:
            for numbers, parts in self._next_answers(current, work):
                images.update(zip(numbers, parts.expand(-1, 3, -1, -1), strict=True))
                yield current
        self._require(work)
        with computing(self._pixels):
            stacked = torch.stack([images[number] for number in current.drawn])
            chosen = most_different(stacked, wish.count, self._distance())
        with self._lock:
            if work != self._work:
                raise Stale
            current.shown = in_place(current.shown, [current.drawn[index] for index in chosen])
            for number in set(current.drawn) - set(current.shown):
                self._drop(number)
            current.drawn, current.is_done = list(current.shown), True
            self._forget()
        yield current

    def _checked(self, wish: Wish) -> Wish:
        if wish.parent is not None and wish.parent not in self.tree.answers:
            raise TimError("this answer is gone: choose another one")
        if wish.parent is None:
            wish = wish._replace(kept=0, mask=None)
        require_in_range(wish, self.tower.num_levels)
        return wish._replace(temperature=float(wish.temperature))

    def _begin(self, wish: Wish, mask: Tensor | None) -> int:
        """Make a wish the one that is worked for; return the work's number."""
        with self._lock:
            wish = with_mask(wish, mask, self.tree.masks)
            self._work += 1
            if wish.parent is not None and wish.parent not in self.visited:
                self.visited.append(wish.parent)
            self.last_wish[wish.parent] = wish
            self.round = self.rounds.pop(wish, None) or Round(wish)
            self.rounds[wish] = self.round  # the last one is the newest
            times = next(times for most, times in CANDIDATES if self._pixels <= most)
            self.round.num_candidates = wish.count * times
            self._forget()
            return self._work

    def _require(self, work: int) -> None:
        if work != self._work:
            raise Stale

    def _forget(self) -> None:
        """Drop the pictures of the oldest rounds, but not of answers that were chosen, and masks that none names."""
        self._drop_masks()
        while len(self.rounds) > 1 and (
            len(self.rounds) > MOST_ROUNDS or held_bytes(self.pictures, self.tree.masks) > MOST_HELD_BYTES
        ):
            for number in self.rounds.pop(next(iter(self.rounds))).drawn:
                self._drop(number)
            self._drop_masks()

    def _drop_masks(self) -> None:
        named = [*self.tree.answers.values(), *self.rounds, *self.last_wish.values()]
        drop_masks(self.tree.masks, {one.mask for one in named})

    def _drop(self, number: int) -> None:
        needed = {ancestor for visited in self.visited for ancestor in self.tree.path(visited)}
        if number not in needed:
            self.pictures.pop(number, None)
            self.tree.answers.pop(number, None)

    def _next_answers(self, current: Round, work: int) -> Iterator[tuple[list[int], Tensor]]:
        """Draw the candidates that are not there yet: the first alone, so that it is there soon."""
        wish, there = current.wish, len(current.drawn)
        numbers = self.tree.fresh_numbers(wish.parent, wish.seed, current.num_candidates)[there:]
        todo = [Answer(wish.parent, wish.kept, wish.seed, one, wish.temperature, wish.mask) for one in numbers]
        for part in [todo[:1], todo[1:]] if there == 0 else [todo]:
            with self._lock:
                self._require(work)
                recipes = [self.tree.recipe(answer) for answer in part]
            samples = self.opened.sample(recipes, AT_ONCE, lambda: self._require(work)) if recipes else iter(())
            answers = iter(part)
            while (found := self._compute(samples)) is not None:
                images, measures = found
                with self._lock:
                    self._require(work)
                    numbers = [self.tree.add(answer) for _, answer in zip(images, answers, strict=False)]
                    for index, number in enumerate(numbers):
                        own = {name: values[index] for name, values in measures.items()}
                        self.pictures[number] = Picture(encode_png(images[index]), own)
                    current.drawn += numbers
                    current.shown = current.drawn[: wish.count]
                yield numbers, images

    def _compute(self, samples: Iterator[tuple[Tensor, Mapping[str, Sequence[float]]]]):
        """Compute the next samples; None if there are no more."""
        with computing(self._pixels):
            return next(samples, None)

    def image(self, number: int) -> Tensor:
        """Return an answer's pixels (C, H, W) in [0, 1]."""
        return pixels(self.pictures[number])

    def paint(self) -> Iterator[Round]:
        """Draw the answers of a restored tree that have no picture yet, the way to the chosen one first.

        Gives the round before each; its wish then is to vary the last that is there on the way to the chosen one. What
        was drawn before :meth:`stop` is kept.

        Raises:
            TimError: An answer cannot be computed.
            Stale: Somebody has asked for something else.
        """
        with self._lock:
            self._work += 1
            work, current = self._work, self.round
        while self._to_paint:
            yield current
            number = self._to_paint[0]
            recipe = self.tree.recipe(self.tree.answers[number])
            images, measures = self._compute(self.opened.sample([recipe], stop=lambda: self._require(work)))
            with self._lock:
                self._require(work)
                own = {name: values[0] for name, values in measures.items()}
                self.pictures[number] = Picture(encode_png(images[0]), own)
                self._to_paint.pop(0)
                self.visited.append(number)
                current.drawn.append(number)
                if number in self.tree.path(self._restored):
                    current.wish = current.wish._replace(parent=number)

    def png(self, number: int) -> bytes:
        """Return an answer as ``tim sample`` writes it: with the input's alpha, if it has one.

        Raises:
            TimError: There is no such answer any more.
        """
        self._require_answer(number)
        if self.opened.alpha is None:
            return self.pictures[number].png
        return encode_png(with_alpha(self.image(number)[None], self.opened.alpha)[0])

    def input_png(self) -> bytes:
        """Return the input as a picture, with its alpha, if it has one."""
        return encode_png(with_alpha(self.opened.picture[None], self.opened.alpha)[0])

    def sheet(self) -> bytes:
        """Return the contact sheet of the answers that are shown, as PNG.

        Raises:
            TimError: There are none.
        """
        row = SampledImage(self.opened.file.key, self.opened.picture, self._shown(), None)
        return encode_png(contact_sheet([sheet_row(row)]))

    def deviation(self) -> bytes:
        """Return where the answers that are shown differ, as PNG.

        Raises:
            TimError: There are none.
        """
        return encode_png(deviation_map(self._shown()))

    def _shown(self) -> Tensor:
        shown = [self.image(number) for number in list(self.round.shown)]
        if not shown:
            raise TimError("there are no answers yet")
        return torch.stack(shown)

    def _require_answer(self, number: int) -> None:
        if number not in self.pictures:
            raise TimError("this answer is gone: choose another one")

    def choice(self, number: int) -> Choice:
        """Return what ``choice.json`` says of an answer, with the tree of choices.

        Raises:
            TimError: There is no such answer any more, or it was made with too many masks.
        """
        self._require_answer(number)
        with self._lock:
            tree, names = fitting_part(self.tree, [*self.visited, number], MOST_PIXELS // self._pixels)
        content, key = self.opened.file.content, self.opened.file.key
        about = (self.tower.name, self.tower.sha256, self.tower.device.type, key, self.file_name, sha256(content))
        return Choice(*about, content, self.opened.size, tree, names[number])

    def restore(self, choice: Choice) -> None:
        """Take over the tree of a choice for this input, whose pictures are drawn by :meth:`paint`.

        Raises:
            TimError: Its answers are of another size.
        """
        choice.require_size(self.opened.size, "choice.json")
        self.tree, self._restored = choice.tree, choice.chosen
        path, levels = self.tree.path(choice.chosen), self.tower.num_levels
        self._to_paint = list(dict.fromkeys([*path, *self.tree.answers]))
        wish = Wish(kept=min(levels - 1, max(1, levels // 2)))
        self.round = Round(wish, num_candidates=len(self._to_paint), is_restoring=True)
        for number in path:
            one = self.tree.answers[number]
            self.last_wish[one.parent] = Wish(one.parent, one.kept, one.seed, one.temperature, mask=one.mask)
