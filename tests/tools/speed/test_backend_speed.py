"""The benchmark of backends compares each installed engine with torch, and says where there is none."""

from __future__ import annotations

import pytest

from speed import backend_speed
from tim_plugin.inference.engines import installed
from tim_plugin.utils.errors import TimError


@pytest.mark.skipif(not installed(), reason="neither onnxruntime nor openvino is installed, with onnx")
def test_each_engine_is_timed_and_gives_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backend_speed, "CASES", (("mnist-pca", 32, 1),))
    monkeypatch.setattr(backend_speed, "THREADS", (1,))
    found = backend_speed.benchmark_backends(1)
    assert [one.ours.name.split()[0] for one in found] == [engine for engine in installed() for _ in range(2)]
    assert all(one.ratio > 0 and max(one.checks.values()) <= 1 for one in found)


@pytest.mark.skipif(bool(installed()), reason="an engine is installed")
def test_without_an_engine_it_says_what_to_install():
    with pytest.raises(TimError, match="pip install"):
        backend_speed.benchmark_backends(1)
