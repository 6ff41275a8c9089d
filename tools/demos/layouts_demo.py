"""The demo of scene layouts: CamVid's street scenes, which the user has."""

from __future__ import annotations

import os
from pathlib import Path

from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.degradations.labels import Labels
from tim_plugin.utils.errors import TimError

LAYOUTS = "layout_camvid"
CAMVID = Path("datasets/camvid")
PARTS = ("images", "labels")


def layout_data(root: Path, data: Path | None = None) -> dict[str, str]:
    """Compute the rarity statistics of the training images and return the options that name them and the data.

    Args:
        root: The project's folder; the statistics are written to ``datasets/camvid_rarity.json`` below it.
        data: Folder with ``train`` and ``val``, each with ``images`` and ``labels`` (label maps as PNG of class indices
            or of CamVid's colours); None takes ``datasets/camvid`` below ``root``.

    Raises:
        TimError: A folder is not there, or a label map is wrong.
    """
    data = (data or root / CAMVID).expanduser().resolve()
    _require_folders(data)
    statistics = root / "datasets" / "camvid_rarity.json"
    images, labels = (data / "train" / part for part in PARTS)
    compute_rarity(images, labels, Labels("camvid", "channel"), workers=os.cpu_count() or 1).save(statistics)
    overrides = {
        f"datasets:{phase}:dataroot_{key}": str(data / phase / part)
        for phase in ("train", "val")
        for key, part in zip(("gt", "lq"), PARTS, strict=True)
    }
    return {**overrides, "datasets:train:rarity:file": str(statistics)}


def _require_folders(data: Path) -> None:
    for folder in (data / phase / part for phase in ("train", "val") for part in PARTS):
        if not folder.is_dir():
            raise TimError(
                f"{folder}: there is no such folder: the demo {LAYOUTS} needs CamVid as train/images, train/labels, "
                "val/images and val/labels; name the folder that holds train and val with --data"
            )
