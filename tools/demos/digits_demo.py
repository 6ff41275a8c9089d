"""The paper's worked example (section 2, figure 1): digits from their first ten principal components.

Figure 1a shows inputs, several predictions and originals of unseen digits. Figure 1b shows, for the first of these,
where the predictions lie in the plane of the 11th and 12th coordinates, with the real digit and the ten training digits
whose first ten coordinates are nearest to the input's: stand-ins for what else could have been observed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import gaussian_kde
from torch import Tensor

from demos.consistency_comparison import compare_consistency
from demos.demo_runs import Demo, Trained, measure, train
from tim_plugin.degradations.base import Observed
from tim_plugin.inference.finishing import measure_consistency
from tim_plugin.inference.image_samples import SampledImage, sample_image
from tim_plugin.inference.outputs import sheet_row
from tim_plugin.metrics.summary import Row
from tim_plugin.utils.contact_sheet import SheetRow, contact_sheet
from tim_plugin.utils.digit_files import fit_to_digits, read_digits
from tim_plugin.utils.images import write_png
from tim_plugin.utils.writing import replacing, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEMO = Demo("demo_mnist_pca.yml", "digits from their first ten principal components", num_samples=8, shown_samples=8)
MNIST_FILES = {"train": "train-images-idx3-ubyte.gz", "val": "t10k-images-idx3-ubyte.gz"}
SHOWN_DIGITS = 8
MEASURED_DIGITS = 40
SHOWN_PLANES = 4  # the first of the measured digits
PREDICTIONS = 300  # for each
NEIGHBOURS = 10
DENSEST = 0.9  # a sampler that is as wide as it should be has this share of the real points in its densest part
IN_DENSEST = "real_points_in_densest_90_percent"
SEED = 1  # another than the contact sheet's: the figures do not show picked samples


class Plane(NamedTuple):
    """Figure 1b for one digit: (n, 2) predictions, (2,) real point, (10, 2) neighbours, in coordinates 11 and 12."""

    predictions: np.ndarray
    real: np.ndarray
    neighbours: np.ndarray

    def quantiles(self) -> tuple[float, list[float]]:
        """Return at which quantile of the predictions' densities the real point's density and the neighbours' lie.

        0: less dense than at every prediction (or all are one point); 1: denser than at every prediction. The density
        is a Gaussian kernel estimate (scipy, Scott's bandwidth); that at a prediction is the other predictions', as at
        the real point.
        """
        nothing = 0.0, [0.0] * len(self.neighbours)
        if not np.ptp(self.predictions, axis=0).any():  # a network that ignores its latents
            return nothing
        try:
            density = gaussian_kde(self.predictions.T)
        except np.linalg.LinAlgError:  # the predictions lie on a line
            return nothing
        count, peak = len(self.predictions), np.linalg.det(2 * np.pi * density.covariance) ** -0.5
        own = np.sort((count * density(self.predictions.T) - peak) / (count - 1))
        quantiles = np.searchsorted(own, density(np.vstack([self.real, self.neighbours]).T)) / len(own)
        return float(quantiles[0]), quantiles[1:].tolist()


def run_digits_demo(root: Path, mnist: Path | None = None) -> dict[str, Any]:
    """Train, and write ``figure_1a.png``, ``figure_1b.png`` and ``metrics.json`` to ``results/demo_mnist_pca``.

    Args:
        root: The project's folder.
        mnist: Folder of MNIST's idx files; None takes scikit-learn's digits.

    Returns:
        The measures.

    Raises:
        TimError: The digits cannot be read.
    """
    started = time.perf_counter()
    trained = train(DEMO, root, digit_data(mnist))
    result = root / "results" / trained.opt["name"]
    measures = write_figure1(trained, result)
    measures["seconds"] = round(time.perf_counter() - started, 1)
    write_json(result / "metrics.json", measures)
    _tell(measures, result.relative_to(root), trained.checkpoint.relative_to(root))
    return measures


def write_figure1(trained: Trained, result: Path, digits: int | None = None) -> dict[str, Any]:
    """Sample and measure unseen digits, and write ``figure_1a.png`` and ``figure_1b.png``.

    Args:
        trained: The demo.
        result: Folder of the pictures, made if it is not there.
        digits: How many are measured for figure 1b; None: MEASURED_DIGITS.

    Returns:
        The measures, with those of training.
    """
    sheet: list[SheetRow] = []

    def on_image(sampled: SampledImage, row: Row) -> None:
        if len(sheet) < SHOWN_DIGITS:
            sheet.append(sheet_row(sampled._replace(name="")))

    measures = {"task": "mnist_pca", **trained.measures, **measure(DEMO, trained, on_image=on_image)}
    write_png(result / "figure_1a.png", contact_sheet(sheet, max_samples=DEMO.shown_samples))
    measures["figure_1b"] = _write_figure_1b(trained, result / "figure_1b.png", digits or MEASURED_DIGITS)
    return measures


def _write_figure_1b(trained: Trained, path: Path, digits: int) -> dict[str, Any]:
    planes, errors, spread = _predict(trained, digits)
    quantiles = [plane.quantiles() for plane in planes]
    real = [one for one, _ in quantiles]
    _draw(planes[:SHOWN_PLANES], real, path)
    return {
        "digits": len(planes),
        "predictions_a_digit": PREDICTIONS,
        "relative_error_of_first_ten": {"mean": float(np.mean(errors)), "worst": float(np.max(errors))},
        "density_quantile_of_real_point": _spread(real),
        "density_quantile_of_neighbours": _spread([value for _, near in quantiles for value in near]),
        IN_DENSEST: float(np.mean(np.array(real) >= 1 - DENSEST)),
        "shown_digits": [{"real_point": one, "neighbours": near} for one, near in quantiles[:SHOWN_PLANES]],
        "diversity_rms_pixels": float(np.mean(spread)),
        "seed": SEED,
    }


def compare_digits_consistency(root: Path, mnist: Path | None = None) -> dict[str, Any]:
    """Compare consistency off, at the end only, and trained through, on digits.

    Args:
        root: The project's folder.
        mnist: Folder of MNIST's idx files; None takes scikit-learn's digits.
    """
    return compare_consistency("mnist_pca", DEMO, root, digit_data(mnist))


def digit_data(mnist: Path | None) -> dict[str, str]:
    """Return the options that name MNIST's files in a folder, for images and basis; none for None."""
    if mnist is None:
        return {}
    files = {phase: str(mnist.expanduser() / name) for phase, name in MNIST_FILES.items()}
    overrides = {f"datasets:{phase}:dataroot_gt": path for phase, path in files.items()}
    bases = {f"datasets:{phase}:basis": files["train"] for phase in files}
    return {**overrides, **bases, "network_g:degradation:basis": files["train"]}


def _predict(trained: Trained, digits: int) -> tuple[list[Plane], list[float], list[float]]:
    """For each of the first digits: figure 1b's points, errors of the first ten coordinates, spread of pixels."""
    train_set, val_set = (trained.opt["datasets"][phase] for phase in ("train", "val"))
    basis = fit_to_digits(str(train_set["dataroot_gt"]), 12)
    known = _coordinates(read_digits(str(train_set["dataroot_gt"])).float() / 255, basis)  # (n, 12)
    planes, errors, spread = [], [], []
    for index, digit in enumerate(read_digits(str(val_set["dataroot_gt"]))[:digits].float() / 255):
        observed = Observed(trained.tower.degradation.degrade(digit).lq[None])
        samples = sample_image(trained.tower, observed, PREDICTIONS, SEED, index, max_samples_per_batch=100)
        real = _coordinates(digit[None], basis)[0]
        nearest = (known[:, :10] - real[:10]).norm(dim=1).argsort()[:NEIGHBOURS]
        planes.append(
            Plane(*(part[..., 10:].double().numpy() for part in (_coordinates(samples, basis), real, known[nearest])))
        )
        errors += measure_consistency(trained.tower.degradation, samples, observed)["pca_error"]
        spread.append(float(samples.var(dim=0, unbiased=False).mean().sqrt()))
    return planes, errors, spread


def _coordinates(images: Tensor, basis: tuple[Tensor, Tensor]) -> Tensor:
    mean, components = basis
    return (images.flatten(1) - mean) @ components.T


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "median": float(np.median(values)), "lowest": float(np.min(values))}


