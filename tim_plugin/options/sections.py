"""The sections of a whole option file: its datasets, paths and log, and where the others stand; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import isclass
from typing import Any, ClassVar, Literal, get_origin

from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.options.train_sections import TrainSection
from tim_plugin.options.unet_spec import UNETS
from tim_plugin.options.val_sections import ValSection
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
    filled_in: ClassVar[tuple[str, ...]] = ("db_paths", "client_keys")

    type: Literal["disk", "lmdb", "memcached"] = basicsr("Where the images lie.")
    readonly: bool | None = basicsr("Of lmdb.")
    lock: bool | None = basicsr("Of lmdb.")
    readahead: bool | None = basicsr("Of lmdb.")
    server_list_cfg: str | None = basicsr("Of memcached: file of its servers.")
    client_cfg: str | None = basicsr("Of memcached: file of its client.")
    sys_path: str | None = basicsr("Of memcached: folder of its Python module.")


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
        "Side of the crops in GT pixels, or [height, width].", least=1, wanted="a side in pixels, or [height, width]"
    )
    use_hflip: bool | None = basicsr("Mirror crops by chance.")
    use_rot: bool | None = basicsr("Turn crops by chance; they must be square.")
    num_worker_per_gpu: int | None = basicsr("Processes that load images.", least=0, most=512)
    batch_size_per_gpu: int | None = basicsr("Examples of a batch.", least=1)
    dataset_enlarge_ratio: int | None = basicsr(
        "How many epochs count as one, so that loaders restart less.", least=1, most=1_000_000
    )
    prefetch_mode: Literal["cpu", "cuda"] | None = basicsr(
        "Load the next batch ahead: in a thread, or to the GPU (which needs pin_memory)."
    )
    num_prefetch_queue: int | None = basicsr("Batches that prefetch_mode cpu loads ahead.", least=1, most=1000)
    pin_memory: bool | None = basicsr("Keep batches in memory that a GPU copies from faster.")
    persistent_workers: bool | None = basicsr("Keep the loading processes between epochs.")


@dataclass(frozen=True, kw_only=True)
class DegradedDataset(Dataset):
    """Plain images, whose LQ is made on the fly by the task's degradation, whose options stand here too."""

    needed: ClassVar[tuple[str, ...]] = ("name", "type", "task", "dataroot_gt")
    needed_in_training: ClassVar[tuple[str, ...]] = (*Dataset.needed_in_training, "gt_size")

    task: str | None = option(None, "Name of the task, which says how the LQ is made.")
    seed: int | None = option(
        None,
        "Of crops, flips and what the degradation draws; if left out, in training `manual_seed`, else 0.",
        least=0,
    )
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

    gt_size: int | None = basicsr("Side of the crops in GT pixels, a multiple of the scale.", least=1)
    filename_tmpl: str | None = basicsr("Name of an LQ file by its GT's name, such as '{}_lq'.")
    color: Literal["y"] | None = basicsr("`y` gives the luma only.")
    mean: tuple[float, ...] | None = basicsr("Subtracted from each channel.")
    std: tuple[float, ...] | None = basicsr("Each channel is divided by it.", above=0)


@dataclass(frozen=True, kw_only=True)
class SingleDataset(Dataset):
    """Images without GT, for tests, read by BasicSR."""

    needed: ClassVar[tuple[str, ...]] = ("name", "type", "dataroot_lq", "io_backend")

    color: Literal["y"] | None = basicsr("`y` gives the luma only.")
    mean: tuple[float, ...] | None = basicsr("Subtracted from each channel.")
    std: tuple[float, ...] | None = basicsr("Each channel is divided by it.", above=0)


DATASETS = {
    "DegradedImageDataset": DegradedDataset,
    "PairedImageDataset": PairedDataset,
    "SingleImageDataset": SingleDataset,
}


@dataclass(frozen=True, kw_only=True)
class PathSection(Section):
    """Checkpoints to begin with, and folders for results."""

    filled_in: ClassVar[tuple[str, ...]] = ("models", "training_states", "log", "visualization")

    pretrain_network_g: str | None = basicsr("Checkpoint whose weights the network begins with; a test needs one.")
    param_key_g: str | None = basicsr("Which of the checkpoint's weights: `params_ema`, `params`, or another's name.")
    strict_load_g: bool | None = basicsr("Whether all weights must be there.")
    resume_state: str | None = basicsr("Training state to go on from.")
    ignore_resume_networks: str | tuple[str, ...] | None = basicsr("Networks that are not taken from a resumed run.")
    experiments_root: str | None = option(None, "Folder for trainings; `experiments` if left out.")
    results_root: str | None = option(None, "Folder for tests; `results` if left out.")


@dataclass(frozen=True, kw_only=True)
class WandbSection(Section):
    """Weights & Biases."""

    project: str | None = basicsr("Name of the project; left out, it is not used.")
    resume_id: str | None = basicsr("Run that is gone on with.")


@dataclass(frozen=True, kw_only=True)
class LoggerSection(Section):
    """What is logged and how often checkpoints are written."""

    needed_in_training: ClassVar[tuple[str, ...]] = ("print_freq", "save_checkpoint_freq", "use_tb_logger")

    print_freq: float | None = basicsr("Iterations between lines of the log.", least=1, whole=True)
    save_checkpoint_freq: float | None = basicsr("Iterations between checkpoints.", least=1, whole=True)
    use_tb_logger: bool | None = basicsr("Write TensorBoard files.")
    wandb: WandbSection | None = basicsr("Weights & Biases.")
    progress_bar: bool | None = option(None, "Show a progress bar in place of the log's lines.")


@dataclass(frozen=True, kw_only=True)
class LauncherSection(Section):
    """How several processes find each other (slurm)."""

    backend: Literal["nccl", "gloo", "mpi"] | None = basicsr("nccl, or gloo without GPUs.")
    port: int | None = basicsr("Port of the first process.", least=1, most=65535)


@dataclass(frozen=True, kw_only=True)
class OptionFile(Section):
    """An option file of one of our models; other models of BasicSR read keys of their own."""

    needed: ClassVar[tuple[str, ...]] = ("name", "model_type", "datasets", "network_g", "path")
    needed_in_training: ClassVar[tuple[str, ...]] = ("train", "logger")
    filled_in: ClassVar[tuple[str, ...]] = ("dist", "rank", "world_size", "auto_resume", "is_train", "root_path")

    name: str | None = basicsr("Name of the run, and of its folder.")
    model_type: str | None = basicsr(
        "TIMModel, BaselineModel or EnergyScoreModel (the compared systems), or a model of BasicSR."
    )
    scale: int | None = basicsr("Size of the GT over the size of the LQ.", least=1, most=256)
    num_gpu: int | Literal["auto"] | None = basicsr("`auto`, 0 (CPU) or a number of GPUs.", least=0)
    manual_seed: int | None = basicsr("Of all random choices; 0 if left out.", least=0, most=2**31 - 1)
    datasets: Mapping[str, Any] | None = basicsr("The datasets by phase: `train`, `val`, `val_2`, `test_1`.")
    network_g: Mapping[str, Any] | None = basicsr(
        "The network: its `type` and its arguments.", by_type={"TowerGenerator": TowerSpec, **UNETS}
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
