"""Nothing in an option file slips through: BasicSR's keys too, numbers of every kind, and files that are no YAML."""

from __future__ import annotations

import json
import re
import sys
from copy import deepcopy

import pytest
import torch

from tim_plugin.losses.backbones import BACKBONES, TIM_SMALL
from tim_plugin.options import machine_checks
from tim_plugin.options.checks import check_options
from tim_plugin.options.machine_checks import check_machine
from tim_plugin.options.option_file import parse_options, read_option_file, set_option
from tim_plugin.options.schema import DistanceSpec
from tim_plugin.options.val_sections import DiversitySection
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png


def refusal(opt, *entries):
    """Return what the checks of a run say against options with these changes."""
    for entry in entries:
        set_option(opt, entry)
    with pytest.raises(TimError) as caught:
        check_options(opt)
        check_machine(opt, True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "entry",
    ["Imle={reuse: 2}", "search={reuse: 2}", "vaL={val_freq: 1}", "Path={}", "path:pretrain_network_G=x",
     "path:test_=1", "dist_params:pport=1", "logger:wandb:projcet=x", "train:scheduler:gama=0.5",
     "datasets:train:io_backend={type: disk, lok: true}", "val:metrics:psnr:crop_bordr=0", "train:total_itr=3",
     "val:metrics:niqe={type: calculate_niqe, crop_border: 0, y: 1}", "train:perceptual_opt:layers=3"],
)  # fmt: skip
def test_a_key_or_a_section_that_nobody_reads_is_refused(opt, entry):
    key = re.split("[:={]", entry.split("=")[0])[-1]
    if "{" in entry and ":" in entry.split("=")[0]:
        key = re.findall(r"(\w+): ", entry)[-1]
    assert re.search(f"unknown key '{key}': (did you mean|valid)", refusal(opt, entry))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("train:scheduler:milestones=['2e0']", "milestones is the text '2e0', a number is needed: write it without"),
        ("train:scheduler:milestones='100'", "milestones must be a list, not '100'"),
        ("train:scheduler:milestones=[2.5]", "milestones must be a whole number, not 2.5"),
        ("train:scheduler:milestones=[0]", "milestones must be at least 1"),
        ("train:scheduler:gamma='3e-1'", "gamma is the text '3e-1'"),
        ("train:scheduler:gamma=-1", "gamma must be more than 0"),
        ("train:ema_decay=1e30", "ema_decay must be less than 1"),
        ("train:ema_decay=2", "ema_decay must be less than 1, not 2"),
        ("train:ema_decay=-1", "ema_decay must be at least 0"),
        ("train:ema_decay=.nan", "ema_decay must be a finite number, not nan"),
        ("train:optim_g:lr=.inf", "lr must be a finite number, not inf"),
        ("train:optim_g:lr=1e30", "lr must be at most 1,?000"),
        ("train:optim_g:lr=true", "lr must be a number, not True"),
        ("train:optim_g:betas=[0.9, 1]", "betas must be less than 1"),
        ("train:optim_g:betas=[0.9]", "betas has 1 entries, 2 are needed"),
        ("train:optim_g:eps=0", "eps must be more than 0"),
        ("train:optim_g:weight_decay=.nan", "weight_decay must be a finite number"),
        ("train:optim_g:mapping_lr_mult=-1", "mapping_lr_mult must be at least 0"),
        ("train:optim_g:type=Adamm", "optim_g: type 'Adamm' is not known: did you mean 'Adam'"),
        ("train:optim_g:type=SGD", "type of TIMModel 'SGD' is not known: valid: Adam"),
        ("train:optim_g:momentum=0.9", "optim_g: Adam: unknown key 'momentum'"),
        ("train:warmup_iter=.inf", "warmup_iter must be a finite number"),
        ("train:warmup_iter=1.5", "warmup_iter must be a whole number"),
        ("train:total_iter=-5", "total_iter must be at least 1"),
        ("train:total_iter=0", "total_iter must be at least 1"),
        ("train:total_iter=2.5", "total_iter must be a whole number, not 2.5"),
        ("train:total_iter=true", "total_iter must be a number, not True"),
        ("train:accumulate=true", "accumulate must be a whole number, not True"),
        ("logger:save_checkpoint_freq=-1", "save_checkpoint_freq must be at least 1"),
        ("logger:save_checkpoint_freq=0.5", "save_checkpoint_freq must be at least 1"),
        ("logger:print_freq=0", "print_freq must be at least 1"),
        ("val:val_freq=0", "val_freq must be at least 1"),
        ("network_g:feature_scale=.nan", "feature_scale must be a finite number"),
        ("imle:reject_radius=[.nan, 0, 0, 0]", "reject_radius must be a finite number"),
        ("val:metrics:psnr:crop_border=-1", "psnr: crop_border must be at least 0"),
        ("val:metrics:psnr:crop_border=1000", "metrics: psnr: crop_border 1000 leaves nothing of images of 256x256"),
        ("val:metrics:psnr:better=more", "better 'more' is not known"),
        ("val:metrics:psnr:type=calculate_psnrr", "did you mean 'calculate_psnr'"),
        ("val:metrics:psnr:type=mine", "type 'mine' is not registered"),
        ("val:metrics=[psnr]", "metrics: must be a section with keys"),
        ("path:strict_load_g='false'", "strict_load_g must be true or false, not 'false'"),
        ("path:param_key_g=parms_ema", "param_key_g 'parms_ema' is not known: did you mean 'params_ema'"),
        ("path:resume_state=3", "resume_state must be text, not 3"),
        ("path:resume_state=''", "path: resume_state is empty; give the path, or leave it out"),
        ("path:pretrain_network_g=' '", "path: pretrain_network_g is empty; give the path"),
        ("datasets:train:dataroot_gt=''", "datasets: train: dataroot_gt is empty; give the folder"),
        ("datasets:val:dataroot_lq=''", "datasets: val: dataroot_lq is empty; give the folder"),
        ("datasets:train:meta_info_file=''", "datasets: train: meta_info_file is empty; give the file"),
        ("datasets:train:gt_size=16", "gt_size 16 leaves a single pixel to the first of 4 levels, .*: use 32 or more"),
        ("datasets:train:gt_size=[16, 16]", "gt_size .* leaves a single pixel to the first of 4 levels"),
        ("val:metrics:distance={type: calculate_psnr, crop_border: 0}", "distance: the name is taken, .*: use .* my_d"),
        ("val:metrics:lr_psnr={type: calculate_psnr, crop_border: 0}", "metrics: lr_psnr: the name is taken"),
        ("val:metrics:lr_psnr_worst={type: calculate_psnr, crop_border: 0}", "lr_psnr_worst: the name is taken"),
        ("val:metrics:diversity={type: calculate_lpips_diversity}", "diversity: the name is taken"),
        ("val:metrics={a: {type: calculate_psnr, crop_border: 0}, a_best: {type: calculate_ssim, crop_border: 0}}",
         "metrics: a_best: the name is taken"),
        ("manual_seed=-1", "manual_seed must be at least 0"),
        ("manual_seed=1099511627776", "manual_seed must be at most"),
        ("manual_seed=1.5", "manual_seed must be a whole number"),
        ("imle:pool_size=36893488147419103232", "pool_size must be a finite number, not a number of more than 64"),
        ("scale=1.5", "scale must be a whole number"),
        ("num_gpu=many", "num_gpu 'many' is not known: valid: auto"),
        ("num_gpu=-1", "num_gpu must be at least 0"),
        ("name=[a]", "name must be text"),
        ("name=\"a\\0b\"", "holds what is no letter"),
        ("network_g:num_levels=100000", "num_levels must be at most 16"),
        ("network_g:growth_channels=100000", "growth_channels must be at most 4096"),
        ("datasets=text", "datasets: must be a section with keys, not 'text'"),
        ("datasets:train=text", "datasets: train: must be a section with keys, not 'text'"),
        ("datasets:train:num_worker_per_gpu=100000", "num_worker_per_gpu must be at most 512"),
        ("datasets:train:dataset_enlarge_ratio=.inf", "dataset_enlarge_ratio must be a whole number"),
        ("datasets:train:type=[a]", "type must be text"),
        ("datasets:train:type=MyDataset", "datasets: train: type 'MyDataset' is not registered"),
        ("datasets:train:io_backend={type: memcached}", "memcached needs its Python module mc"),
        ("datasets:train:io_backend={type: lmdb}", "the folder of an lmdb is named NAME.lmdb"),
        ("logger:wandb:project=mine", "logger: wandb: project needs the package wandb, which is not installed: pip"),
        ("model_type=3", "model_type must be text"),
        ("train:perceptual_opt:loss_weight=0", "loss_weight must be more than 0"),
        ("train:perceptual_opt:backbone=vgg15", "backbone 'vgg15' is not known: did you mean 'vgg16'"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_refused(opt, entry, message):
    assert re.search(message, refusal(opt, entry))


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("{type: multisteplr, milestones: [1]}", "type 'multisteplr' is not known: did you mean 'MultiStepLR'"),
        ("{milestones: [1]}", "scheduler: type is missing"),
        ("{type: MultiStepLR}", "scheduler: milestones is missing"),
        ("{type: MultiStepLR, milestones: [1], periods: [2]}", "unknown key 'periods'"),
        ("{type: MultiStepLR, milestones: [1], restarts: [2, 3]}", "restarts has 2 entries and restart_weights 1"),
        ("{type: MultiStepLR, milestones: [9]}", "change at 9, within the warm-up, which ends at warmup_iter 10"),
        ("{type: CosineAnnealingRestartLR}", "scheduler: periods is missing"),
        ("{type: CosineAnnealingRestartLR, periods: [2]}", "periods cover 2 iterations, and train: total_iter is 40"),
        ("{type: CosineAnnealingRestartLR, periods: [20, 20]}", "periods has 2 entries and restart_weights 1"),
        ("{type: CosineAnnealingRestartLR, periods: []}", "periods has 0 entries"),
        ("{type: CosineAnnealingRestartLR, periods: [40], eta_min: -1}", "eta_min must be at least 0"),
    ],
)
def test_a_schedule_that_would_fail_in_mid_run_is_refused(opt, scheduler, message):
    changes = ("train:total_iter=40", "train:warmup_iter=10", f"train:scheduler={scheduler}")
    assert re.search(message, refusal(opt, *changes))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("{type: RRDBNet, num_in_ch: 3}", "network_g: num_out_ch is missing"),
        (
            "{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feet: 8}",
            "unknown key 'num_feet': did you mean 'num_feat'",
        ),
        ("{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: -8}", "RRDBNet cannot be built of these"),
        ("{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: x}", "RRDBNet cannot be built of these"),
        ("{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 1000000}", "GiB, and this machine has"),
        (
            "{type: DnCNN, num_layers: 1000000000000000000000000000000}",
            "num_layers must be a finite number, not a numb",
        ),
        ("{type: DnCNN, num_layers: 1000000000}", "network_g: num_layers must be at most 1000, not 1000000000"),
        ("{type: CRN, num_modules: 1000000000}", "network_g: num_modules must be at most 16"),
        ("{type: RFBESRGAN, num_rfb_block: 1000000000}", "network_g: num_rfb_block must be at most 1000"),
        ("{type: RFBESRGAN, num_up: 1000000000}", "network_g: num_up must be at most 16"),
        ("{type: StackedGenerator, num_stacks: 1000000000}", "network_g: num_stacks must be at most 16"),
        ("{type: MappingNetwork, num_layers: 1000000000}", "network_g: num_layers must be at most 1000"),
        ("{type: RepeatedRRDBNet, num_block: 1000000000}", "network_g: num_block must be at most 1000"),
        (
            "{type: EDSR, num_in_ch: 3, num_out_ch: 3, num_block: 1000000000}",
            "network_g: num_block must be at most 1000",
        ),
        (
            "{type: RCAN, num_in_ch: 3, num_out_ch: 3, num_group: 1000000000}",
            "network_g: num_group must be at most 1000",
        ),
        ("{type: SwinIR, depths: [6, 1000000000], num_heads: [6, 6]}", "network_g: depths must be at most 1000"),
        ("{type: RRDBNett, num_in_ch: 3}", "network_g: type 'RRDBNett' is not registered: did you mean 'RRDBNet'"),
    ],
)
def test_a_network_of_basicsr_is_asked_what_it_takes(opt, network, message):
    assert re.search(message, refusal(opt, f"network_g={network}"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("network_g={type: DnCNN, num_in_ch: 2}", "network_g: num_in_ch 2 does not fit datasets: .*: use num_in_ch: 3"),
        ("network_g={type: RRDBNet, num_in_ch: 3, num_out_ch: 4}", "num_out_ch 4 does not fit .*: use num_out_ch: 3"),
    ],
)
def test_other_networks_have_the_images_channels(opt, entry, message):
    del opt["imle"], opt["train"]["optim_g"]["mapping_lr_mult"]
    assert re.search(message, refusal(deepcopy(opt), "model_type=BaselineModel", entry))
    root = opt["datasets"]["train"]["dataroot_gt"]
    paired = {"name": "p", "type": "PairedImageDataset", "dataroot_gt": root, "dataroot_lq": root, "gt_size": 32}
    paired |= {"io_backend": {"type": "disk"}, "batch_size_per_gpu": 1, "num_worker_per_gpu": 0}
    opt["datasets"] = {"train": {**paired, "use_hflip": False, "use_rot": False}}
    assert re.search(message, refusal(opt, "model_type=BaselineModel", entry))


