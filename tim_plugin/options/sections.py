"""The sections of a whole option file: its datasets, BasicSR's own keys, and where our sections stand; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import isclass
from typing import Any, ClassVar, Literal, get_origin

from tim_plugin.options.schema import DistanceSpec, ImleSpec, PixelSpec, TrainSpec, ValSpec
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.options.values import Section, basicsr, kinds_of, option
from tim_plugin.utils.signatures import Option


@dataclass(frozen=True, kw_only=True)
class RaritySection(Section):
    """How rare images and pixels count more (label maps only)."""

    file: str | None = option(None, "Statistics that `python tools/prepare_data.py layouts` writes.")
    resample: bool | None = option(None, "Draw images as often as they are rare.")
    weight: bool | None = option(None, "Weight each class's pixels in the loss as they are rare.")


@dataclass(frozen=True, kw_only=True)
class BackendSection(Section):
    """How files are read."""

    needed: ClassVar[tuple[str, ...]] = ("type",)
    is_shared: ClassVar[bool] = True

    type: Literal["disk", "lmdb", "memcached"] = basicsr("Where the images lie.")


@dataclass(frozen=True, kw_only=True)
class Dataset(Section):
    """A dataset: what BasicSR's loader reads, whatever the type."""

    needed: ClassVar[tuple[str, ...]] = ("name", "type")
    needed_in_training: ClassVar[tuple[str, ...]] = ("batch_size_per_gpu", "num_worker_per_gpu")
    filled_in: ClassVar[tuple[str, ...]] = ("phase", "scale")

    name: str | None = basicsr("What the dataset is called in logs and results.")
    type: str | None = basicsr("DegradedImageDataset, PairedImageDataset, or another dataset that is registered.")
    io_backend: BackendSection | None = basicsr("How files are read; for lmdb, see BasicSR.")
    dataroot_gt: str | None = basicsr("Folder of the GT images (or a file of digits).")
    dataroot_lq: str | None = basicsr("Folder of the LQ files; left out, DegradedImageDataset makes the LQ of the GT.")
    meta_info_file: str | None = basicsr("Text file that names the images of the folder, one a line.")
    gt_size: int | tuple[int, int] | None = basicsr(
        "Side of the crops in GT pixels, or [height, width].", wanted="a side in pixels, or [height, width]"
    )
    use_hflip: bool | None = basicsr("Mirror crops by chance.")
    use_rot: bool | None = basicsr("Turn crops by chance; they must be square.")
    num_worker_per_gpu: int | None = basicsr("Processes that load images.", least=0)
    batch_size_per_gpu: int | None = basicsr("Examples of a batch.", least=1)
    dataset_enlarge_ratio: int | None = basicsr("How many epochs count as one, so that loaders restart less.", least=1)
    prefetch_mode: Literal["cpu", "cuda"] | None = basicsr(
        "Load the next batch ahead: in a thread, or to the GPU (which needs pin_memory)."
    )
    num_prefetch_queue: int | None = basicsr("Batches that prefetch_mode cpu loads ahead.")
    pin_memory: bool | None = basicsr("Keep batches in memory that a GPU copies from faster.")
    persistent_workers: bool | None = basicsr("Keep the loading processes between epochs.")


@dataclass(frozen=True, kw_only=True)
class DegradedDataset(Dataset):
    """Plain images, whose LQ is made on the fly by the task's degradation, whose options stand here too."""

    needed: ClassVar[tuple[str, ...]] = ("name", "type", "task", "dataroot_gt")
    needed_in_training: ClassVar[tuple[str, ...]] = (*Dataset.needed_in_training, "gt_size")

    task: str | None = option(None, "Name of the task, which says how the LQ is made.")
    seed: int | None = option(None, "Of crops, flips and what the degradation draws; 0 if left out.", least=0)
    resize: Literal["none", "short_side", "whole"] | None = option(
        None, "Resize an image before cropping: its short side to gt_size, or the whole to gt_size; none if left out."
    )
    rarity: RaritySection | None = option(None, "How rare images and pixels count more (label maps only).")
    max_images: int | None = option(None, "Use the first so many images only.", least=1)

    @classmethod
    def more_keys(cls) -> Mapping[str, Option]:
        """Return the options of all degradations; :meth:`Task.build` refuses those of another task's."""
        from tim_plugin.degradations.table import DEGRADATIONS, degradation_options  # loads torch

        return {key.name: key for kind in DEGRADATIONS for key in degradation_options(kind)}


