"""All samples of all inputs as sets, by each judge: what a table has beside the figures of single inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataset
from tqdm import tqdm

from paper.cached_runs import content_of, kept_json
from paper.pages import spread, table
from paper.systems import System
from paper.workbench import AT_ONCE, SAMPLING_SEED, Workbench
from tim_plugin.metrics.cases import Case
from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.metrics.finite_sets import LEAST_INPUTS
from tim_plugin.metrics.network_cases import NetworkCases
from tim_plugin.metrics.set_measures import Sets
from tim_plugin.utils.images import list_images, round_to_8_bit

WANTED = ("fid", "kid", "prc")
FLOOR = "real images"
ABOUT = f"""All samples of all inputs against all ground truths. The distance is the sum of that of the means and that
of the spreads; traces are those of the covariances, of samples and of ground truths; at infinity: extrapolated to
infinitely many inputs, from the least to the most that were taken. +- is the deviation over seeds, in brackets that of
one over halves of the inputs, and of {FLOOR} that over several choices. These are of the training photographs and
stand in the samples' place, one for each ground truth or as many as there are: how far apart sets are that have
nothing to do with one another (samples share the inputs of the ground truths, and may be nearer).
A set of one image an input is at a disadvantage of its size beside one of several, but at infinity and by KID."""
MOST_OTHERS = 4  # times as many as ground truths: floors are of as many as these
Row = Mapping[str, Any]


def set_figures(bench: Workbench, system: System, checkpoint: Path | None) -> dict[str, Any]:
    """Return the measures of the sets of all samples, by the name of each judge's Frechet distance."""
    count, (folder, _) = bench.preset.num_samples if system.several else 1, bench.set_images

    def measure() -> dict[str, Any]:
        network, dataset = bench.network(system, checkpoint), bench.dataset(system, folder)
        cases = NetworkCases(dataset, network, count, SAMPLING_SEED, bench.device, AT_ONCE)
        sets = _sets(bench, len(cases))
        for case in tqdm(cases, desc="sets", unit="image"):
            for one in sets.values():
                one.take(case)
        return {name: one.figures() for name, one in sets.items()}

    what = {"judges": [one.digest for one in bench.judges], "samples": count, "images": content_of(folder)}
    return bench.kept("sets", system, checkpoint, what, measure)


def floor_figures(bench: Workbench, system: System) -> dict[str, Any]:
    """Return the same measures of real images of the training photographs in the samples' place."""
    measured, others = bench.set_images

    def images(folder: Path, most: int | None = None) -> Iterator[torch.Tensor]:
        found = build_dataset(bench.dataset(system, folder))
        count = min(len(found), most or len(found))
        for place in range(count):
            yield round_to_8_bit(found[place * len(found) // count]["gt"]).expand(3, -1, -1)

    def measure() -> dict[str, Any]:
        inputs = len(list_images(measured))
        sets = _sets(bench, inputs, lambda: images(others, MOST_OTHERS * inputs))
        for image in tqdm(images(measured), total=inputs, desc="floor", unit="image"):
            for one in sets.values():
                one.take(Case("", image[None], image, {}))
        return {name: one.floor() for name, one in sets.items()}

    key = {"judges": [one.digest for one in bench.judges], "gt_px": bench.preset.gt_px}
    key |= {"images": content_of(measured), "others": content_of(others)}
    return kept_json(bench.root / "experiments" / "reproduce_untrained", "floor", key, measure)


def _sets(bench: Workbench, inputs: int, floor: Callable[[], Iterator[torch.Tensor]] | None = None) -> dict[str, Sets]:
    cache, at_infinity = bench.root / "datasets" / "reproduce_features", inputs >= LEAST_INPUTS

    def of(judge: Extractor) -> Sets:
        return Sets(judge, WANTED, bench.device, None, cache, at_infinity, floor and floor())

    return {judge.frechet: of(judge) for judge in bench.judges}


def set_conditions(bench: Workbench) -> dict[str, str]:
    """Return what stands beside the figures of sets."""
    measured, others = (len(list_images(folder)) for folder in bench.set_images)
    from_test = " and test" if bench.preset.halve and (bench.data / "test").is_dir() else ""
    return {
        "images_of_sets": f"{measured} of val{from_test}; of the floor: {others} of train",
        "judges_of_sets": "; ".join(one.name for one in bench.judges),
    }


def set_tables(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return a page's lines: for each judge a table with a row for each system and one for real images.

    Args:
        rows: Of :func:`all_figures` by system, one for each seed; rows of before sets were measured are left out.
    """
    known = {name: seeds for name, seeds in rows.items() if all("sets" in row for row in seeds)}
    if not known:
        return []
    first, lines = next(iter(known.values()))[0], []
    for judge in first["sets"]:
        found = {
            name: [row["sets"][judge] for row in seeds] for name, seeds in known.items() if judge in seeds[0]["sets"]
        }
        found = {**found, FLOOR: [first["floor"][judge]]}
        header = ["system", "samples of each", judge, "of means", "of spreads", "traces", "at infinity"]
        header += [_kid(judge), "precision, recall", "density, coverage"]
        lines += ["", *table(header, [[name, *_cells(judge, seeds)] for name, seeds in found.items()])]
    return [*lines, "", ABOUT]


def _cells(judge: str, seeds: Sequence[Row]) -> list[str]:
    kernel = [one[_kid(judge)] for one in seeds]
    parts, line, first = [one[f"{judge}_parts"] for one in seeds], f"{judge}_extrapolated", seeds[0]
    deviation = f" +- {first[f'{judge}_std']:.3f}" if f"{judge}_std" in first else ""
    ends = f" ({first[line]['from_inputs']} to {first[line]['to_inputs']})" if line in first else ""
    return [
        str(first.get("images_in_sets", {}).get("samples_of_each", 1)),
        spread([one[judge] for one in seeds]) + deviation,
        spread([one["means"] for one in parts]),
        spread([one["spreads"] for one in parts]),
        ", ".join(spread([one[f"trace_of_{which}"] for one in parts]) for which in ("samples", "ground_truths")),
        spread([one[line]["intercept"] for one in seeds if line in one]) + ends,
        f"{spread([one['mean'] for one in kernel])} ({spread([kernel[0]['deviation']])})",
        ", ".join(spread([one["prc"][which] for one in seeds]) for which in ("precision", "recall")),
        ", ".join(spread([one["density_coverage"][which] for one in seeds]) for which in ("density", "coverage")),
    ]


def _kid(judge: str) -> str:
    return "kid" if judge == "fid" else judge.replace("frechet", "kid")