def test_a_size_of_one_side_is_told_and_not_measured_by(opt):
    opt["val"]["metrics"] = {"ssim": {"type": "calculate_ssim", "crop_border": 0}}
    assert "val: gt_size [32] must be a side in pixels, or [height, width]" in refusal(opt, "datasets:val:gt_size=[32]")


def test_a_projects_own_types_keep_their_own_keys(opt):
    opt["datasets"]["val"] = {"type": "REDSDataset", "name": "mine", "my_key": [1, {"a": None}]}
    check_options(opt)
    check_machine(opt, True)
    opt.update(model_type="RealESRNetModel", l1_gt_usm=True, train={**opt["train"], "my_loss": {"type": 3}})
    opt["logger"]["my_log"] = {}
    check_options(opt)
    check_machine(opt, True)
    assert refusal(opt, "logger:print_freq=0") == "logger: print_freq must be at least 1, not 0"


def test_metrics_that_the_images_are_too_small_for_are_refused(opt):
    niqe = "val:metrics={niqe: {type: calculate_niqe, crop_border: 0}}"
    check_options(opt)
    opt["datasets"]["val"].update(gt_size=96)
    assert "NIQE needs two blocks of 96x96 pixels in images of 96x96: leave" in refusal(opt, niqe)
    del opt["datasets"]["val"]["gt_size"], opt["datasets"]["val"]["resize"]
    assert re.search("NIQE needs two blocks of 96x96 pixels in .*photo00.png: leave", refusal(opt, niqe))
    ssim = "val:metrics={ssim: {type: calculate_ssim, crop_border: 28}}"
    assert re.search("SSIM needs 11 pixels on each side of .*photo00.png: leave it", refusal(opt, ssim))


