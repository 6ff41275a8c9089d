"""Training of ``tim_small``: deterministic from its seed, interrupted and resumed at will."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbone.crop_versions import descend, draw_versions
from backbone.crops import Crops
from backbone.distortions import FAMILIES
from backbone.inheritance import inherit
from backbone.objectives import FromTeacher, WithoutTeacher
from backbone.student import Student
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.options.plain_checks import require_choice, require_number
from tim_plugin.utils.checkpoints import read_checkpoint, save_atomically
from tim_plugin.utils.errors import NonFiniteError, TimError
from tim_plugin.utils.seeds import derive_seed, keyed_generator

SIDES_PX = {8: 1, 16: 2, 32: 2, 48: 1, 64: 4, 96: 1, 128: 1}  # of crops, and how often each is drawn
MOST_CROPS = 4  # times `crops`, of the small sides
FULL_PX = 64  # the side at which a batch has `crops` of them; larger ones have fewer, smaller ones more
LOGARITHMS_LR_MULT = 10.0  # a logarithm of 1 has farther to go than a weight of 0.01
OFTEN = 4.0
CLIP = 1.0  # norm of the gradient
Observer = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How a student is trained.

    Attributes:
        iters: Steps.
        crops: Of 64 pixels in a batch; each is there in four versions.
        lr: Of Adam, reached after ``warmup_iters`` and led to 0 along a cosine.
        warmup_iters: Steps.
        seed: Of all that is random.
        save_every_iters: After so many steps the state is kept.
        often: Families of distortion that are drawn OFTEN times as often as the others.

    Raises:
        TimError: A value is outside what it may be.
    """

    iters: int = 3000
    crops: int = 10
    lr: float = 1e-3
    warmup_iters: int = 100
    seed: int = 0
    save_every_iters: int = 250
    often: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("iters", "crops", "save_every_iters"):
            require_number(f"--{name.replace('_', '-')}", getattr(self, name), int, minimum=1)
        for name in self.often:
            require_choice("--often", name, tuple(FAMILIES))

    def lr_at(self, iteration: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise = min((iteration + 1) / self.warmup_iters, 1)
        return self.lr * rise * (1 + math.cos(math.pi * iteration / self.iters)) / 2


class Trainer:
    """A student on its way.

    Args:
        spec: How.
        crops: From where.
        teacher: Whose distance is to be matched; None trains without one.
    """

    def __init__(self, spec: TrainSpec, crops: Crops, teacher: PerceptualDistance | None) -> None:
        self.spec, self.crops, self.iteration = spec, crops, 0
        self.family_weights = [OFTEN if name in spec.often else 1.0 for name in FAMILIES] if spec.often else None
        self.before: dict[str, Any] | None = None  # how the weights were made that training starts from
        self.student = Student(spec.seed)
        seed = derive_seed(spec.seed, "heads")
        channels = self.student.measure.trunk.activation_channels
        self.objective = WithoutTeacher() if teacher is None else FromTeacher(teacher, channels, seed)
        if teacher is not None:
            inherit(self.student, self.objective, crops, spec.seed)
        self.learning = nn.ModuleList([self.student, self.objective])
        named = [(name.split(".")[-1].startswith("log_"), one) for name, one in self.learning.named_parameters()]
        groups = [
            {"params": [one for is_logarithm, one in named if is_logarithm == chosen], "lr_mult": lr_mult}
            for chosen, lr_mult in ((False, 1.0), (True, LOGARITHMS_LR_MULT))
        ]
        self.optimizer = torch.optim.Adam(groups, lr=spec.lr, betas=(0.9, 0.99))

    def step(self) -> dict[str, float]:
        """Make one step and return the terms of its loss and their sum, ``l_total``.

        Raises:
            NonFiniteError: The loss is no number.
        """
        key = (self.spec.seed, self.iteration)
        versions, strengths = self._versions(*key)
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.lr_at(self.iteration) * group["lr_mult"]
        terms = self.objective(self.student, versions, strengths)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise NonFiniteError(f"the loss of step {self.iteration + 1} is {loss.item()}: use a smaller --lr")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.learning.parameters(), CLIP)
        self.optimizer.step()
        self.iteration += 1
        return {"l_total": loss.item(), **{name: term.item() for name, term in terms.items()}}

    def run(self, state_path: Path, on_step: Observer | None = None) -> None:
        """Go on to the last step, keeping the state on the way."""
        while self.iteration < self.spec.iters:
            log = self.step()
            if self.iteration % self.spec.save_every_iters == 0 or self.iteration == self.spec.iters:
                save_atomically(self.state(), state_path)
            if on_step is not None:
                on_step(self.iteration, log)

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs, for ``torch.save``."""
        return {
            "spec": asdict(self.spec),
            "objective": type(self.objective).__name__,
            "before": self.before,
            "iteration": self.iteration,
            "learning": self.learning.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def resume(self, path: Path) -> None:
        """Go back to what :meth:`state` was, if there is such a file.

        Raises:
            TimError: It is damaged, or of a run with other options.
        """
        if not path.is_file():
            return
        state, mine = read_checkpoint(path), self.state()
        for name in ("spec", "objective", "before"):
            if state.get(name) != mine[name]:
                raise TimError(
                    f"{path}: holds a run of other options ({name}: {state.get(name)}, now {mine[name]}): give these, "
                    "or remove it, and training starts anew"
                )
        self.learning.load_state_dict(state["learning"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration = state["iteration"]

    def start_from(self, path: Path) -> None:
        """Take the weights of an earlier run's state, not its optimizer or iteration.

        Raises:
            TimError: There is no such file, or it is damaged, or of another objective.
        """
        state, objective = read_checkpoint(path), type(self.objective).__name__
        if state.get("objective") != objective:
            raise TimError(f"--init {path}: is no state of a run with the same objective ({objective})")
        self.learning.load_state_dict(state["learning"])
        self.before = {"training": state["spec"], "before": state.get("before")}

    def _versions(self, *key: int) -> tuple[list[Tensor], Tensor]:
        """Draw a batch; in every other step its last versions are such that the student itself takes for good."""
        generator = keyed_generator(*key, "crops")
        sides = torch.tensor(list(SIDES_PX.values()), dtype=torch.float32)
        side = list(SIDES_PX)[int(torch.multinomial(sides, 1, generator=generator))]
        count = round(self.spec.crops * min(max((FULL_PX / side) ** 2, 2 / self.spec.crops), MOST_CROPS))
        images = self.crops.draw(count, side, generator)
        versions, strengths = draw_versions(images, *key, weights=self.family_weights)
        if self.iteration % 2:
            versions[-1] = descend(images, self._distance_from(images), *key)
        return versions, strengths

    def _distance_from(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            wanted = self.objective.features(self.student, images)
        return lambda made: self.student.measure.distance(self.objective.features(self.student, made), wanted)
