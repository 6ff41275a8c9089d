"""Figure 1: the worked example on digits: on MNIST by the package's tower, else by what ``make demo-mnist`` trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demos.demo_runs import Trained
from demos.digits_demo import DEMO, digit_data, write_figure1
from paper.cached_runs import trained_checkpoint
from paper.pages import folder_of, write_target
from paper.parallel_runs import Run
from paper.presets import Preset
from paper.run_conditions import machine, trained_at
from paper.sample_cost import parameters_of
from tim_plugin.inference import towers as pretrained
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_bytes
from tim_plugin.utils.writing import write_atomically

TASK = "mnist_pca"
TOWER = "mnist-pca"
OF_MNIST = 300  # test digits that are measured; of the bundled digits as many as the demo measures
LABEL = "reproduce_mnist_pca"
MNIST, BUNDLED = "MNIST", "scikit-learn's digits"


def other_digits(root: Path, preset: Preset, mnist: Path | None) -> str | None:
    """Return why the page that is there is not written again: it is of MNIST, and now there is none."""
    page = folder_of(root, preset.name) / "fig1.json"
    if mnist is not None or not page.is_file() or json.loads(page.read_text())["conditions"]["data_set"] != MNIST:
        return None
    return f"--mnist: {page} is of MNIST: give its folder; or remove the page, and it is made of {BUNDLED}"


def reproduce_figure1(root: Path, preset: Preset, mnist: Path | None = None) -> dict[str, Any]:
    """Measure the worked example and write ``fig1.{json,md,png}`` and ``fig1a.png``.

    On MNIST it is the package's tower, on scikit-learn's digits one that is trained for it, unless that was done. It is
    made on the CPU, for which it is small enough, and is the same in every preset.

    Args:
        root: The project's folder.
        preset: Names the folder of results.
        mnist: Folder of MNIST's idx files; None takes scikit-learn's digits.

    Raises:
        TimError: The digits cannot be read, or the page is of MNIST and ``mnist`` is None.
    """
    reason = other_digits(root, preset, mnist)
    if reason is not None:
        raise TimError(reason)
    run = Run(root / "tools" / "demos" / "options" / DEMO.option_file, digit_data(mnist), LABEL)
    folder, made = folder_of(root, preset.name), root / "results" / run.name()
    if mnist is None:
        measures, of_what = write_figure1(_trained(run, root), made), {"run": run.name()}
        of_what |= trained_at(root, [run.name()])
    else:
        measures, of_what = write_figure1(_shipped(run, root), made, OF_MNIST), {"tower": TOWER}
    write_atomically(folder / "fig1a.png", read_bytes(made / "figure_1a.png"))
    write_atomically(folder / "fig1.png", read_bytes(made / "figure_1b.png"))
    conditions = {
        "data_set": BUNDLED if mnist is None else MNIST,
        **{key: measures[key] for key in ("iterations", "parameters", "training_seed", "distance")},
        **machine(root, "cpu"),
        **of_what,
    }
    content = {"measures": measures, "conditions": conditions}
    write_target(folder, "fig1", content, _page(measures["figure_1b"]))
    return content


def _trained(run: Run, root: Path) -> Trained:
    checkpoint, opt = trained_checkpoint(*run, root), run.options()
    tower, _ = load_network(checkpoint)
    told = {"iterations": run.iterations(), "training_seed": opt["manual_seed"]}
    return Trained(opt, tower, checkpoint, {"parameters": parameters_of(tower), **told})


def _shipped(run: Run, root: Path) -> Trained:
    """The package's tower on the digits that a run names; its card says how it was trained."""
    tower = pretrained.load(TOWER).network
    card = json.loads(read_bytes(root / "docs" / "models" / f"{TOWER}.json"))["conditions"]
    told = {key: card[key] for key in ("iterations", "training_seed")}
    return Trained(run.options(), tower, pretrained.path_of(TOWER), {"parameters": parameters_of(tower), **told})


def _page(found: Mapping[str, Any]) -> list[str]:
    return [
        "# Figure 1: digits from their first ten principal components",
        "",
        "![Inputs, predictions, originals](fig1a.png)",
        "",
        "![Predictions in the plane of the 11th and 12th coordinates](fig1.png)",
        "",
        f"- of {found['digits']} unseen digits, {found['predictions_a_digit']} predictions of each:",
        f"- largest relative error of the first ten coordinates: {found['relative_error_of_first_ten']['worst']:.4f}",
        f"- density quantile of the real digit, median: {found['density_quantile_of_real_point']['median']:.2f} "
        "(paper: 'lies in a high density region')",
        f"- of its nearest training digits: {found['density_quantile_of_neighbours']['median']:.2f}",
        f"- real digits in the densest 90 % of predictions: {found['real_points_in_densest_90_percent']:.0%}",
    ]