@dataclass(frozen=True, kw_only=True)
class PairedDataset(Dataset):
    """Pairs of RGB images, read by BasicSR."""

    needed: ClassVar[tuple[str, ...]] = ("name", "type", "dataroot_gt", "dataroot_lq", "io_backend")
    needed_in_training: ClassVar[tuple[str, ...]] = (*Dataset.needed_in_training, "gt_size", "use_hflip", "use_rot")

    filename_tmpl: str | None = basicsr("Name of an LQ file by its GT's name, such as '{}_lq'.")
    color: str | None = basicsr("`y` gives the luma only.")
    mean: tuple[float, ...] | None = basicsr("Subtracted from each channel.")
    std: tuple[float, ...] | None = basicsr("Each channel is divided by it.")


DATASETS = {"DegradedImageDataset": DegradedDataset, "PairedImageDataset": PairedDataset}


@dataclass(frozen=True, kw_only=True)
class PathSection(Section):
    """Checkpoints to begin with, and folders for results."""

    is_shared: ClassVar[bool] = True
    filled_in: ClassVar[tuple[str, ...]] = ("models", "training_states", "log", "visualization")

    pretrain_network_g: str | None = basicsr("Checkpoint whose weights the network begins with; a test needs one.")
    param_key_g: str | None = basicsr("Which of the checkpoint's weights: `params_ema`, or `params`.")
    strict_load_g: bool | None = basicsr("Whether all weights must be there.")
    resume_state: str | None = basicsr("Training state to go on from.")
    ignore_resume_networks: str | tuple[str, ...] | None = basicsr("Networks that are not taken from a resumed run.")
    experiments_root: str | None = option(None, "Folder for trainings; `experiments` if left out.")
    results_root: str | None = option(None, "Folder for tests; `results` if left out.")


@dataclass(frozen=True, kw_only=True)
class OptimizerSection(Section):
    """The optimizer: its type and its arguments."""

    needed: ClassVar[tuple[str, ...]] = ("type", "lr")

    type: str | None = basicsr("Adam; BaselineModel also knows AdamW, SGD and Adadelta.")
    lr: float | None = basicsr("Learning rate.")
    betas: tuple[float, ...] | None = basicsr("Of Adam.")
    eps: float | None = basicsr("Of Adam.")
    weight_decay: float | None = basicsr("Weight decay.")
    amsgrad: bool | None = basicsr("Of Adam.")
    fused: bool | None = basicsr("One kernel for all parameters (Adam, AdamW, SGD).")
    foreach: bool | None = basicsr("One call for all parameters.")
    momentum: float | None = basicsr("Of SGD.")
    rho: float | None = basicsr("Of Adadelta.")
    mapping_lr_mult: float = option(0.01, "Learning rate of the mapping networks over that of the rest (TIMModel).")


@dataclass(frozen=True, kw_only=True)
class SchedulerSection(Section):
    """How the learning rate changes."""

    needed: ClassVar[tuple[str, ...]] = ("type",)
    is_shared: ClassVar[bool] = True

    type: str | None = basicsr("MultiStepLR or CosineAnnealingRestartLR.")
    milestones: tuple[float, ...] | None = basicsr("Iterations at which the rate is multiplied by gamma.")
    gamma: float | None = basicsr("Factor of the rate at a milestone.")


@dataclass(frozen=True, kw_only=True)
class TrainSection(TrainSpec):
    """Training: optimizer, length, losses, and how a step is computed."""

    needed: ClassVar[tuple[str, ...]] = ("optim_g", "scheduler", "total_iter")

    ema_decay: float | None = basicsr("Decay of the moving average of the weights; 0 keeps none.")
    optim_g: OptimizerSection | None = basicsr("The optimizer.")
    scheduler: SchedulerSection | None = basicsr("How the learning rate changes.")
    total_iter: float | None = basicsr("Iterations, each one optimizer step.")
    warmup_iter: float | None = basicsr("Iterations in which the rate grows from 0; -1 for none.")
    perceptual_opt: Mapping[str, Any] | None = basicsr(
        "The distance that TIMModel searches with and trains on; a loss of BaselineModel.",
        by_type={"PerceptualDistanceLoss": DistanceSpec, "PixelDistanceLoss": PixelSpec},
    )
    pixel_opt: Mapping[str, Any] | None = basicsr("A loss of pixels (BaselineModel only).")