def test_the_names_of_backbones_are_those_that_there_are():
    for section in (DistanceSpec, DiversitySection):
        assert set(str(section.keys()["backbone"].type).split("'")[1::2]) == {*BACKBONES, TIM_SMALL}


def test_numbers_are_read_as_people_write_them(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("a: [1e-4, 2e0, +3E1, .5e3, 1.5e-3, !!float 1e-4, -1e-2, 5]\nb: ['1e-4', 1e4x, 2020-01-31, e4]\n")
    opt = read_option_file(file)
    assert opt["a"] == [1e-4, 2.0, 30.0, 500.0, 1.5e-3, 1e-4, -1e-2, 5]
    assert opt["b"] == ["1e-4", "1e4x", "2020-01-31", "e4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: caf\xe9\n".encode("latin-1"), r"is not UTF-8 in line 1 \(perhaps Latin-1\): save it as UTF-8"),
        ("name: x\n".encode("utf-16"), r"is not UTF-8 in line 1 \(UTF-16\): save it as UTF-8"),
        (b"a: !!int abc", "holds a value that is not what its tag .* says: invalid literal for int"),
        (b"a: !!timestamp 2020-99-99", "holds a value that is not what its tag .* says"),
        (b"a: " + b"9" * 5000, "holds a value that is not what its tag"),
        (b"? [a, b]\n: 1", "a key in the section that begins in line 1 is a list: keys are words"),
        (b"? {a: b}\n: 1", "is a section: keys are words"),
        (b"\n".join(b" " * i + b"a:" for i in range(900)), "is nested more than 50 levels deep in line 5"),
        (b"a: " + b"[" * 900 + b"]" * 900, "is nested more than 50 levels deep in line 1"),
        (b"a: " + b"[" * 100000, "is not valid YAML in line 1: exceeded maximum nesting depth"),
        (b"a: &a [*a]", "line 1 begins something that holds itself by an alias"),
        (b"a: \x00", "is not valid YAML"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a.yml: is no text, but perhaps an image"),
        (b"datasets: &a [1]\nb: 1\nb: 2", "key 'b' stands twice in the section that begins in line 1: keep one"),
        (b"#" * 2**21, "has 2,097,152 bytes, too many"),
        (b"", "holds no options"),
    ],
)
def test_a_file_that_is_no_option_file_is_named_with_the_line(tmp_path, content, message):
    file = tmp_path / "a.yml"
    file.write_bytes(content)
    with pytest.raises(TimError, match=message) as caught:
        read_option_file(file)
    assert str(caught.value).startswith(f"-opt {file}: ")
    assert str(caught.value).count(str(file)) == 1


