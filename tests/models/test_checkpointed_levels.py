"""Levels that are recomputed or compiled in training: less memory, the same weights, clear errors."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch

from tim_plugin.archs.levels import checkpoint_levels, compile_levels
from tim_plugin.degradations.base import Observed
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.utils.errors import TimError

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="torch.compile needs a C++ compiler"
)


@pytest.fixture
def trained(step):
    """Return a function that lets a model take some steps and gives it back."""

    def take(model, steps=3):
        for iteration in range(1, steps + 1):
            step(model, iteration)
        return model

    return take


def test_checkpoints_keep_less_for_the_backward_pass(tiny_tower):
    kept, lq = [], torch.rand(1, 3, 2, 2)
    for tower in (tiny_tower(), tiny_tower()):
        if kept:
            checkpoint_levels(tower)
        sizes = {}
        latents = Latents.draw(tower.latent_shapes(2, 2), 1, torch.Generator().manual_seed(0))
        conditions = condition_pyramid(Observed(lq), tower.spec, tower.degradation)

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            images = tower(conditions, latents)
        kept.append((sum(sizes.values()), images))
    assert kept[1][0] < kept[0][0] / 5
    assert torch.equal(kept[0][1][-1], kept[1][1][-1])


@needs_compiler
def test_compiled_levels_train_alike_and_searches_run_them_as_they_are(build, monkeypatch, farthest, trained):
    """Traced by torch.compile but not turned into machine code, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, compiled = trained(build(), 2), build(compile=True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        conditions, _ = compiled.search.pyramids({"lq": torch.rand(3, 3, 2, 2), "gt": torch.rand(3, 3, 32, 32)})
        compiled.net_g(conditions, Latents.draw(compiled.net_g.latent_shapes(2, 2), 3))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0
    trained(compiled, 2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 4
    assert farthest(plain.net_g, compiled.net_g) < 1e-5
    assert set(plain.net_g.state_dict()) == set(compiled.net_g.state_dict())


def test_compiling_without_a_compiler_is_an_error(tiny_tower, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TimError, match="torch.compile needs a C\\+\\+ compiler .*use false"):
        compile_levels(tiny_tower(), torch.device("cpu"))


@needs_compiler
def test_a_compiler_that_fails_is_one_error(build, monkeypatch, step):
    def broken(graph, inputs):
        raise OSError("cc1plus: out of memory")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(TimError, match="train: compile: torch.compile failed .*out of memory.*use compile: false"):
        step(build(compile=True), 1)
