"""Figure 1: the worked example on digits, by the demo that also ``make demo-mnist`` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tim_plugin.demos.digits import run_digits_demo
from tim_plugin.images import read_bytes, write_atomically
from tim_plugin.reproduction.conditions import machine
from tim_plugin.reproduction.pages import folder_of, write_target
from tim_plugin.reproduction.presets import Preset

TASK = "mnist_pca"


def reproduce_figure1(root: Path, preset: Preset, mnist: Path | None = None) -> dict[str, Any]:
    """Train and measure the worked example; write ``fig1.{json,md,png}`` and ``fig1a.png``.

    Args:
        root: The project's folder.
        preset: Names the folder of results.
        mnist: Folder of MNIST's idx files; None takes scikit-learn's digits.

    Raises:
        TimError: The digits cannot be read.
    """
    measures = run_digits_demo(root, mnist)
    folder, made = folder_of(root, preset.name), root / "results" / "demo_mnist_pca"
    write_atomically(folder / "fig1a.png", read_bytes(made / "figure_1a.png"))
    write_atomically(folder / "fig1.png", read_bytes(made / "figure_1b.png"))
    digits = "scikit-learn's digits" if mnist is None else "MNIST"
    conditions = {"data_set": digits, "iterations": measures["iterations"], "parameters": measures["parameters"]}
    conditions |= {"training_seed": measures["training_seed"], "distance": measures["distance"], **machine(root, "cpu")}
    found = measures["figure_1b"]
    page = [
        "# Figure 1: digits from their first ten principal components",
        "",
        "![Inputs, predictions, originals](fig1a.png)",
        "",
        "![Predictions in the plane of the 11th and 12th coordinates](fig1.png)",
        "",
        f"- largest relative error of the first ten coordinates: {found['relative_error_of_first_ten']['worst']:.4f}",
        f"- density quantile of the real digit, median: {found['density_quantile_of_real_point']['median']:.2f} "
        "(paper: 'lies in a high density region')",
        f"- of its nearest training digits: {found['density_quantile_of_neighbours']['median']:.2f}",
        f"- real digits in the densest 90 % of predictions: {found['real_points_in_densest_90_percent']:.0%}",
    ]
    content = {"measures": measures, "conditions": conditions}
    write_target(folder, "fig1", content, page)
    return content
