"""What test_distributed.py looks at, run by torchrun in two processes: python two_processes.py PHOTOS FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import tim_plugin  # noqa: F401  fixes BasicSR before it is imported

# isort: split
import torch
import yaml
from basicsr.models import build_model
from torch import distributed
from torch.distributed.tensor.debug import CommDebugMode

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.imle.latents import Latents
from tim_plugin.models.pipeline import train_pipeline
from tim_plugin.utils.processes import broadcast_from_rank_0
from tim_plugin.utils.seeds import keyed_generator

TINY = {
    "num_levels": 2,
    "trunk_channels": 4,
    "growth_channels": 4,
    "num_blocks": 1,
    "noise_channels": 2,
    "style_dim": 4,
    "mapping_width": 8,
    "mapping_layers": 2,
    "mapping_init": "he",
}


def options(photos: Path, folder: Path, dist: bool, **train) -> dict:
    """Complete options, as BasicSR's parser would give them."""
    folder.mkdir(exist_ok=True)
    paths = {name: str(folder) for name in ("models", "training_states", "visualization")}
    data = {"type": "DegradedImageDataset", "task": "sr4x", "dataroot_gt": str(photos)}
    return {
        "name": "tiny",
        "model_type": "TIMModel",
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "is_train": True,
        "dist": dist,
        "rank": distributed.get_rank() if dist else 0,
        "world_size": distributed.get_world_size() if dist else 1,
        "path": paths,
        "datasets": {
            "train": {"name": "t", **data, "gt_size": 32, "batch_size_per_gpu": 4, "num_worker_per_gpu": 0},
            "val": {"name": "held_out", **data},
        },
        "network_g": {"type": "TowerGenerator", **TINY},
        "imle": {"samples_per_level": 2, "pool_size": 8, "reuse": 1, "search_batch": 2},
        "train": {
            "ema_decay": 0.9,
            "total_iter": 6,
            "optim_g": {"type": "Adam", "lr": 1e-2, "eps": 1e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "perceptual_opt": {"type": "PixelDistanceLoss"},
            **train,
        },
        "val": {
            "val_freq": 6,
            "save_img": True,
            "num_samples": 2,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False},
    }


def trained(opt: dict, steps: int = 3) -> dict:
    """Take steps on examples with latents that depend on the example alone; rank r of 2 has half of each batch."""
    torch.manual_seed(opt["rank"])  # those of rank 0 are to count
    model = build_model(opt)

    def given(_, batch: dict, pyramids: object) -> Latents:
        keys = [[[int(one[0, 0, 0] * 1e6), level] for level in range(2)] for one in batch["gt"]]
        return Latents.from_keys(model.get_bare_model(model.net_g).latent_shapes(8, 8), keys)

    model._search = given
    half = slice(4 * opt["rank"], 4 * opt["rank"] + 4) if opt["dist"] else slice(8)
    for step in range(1, steps + 1):
        generator = torch.Generator().manual_seed(step)
        batch = {"lq": torch.rand(8, 3, 8, 8, generator=generator), "gt": torch.rand(8, 3, 32, 32, generator=generator)}
        model.feed_data({key: value[half] for key, value in batch.items()})
        model.optimize_parameters(step)
    model.save(0, steps)
    distributed.barrier()
    stored = torch.load(Path(opt["path"]["models"]) / f"net_g_{steps}.pth", weights_only=True)
    with CommDebugMode() as watched:
        model.model_ema(0.5)
    return {
        "params": stored["params"],
        "params_ema": stored["params_ema"],
        "held": held(model.net_g),
        "held_ema": held(model.net_g_ema),
        "gathered_for_ema": watched.get_total_counts(),
        "log": dict(model.log_dict),
    }


def held(network: torch.nn.Module) -> int:
    """Return how many values of a network's parameters this process has."""
    return sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in network.parameters())


def validated(opt: dict, images: int) -> dict:
    """Validate an untrained network on the first images."""
    torch.manual_seed(0)
    model = build_model(opt)
    dataset = DegradedImageDataset({**opt["datasets"]["val"], "phase": "val", "max_images": images})
    model.validation(torch.utils.data.DataLoader(dataset), 1, None, True)
    distributed.barrier()
    root = Path(opt["path"]["visualization"])
    return {"metrics": model.metric_results, "files": sorted(str(p.relative_to(root)) for p in root.rglob("*.png"))}


def command_line(photos: Path, folder: Path, train: dict) -> dict:
    """Train six iterations with tools/train.py's function; and four, resumed for two more."""
    opt = options(photos, folder, False, **train)
    for key in ("is_train", "dist", "rank", "world_size"):
        opt.pop(key)
    opt["path"] = {"experiments_root": str(folder), "resume_state": None}
    opt["imle"].update(reuse=3, pool_size=8, energy_score=0.5)
    opt["datasets"]["train"].update(batch_size_per_gpu=2, dataset_enlarge_ratio=4)
    path = folder / "options.yml"
    if distributed.get_rank() == 0:
        path.write_text(yaml.safe_dump(opt))
    distributed.barrier()
    common = ["-opt", str(path), "--launcher", "pytorch", "--force_yml"]
    train_pipeline(str(folder), [*common, "name=whole"])
    train_pipeline(str(folder), [*common, "name=parts", "train:total_iter=4"])
    train_pipeline(str(folder), [*common, "name=parts", "--auto_resume"])
    return {
        name: torch.load(folder / name / "models" / "net_g_latest.pth", weights_only=True)
        for name in ("whole", "parts")
    } | {"states": sorted(p.name for p in (folder / "parts" / "training_states").iterdir())}


def main() -> None:
    """Write all results to FOLDER/result.pt."""
    photos, folder = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    variants = {
        "ddp": {},
        "ddp_parts": {"accumulate": 2, "clip_grad_norm": 0.05},
        "fsdp": {"fsdp": True},
        "fsdp_parts": {"fsdp": True, "accumulate": 2, "checkpoint_levels": True, "amp": "bf16", "clip_grad_norm": 0.05},
    }
    result = {name: trained(options(photos, folder / name, True, **train)) for name, train in variants.items()}
    result["one"] = trained(options(photos, folder / f"one{rank}", False))
    parts = {"accumulate": 2, "clip_grad_norm": 0.05}
    result["one_parts"] = trained(options(photos, folder / f"one_parts{rank}", False, **parts))
    for name in ("ddp", "fsdp"):
        train = variants[name]
        result[f"{name}_validation"] = validated(options(photos, folder / f"{name}_v", True, **train), 3)
        (folder / f"{name}_run").mkdir(exist_ok=True)
        result[f"{name}_run"] = command_line(photos, folder / f"{name}_run", train)
    result["one_validation"] = validated(options(photos, folder / f"one_v{rank}", False), 3)
    result["seed"] = broadcast_from_rank_0(10 + rank)
    generators = [keyed_generator("search", 0, other, 1) for other in (rank, 1 - rank)]
    result["numbers"] = [torch.rand(3, generator=generator) for generator in generators]
    result["parameters"] = sum(p.numel() for p in TowerGenerator(**TINY).parameters())
    torch.save(result, folder / f"result{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
