"""One input that was read once, so that samples of it can be asked for again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from tim_plugin.degradations.base import Observed
from tim_plugin.inference.finishing import measure_consistency
from tim_plugin.inference.image_inputs import ImageFile
from tim_plugin.inference.image_samples import conditions_of, finished
from tim_plugin.inference.memory_plan import Plan
from tim_plugin.inference.recipes import Recipe, Stop, sample_recipes
from tim_plugin.utils.trees import move


class OpenInput(NamedTuple):
    """An input as a tower reads it.

    Attributes:
        file: Its content.
        observed: What is known of it, a batch of one on the CPU.
        plan: How it is sampled.
        alpha: (1, h, w) in [0, 1] that saved files get back; or None.
        picture: The input as a picture, (3, h, w) in [0, 1].
        backend: What computes, with its version.
    """

    file: ImageFile
    observed: Observed
    plan: Plan
    alpha: Tensor | None
    picture: Tensor
    backend: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a sample."""
        height, width = self.observed.lq.shape[-2:]
        return height * self.plan.tower.spec.scale, width * self.plan.tower.spec.scale

    def sample(
        self, recipes: Sequence[Recipe], at_once: int | None = None, stop: Stop | None = None
    ) -> Iterator[tuple[Tensor, dict[str, list[float]]]]:
        """Give a sample for each recipe, some at a time, and how consistent each is with the input, by measure.

        Args:
            recipes: Each with an entry a level, see :func:`tim_plugin.inference.recipes.sample_recipes`.
            at_once: Samples computed at once, if the memory holds as many; None: as many as it holds.
            stop: Called before each level; what it raises ends the work.

        Yields:
            (m, C, H, W) on the CPU, in [0, 1] on the 8-bit grid.

        Raises:
            TimError: A sample has values that are not finite.
        """
        tower, plan = self.plan.tower, self.plan
        on_device = move(self.observed, plan.device)
        most = plan.samples_per_batch if at_once is None else min(at_once, plan.samples_per_batch)
        chunks = sample_recipes(tower, conditions_of(tower, on_device), recipes, self.file.key, most, stop)
        for images in finished(chunks, tower, on_device, self.file.key):
            yield images, measure_consistency(tower.degradation, images, self.observed)
