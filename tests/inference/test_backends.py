"""Samples by ONNX Runtime and by OpenVINO agree with torch's, or are refused with a sentence; graphs are kept."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.cli.main import main
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.inference import graph_cache
from tim_plugin.inference.arguments import Resources
from tim_plugin.inference.backends import Backends
from tim_plugin.inference.engines import ENGINES, installed, named_with_version
from tim_plugin.inference.sampler import sample
from tim_plugin.inference.tower import Tower
from tim_plugin.inference.towers import load
from tim_plugin.utils import notes
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image

CPU = torch.device("cpu")
ENGINE = [
    pytest.param(name, marks=pytest.mark.skipif(name not in installed(), reason=f"{name} and onnx are not installed"))
    for name in ENGINES
]
needs_engine = pytest.mark.skipif(not installed(), reason="neither onnxruntime nor openvino is installed, with onnx")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def unmade(*_):
    raise RuntimeError("a graph is made")


def applied(network, size, **resources):
    return Backends(network).plan(*size, CPU, Resources(**resources), 0)


@pytest.mark.parametrize("engine", ENGINE)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("sr16x-small", (5, 4)),
        ("sr4x-small", (9, 7)),
        ("decompress-small", (48, 32)),
        ("colorize-small", (40, 24)),
        ("layout-camvid-small", (32, 48)),
        ("mnist-pca", (32, 32)),
    ],
)
def test_samples_agree_with_torch_whatever_the_batch(engine, name, size):
    tower = load(name).network
    lq = torch.rand(1, tower.spec.num_in_ch, *size, generator=torch.Generator().manual_seed(0))
    observed = Observed(lq, {}) if tower.degradation.needs == () else None
    spec = tower.spec
    if observed is None:  # a JPEG
        read = tower.degradation.degrade(lq[0])
        observed = Observed(read.lq[None], {key: value[None] for key, value in read.given.items()})
    conditions = condition_pyramid(observed, spec, tower.degradation)
    draw = partial(sample, conditions=conditions, seed=0, image_keys=["a"], max_samples_per_batch=8)
    plan, backend = applied(tower, size, backend=engine)
    assert backend == named_with_version(engine) and backend.split()[0] == engine
    of_eight, expected = draw(plan.tower, num_samples=8)[0], draw(tower, num_samples=8)[0]
    assert (of_eight - expected).abs().max() < 1e-4
    for j in (0, 7):
        alone = draw(plan.tower, num_samples=1, level_seeds=[j] * spec.num_levels)[0]
        assert (alone[0] - of_eight[j]).abs().max() < 1e-5


@pytest.mark.parametrize("engine", ENGINE)
@pytest.mark.parametrize(
    "changes",
    [
        {"mapping": False},
        {"mapping_sees_below": True, "normalise": False, "condition_every_level": True},
        {"weight_norm": False, "feature_scale": 0.0},
        {"placement": "same", "head_at": "trunk_below_last", "image_below": "none"},
    ],
)
def test_every_kind_of_level_agrees(engine, changes, tiny_tower):
    tower = tiny_tower(**changes).eval()
    lq = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)
    plan, _ = applied(tower, (16, 24), backend=engine)
    found, expected = (sample(one, conditions, 3, 0)[0] for one in (plan.tower, tower))
    assert (found - expected).abs().max() < 1e-4


@needs_engine
def test_a_trained_network_is_built_anew_and_is_left_as_it_was(tiny_tower):
    network = tiny_tower().eval().requires_grad_(False)
    tower, lq = Tower(network), torch.rand(3, 5, 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    first = tower.sample(lq, n=2, backend=installed()[0])
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    next(network.levels[0].conv_first.parameters()).data.add_(1.0)
    changed = tower.sample(lq, n=2, backend=installed()[0])
    assert not torch.equal(first.images, changed.images)
    assert (changed.images - tower.sample(lq, n=2, backend="torch").images).abs().max() < 1.5 / 255


@needs_engine
def test_levels_kept_from_another_backend_are_the_same_to_a_step(tiny_tower):
    tower, lq = Tower(tiny_tower(consistency="project").eval()), torch.rand(3, 5, 4)
    torchs = tower.sample(lq, n=3, backend="torch")
    again = tower.sample(lq, keep=(torchs, 2), levels=4, backend=installed()[0])
    assert (again.images[0] - torchs.images[2]).abs().max() < 1.5 / 255


@needs_engine
def test_graphs_are_kept_and_damaged_ones_made_anew(tiny_tower, monkeypatch):
    network = tiny_tower().eval()
    applied(network, (5, 4), backend=installed()[0])
    files = sorted(graph_cache.cache_folder().iterdir())
    assert len(files) == network.spec.num_levels
    intact = files[0].read_bytes()
    files[0].write_bytes(intact[:-9] + b"x" * 9)
    monkeypatch.setattr("tim_plugin.inference.backends.level_graph", unmade)
    with pytest.raises(TimError, match="cannot run this network .a graph is made"):
        applied(network, (5, 4), backend=installed()[0])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(files[0].parents[1]))
    applied(network, (5, 4), backend=installed()[0])
    assert files[0].stat().st_size == len(intact)
    monkeypatch.setattr("tim_plugin.inference.backends.level_graph", unmade)
    assert applied(network, (5, 4), backend=installed()[0])[1] == named_with_version(installed()[0])


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(notes, "_said", set())
    assert [graph_cache.kept(name, lambda: b"graph") for name in ("a", "b")] == [b"graph", b"graph"]
    assert capsys.readouterr().err.count("graphs are not kept there") == 1


def test_the_cache_keeps_what_was_used_last(monkeypatch):
    monkeypatch.setattr(graph_cache, "MOST_BYTES", 2 * 132)
    for name in ("a", "b", "c"):
        assert graph_cache.kept(name, lambda: b"x" * 100) == b"x" * 100
    assert sorted(path.stem for path in graph_cache.cache_folder().iterdir()) == ["b", "c"]
    assert graph_cache.kept("b", bytes) == b"x" * 100  # from the folder


@needs_engine
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"precision": "bf16"}, "computes in fp32, and not in bf16"),
        ({"tile": 64}, "computes no tiles"),
        ({"memory_gib": 0.1}, "computes no tiles"),  # whole by torch, with less memory
    ],
)
def test_what_an_engine_cannot_is_refused_and_torch_s_with_auto(arguments, said, tiny_tower):
    network = tiny_tower().eval()
    with pytest.raises(TimError, match=said) as raised:
        applied(network, (9, 9), backend=installed()[0], **arguments)
    assert "\n" not in str(raised.value)
    plan, backend = applied(network, (9, 9), backend="auto", **arguments)
    assert backend == named_with_version("torch") and plan.tile_px == arguments.get("tile", 0)


@needs_engine
def test_auto_falls_back_and_says_so_where_an_engine_fails(tiny_tower, monkeypatch, capsys):
    monkeypatch.setattr("tim_plugin.inference.backends.level_graph", unmade)
    monkeypatch.setattr(notes, "_said", set())
    network = tiny_tower().eval()
    plan, backend = applied(network, (5, 4))
    assert plan.tower is network and backend == named_with_version("torch")
    assert "torch computes" in capsys.readouterr().err


@pytest.mark.skipif(len(installed()) == len(ENGINES), reason="every engine is installed")
def test_an_engine_that_is_not_installed_is_refused(command):
    missing = next(engine for engine in ENGINES if engine not in installed())
    status, _, said = command("--backend", missing)
    assert status == 2 and f"pip install 'tim_plugin[{missing}]'" in said and said.count("\n") == 1


def test_an_unknown_backend_is_refused(command):
    status, _, said = command("--backend", "onnxruntim")
    assert status == 2 and "did you mean 'onnxruntime'?" in said


def test_the_record_names_the_backend(tmp_path, checkpoint, frames):
    for backend in ("torch", "auto"):
        arguments = ["-i", str(frames / "f0.png"), "-o", str(tmp_path / backend), "-m", str(checkpoint), "-n", "2"]
        main([*arguments, "--backend", backend], "sample")
        used = "torch" if backend == "torch" else next(iter(installed()), "torch")
        (entry,) = json.loads((tmp_path / backend / "samples.json").read_text())["images"]
        assert entry["backend"] == named_with_version(used)
    found, expected = (read_image(tmp_path / backend / "f0_s01.png").rgb for backend in ("auto", "torch"))
    assert (found - expected).abs().max() < 1.5 / 255


def test_other_networks_are_torch_s(tiny_tower):
    tower = torch.nn.Identity()
    tower.spec = tiny_tower().spec
    assert not isinstance(tower, TowerGenerator)
    assert Backends(tower).choose(CPU, Resources()) == "torch"