def _draw(planes: Sequence[Plane], quantiles: Sequence[float], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 7.2), dpi=110, layout="constrained")
    places = figure.subplots(-(-len(planes) // 2), 2, squeeze=False).flat
    for axes, plane, quantile in zip(places, planes, quantiles, strict=False):
        _draw_plane(axes, plane)
        axes.set_title(f"real digit at density quantile {quantile:.2f}", fontsize=9)
    handles, labels = places[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)
    figure.supxlabel("11th coordinate", fontsize=10)
    figure.supylabel("12th coordinate", fontsize=10)
    with replacing(path) as file:
        figure.savefig(file)


def _draw_plane(axes: Axes, plane: Plane) -> None:
    import matplotlib

    points = np.vstack([plane.predictions, plane.real, plane.neighbours])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low)
    x, y = (np.linspace(a - m, b + m, 120) for a, b, m in zip(low, high, margin, strict=True))
    grid = np.stack(np.meshgrid(x, y))  # (2, 120, 120)
    density = gaussian_kde(plane.predictions.T)(grid.reshape(2, -1)).reshape(grid.shape[1:])
    axes.contourf(x, y, density, levels=14, cmap=matplotlib.colormaps["Blues"])
    axes.scatter(*plane.predictions.T, s=3, color="0.35", alpha=0.35, linewidths=0, label="predictions (and density)")
    axes.scatter(*plane.neighbours.T, s=34, marker="^", color="tab:orange", label="nearest training digits")
    axes.scatter(*plane.real, s=150, marker="*", color="tab:red", edgecolors="white", label="the real digit")


def _tell(measures: dict[str, Any], here: Path, model: Path) -> None:
    figure, best = measures["figure_1b"], measures[f"best_of_{measures['num_samples']}_distance"]
    print(
        f"""
Done in {measures["seconds"]:.0f} s: {measures["parameters"]:,} parameters, {measures["iterations"]} iterations.
  selected distance  {measures["selected_distance"]["start"]:.4f} -> {measures["selected_distance"]["end"]:.4f}
  unseen digits ({measures["distance"]}): input {measures["input_distance"]:.4f}, \
mean {measures["mean_distance"]:.4f}, best of {measures["num_samples"]} {best:.4f}
  first ten coordinates: relative error at most {figure["relative_error_of_first_ten"]["worst"]:.4f}
  density quantile among predictions, median over {figure["digits"]} digits: the real digit \
{figure["density_quantile_of_real_point"]["median"]:.2f}, its neighbours \
{figure["density_quantile_of_neighbours"]["median"]:.2f}; \
{figure[IN_DENSEST]:.0%} of the real digits lie in the densest {DENSEST:.0%}
  predictions differ by {figure["diversity_rms_pixels"]:.3f} of the range (standard deviation of a pixel)
Look at  {here / "figure_1a.png"}, {here / "figure_1b.png"}  and  {here / "metrics.json"}.
The network:  {model}""",
        flush=True,
    )
