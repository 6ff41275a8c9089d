"""A tower as a file that other programs run: an ONNX graph, OpenVINO's format, or safetensors."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tim_plugin import __version__
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.inference.engines import open_engine, require_installed
from tim_plugin.inference.graphs import graph_inputs, size_of_lq, tower_graph, tower_network
from tim_plugin.inference.towers import convert, file_of, open_network
from tim_plugin.utils.checkpoints import plain
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.writing import move, temporary_folder, write_atomically

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "safetensors": ".safetensors"}
_CHECKED_PX = (4, 7)  # of the coarsest level, not those that are traced
_MOST_DIFFERENCE = 1e-4
_MOST_BYTES = 2**31 - 2**20  # of a file in protobuf's format


def export(
    model: Path | str,
    output: Path | str,
    to: str | None = None,
    with_projection: bool = False,
    task: str | None = None,
) -> str:
    """Write a tower for other programs, once it was seen to compute what torch does at another size than the traced.

    Args:
        model: A tower's name, or a checkpoint.
        output: The file; folders are made. OpenVINO's weights lie beside it, with the suffix ``.bin``.
        to: ``onnx``, ``openvino`` or ``safetensors``; None: by the suffix of ``output``.
        with_projection: Also project each level's image, where the tower does and its LQ is all that this takes.
        task: Of a file of the method's authors, see :func:`tim_plugin.utils.checkpoints.load_network`.

    Returns:
        What was written, for people.

    Raises:
        TimError: The model or an argument is wrong, a package is not installed, the network cannot be exported, or the
            file cannot be written.
    """
    output = Path(output).expanduser()
    try:
        return _export(model, output, _format(output, to), with_projection, task)
    except OSError as error:
        raise TimError(f"-o {output}: cannot be written: {error.strerror or error}") from error


def _export(model: Path | str, output: Path, to: str, with_projection: bool, task: str | None) -> str:
    if to == "safetensors":
        if with_projection:
            raise TimError("--with-projection: is of graphs, and safetensors holds weights only: leave it out")
        convert(model, output, task)
        return f"{output}: weights, and the arguments that rebuild the network"
    file_of(model)  # a misspelled name is said before a package is asked for
    for engine in ("onnxruntime", *(["openvino"] if to == "openvino" else [])):  # the first checks every graph
        require_installed(engine, f"--to {to}", "export,openvino" if to == "openvino" else "export")
    network, options, _ = open_network(model, "cpu", task)
    _check(network, str(model), with_projection)
    about = {"model": str(model), "tim_plugin": __version__, "projection": with_projection}
    header = {"arguments": json.dumps(plain(options, Tensor.tolist)), "about": json.dumps(about)}
    content = _checked_graph(network, with_projection, header)
    output.parent.mkdir(parents=True, exist_ok=True)
    if to == "onnx":
        write_atomically(output, content)
    else:
        _write_for_openvino(output, content)
    if with_projection or network.spec.consistency == "off":
        return f"{output}: {_described(network)}"
    lacking = "the projection and fade_contrast are" if network.spec.fade_contrast else "the projection is"
    return f"{output}: {_described(network)}; {lacking} left out"


def _format(output: Path, to: str | None) -> str:
    found = next((name for name, suffix in SUFFIXES.items() if suffix == output.suffix), None)
    if to is None and found is None:
        raise TimError(f"-o {output}: its suffix says no format: use {', '.join(SUFFIXES.values())}")
    if to is not None and to not in SUFFIXES:
        raise TimError(f"--to {to} is not known: {did_you_mean(to, SUFFIXES)}")
    if to is not None and found != to:
        raise TimError(f"-o {output}: is written as {SUFFIXES[to]} by --to {to}: give a name with that suffix")
    return to or found


def _check(network: Any, model: str, with_projection: bool) -> None:
    if not isinstance(network, TowerGenerator):
        raise TimError(f"{model}: is a {type(network).__name__}: only towers are exported, or --to safetensors")
    if with_projection and network.spec.consistency != "project":
        raise TimError(f"--with-projection: {model} projects nothing (consistency: off): leave it out")
    if with_projection and network.degradation.needs:
        raise TimError(
            f"--with-projection: that of {model} needs {', '.join(network.degradation.needs)} of each input, which a "
            "graph is not given: leave it out, and project the samples with tim_plugin"
        )
    size = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    if size > _MOST_BYTES:
        raise TimError(f"{model}: has weights of {size / 2**30:.1f} GiB; an ONNX file holds at most 2")


def _checked_graph(network: TowerGenerator, with_projection: bool, header: Mapping[str, str]) -> bytes:
    """Return the graph, which names what made it and computes what torch does."""
    import onnx

    graph = onnx.load_model_from_string(tower_graph(network, with_projection))
    onnx.helper.set_model_props(graph, dict(header))
    onnx.checker.check_model(graph)
    content = graph.SerializeToString()
    generator = torch.Generator().manual_seed(0)
    shapes = graph_inputs(network, 3, *size_of_lq(network, _CHECKED_PX))
    inputs = {name: torch.randn(zeros.shape, generator=generator) for name, zeros in shapes.items()}
    inputs["lq"] = inputs["lq"].sigmoid()
    (found,) = open_engine("onnxruntime", content, torch.get_num_threads())(
        {name: value.numpy() for name, value in inputs.items()}
    )
    with torch.no_grad():
        difference = (tower_network(network, with_projection)(*inputs.values()) - torch.from_numpy(found)).abs().max()
    if not difference < _MOST_DIFFERENCE:
        raise TimError(
            f"the exported graph differs from torch by {difference:.1e} at another size than it was traced at: this "
            "network cannot be exported by the installed versions of torch, onnx and onnxruntime"
        )
    return content


def _write_for_openvino(output: Path, content: bytes) -> None:
    import openvino

    with temporary_folder(output.parent) as folder:
        openvino.save_model(openvino.Core().read_model(io.BytesIO(content)), folder / output.name, False)
        for suffix in (".bin", output.suffix):  # the file that names the other comes last
            move((folder / output.name).with_suffix(suffix), output.with_suffix(suffix))


def _described(network: TowerGenerator) -> str:
    spec, last = network.spec, network.spec.num_levels - 1
    return (
        f"lq (n, {spec.num_in_ch}, h, w); noise_0 to noise_{last} (n, {spec.noise_channels}, ...) and style_0 to "
        f"style_{last} (n, {spec.style_dim}), standard normal; to image (n, {spec.num_out_ch}, ...)"
    )
