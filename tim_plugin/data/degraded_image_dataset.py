"""Plain photographs as (LQ, GT) pairs: the LQ is made on the fly by the task's degradation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from basicsr.utils import FileClient
from torch import Tensor
from torch.utils.data import Dataset

from tim_plugin.data.photographs import crop_centre, resize_short_side
from tim_plugin.errors import TimError
from tim_plugin.images import decode_image, list_images
from tim_plugin.seeds import keyed_generator
from tim_plugin.tasks import get_task

RESIZES = ("none", "short_side")


class DegradedImageDataset(Dataset):
    """Photographs from a folder (or an lmdb, or those that a meta-info file lists), cropped and degraded.

    In training a random crop of ``gt_size`` is flipped and turned; in validation and test the centre is taken: of
    ``gt_size`` if it is given, else the largest that the task's scale divides. The random choices depend on (``seed``,
    epoch, index) alone, whatever the number of workers, once ``set_epoch`` was called (tools/train.py does); in
    BasicSR's unmodified loop they come from torch's random state in each worker.

    Args:
        opt: BasicSR's dataset options. Read here: ``task``, ``dataroot_gt``, ``meta_info_file``, ``io_backend`` (disk),
            ``phase``, ``gt_size``, ``resize`` (``none``, or ``short_side``: the short side becomes ``gt_size`` first),
            ``use_hflip``, ``use_rot``, ``seed`` (0).

    Raises:
        TimError: An option or the folder is wrong.
    """

    accepts_enlarged_indices = True

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.name = f"dataset {opt.get('name', '')}"
        self.task = get_task(opt.get("task", ""))
        self.training = opt.get("phase", "train") == "train"
        self.gt_size = opt.get("gt_size")
        self.resize = opt.get("resize", "none")
        self._check()
        self.backend = dict(opt.get("io_backend") or {"type": "disk"})
        self.client: FileClient | None = None
        self.paths = self._list()
        self.epoch = torch.full((1,), -1).share_memory_()  # workers that live on see a new epoch too

    def _check(self) -> None:
        if self.training and self.gt_size is None:
            raise TimError(
                f"{self.name}: gt_size is missing: the side of the crops, a multiple of {self.task.gt_multiple}"
            )
        if self.gt_size is not None and self.gt_size % self.task.gt_multiple:
            lower = self.gt_size // self.task.gt_multiple * self.task.gt_multiple
            raise TimError(
                f"{self.name}: gt_size {self.gt_size} is not a multiple of {self.task.gt_multiple}: "
                f"use {lower + self.task.gt_multiple}" + (f" or {lower}" if lower else "")
            )
        if self.resize not in RESIZES:
            raise TimError(f"{self.name}: resize {self.resize!r} is not known: none or short_side")
        if self.resize == "short_side" and self.gt_size is None:
            raise TimError(f"{self.name}: resize: short_side needs gt_size")
        if self.opt.get("scale", self.task.scale) != self.task.scale:
            raise TimError(f"{self.name}: scale {self.opt['scale']} does not fit the task's {self.task.scale}")

    def _list(self) -> list[str]:
        root = self.opt.get("dataroot_gt")
        if root is None:
            raise TimError(f"{self.name}: dataroot_gt is missing: the folder of photographs")
        listed = self.opt.get("meta_info_file")
        if self.backend["type"] == "lmdb":
            self.backend.update(db_paths=[root], client_keys=["gt"])
            names = _first_words(Path(root) / "meta_info.txt", self.name)
            return [name.rsplit(".", 1)[0] for name in names]
        if listed:
            return [str(Path(root) / name) for name in _first_words(Path(listed), self.name)]
        return [str(path) for path in list_images(root)]

    def __len__(self) -> int:
        return len(self.paths)

    def set_epoch(self, epoch: int) -> None:
        """Key the random choices by this epoch from now on, in all workers."""
        self.epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``lq`` and ``gt`` (RGB, CHW, float32 in [0, 1]) and their paths; an index may exceed the length."""
        path = self.paths[index % len(self.paths)]
        gt = self._resized(self._read(path), path)
        gt = self._augmented(gt, self._generator(index)) if self.training else self._centre(gt)
        return {"lq": self.task.degrade(gt), "gt": gt, "lq_path": path, "gt_path": path}

    def _read(self, path: str) -> Tensor:
        if self.client is None:  # made in the worker: an lmdb environment does not survive a fork
            options = dict(self.backend)
            self.client = FileClient(options.pop("type"), **options)
        try:
            content = self.client.get(path, "gt")
        except OSError as error:
            raise TimError(f"{path}: cannot be read: {error.strerror}") from error
        return decode_image(bytes(content), path).rgb

    def _generator(self, index: int) -> torch.Generator | None:
        epoch = int(self.epoch)
        return None if epoch < 0 else keyed_generator("crop", self.opt.get("seed", 0), epoch, index)

    def _resized(self, gt: Tensor, path: str) -> Tensor:
        if self.resize == "short_side":
            return resize_short_side(gt, self.gt_size, path)
        height, width = gt.shape[-2:]
        needed = self.gt_size or self.task.gt_multiple
        if min(height, width) < needed:
            hint = "use a smaller gt_size, or resize: short_side" if self.gt_size else "leave it out"
            raise TimError(f"{path}: is {width}x{height}, smaller than {needed}x{needed}: {hint}")
        return gt

    def _augmented(self, gt: Tensor, generator: torch.Generator | None) -> Tensor:
        def draw(high: int) -> int:
            return int(torch.randint(high, (), generator=generator))

        top, left = (draw(side - self.gt_size + 1) for side in gt.shape[-2:])
        gt = gt[:, top : top + self.gt_size, left : left + self.gt_size]
        flip, turn_over, transpose = draw(2), draw(2), draw(2)  # always drawn, so that options do not shift the crops
        if self.opt.get("use_hflip") and flip:
            gt = gt.flip(2)
        if self.opt.get("use_rot"):  # BasicSR's meaning: vertical flip and transposition, each by chance
            gt = gt.flip(1) if turn_over else gt
            gt = gt.transpose(1, 2) if transpose else gt
        return gt.contiguous()

    def _centre(self, gt: Tensor) -> Tensor:
        multiple = self.task.gt_multiple
        return crop_centre(gt, *(self.gt_size or side // multiple * multiple for side in gt.shape[-2:]))


def _first_words(path: Path, name: str) -> list[str]:
    """First word of each line of a meta-info file: the image's name."""
    try:
        words = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise TimError(f"{name}: meta-info file {path} cannot be read: {error.strerror}") from error
    if not words:
        raise TimError(f"{name}: meta-info file {path} is empty: one line an image, 'NAME.png (256,256,3)'")
    return words
