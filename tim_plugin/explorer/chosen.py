"""``tim sample --from choice.json``: the answer that was chosen on the page, made again to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tim_plugin import __version__
from tim_plugin.api import load
from tim_plugin.explorer.choice import Choice, read_choice_file
from tim_plugin.inference.image_samples import SampledImage
from tim_plugin.inference.open_input import OpenInput
from tim_plugin.inference.outputs import OutputFiles, sheet_row, with_alpha, write_or_say
from tim_plugin.inference.record import RECORD, SampleRecord
from tim_plugin.utils.contact_sheet import contact_sheet
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import read_bytes, write_png


def sample_choice(
    path: Path,
    output: Path,
    image: Path | None = None,
    model: str | None = None,
    device: str | None = None,
    task: str | None = None,
    with_contact_sheet: bool = True,
    max_megapixels: float = 100.0,
) -> Path:
    """Write ``NAME_chosen.png``, its sheet beside the input, and an entry of ``samples.json``; return the first.

    Args:
        path: Of ``choice.json``.
        output: Folder; made if it does not exist.
        image: The input; None: that which the file holds, or which lies beside it.
        model: The tower's file, where it has moved; None: what the file says.
        device: None: that on which the answer was chosen, as another kind of device rounds otherwise.
        task: Of a file of the method's authors.
        with_contact_sheet: Write the sheet.
        max_megapixels: Of the answer.

    Raises:
        TimError: The file is none or was edited, or the tower or the image is another one.
    """
    choice = read_choice_file(path)
    tower = load(model or choice.model, device or choice.device, task=task)
    choice.require_tower(tower, str(path))
    content = choice.input_content(None if image is None else read_bytes(image), str(path))
    opened = tower.open_input(content, choice.name, source=choice.file, max_megapixels=max_megapixels)
    choice.require_size(opened.size, str(path))
    recipe = choice.tree.recipe(choice.tree.answers[choice.chosen])
    images, measures = next(opened.sample([recipe]))
    sheet = output / f"{choice.name}_chosen_sheet.png" if with_contact_sheet else None
    files = OutputFiles([output / f"{choice.name}_chosen.png"], sheet)
    network_g = {"tim_plugin": __version__, "model": model or choice.model}
    with locked(output, f"-o {output}"), SampleRecord(output / RECORD, network_g) as record:
        record.overwrite(files.all(), choice.file)
        write_or_say(write_png, files.samples[0], with_alpha(images, opened.alpha)[0])
        if sheet is not None:
            row = sheet_row(SampledImage(choice.name, opened.picture, images, None))
            write_or_say(write_png, sheet, contact_sheet([row]))
        record.add(_entry(choice, path, opened, files, measures))
    return files.samples[0]


def _entry(
    choice: Choice, path: Path, opened: OpenInput, files: OutputFiles, measures: dict[str, list[float]]
) -> dict[str, Any]:
    """The entry of ``samples.json``: what the answer was made by, level by level."""
    recipe = choice.tree.recipe(choice.tree.answers[choice.chosen])
    levels = [
        {**level.draw._asdict(), "patches": [patch.draw._asdict() for patch in level.patches]} for level in recipe
    ]
    sample = {"file": files.samples[0].name, "levels": levels}
    sample |= {name: round(values[0], 4) for name, values in measures.items()}
    made_with = {"model_sha256": choice.model_sha256, "choice": path.name, "input_sha256": choice.input_sha256}
    sheet = None if files.sheet is None else files.sheet.name
    about = {"input": choice.file, "made_with": made_with, "backend": opened.backend}
    return {**about, "samples": [sample], "sheet": sheet}
