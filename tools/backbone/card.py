"""The model card of a backbone, and the tables that its evaluation prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backbone.correlation import GOOD_CORRELATION, GOOD_GROWTH
from backbone.distortions import FAMILIES
from paper.pages import table

NAME = "tim_small feature distance"
NOT_STATED = "not stated"
PURPOSE = (
    f"A plain convolutional trunk of four resolutions that gives the *{NAME}*: to train by and to measure with where",
    "nothing can be downloaded, and for tests. It is neither LPIPS nor calibrated to human judgement, and its figures",
    "compare with no other distance's. It takes images from 8x8 pixels upward as they are. What a tower is worth that",
    "is trained by it has [a page of its own](distances.md); for published figures use LPIPS with ImageNet weights.",
    "",
    "Option file: `perceptual_opt: {backbone: tim_small, weights: bundled, calibration: bundled}`.",
)


def follow_table(found: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of :func:`backbone.correlation.follow`.

    Each cell holds Spearman's correlation with the judge, and the share of steps in which the distance grows.
    """
    header = ["distance", "all", *FAMILIES]
    rows = []
    for name, one in found.items():
        cells = [f"{one['families'][family]:.3f}, {100 * one['grows'][family]:.0f} %" for family in FAMILIES]
        rows.append([name, f"{one['overall']:.3f}", *cells])
    return table(header, rows)


def verdict(one: Mapping[str, Any]) -> str:
    """Say whether a distance follows the judge as it should."""
    least = f"{one['overall']:.3f} over all, {one['least_family']:.3f} in the worst family (wanted {GOOD_CORRELATION})"
    grows = (
        f"grows in {100 * one['least_grows']:.1f} % of the steps in the worst family (wanted {100 * GOOD_GROWTH:.0f} %)"
    )
    good = min(one["overall"], one["least_family"]) >= GOOD_CORRELATION and one["least_grows"] >= GOOD_GROWTH
    return f"{'good' if good else 'not good enough'}: correlation {least}; {grows}"


def times_table(times: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of :func:`speed.backbone_forward.benchmark_backbone`, as JSON has them."""
    rows = [
        [
            one["setting"],
            f"{1e3 * one['plain']['seconds']:.1f} ms",
            f"{1e3 * one['ours']['seconds']:.1f} ms",
            f"{one['ratio']:.2f} ({one['ratio_range'][0]:.2f} to {one['ratio_range'][1]:.2f})",
            *(
                " / ".join(f"{count:.2f}" for name, count in one["counts"].items() if what in name)
                for what in ("multiplications", "numbers written")
            ),
        ]
        for one in times["results"]
    ]
    header = ["images", "SqueezeNet", "tim_small", "times faster"]
    return table([*header, "million multiplications an image", "million numbers written an image"], rows)


def card(about: Mapping[str, Any], measures: Mapping[str, Any] | None) -> str:
    """Return the card as markdown.

    Args:
        about: How the weights were made, as their file says it.
        measures: What ``tools/evaluate_backbone.py`` found, or None before that.
    """
    lines = ["# tim_small: a small perceptual backbone", "", *PURPOSE, "", "## How it was made", "", *_made(about)]
    lines += [
        "",
        "## Measures",
        "",
        *(_measured(measures) if measures else ["Not measured yet: run `tools/evaluate_backbone.py`."]),
    ]
    return "\n".join(lines) + "\n"


def _made(about: Mapping[str, Any]) -> list[str]:
    training, before = _stage(about["training"]), about.get("before")
    while before is not None:
        training, before = f"{_stage(before['training'])}; then (--init) {training}", before.get("before")
    data = about["data"]
    return [
        f"- data: {data['photographs']} photographs of {', '.join(data['folders'])} (SHA-256 {data['sha256']}); terms: "
        f"{data['terms']}",
        _taught(about["teacher"]),
        f"- training: {training}; by tim_plugin {about['version']}, torch {about['torch']}",
        f"- size: {about['parameters']:,} parameters, float16 in the file, float32 in use",
        "- how: `python tools/train_backbone.py --data PHOTOGRAPHS --teacher STATE_DICT`; crops of 8 to 128 pixels and "
        f"versions of them ({', '.join(FAMILIES)}, and images found by descending the student's own distance); the "
        "teacher's unit-normalised maps, their differences between versions and its distances are the targets; the "
        "maps are the principal directions of what linear heads predict of the teacher's",
        "- calibration: one positive weight a map, learned so that distances are as large as the teacher's; without "
        "a teacher one a channel",
    ]


def _taught(teacher: Mapping[str, Any] | None) -> str:
    if teacher is None:
        return "- teacher: none; distances are to grow with the strength of a distortion"
    return (
        f"- teacher: {teacher['network']}, {teacher['file']} (SHA-256 {teacher['sha256']}); training starts from "
        f"its strongest channels; terms: {teacher['terms']}"
    )


def _stage(training: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {_text(value)}" for key, value in training.items() if value not in ([], ())
    )


def _text(value: Any) -> str:
    return " and ".join(value) if isinstance(value, (list, tuple)) else str(value)


def _measured(measures: Mapping[str, Any]) -> list[str]:
    photographs = f"{measures['photographs']} photographs of {', '.join(measures['folders'])}"
    return [
        f"On {measures['images']} crops drawn from the {photographs}, which it was not trained on. Spearman's",
        f"correlation with a judge's distance ({measures['judge']}) over pairs of distorted versions, and",
        "in how many steps of a distortion's strength the distance grows. Made by `tools/evaluate_backbone.py`.",
        "",
        *follow_table(measures["follow"]),
        "",
        f"tim_small is {verdict(measures['follow']['tim_small'])}.",
        "",
        f"Forward pass, {measures['times']['conditions']['threads']} thread(s), the median of pairs timed by turns:",
        "",
        *times_table(measures["times"]),
    ]
