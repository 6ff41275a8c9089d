"""Option files: strict, cross-checked, one clear error each."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from tim_plugin.options.checks import check_options
from tim_plugin.options.option_file import read_option_file, set_option
from tim_plugin.options.schema import ImleSpec
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[2]
OPTION_FILES = sorted((ROOT / "options").rglob("*.yml"))


def changed(opt, entry):
    set_option(opt, entry)
    return opt


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: path.stem)
def test_every_option_file_passes(path, photos, tmp_path):
    options = read_option_file(path)
    for dataset in options["datasets"].values():
        if not dataset["dataroot_gt"].startswith("sklearn:"):
            dataset.update({key: str(photos) for key in ("dataroot_gt", "dataroot_lq") if key in dataset})
        if "basis" in dataset:  # a test takes it from a checkpoint
            dataset["basis"] = options["network_g"]["degradation"]["basis"] = "sklearn:digits/train"
        if "rarity" in dataset:
            dataset["rarity"]["file"] = str(tmp_path / "rarity.json")
            (tmp_path / "rarity.json").touch()
    check_options(options)


def test_the_published_file_is_the_published_configuration(opt):
    network = {key: value for key, value in opt["network_g"].items() if key != "type"}
    assert TowerSpec(**network) == TowerSpec(image_below="signed")  # by default it is ours
    assert ImleSpec(**opt["imle"]) == ImleSpec()
    assert opt["train"]["optim_g"] == {
        "type": "Adam",
        "lr": 1e-4,
        "betas": [0.9, 0.999],
        "weight_decay": 0,
        "mapping_lr_mult": 0.01,
    }
    pool = opt["imle"]
    assert opt["train"]["total_iter"] == 20 * pool["pool_size"] * pool["reuse"]  # 20 pools of 10,000 steps


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("network_g:growth_chanels=4", "network_g: unknown key 'growth_chanels': did you mean 'growth_channels'"),
        ("imle:reuse_count=4", "imle: unknown key 'reuse_count'"),
        ("imle:sample_per_level=4", "did you mean 'samples_per_level'"),
        ("val:num_sample=4", "val: unknown key 'num_sample': did you mean 'num_samples'"),
        ("train:ema_deacy=0.9", "train: unknown key 'ema_deacy': did you mean 'ema_decay'"),
        ("train:optim_g:bettas=1", "train: optim_g: unknown key 'bettas'"),
        ("train:perceptual_opt:backbon=x", "train: perceptual_opt: unknown key 'backbon'"),
        ("datasets:train:gt_sise=64", "datasets: train: unknown key 'gt_sise'"),
        ("logger:print_frequ=1", "logger: unknown key 'print_frequ': did you mean 'print_freq'"),
        ("manual_sed=1", "^unknown key 'manual_sed': did you mean 'manual_seed'"),
        ("path:pretrain_netwrok_g=x", "did you mean 'pretrain_network_g'"),
        ("datasets:train:gt_size=100", "gt_size 100 is not a multiple of 16, which 4 levels need: use 96 or 112"),
        ("network_g:num_levels=3", "trunk_channels has 4 entries for 3 levels"),
        ("scale=8", "scale 8 is not what the tower makes: .* 16x"),
        ("datasets:train:dataroot_gt=nowhere", "datasets: train: dataroot_gt: there is no folder nowhere"),
        ("imle:pool_size=0", "imle: pool_size must be at least 1"),
        ("imle:sampling=hierarchic", "did you mean 'hierarchical'"),
        ("imle:samples_per_level=[1,2]", "samples_per_level has 2 entries for 4 levels"),
        ("imle:search_batch=30", "search_batch 30 is more than max_candidates_per_batch 20"),
        ("imle:search_precision=bf15", "imle: search_precision 'bf15' is not known: did you mean 'bf16'"),
        ("imle:channels_last=1", "imle: channels_last must be true or false"),
        ("imle:search_memory_gib=0", "imle: search_memory_gib must be more than 0"),
        ("imle:screen=0.5", "imle: screen is no option any more: .* saved no time when measured; leave it out, and"),
        ("imle:beam=2", "imle: beam is no option any more: .* gained nothing when measured; leave it out, and"),
        ("imle:sampling=chimle", "give samples_per_level a number a level, \\[200, 200, 20, 10\\]"),
        ("network_g={type: TowerGenerator, mapping: false, mapping_sees_below: true}", "needs mapping: true"),
        (
            "datasets:train:batch_size_per_gpu=3",
            "pool_size 400 is not a multiple of batch_size_per_gpu 3: use 399 or 402",
        ),
        ("network_g:consistency=projekt", "did you mean 'project'"),
        ("network_g:mapping=1", "mapping must be true or false"),
        ("imle:reuse=1.5", "reuse must be a whole number"),
        ("val:num_samples=many", "num_samples is the text 'many', a number is needed"),
        ("train:pixel_opt={type: L1Loss}", "pixel_opt is not used by TIMModel"),
        (
            "network_g:type=TowerGenarator",
            "network_g: type 'TowerGenarator' is not known: did you mean 'TowerGenerator'",
        ),
        ("datasets:val:type=DegradedImagesDataset", "datasets: val: type .* did you mean 'DegradedImageDataset'"),
        ("train:perceptual_opt:type=PerceptualLoss", "is BasicSR's loss, .* use PerceptualDistanceLoss"),
        ("train:perceptual_opt:type=PixelDistanceLos", "did you mean 'PixelDistanceLoss'"),
        ("train:perceptual_opt={type: PixelDistanceLoss, weight: 1}", "unknown key 'weight'"),
    ],
)
def test_one_clear_error_for_each_mistake(opt, entry, message):
    with pytest.raises(TimError) as caught:
        check_options(changed(opt, entry))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_budget_stands_in_for_the_number_of_candidates_at_once(opt):
    check_options(changed(opt, "imle={search_batch: 30, search_memory_gib: 4}"))


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("train: optim_g", "lr"),
        ("train", "total_iter"),
        ("val", "val_freq"),
        ("logger", "print_freq"),
        ("network_g", "feature_scale"),
    ],
)
def test_a_number_that_yaml_reads_as_text_is_an_error(opt, section, key):
    target = opt
    for part in section.split(": "):
        target = target[part]
    target[key] = "1e-4"
    with pytest.raises(TimError, match=f"{section}: {key} is the text '1e-4'.*!!float 1e-4"):
        check_options(opt)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("", "name"),
        ("", "network_g"),
        ("train", "optim_g"),
        ("train: optim_g", "lr"),
        ("train", "perceptual_opt"),
        ("logger", "use_tb_logger"),
    ],
)
def test_a_missing_key_is_named(opt, section, key):
    target = opt
    for part in section.split(": ") if section else ():
        target = target[part]
    del target[key]
    with pytest.raises(TimError, match=f"{key} is missing"):
        check_options(opt)


def test_sections_that_training_or_a_test_needs_are_asked_for(opt, photos):
    missing = copy.deepcopy(opt)
    del missing["val"]["save_img"]
    with pytest.raises(TimError, match="val: save_img is missing"):
        check_options(missing)
    missing = copy.deepcopy(opt)
    missing["datasets"]["trian"] = missing["datasets"].pop("train")
    with pytest.raises(TimError, match="datasets: trian: must begin with train or val"):
        check_options(missing)
    del missing["datasets"]["trian"]
    with pytest.raises(TimError, match="datasets: train is missing"):
        check_options(missing)
    tested = read_option_file(ROOT / "options" / "test_tim_sr16x.yml")
    tested["datasets"]["test_1"]["dataroot_gt"] = str(photos)
    tested["path"]["pretrain_network_g"] = None
    with pytest.raises(TimError, match="path: pretrain_network_g is missing"):
        check_options(tested)
    paired = {**opt["datasets"]["train"], "type": "PairedImageDataset", "dataroot_lq": str(photos)}
    opt["datasets"]["train"] = {key: value for key, value in paired.items() if key not in ("task", "resize")}
    with pytest.raises(TimError, match="datasets: train: io_backend is missing"):
        check_options(opt)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("batch_size_per_gpu=0", "train: batch_size_per_gpu must be at least 1, not 0"),
        ("batch_size_per_gpu=2.0", "train: batch_size_per_gpu must be a whole number, not 2.0"),
        ("batch_size_per_gpu=true", "train: batch_size_per_gpu must be a whole number, not True"),
        ("num_worker_per_gpu=-1", "num_worker_per_gpu must be at least 0"),
        ("max_images=0", "max_images must be at least 1"),
        ("io_backend=disk", "datasets: train: io_backend: must be a section with keys, not 'disk'"),
        ("io_backend={type: dsk}", "io_backend: type 'dsk' is not known: did you mean 'disk'"),
        ("resize=shortside", "datasets: train: resize 'shortside' is not known: did you mean 'short_side'"),
        ("use_hflip='no'", "use_hflip must be true or false, not 'no'"),
        ("rarity={resample: 1}", "rarity: resample must be true or false"),
        ("gt_size=[32]", r"gt_size \[32\] must be a side in pixels, or \[height, width\]"),
        ("gt_size=[]", r"gt_size \[\] must be a side"),
    ],
)
def test_what_a_dataset_cannot_be_given_is_named(opt, entry, message):
    with pytest.raises(TimError, match=message):
        check_options(changed(opt, f"datasets:train:{entry}"))


def test_an_empty_folder_is_named(opt, tmp_path):
    with pytest.raises(TimError, match="is empty"):
        check_options(changed(opt, f"datasets:val:dataroot_gt={tmp_path}"))


def test_a_subclass_of_our_models_may_have_keys_of_its_own_in_shared_sections(opt):
    opt["my_tool"] = {"anything": 1}
    opt["path"]["pretrain_network_d"] = None
    with pytest.raises(TimError, match="unknown key 'my_tool': valid: "):
        check_options(opt)
    opt["model_type"] = "Mine"
    check_options(opt, "TIMModel")


def test_yaml_off_means_off(opt):
    check_options(changed(opt, "network_g:consistency=off"))
    assert TowerSpec(consistency=False).consistency == "off"


def test_checking_does_not_change_the_options(opt):
    before = copy.deepcopy(opt)
    check_options(opt)
    assert opt == before


def test_a_model_of_another_name_can_have_our_options(opt):
    opt["model_type"] = "Mine"
    opt["imle"]["reuze"] = 1
    check_options(opt)
    with pytest.raises(TimError, match="unknown key 'reuze'"):
        check_options(opt, "TIMModel")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("train:optim_g:betas=0.9", "train: optim_g: betas must be a list, not 0.9"),
        ("train:scheduler:gamma=x", "train: scheduler: gamma is the text 'x', a number is needed"),
        ("logger:use_tb_logger='no'", "logger: use_tb_logger must be true or false, not 'no'"),
        ("datasets:train:gt_size=1.5", r"gt_size 1.5 must be a side in pixels, or \[height, width\]"),
        ("datasets:train:void=mist", "datasets: train: void 'mist' is not known"),
        ("datasets:train:gt_size=[32, 48]", "datasets: train: use_rot turns crops, which must be square for that"),
        ("train=3", "train: must be a section with keys, not 3"),
        ("imle:samples_per_level=[4, 0]", "imle: samples_per_level must be at least 1, not 0"),
        ("train:perceptual_opt=3", "train: perceptual_opt: must be a section with keys, not 3"),
    ],
)
def test_values_of_another_type_are_named(opt, entry, message):
    with pytest.raises(TimError, match=message):
        check_options(changed(opt, entry))
