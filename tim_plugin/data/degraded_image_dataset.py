"""The dataset of (LQ, GT) pairs: the LQ is made on the fly by the task's degradation, or read from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tim_plugin.data.pairs import pair_files
from tim_plugin.data.photographs import resize_short_side, resize_to
from tim_plugin.data.rarity import Rarity
from tim_plugin.data.sources import open_source
from tim_plugin.degradations.base import Observed
from tim_plugin.options.data_checks import check_degraded
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_bytes
from tim_plugin.utils.seeds import keyed_generator


class DegradedImageDataset(Dataset):
    """Images from a folder (an lmdb, a meta-info file's list, a file of digits), cropped and degraded.

    In training a random crop of ``gt_size`` is flipped and turned; in validation and test the centre is taken: of
    ``gt_size`` if it is given, else the largest that the task allows. With ``dataroot_lq`` the LQ is read from the file
    of the same name and cropped with its GT. The random choices (crop, flips, which image where ``rarity`` resamples,
    what the degradation draws) depend on (``seed``, epoch, index) alone, whatever the number of workers, once
    ``set_epoch`` was called (tools/train.py does); in BasicSR's unmodified loop they come from torch's random state in
    each worker.

    Args:
        opt: BasicSR's dataset options. Read here: ``task`` and its own options, ``dataroot_gt``, ``dataroot_lq``,
            ``meta_info_file``, ``io_backend`` (disk), ``max_images`` (the first so many), ``phase``, ``gt_size`` (a
            side, or [height, width]), ``resize``
            (``none``; ``short_side``: the short side becomes ``gt_size`` first; ``whole``: the image is resized to
            ``gt_size``), ``use_hflip``, ``use_rot``, ``rarity`` (``{file, resample, weight}``), ``seed`` (0).

    Raises:
        TimError: An option or the folder is wrong.
    """

    accepts_enlarged_indices = True

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.name = f"dataset {opt.get('name', '')}"
        self.training = opt.get("phase", "train") == "train"
        self.task, self.degradation = check_degraded(self.name, opt, self.training)
        size = opt.get("gt_size")
        self.gt_size = (size, size) if isinstance(size, int) else size and tuple(size)
        self.resize = opt.get("resize") or "none"
        self.source = open_source(opt, self.name)
        self.lq_files = self._pair()
        self.rarity = self._rarity(opt.get("rarity") or {})
        self.epoch = torch.full((1,), -1).share_memory_()  # workers that live on see a new epoch too

    @property
    def paths(self) -> list[str]:
        """Names of the GT images."""
        return self.source.names

    @property
    def lq_paths(self) -> list[str]:
        """Names of the LQ images: those of the GT images where they are made of them."""
        return [str(self._lq_name(index)) for index in range(len(self))]

    def _pair(self) -> list[Path] | None:
        """Return the LQ file of each GT, where LQ files are given."""
        root = self.opt.get("dataroot_lq")
        if root is None:
            return None
        return pair_files([Path(name) for name in self.paths], Path(root).expanduser())

    def _rarity(self, section: Mapping[str, Any]) -> Rarity | None:
        if not self.training or not (section.get("resample") or section.get("weight")):
            return None
        if self.task.degradation != "labels" or self.lq_files is None or "file" not in section:
            raise TimError(
                f"{self.name}: rarity needs label maps (dataroot_lq) and rarity: file, which prepare_data.py layouts "
                "writes"
            )
        rarity = Rarity.load(Path(section["file"]).expanduser())
        rarity.check(self._pairs(), self.degradation.describe())
        return rarity

    def _pairs(self) -> list[tuple[Path, Path]]:
        return list(zip(map(Path, self.paths), self.lq_files, strict=True))

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each image once: an index beyond the length is no end, which a plain loop would wait for."""
        return (self[index] for index in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        """Key the random choices by this epoch from now on, in all workers."""
        self.epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one example as BasicSR's dictionary.

        Args:
            index: Of the image, modulo the length; with the epoch it keys the random choices.

        Returns:
            ``lq`` (C, h, w) and ``gt`` (C, H, W), float32 in [0, 1]; ``lq_path``, ``gt_path``; where the task has them
            ``given``, what its projection needs beyond the LQ, and ``weight`` (1, H, W), what each pixel counts in the
            loss.

        Raises:
            TimError: A file is missing, damaged, too small, or does not fit its partner.
        """
        generator = self._generator(index)
        index = self._resampled(index % len(self), generator)
        gt = self.source.read(index)
        if self.degradation.image_channels == 1:
            gt = gt.mean(dim=0, keepdim=True)
        gt, observed = self._resized(gt, index)
        gt, observed = (self._augmented if self.training else self._centre)(gt, observed, generator)
        if observed is None:
            observed = self.degradation.degrade(gt, generator)
        data = {"lq": observed.lq, "gt": gt, "lq_path": str(self._lq_name(index)), "gt_path": self.paths[index]}
        if observed.given:
            data["given"] = dict(observed.given)
        weight = self._weight(index, observed)
        return data if weight is None else {**data, "weight": weight}

    def _weight(self, index: int, observed: Observed) -> Tensor | None:
        if self.rarity is not None and self.opt["rarity"].get("weight"):
            return self.rarity.weight_map(index, observed.lq)
        return self.degradation.pixel_weight(observed)

    def _lq_name(self, index: int) -> Path | str:
        return self.paths[index] if self.lq_files is None else self.lq_files[index]

    def _generator(self, index: int) -> torch.Generator | None:
        """Training: keyed by the epoch, if it was told. Else by the image alone, the same in each validation."""
        epoch = int(self.epoch) if self.training else 0
        return None if epoch < 0 else keyed_generator("crop", self.opt.get("seed", 0), epoch, index)

    def _resampled(self, index: int, generator: torch.Generator | None) -> int:
        if self.rarity is None or not self.opt["rarity"].get("resample"):
            return index
        return int(torch.multinomial(self.rarity.probabilities, 1, generator=generator))

    def _resized(self, gt: Tensor, index: int) -> tuple[Tensor, Observed | None]:
        """Return the image and, where there are LQ files, what is observed of it, large enough for a crop."""
        name = self.paths[index]
        observed = None
        if self.lq_files is not None:
            observed = self.degradation.read(read_bytes(self.lq_files[index]), str(self.lq_files[index]))
            _require_scale(name, gt, self.lq_files[index], observed.lq, self.degradation.scale)
        if self.resize == "short_side":
            gt = resize_short_side(gt, self.gt_size, name)
        elif self.resize == "whole":
            gt = resize_to(gt, self.gt_size)
        if observed is not None and self.resize != "none":
            observed = self.degradation.resize(observed, tuple(gt.shape[-2:]))
        self._require_size(gt, name)
        return gt, observed

    def _require_size(self, gt: Tensor, name: str) -> None:
        height, width = gt.shape[-2:]
        needed = self.gt_size or (self.task.gt_multiple,) * 2
        if height < needed[0] or width < needed[1]:
            hint = "use a smaller gt_size, or resize: short_side" if self.gt_size else "leave it out"
            raise TimError(f"{name}: is {width}x{height}, smaller than {needed[1]}x{needed[0]}: {hint}")

    def _augmented(
        self, gt: Tensor, observed: Observed | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Observed | None]:
        def draw(high: int) -> int:
            return int(torch.randint(high, (), generator=generator))

        step = 1 if observed is None else self.degradation.scale * self.degradation.crop_step
        top, left = (
            draw((side - crop) // step + 1) * step for side, crop in zip(gt.shape[-2:], self.gt_size, strict=True)
        )
        gt, observed = self._cropped(gt, observed, top, left, *self.gt_size)
        flip, turn_over, transpose = draw(2), draw(2), draw(2)  # always drawn, so that options do not shift the crops
        rotates = self.opt.get("use_rot")  # BasicSR's meaning: vertical flip and transposition, each by chance
        flips = [2] * bool(self.opt.get("use_hflip") and flip) + [1] * bool(rotates and turn_over)

        def turned(image: Tensor) -> Tensor:
            image = image.flip(flips) if flips else image
            return (image.transpose(1, 2) if rotates and transpose else image).contiguous()

        return turned(gt), None if observed is None else Observed(turned(observed.lq), observed.given)

    def _centre(
        self, gt: Tensor, observed: Observed | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Observed | None]:
        multiple = self.task.gt_multiple
        step = 1 if observed is None else self.degradation.scale * self.degradation.crop_step
        size = self.gt_size or tuple(side // multiple * multiple for side in gt.shape[-2:])
        top, left = ((side - crop) // 2 // step * step for side, crop in zip(gt.shape[-2:], size, strict=True))
        return self._cropped(gt, observed, top, left, *size)

    def _cropped(
        self, gt: Tensor, observed: Observed | None, top: int, left: int, height: int, width: int
    ) -> tuple[Tensor, Observed | None]:
        gt = gt[:, top : top + height, left : left + width].contiguous()
        if observed is None:
            return gt, None
        scale = self.degradation.scale
        return gt, self.degradation.crop(observed, *(value // scale for value in (top, left, height, width)))


def _require_scale(gt_name: str, gt: Tensor, lq_path: Path, lq: Tensor, scale: int) -> None:
    wanted = [side * scale for side in lq.shape[-2:]]
    if list(gt.shape[-2:]) != wanted:
        raise TimError(
            f"{gt_name}: is {gt.shape[-1]}x{gt.shape[-2]}, but {scale} times its LQ {lq_path} is "
            f"{wanted[1]}x{wanted[0]}"
        )
