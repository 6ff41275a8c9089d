"""What an option file asks of this machine and of the packages that were imported: registered names, memory, modules.

These checks load torch and BasicSR, which the others do without; they run last, and still before anything is written.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tim_plugin.options.metric_checks import check_size
from tim_plugin.options.plain_checks import as_section, check_keys, require, require_text, section_of
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.options.values import build_spec, check_value
from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.signatures import Option

GIB = 2**30
LAYERS, SIZES = 1000, 16  # at most, as a tower's blocks and levels; each of SIZES doubles the image
COUNTS = {
    **dict.fromkeys(
        ("num_layers", "num_block", "num_blocks", "num_rfb_block", "num_group", "depths", "num_conv"), LAYERS
    ),
    **dict.fromkeys(("num_extract_block", "num_reconstruct_block", "num_mlp", "n_layers_d", "num_d"), LAYERS),
    **dict.fromkeys(("num_up", "num_stacks", "num_modules", "times"), SIZES),
}
MISTAKES = (TypeError, ValueError, AssertionError, LookupError, ArithmeticError, RuntimeError, AttributeError)


def check_machine(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check that every ``type`` is registered and takes its arguments, and that what is asked for is installed.

    Args:
        opt: Options that :func:`tim_plugin.options.checks.check_options` has passed.
        is_train: Training or test.

    Raises:
        TimError: For the first thing that is wrong.
    """
    from basicsr.utils.registry import DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

    _registered("model_type", opt["model_type"], MODEL_REGISTRY)
    for phase, dataset in section_of(opt, "datasets").items():
        where = f"datasets: {phase}"
        require(where, as_section(where, dataset), ("type",))
        _registered(f"{where}: type", dataset["type"], DATASET_REGISTRY)
    for name, section in _typed(opt, "network_"):
        _check_network(name, section)
    for name, section in _typed(section_of(opt, "train"), "", "_opt") if is_train else ():
        _check_arguments(f"train: {name}", section, _registered(f"train: {name}: type", section["type"], LOSS_REGISTRY))
    for name, metric in section_of(opt, "val: metrics").items():
        _registered(f"val: metrics: {name}: type", section_of({name: metric}, name).get("type"), METRIC_REGISTRY)
    _check_first_images(opt)
    if is_train:
        _check_installed(opt)


def _check_first_images(opt: Mapping[str, Any]) -> None:
    """Check the metrics against the first image of each folder that is validated whole; the others when they come."""
    from PIL import Image

    from tim_plugin.utils.images import is_image

    metrics = section_of(opt, "val: metrics")
    for phase, dataset in section_of(opt, "datasets").items() if metrics else ():
        root = dataset.get("dataroot_gt")
        if phase.startswith("train") or not root or dataset.get("gt_size") and "task" in dataset:
            continue
        folder = Path(root)
        if not folder.is_dir():
            continue
        first = min((path for path in folder.iterdir() if path.is_file() and is_image(path)), default=None)
        try:
            width, height = Image.open(first).size if first else (10_000, 10_000)
        except (OSError, ValueError, Image.DecompressionBombError):  # the data set says what is wrong with it
            continue
        for name, metric in metrics.items():
            check_size(name, metric, height, width, where=str(first))


def _typed(options: Mapping[str, Any], begin: str, end: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the sections with a ``type`` whose names begin and end so."""
    for name, section in options.items():
        if isinstance(section, Mapping) and str(name).startswith(begin) and str(name).endswith(end):
            require(str(name), section, ("type",))
            yield name, section


def _registered(where: str, name: Any, registry: Any) -> Any:
    """Return what a registry has by that name."""
    require_text(where, name)
    if name not in registry and f"{name}_basicsr" not in registry:
        raise TimError(
            f"{where} {name!r} is not registered: {did_you_mean(name, registry.keys())} What a project has of its own "
            "is registered when its module is imported"
        )
    return registry.get(name)


def _check_arguments(where: str, section: Mapping[str, Any], function: Any) -> None:
    """Refuse arguments that a constructor does not take, and ask for those that it needs."""
    parameters = inspect.signature(function).parameters
    given = {key: value for key, value in section.items() if key != "type"}
    named = {name for name, one in parameters.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
    if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
        check_keys(where, given, named)
    require(where, section, tuple(name for name in named if parameters[name].default is inspect.Parameter.empty))


def _check_network(name: str, section: Mapping[str, Any]) -> None:
    """Build a network without memory: what its constructor refuses is refused here."""
    import torch
    from basicsr.utils.registry import ARCH_REGISTRY

    kind = _registered(f"{name}: type", section["type"], ARCH_REGISTRY)
    arguments = {key: value for key, value in section.items() if key != "type"}
    if section["type"] == "TowerGenerator":
        _require_memory(name, _tower_size(build_spec(TowerSpec, arguments)))
        return
    _check_arguments(name, section, kind)
    _check_counts(name, arguments)
    try:
        with torch.device("meta"):
            network = kind(**arguments)
    except TimError:
        raise
    except NotImplementedError:  # its initialisation looks at values, which a network without memory has not got
        return
    except MISTAKES as error:
        if "meta" in str(error):
            return
        raise TimError(f"{name}: {section['type']} cannot be built of these arguments: {_one_line(error)}") from error
    _require_memory(name, sum(parameter.numel() for parameter in network.parameters()))


def _check_counts(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse more layers than anybody builds: also without memory, each takes its time."""
    for key in COUNTS.keys() & arguments.keys():
        value = arguments[key]
        for count in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(count, int):  # the constructor says what is wrong with anything else
                check_value(f"{name}: {key}", Option(key, int, None, "", most=COUNTS[key]), count)


def _tower_size(spec: TowerSpec) -> int:
    """Return about how many parameters a tower has: those of its RRDBs and of its mapping networks."""
    total = 0
    for level in spec.levels:
        trunk, growth = level.trunk_channels, level.growth_channels
        block = 3 * 9 * (4 * trunk * growth + 6 * growth**2 + (trunk + 4 * growth) * trunk)
        styles = spec.mapping_width * 2 * trunk * level.num_blocks
        mapping = spec.mapping_width * (level.style_dim + spec.mapping_width * (spec.mapping_layers - 1))
        total += level.num_blocks * block + (mapping + styles if spec.mapping else 0)
    return total


def _require_memory(name: str, parameters: int) -> None:
    needed, there = 4 * parameters, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise TimError(
            f"{name}: has {parameters:,} parameters, {needed / GIB:.0f} GiB, and this machine has "
            f"{there / GIB:.0f} GiB of memory: use fewer or narrower layers"
        )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _check_installed(opt: Mapping[str, Any]) -> None:
    logger = section_of(opt, "logger")
    asked = {
        "tensorboard": "use_tb_logger: true" if logger.get("use_tb_logger") else None,
        "wandb": "wandb: project" if section_of(logger, "wandb").get("project") else None,
    }
    for module, key in asked.items():
        if key and "debug" not in opt["name"] and find_spec(module) is None:
            raise TimError(f"logger: {key} needs the package {module}, which is not installed: pip install {module}")
