"""Many answers for a user's files, from a checkpoint alone: what ``tools/sample.py`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tim_plugin._version import __version__
from tim_plugin.checkpoints import load_network
from tim_plugin.errors import TimError
from tim_plugin.evaluation import Answers, answer, re_degradation
from tim_plugin.images import decode_image, list_images, read_bytes, write_json
from tim_plugin.imle.trees import map_tensors, move
from tim_plugin.outputs import save_answers
from tim_plugin.resize import bicubic_resize

SMALLEST_SIDE_PX = 2  # instance norm needs more than one position


def parse_level_seeds(text: str | None) -> list[int | None] | None:
    """Read ``0,0,3,7``; ``-`` leaves a level free.

    Raises:
        TimError: Something else than whole numbers from 0 and ``-``.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part != "-" and not part.isdecimal():
            raise TimError(
                f"--level-seeds {text}: {part!r} is neither a sample's number (0, 1, ...) nor '-'; "
                "write for example 3,3,-,- or 0,0,3,7"
            )
    return [None if part == "-" else int(part) for part in parts]


def sample_files(
    source: Path,
    output: Path,
    checkpoint: Path,
    *,
    num_samples: int = 8,
    seed: int = 0,
    level_seeds: Sequence[int | None] | None = None,
    suffix: str = "",
    device: str | None = None,
    max_samples_per_batch: int = 4,
    max_megapixels: float = 32.0,
    with_contact_sheet: bool = True,
) -> list[dict[str, Any]]:
    """Sample each image of a file or folder and write ``NAME_s00.png ...``, ``NAME_sheet.png`` and ``samples.json``.

    Args:
        source: A file or a folder of files that the network's degradation reads: images, 8 or 16 bit, grey, colour,
            with or without alpha (which is enlarged bicubically and put back); label maps; JPEGs.
        output: Made if it does not exist.
        checkpoint: Written by this package; holds what rebuilds the network.
        num_samples: Answers for each image.
        seed: Sample j of an image depends on (seed, the file's name, j) alone.
        level_seeds: See :func:`tim_plugin.imle.sampling.sample_latents`; with every level given there is one answer.
        suffix: Put behind the name.
        device: None takes CUDA where there is one.
        max_samples_per_batch: Samples computed at once.
        max_megapixels: Larger outputs are refused before anything is computed.
        with_contact_sheet: Write the sheets.

    Returns:
        The entries of ``samples.json``.

    Raises:
        TimError: A path, the checkpoint, an argument or an image is wrong; what was written before stays.
    """
    _check_arguments(num_samples, seed, max_samples_per_batch)
    files = list_images(source)
    names = _output_names(files, suffix)
    device = choose_device(device)
    tower, options = load_network(checkpoint, device)
    if not hasattr(tower, "forward_level"):
        raise TimError(
            f"{checkpoint}: is a {options.get('type')}, whose inputs only a data set knows how to read: use "
            "tools/test.py or tools/evaluate.py with its option file"
        )
    num_levels = tower.spec.num_levels
    if level_seeds is not None and len(level_seeds) > num_levels:
        raise TimError(f"--level-seeds has {len(level_seeds)} entries, the network has {num_levels} levels")
    if level_seeds is not None and len(level_seeds) == num_levels and None not in level_seeds:
        num_samples = 1
    entries = []
    for path, name in zip(tqdm(files, unit="image", disable=len(files) == 1), names, strict=True):
        content = read_bytes(path)
        observed = tower.degradation.read(content, str(path))
        _check_size(path, observed.lq, tower, max_megapixels)
        batch = move(map_tensors(lambda tensor: tensor[None], observed), device)
        samples = answer(tower, batch, num_samples, seed, path.stem, level_seeds, max_samples_per_batch)
        agreement = re_degradation(tower.degradation, samples, move(batch, "cpu"))
        if tower.degradation.keeps_alpha:
            samples = _with_alpha(samples, decode_image(content, str(path)).alpha)
        answers = Answers(name, tower.degradation.picture(observed.lq), samples, None)
        written = save_answers(answers, output, name, with_contact_sheet)
        entries.append(_describe(path, written, agreement, seed, level_seeds, tower))
        write_json(
            output / "samples.json",
            {
                "tim_plugin": __version__,
                "model": str(checkpoint),
                "network_g": _without_tensors(options),
                "seed": seed,
                "images": entries,
            },
        )
    print(f"{len(entries)} image(s), {num_samples} sample(s) each: {output}")
    return entries


def _check_arguments(num_samples: int, seed: int, batch: int) -> None:
    for name, value, minimum in (("-n", num_samples, 1), ("--seed", seed, 0), ("--batch", batch, 1)):
        if value < minimum:
            raise TimError(f"{name} {value}: must be at least {minimum}")


def _output_names(files: Sequence[Path], suffix: str) -> list[str]:
    """Stems of the outputs; two inputs that differ in their suffix only keep it."""
    stems = [path.stem for path in files]
    names = [path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "_") for path in files]
    return [f"{name}_{suffix}" if suffix else name for name in names]


def choose_device(name: str | None) -> torch.device:
    """Return the device that ``--device`` names; None takes CUDA where there is one.

    Raises:
        TimError: It is not to be had on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TimError(f"--device {name}: is not to be had on this machine; leave it out or use cpu") from error
    return device


def _check_size(path: Path, lq: Tensor, tower: nn.Module, max_megapixels: float) -> None:
    height, width = lq.shape[-2:]
    if min(height, width) < SMALLEST_SIDE_PX:
        raise TimError(
            f"{path}: is {width}x{height}; an input must be at least {SMALLEST_SIDE_PX} pixels wide and high"
        )
    scale = tower.spec.scale
    megapixels = height * width * scale**2 / 1e6
    if megapixels > max_megapixels:
        raise TimError(
            f"{path}: is {width}x{height}, its {scale}x output {width * scale}x{height * scale} ({megapixels:.0f} "
            f"megapixels): crop or shrink it, or allow it with --max-megapixels {megapixels + 1:.0f}"
        )


def _with_alpha(samples: Tensor, alpha: Tensor | None) -> Tensor:
    if alpha is None:
        return samples
    alpha = bicubic_resize(alpha, tuple(samples.shape[-2:])).clamp(0, 1)
    return torch.cat([samples, alpha.expand(len(samples), -1, -1, -1)], dim=1)  # (n, 4, H, W)


def _without_tensors(options: Any) -> Any:
    """Options as JSON holds them; a PCA basis, which the checkpoint keeps, is named by its shape."""
    if isinstance(options, Mapping):
        return {key: _without_tensors(value) for key, value in options.items()}
    return f"tensor of shape {tuple(options.shape)}" if isinstance(options, Tensor) else options


def _describe(
    path: Path,
    written: Sequence[Path],
    agreement: Mapping[str, Sequence[float]],
    seed: int,
    level_seeds: Sequence[int | None] | None,
    tower: nn.Module,
) -> dict[str, Any]:
    """An image's entry of samples.json: each sample's seeds, and how well it degrades to its input."""
    fixed = [*(level_seeds or ()), *[None] * tower.spec.num_levels][: tower.spec.num_levels]
    entries: list[dict[str, Any]] = [
        {
            "file": file.name,
            "seed": seed,
            "level_seeds": [j if level is None else level for level in fixed],
            **{measure: round(values[j], 4) for measure, values in agreement.items()},
        }
        for j, file in enumerate(written)
    ]
    return {"input": str(path), "samples": entries}