def test_aliases_of_aliases_are_refused_and_no_hang(tmp_path):
    file, lines = tmp_path / "a.yml", ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    file.write_text("\n".join(lines))
    with pytest.raises(TimError, match="holds more than 100,000 values once its aliases"):
        read_option_file(file)


@pytest.mark.parametrize("entry", ["is_train=false", "path:models=x", "datasets:train:phase=val"])
def test_a_key_that_would_be_written_over_is_refused(opt, tmp_path, entry):
    set_option(opt, entry)
    (tmp_path / "a.yml").write_text(json.dumps(opt))
    with pytest.raises(TimError, match="is set by the program itself: leave it out"):
        parse_options(str(tmp_path), True, ["-opt", str(tmp_path / "a.yml")])


def test_what_is_no_regular_file_is_named(tmp_path):
    with pytest.raises(TimError, match="is a folder"):
        read_option_file(tmp_path)
    with pytest.raises(TimError, match="cannot be read|is no file's name"):
        read_option_file("a\0b")
    if sys.platform != "win32":
        with pytest.raises(TimError, match="is no regular file"):
            read_option_file("/dev/null")


def test_what_is_left_empty_has_basicsrs_default(opt, tmp_path):
    for section, keys in (("datasets:train", ("dataset_enlarge_ratio", "num_prefetch_queue", "pin_memory")),
                          ("train", ("ema_decay", "warmup_iter", "clip_grad_norm")),
                          ("train:optim_g", ("betas", "weight_decay")),
                          ("train:scheduler", ("gamma",)), ("val:metrics:psnr", ("test_y_channel",)),
                          ("path", ("strict_load_g", "param_key_g"))):  # fmt: skip
        for key in keys:
            set_option(opt, f"{section}:{key}=~")
    (tmp_path / "a.yml").write_text(json.dumps(opt))
    parsed, _ = parse_options(str(tmp_path), True, ["-opt", str(tmp_path / "a.yml"), "--force_yml", "num_gpu=0"])
    assert not {"ema_decay", "warmup_iter"} & set(parsed["train"])
    assert set(parsed["train"]["optim_g"]) == {"type", "lr", "mapping_lr_mult"}
    assert set(parsed["train"]["scheduler"]) == {"type", "milestones"}
    assert "dataset_enlarge_ratio" not in parsed["datasets"]["train"]
    assert "strict_load_g" not in parsed["path"]


