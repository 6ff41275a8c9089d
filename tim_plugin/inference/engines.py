"""The programs beside torch that run ONNX graphs on a processor: ONNX Runtime and OpenVINO."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch

from tim_plugin.utils.errors import TimError

Engine = Callable[[Mapping[str, Any]], list[Any]]  # arrays by the graph's names, to the arrays that it gives


def _open_onnxruntime(content: bytes, threads: int) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; they are raised anyway
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait take no time
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def _open_openvino(content: bytes, threads: int) -> Engine:
    import openvino

    core = openvino.Core()
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(core.read_model(io.BytesIO(content)), "CPU", properties)
    request = compiled.create_infer_request()

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        found = request.infer(dict(feeds), share_inputs=True)
        return [found[output] for output in compiled.outputs]

    return run


_OPENERS = {"openvino": _open_openvino, "onnxruntime": _open_onnxruntime}  # the faster one first, as measured
ENGINES = tuple(_OPENERS)


def is_installed(engine: str) -> bool:
    """Tell whether an engine and what graphs are made with are installed."""
    return all(find_spec(package) is not None for package in (engine, "onnx"))


def installed() -> tuple[str, ...]:
    """Return the engines that are installed, the fastest first."""
    return tuple(engine for engine in ENGINES if is_installed(engine))


def require_installed(engine: str, asked_by: str, extra: str | None = None) -> None:
    """Check that an engine is installed.

    Args:
        engine: One of :data:`ENGINES`.
        asked_by: The option that asks for it, for the error.
        extra: Of the package, by which pip installs it; None: the engine's own.

    Raises:
        TimError: It is not.
    """
    if not is_installed(engine):
        raise TimError(
            f"{asked_by}: needs the packages {engine} and onnx, which are not installed: pip install "
            f"'tim_plugin[{extra or engine}]'"
        )


def named_with_version(backend: str) -> str:
    """Return ``onnxruntime 1.20.0``: what samples were computed by, for records."""
    try:
        return f"{backend} {torch.__version__ if backend == 'torch' else version(backend)}"
    except PackageNotFoundError:  # a build of one's own, without metadata
        return backend


def open_engine(engine: str, content: bytes, threads: int) -> Engine:
    """Return a function that runs a graph.

    Args:
        engine: One of :data:`ENGINES`, installed.
        content: The graph.
        threads: That it may use.
    """
    return _OPENERS[engine](content, threads)
