"""Prepared folders of digits: GT and LQ files, as :mod:`tim_plugin.data.prepare` makes them of photographs."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from tim_plugin.data.sources import Digits
from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.errors import TimError
from tim_plugin.images import write_atomically, write_png


def prepare_digits(source: str, output: Path, basis: str, num_components: int = 10) -> tuple[int, int]:
    """Write ``output/gt/NAME.png`` and ``output/lq/NAME.png``, with a progress bar; what is there already stays.

    An 8-bit LQ file holds the reconstruction clipped and rounded; a dataset that degrades on the fly keeps it whole.

    Args:
        source: The digits, see :func:`tim_plugin.digits.read_digits`.
        output: Made if it does not exist.
        basis: The digits whose principal components are used: the training digits.
        num_components: How many.

    Returns:
        How many pairs were made, and how many were there.

    Raises:
        TimError: The digits cannot be read or the files cannot be written.
    """
    digits, degradation = Digits(source), PrincipalComponents.from_options(basis, num_components)
    made = 0
    try:
        for folder in ("gt", "lq"):
            (output / folder).mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(tqdm(digits.names, unit="digit")):
            lq, gt = (output / folder / f"{name}.png" for folder in ("lq", "gt"))
            if lq.exists() and gt.exists():
                continue
            image = digits.read(index)
            write_atomically(lq, degradation.encode(image))
            write_png(gt, image)
            made += 1
    except OSError as error:
        raise TimError(f"-o {output}: cannot be written: {error}") from error
    return made, len(digits.names) - made
