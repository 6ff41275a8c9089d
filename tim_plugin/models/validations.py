"""Which validations of a run are done: one that was cut off is made up when the run is resumed, and best figures stay.

BasicSR saves the training state first and validates the same iteration then. ``validation.json`` in the run's folder
says which validations came to their end, and the best figures after them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.json_files import parse_checked, with_checksum
from tim_plugin.utils.processes import broadcast_from_rank_0
from tim_plugin.utils.writing import write_json

RECORD = "validation.json"
SHAPE = {
    "done": {str: [str]},  # data sets, by the iteration
    "best": {str: {str: {"better": str, "val": (float, str), "iter": int}}},
}


def tell_left_out(dataset_name: str, problems: Sequence[str], measured: int) -> None:
    """Warn of images that were left out of a validation.

    Args:
        dataset_name: Of the data set.
        problems: Why, a sentence for each image.
        measured: How many images were not left out.

    Raises:
        TimError: All were.
    """
    if not problems:
        return
    if not measured:
        raise TimError(f"{problems[0]}; of the {len(problems)} image(s) of data set {dataset_name} none can be used")
    for problem in problems:
        get_root_logger().warning(f"Left out: {problem}")
    of_all = f"{len(problems)} of {len(problems) + measured} images"
    get_root_logger().warning(f"{dataset_name}: {of_all} are left out, and the figures are of the others.")


class Validations:
    """Follows a run of BasicSR's training loop, whose parts it gets as the loop asks for them."""

    def __init__(self) -> None:
        self._loaders: Sequence[Any] = ()
        self._board: Any = None
        self._done: dict[int, list[str]] = {}
        self._last = 0  # iteration of the run

    def take_loaders(self, loaders: Callable[..., tuple], *args: Any, **options: Any) -> tuple:
        """Call what gives the loop its loaders, and keep those of validation."""
        found = loaders(*args, **options)
        self._loaders = found[2]
        return found

    def take_board(self, board: Callable[..., Any], *args: Any) -> Any:
        """Call what gives the loop its writer for TensorBoard, and keep it."""
        self._board = board(*args)
        return self._board

    def watch(self, model: Any, opt: Mapping[str, Any]) -> None:
        """Note each validation that comes to its end, and make up for the last one where the loop resumes.

        Args:
            model: Of any of BasicSR's classes; two of its methods are wrapped.
            opt: All options of the run.
        """
        validate, path = model.validation, Path(opt["path"]["experiments_root"], RECORD)
        self._last = int(opt["train"]["total_iter"])

        def validation(loader: Any, current_iter: int, *args: Any, **options: Any) -> None:
            at = min(current_iter, self._last)  # the loop has counted on behind the last
            name = loader.dataset.opt["name"]
            validate(loader, at, *args, **options)
            names = self._done.setdefault(at, [])
            if name not in names:  # at the end all are done once more
                names.append(name)
            if opt["rank"] == 0:
                best = {name: _plain(found) for name, found in getattr(model, "best_metric_results", {}).items()}
                write_json(path, with_checksum({"done": self._done, "best": best}))

        model.validation = validation
        model.resume_training = lambda state: self._make_up(model, opt, state["iter"], path)

    def _make_up(self, model: Any, opt: Mapping[str, Any], at: int, path: Path) -> None:
        """Restore what the record says of the iterations before, and validate where a kill came between."""
        self._last = max(self._last, at)
        done, best = broadcast_from_rank_0(_read(path))
        self._done = {iteration: names for iteration, names in done.items() if iteration <= at}
        if best and self._done == done:  # else it is of a later iteration, and the state has that of this one
            model.best_metric_results = best
        val = opt.get("val")
        if val is None or at % val["val_freq"]:
            return
        for loader in self._loaders:
            name = loader.dataset.opt["name"]
            if name not in self._done.get(at, ()):
                get_root_logger().info(f"Validation of {name} at iteration {at}: was not finished, and is made up.")
                model.validation(loader, at, self._board, val["save_img"])


def _plain(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one data set's best figures as JSON holds them, which has no infinity."""
    return {
        metric: {**one, "val": float(one["val"]) if math.isfinite(one["val"]) else str(float(one["val"]))}
        for metric, one in records.items()
    }


def _read(path: Path) -> tuple[dict[int, list[str]], dict[str, Any]]:
    """Return which validations are done and the best figures; where the record cannot be read, none are."""
    if not path.exists():
        return {}, {}
    try:
        record = parse_checked(path.read_bytes(), SHAPE)
        best = {
            name: {metric: {**one, "val": float(one["val"])} for metric, one in found.items()}
            for name, found in record["best"].items()
        }
        return {int(iteration): names for iteration, names in record["done"].items()}, best
    except (OSError, ValueError) as error:
        get_root_logger().warning(f"{path}: is damaged ({error}): the last validation is done once more.")
        return {}, {}