def test_a_pool_smaller_than_a_batch_is_refused(opt):
    changes = ["imle:pool_size=2", "imle:reuse=1", "datasets:train:batch_size_per_gpu=4"]
    assert "imle: pool_size 2 is not a multiple of batch_size_per_gpu 4: use 4" in refusal(opt, *changes)


def test_an_image_of_the_working_directory_is_none_of_a_data_sets(tmp_path, monkeypatch):
    write_png(tmp_path / "icon.png", torch.rand(3, 32, 32))
    monkeypatch.chdir(tmp_path)
    metrics = {"niqe": {"type": "calculate_niqe", "crop_border": 0}}
    machine_checks._check_first_images({"val": {"metrics": metrics}, "datasets": {"val": {"dataroot_gt": None}}})
    with pytest.raises(TimError, match="icon.png"):
        machine_checks._check_first_images({"val": {"metrics": metrics}, "datasets": {"val": {"dataroot_gt": "."}}})


@pytest.mark.parametrize(
    ("entry", "key"), [("train:amp=bf16", "train: amp"), ("val:num_samples=3", "val: num_samples")]
)
def test_basicsrs_own_model_does_not_read_our_keys(opt, entry, key):
    del opt["imle"], opt["train"]["optim_g"]["mapping_lr_mult"]
    for ours in ("num_samples", "seed", "contact_sheet", "max_samples_per_batch"):
        opt["val"].pop(ours, None)
    network = "network_g={type: RRDBNet, num_in_ch: 3, num_out_ch: 3}"
    says = f"{key} is not used by BasicSR's SRModel: leave it out, or use model_type: BaselineModel"
    assert says in refusal(opt, "model_type=SRModel", network, entry)