@dataclass(frozen=True, kw_only=True)
class ValSection(ValSpec):
    """Validation and test: when, how many samples, what is measured and saved."""

    needed: ClassVar[tuple[str, ...]] = ("save_img",)
    needed_in_training: ClassVar[tuple[str, ...]] = ("val_freq",)

    val_freq: float | None = basicsr("Iterations between validations.")
    save_img: bool | None = basicsr("Save the samples.")
    suffix: str | None = basicsr("Appended to the names of saved images.")
    metrics: Mapping[str, Any] | None = basicsr("Metrics by a name of your own, each with `type` and its arguments.")
    pbar: bool | None = basicsr("Show a progress bar.")


@dataclass(frozen=True, kw_only=True)
class WandbSection(Section):
    """Weights & Biases."""

    is_shared: ClassVar[bool] = True

    project: str | None = basicsr("Name of the project; left out, it is not used.")
    resume_id: str | None = basicsr("Run that is gone on with.")


@dataclass(frozen=True, kw_only=True)
class LoggerSection(Section):
    """What is logged and how often checkpoints are written."""

    needed_in_training: ClassVar[tuple[str, ...]] = ("print_freq", "save_checkpoint_freq", "use_tb_logger")
    is_shared: ClassVar[bool] = True

    print_freq: float | None = basicsr("Iterations between lines of the log.")
    save_checkpoint_freq: float | None = basicsr("Iterations between checkpoints.")
    use_tb_logger: bool | None = basicsr("Write TensorBoard files.")
    wandb: WandbSection | None = basicsr("Weights & Biases.")
    progress_bar: bool | None = option(None, "Show a progress bar in place of the log's lines.")


@dataclass(frozen=True, kw_only=True)
class LauncherSection(Section):
    """How several processes find each other (slurm)."""

    is_shared: ClassVar[bool] = True

    backend: str | None = basicsr("nccl, or gloo without GPUs.")
    port: int | str | None = basicsr("Port of the first process.")


@dataclass(frozen=True, kw_only=True)
class OptionFile(Section):
    """An option file of TIMModel or BaselineModel; other models of BasicSR read keys of their own."""

    needed: ClassVar[tuple[str, ...]] = ("name", "model_type", "datasets", "network_g", "path")
    needed_in_training: ClassVar[tuple[str, ...]] = ("train", "logger")
    is_shared: ClassVar[bool] = True
    filled_in: ClassVar[tuple[str, ...]] = ("dist", "rank", "world_size", "auto_resume", "is_train", "root_path")

    name: str | None = basicsr("Name of the run, and of its folder.")
    model_type: str | None = basicsr("TIMModel, BaselineModel (the compared systems), or a model of BasicSR.")
    scale: float | None = basicsr("Size of the GT over the size of the LQ.")
    num_gpu: int | str | None = basicsr("`auto`, 0 (CPU) or a number of GPUs.")
    manual_seed: int | None = basicsr("Of all random choices.")
    datasets: Mapping[str, Any] | None = basicsr("The datasets by phase: `train`, `val`, `val_2`, `test_1`.")
    network_g: Mapping[str, Any] | None = basicsr(
        "The network: its `type` and its arguments.", by_type={"TowerGenerator": TowerSpec}
    )
    imle: ImleSpec | None = option(None, "How latents are searched.")
    path: PathSection | None = basicsr("Checkpoints to begin with, and folders for results.")
    train: TrainSection | None = basicsr("Training.")
    val: ValSection | None = basicsr("Validation and test.")
    logger: LoggerSection | None = basicsr("The log.")
    dist_params: LauncherSection | None = basicsr("How several processes find each other (slurm).")
    find_unused_parameters: bool | None = basicsr("Of DistributedDataParallel.")


def addable_sections(path: Sequence[str]) -> list[str]:
    """Return the sections that an option file may have inside a section, by name.

    Args:
        path: Of the section, from the outermost: empty for the file itself; for what is free inside there are none.
    """
    section: Any = OptionFile
    for part in path:
        section = _sections_in(section).get(part) if section is not None else None
    return [] if section is None else list(_sections_in(section))


def _sections_in(section: type[Section]) -> dict[str, type[Section] | None]:
    """Return the keys of a section whose values are sections, and the class of each; None where it is free."""
    found: dict[str, type[Section] | None] = {}
    for name, key in section.keys().items():
        for kind in kinds_of(key.type):
            if isclass(kind) and issubclass(kind, Section):
                found[name] = kind
            elif get_origin(kind) is Mapping:
                found[name] = None
    return found
