"""The benchmark: its naive search picks the same, and what the tool prints."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speed import sampling_speed as inference
from speed import search_option_rows as search_options
from speed import search_speed as selection
from speed import settings, sharing
from speed.counting import Counter
from speed.naive import naive_hierarchical
from speed.picks import picks, same_picks
from speed.problem import problem_of
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.search import hierarchical
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.options.option_file import read_option_file

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def problem(tiny_tower):
    tower = tiny_tower()
    setting = settings.Setting({}, lq_px=2, examples=3, candidates=5, at_once=6)
    return problem_of(tower, PixelDistance(), setting, "cpu")


def test_the_naive_search_picks_the_same_with_more_evaluations(problem):
    naive, ours = (
        search(*problem, [5, 3, 4, 2], torch.Generator().manual_seed(0), 6)
        for search in (naive_hierarchical, hierarchical)
    )
    assert same_picks(naive, ours)
    for a, b in zip(naive.latents, ours.latents, strict=True):
        assert torch.equal(a.noise, b.noise) and torch.equal(a.style, b.style)
    assert torch.allclose(naive.distances, ours.distances, rtol=1e-4)
    assert naive.evaluations == (3 * 14, 3 * 9, 3 * 6, 3 * 2)
    assert ours.evaluations == (3 * 5, 3 * 3, 3 * 4, 3 * 2)


@pytest.mark.parametrize("way", [sharing._ours, sharing._naive])
def test_one_example_at_a_time_searches_the_same_candidates(problem, way):
    single, batched = sharing.one_by_one(way(5, 2), problem), sharing.together(way(5, 6), problem)
    for a, b in zip(single.latents, batched.latents, strict=True):
        assert torch.equal(a.noise, b.noise) and torch.equal(a.style, b.style)
    assert torch.allclose(single.distances, batched.distances, rtol=1e-4)
    assert single.evaluations == batched.evaluations
    other = sharing.one_by_one(way(5, 2), problem, seed=1)
    assert not torch.equal(other.latents[0].noise, single.latents[0].noise)


def test_target_features_computed_each_chunk_give_the_same_distances(problem):
    counter = Counter(problem.tower, problem.distance, problem.targets)
    anew = problem._replace(distance=sharing.FeaturesEachChunk(counter, list(problem.targets)))
    found, plain = (sharing.together(sharing._ours(5, 6), one) for one in (anew, problem))
    assert torch.equal(found.distances, plain.distances)
    assert counter.passes == 4 * (3 * 5 + 3 * 3)  # 15 candidates and, in each of three chunks, 3 targets


def test_other_codes_are_the_same_pick_only_where_they_are_a_tie(problem):
    plain = sharing.together(sharing._ours(5, 6), problem)
    noise = plain.latents[1].noise.clone()
    noise[2] += 1
    levels = [level._replace(noise=noise) if k == 1 else level for k, level in enumerate(plain.latents)]
    tied = plain._replace(latents=Latents(levels))
    assert same_picks(plain, plain) and same_picks(plain, tied)
    above = plain.distances.clone()
    above[2, 2:] *= 2  # what stands on another code is another image
    assert same_picks(plain, tied._replace(distances=above))
    near = plain.distances.clone()
    near[2, 1] *= 1 + 5e-4
    assert not same_picks(plain, tied._replace(distances=near))
    (shares, change) = picks([(plain, tied)]).values()
    assert shares == [1.0, pytest.approx(2 / 3, abs=1e-3), 1.0, 1.0] and change == 0


def test_the_demos_benchmark_measures_the_demos_network():
    network = read_option_file(ROOT / "tools" / "demos" / "options" / "demo_sr16x.yml")["network_g"]
    for key, value in settings.SETTINGS["demo"].network.items():
        assert network[key] == value


def run_tool(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")


@pytest.fixture
def tiny_setting(monkeypatch, tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    tiny = replace(settings.SETTINGS["demo"], network=network, lq_px=2, examples=1, candidates=2, at_once=1)
    monkeypatch.setitem(settings.SETTINGS, "demo", tiny)
    monkeypatch.setattr(search_options, "QUALITY_SEEDS", range(1))


def test_benchmark_tool_prints_ratio_and_counts_and_its_report_shows_them(monkeypatch, tmp_path, capsys, tiny_setting):
    arguments = ["selection", "--network", "demo", "--repeats", "1", "--json", tmp_path / "b.json"]
    run_tool(monkeypatch, "benchmark.py", *arguments, "--options", "memory", "chimle")
    printed = capsys.readouterr().out
    naive, memory, chimle = json.loads((tmp_path / "b.json").read_text())["results"]
    assert naive["counts"]["naive, level evaluations"] == [8, 6, 4, 2]
    assert naive["counts"]["ours, level evaluations"] == [2, 2, 2, 2]
    assert naive["ratio"] == pytest.approx(naive["plain"]["seconds"] / naive["ours"]["seconds"])
    assert f"{naive['ratio']:.2f}" in printed and "[8, 6, 4, 2]" in printed and "same picks: True" in printed
    assert memory["counts"]["without, passes through the whole trunk"] == 4 * (1 + 2)
    assert memory["counts"]["with, passes through the whole trunk"] >= 4 * (1 + 2)  # and what is measured first
    assert memory["counts"]["with, items at once"] == [2] * 4
    assert memory["checks"] == {
        "share of examples with the same pick, by level (above the first also where a lower pick differs)": [1.0] * 4,
        "selected distance, relative change": pytest.approx(0, abs=1e-4),
    }
    assert chimle["counts"]["with, level evaluations"] == [3, 3, 1, 1]
    run_tool(monkeypatch, "benchmark_report.py", tmp_path / "b.json", "-o", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "only level 1's is how often an option picks the nearest" in page
    assert "## b" in page and f"{naive['ratio']:.2f} (" in page and "search_memory_gib: 0.5" in page
    conditions = json.loads((tmp_path / "b.json").read_text())["conditions"]
    assert conditions["threads"] == 1 and all(f"- {key}: {value}" in page for key, value in conditions.items())


def test_fewer_candidates_are_measured_if_asked_for(monkeypatch, tmp_path, tiny_setting, capsys):
    arguments = ["selection", "--network", "demo", "--repeats", "1", "--json", tmp_path / "b.json", "--options"]
    run_tool(monkeypatch, "benchmark.py", *arguments, "--candidates", "3")
    (naive,) = json.loads((tmp_path / "b.json").read_text())["results"]
    assert naive["counts"]["naive, level evaluations"] == [12, 9, 6, 3]
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, "benchmark.py", "training", "--candidates", "3")
    assert "--candidates is selection's: leave it out for training" in capsys.readouterr().err


def test_what_a_search_shares_is_measured_among_the_same_candidates(monkeypatch, tmp_path, tiny_setting):
    arguments = ["selection", "--network", "demo", "--repeats", "1", "--json", tmp_path / "new" / "b.json"]
    run_tool(monkeypatch, "benchmark.py", *arguments, "--options", "target_features", "search_batch", "combined")
    _, features, batch, combined = json.loads((tmp_path / "new" / "b.json").read_text())["results"]
    trunk = "passes through the whole trunk"
    assert features["counts"] == {f"once a chunk, {trunk}": 4 * 2 * 2, f"once, {trunk}": 4 * (1 + 2)}
    assert features["checks"]["same picks"] is True
    assert batch["counts"] == {
        **{f"{side}, level evaluations": [8] * 4 for side in ("one at a time", "4 at once")},
        **{"one at a time, level calls": [8] * 4, "4 at once, level calls": [2] * 4},
        **{"one at a time, items at once": [1] * 4, "4 at once, items at once": [4] * 4},
    }
    assert batch["checks"]["same picks"] is True
    assert batch["checks"]["selected distance, relative change"] == pytest.approx(0, abs=1e-5)
    assert combined["counts"]["naive, level evaluations"] == [32, 24, 16, 8]
    assert combined["counts"]["naive, items at once"] == [2] * 4
    assert combined["counts"]["ours, level evaluations"] == [8 + 4] * 4  # winners run again
    assert combined["counts"]["ours, items at once"] == [8] * 4
    assert combined["checks"]["selected distance, relative change"] == pytest.approx(0, abs=1e-2)


def test_what_a_cpu_would_imitate_is_measured_on_gpus_or_when_asked_for():
    assert set(selection.rows_of("cuda")) - set(selection.rows_of("cpu")) == {"combined", "combined_compiled"}
    assert {"target_features", "search_batch", "bf16"} < set(selection.rows_of("cpu"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "foo"], "--device foo: is not to be had on this machine; leave it out or use cpu"),
        (["--device", "meta"], "--device meta: "),
        (["--repeats", "0"], "--repeats 0: must be at least 1"),
        (["--candidates", "0"], "--candidates must be at least 1"),
        (["--json", "FOLDER/file/b.json"], "file/b.json: cannot be written (File exists)"),
        (["--json", "FOLDER"], ": is a folder: name a file"),
    ],
)
def test_what_cannot_be_measured_or_written_is_said_first(monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.setitem(settings.SETTINGS, "demo", None)  # to measure it would be another error
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stopped:
        given = [argument.replace("FOLDER", str(tmp_path)) for argument in arguments]
        run_tool(monkeypatch, "benchmark.py", "selection", "--network", "demo", *given)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="without a GPU")
def test_a_gpu_that_is_not_there_is_said_so(monkeypatch, capsys):
    monkeypatch.setitem(settings.SETTINGS, "demo", None)
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, "benchmark.py", "training", "--network", "demo", "--device", "cuda")
    assert "error: --device cuda: is not to be had on this machine" in capsys.readouterr().err


def test_the_report_names_a_file_that_is_none_of_a_benchmark(monkeypatch, tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"results": [{"what": "x"}]}')
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, "benchmark_report.py", tmp_path / "other.json", "-o", tmp_path / "page.md")
    assert "other.json: not a benchmark's JSON (TypeError" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_the_benchmark_of_inference_compares_equal_samples(monkeypatch, tiny_network):
    network = {key: value for key, value in tiny_network.items() if key != "type"}
    monkeypatch.setitem(settings.SETTINGS, "demo", replace(settings.SETTINGS["demo"], network=network, lq_px=2))
    monkeypatch.setattr(inference, "SAMPLES", (1, 20))
    monkeypatch.setattr(inference, "TILED_LQ_PX", 5)
    monkeypatch.setattr(inference, "TILE_PX", 16)
    one, many, kept, tiles = inference.benchmark_inference("demo", repeats=1)
    assert one.counts == {"level calls": [4, 4]} and many.counts == {"level calls": [80, 8]}
    assert kept.counts == {"level evaluations": [[16] * 4, [1, 1, 16, 16]]}
    assert one.checks == many.checks == {"same samples": True} and tiles.checks == {"same sample": True}
    assert tiles.counts["pixels that RRDBs read, over the map's"] == [1.0, 1.0, 3.8, 5.41]  # (39 / 20)^2, (93 / 40)^2
