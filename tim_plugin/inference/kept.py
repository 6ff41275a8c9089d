"""``keep=(samples, j)``: which latents of a tower's samples are kept, where they fit the tower and its inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tim_plugin.degradations.base import Degradation
from tim_plugin.inference.image_inputs import ImageFile
from tim_plugin.inference.record import sha256
from tim_plugin.inference.sample_set import InputSamples, Samples
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.plain_numbers import is_whole, plain_number


def kept_levels(
    keep: tuple[Samples, int], levels: int | None, num_levels: int, names: Sequence[str], seed: int | None
) -> tuple[int, list[int | None]]:
    """Return the seed, and from which sample each level's latents are taken, so that a sample's coarse levels are kept.

    Args:
        keep: Samples, and the place of one in their ``images``.
        levels: How many of its levels are kept; None: all but the finest.
        num_levels: Of the tower.
        names: Of the inputs that are to be sampled: those of the samples.
        seed: None, or that of the samples.

    Raises:
        TimError: They do not fit together.
    """
    if not (isinstance(keep, tuple) and len(keep) == 2 and isinstance(keep[0], Samples)):
        raise TimError("keep must be samples and the number of one of them, as keep=(out, 3)")
    samples, index = keep[0], plain_number(keep[1])
    levels = num_levels - 1 if levels is None else plain_number(levels)
    if not is_whole(index) or not 0 <= index < len(samples):
        raise TimError(f"keep: there is no sample {index!r}: they are 0 to {len(samples) - 1}")
    if not is_whole(levels) or not 1 <= levels <= num_levels:
        raise TimError(f"levels {levels!r} must be a whole number from 1 to {num_levels}, the levels of the tower")
    if len(samples.seeds[index]) != num_levels:
        raise TimError(f"keep: its samples have {len(samples.seeds[index])} levels, this tower has {num_levels}")
    if samples.names != list(names):
        raise TimError(
            f"keep: its samples are of {', '.join(samples.names)}, and the input is {', '.join(names)}: latents are "
            "drawn by the name: give the same input, or its name by name="
        )
    if seed not in (None, samples.seed):
        raise TimError(f"seed {seed}: the kept levels were drawn with seed {samples.seed}: leave seed out")
    return samples.seed, [*samples.seeds[index][:levels], *[None] * (num_levels - levels)]


def require_same(
    samples: Samples, model_sha256: str | None, files: Sequence[ImageFile], degradation: Degradation
) -> None:
    """Check that samples are of this tower and of these inputs: their latents mean something else to others.

    Args:
        samples: Those that are kept in part, of as many inputs.
        model_sha256: Of the file of the tower's weights; None: it has none, as any network in memory.
        files: The inputs.
        degradation: Reads them.

    Raises:
        TimError: They are of another tower, or of another picture of the same name.
    """
    if samples.drawn_from.made_with["model_sha256"] != model_sha256:
        raise TimError(
            f"keep: its samples are of another tower, {samples.drawn_from.header['model']}: keep samples that this one "
            "has drawn"
        )
    for one, file in zip(samples.inputs, files, strict=True):
        if not _is_same(one, file, degradation):
            raise TimError(
                f"keep: its samples are of another picture named {one.key}: give the same input, or keep samples of "
                "this one"
            )


def _is_same(one: InputSamples, file: ImageFile, degradation: Degradation) -> bool:
    """Tell whether an input is the samples' own: the same content, or the same picture in another form."""
    if sha256(file.content) == one.sha256:
        return True
    return torch.equal(degradation.picture(degradation.read(file.content, file.source).lq), one.picture)
