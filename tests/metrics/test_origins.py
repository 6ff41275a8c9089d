"""tim evaluate --pred: samples whose record says that they were made in different ways are not measured together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tim_plugin.inference.record import SampleRecord
from tim_plugin.metrics.origins import require_one_origin
from tim_plugin.utils.errors import TimError

MADE = {"model_sha256": "m", "seed": 0, "num_samples": 3, "input_sha256": "i"}


@pytest.fixture
def samples(tmp_path):
    """Return a function that records a run's samples of an input; and the files of each."""
    files: dict[str, list[Path]] = {}

    def add(name, numbers, **made):
        paths = [tmp_path / f"{name}_s{number:02d}.png" for number in numbers]
        for path in paths:
            path.touch()
        with SampleRecord(tmp_path / "samples.json", {}) as record:
            record.overwrite(paths)
            entry = {"input": f"{name}.png", "made_with": {**MADE, **made}, "sheet": None}
            record.add({**entry, "samples": [{"file": path.name} for path in paths]})
        files[name] = sorted({*files.get(name, []), *paths})

    return files, add


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"seed": 1}, r"different seeds \(1 and 0\)"),
        ({"model_sha256": "n"}, "different towers"),
        ({"input_sha256": "j"}, "different inputs"),
        ({"temperature": 2.0}, r"different temperatures \(2.0 and None\)"),
    ],
)
def test_samples_of_one_input_of_two_runs_are_refused(tmp_path, samples, made, said):
    files, add = samples
    add("a", range(3))
    require_one_origin(tmp_path, files)
    add("a", range(1), num_samples=1)
    require_one_origin(tmp_path, files)
    add("a", range(2), num_samples=2, **made)
    with pytest.raises(TimError, match=f"--pred .*: samples.json says that a_s00.png and a_s02.png .*{said}: sample"):
        require_one_origin(tmp_path, files)


def test_inputs_may_have_seeds_of_their_own_but_no_towers(tmp_path, samples):
    files, add = samples
    add("a", range(2))
    add("b", range(2), seed=1, input_sha256="j")
    require_one_origin(tmp_path, files)
    add("c", range(2), model_sha256="n")
    with pytest.raises(TimError, match="a_s00.png and c_s00.png were made with different towers: sample"):
        require_one_origin(tmp_path, files)


def test_what_is_of_a_run_that_was_killed_or_not_recorded_is_refused(tmp_path, samples):
    files, add = samples
    add("a", range(2))
    (tmp_path / ".samples.json.overwritten").write_bytes(b"a_s00.png\0")
    with pytest.raises(TimError, match="the run that was to overwrite a_s00.png was ended: give it again"):
        require_one_origin(tmp_path, files)
    (tmp_path / ".samples.json.overwritten").unlink()
    files["a"].append(tmp_path / "a_s02.png")
    with pytest.raises(TimError, match="records a_s00.png, but not a_s02.png, which may be of another run"):
        require_one_origin(tmp_path, files)
    odd = [{"input": "a", "made_with": MADE, "samples": [{"file": "\ud800"}]}]  # which no file can be called
    for content in (["another program's"], {"images": odd}):
        (tmp_path / "samples.json").write_text(json.dumps(content))
        (tmp_path / ".samples.json.overwritten").write_bytes(b"\xff\0")
        require_one_origin(tmp_path, files)
    (tmp_path / "samples.json").write_text(json.dumps(["another program's"]))
    require_one_origin(tmp_path, files)
