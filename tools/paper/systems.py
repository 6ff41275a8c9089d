"""A row of the tables: which option file, and what is changed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OUR_ADAPTATION = "our adaptation: no architecture was published for the task"
TEXT = "TIM, every level reads the input"  # as the paper's text and its figure 2 have it
EVERY_LEVEL = {"network_g:condition_every_level": True}
IN_FULL, ALL_FEATURES = "TIM, features handed on in full", {"network_g:feature_scale": 1.0}


@dataclass(frozen=True)
class System:
    """A row of a table.

    Attributes:
        name: For people.
        option_file: Below the project.
        overrides: Options that replace the file's, as ``--force_yml`` names them.
        several: Whether it gives different samples for one input.
        trained: Whether there is anything to train.
        note: What a reader has to know beside its figures.
        sampling: Of ``network_g``, what samples are made with in place of what was trained with.
        in_time: Whether it stands in the tables of systems that are trained for equal time, in their own sizes.
        as_costly: Whether it stands in those of systems whose samples also take about as many multiplications as TIM's.
    """

    name: str
    option_file: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    several: bool = True
    trained: bool = True
    note: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    in_time: bool = True
    as_costly: bool = False


def length_of(iterations: int) -> dict[str, Any]:
    """Return the options of a run of so many iterations, whose rate falls after 0.7 and 0.9 of them."""
    milestones = [max(int(iterations * share), 1) for share in (0.7, 0.9)]
    return {"train:total_iter": iterations, "train:scheduler:milestones": milestones}
