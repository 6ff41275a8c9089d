"""Networks and the degradations of their data: what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tim_plugin.options.data_checks import check_degradations
from tim_plugin.options.option_file import read_option_file, set_option
from tim_plugin.options.tower_spec import TowerSpec
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("file", "entries", "message"),
    [
        ("train_tim_colorization", ["network_g:degradation=jpeg", "network_g:num_in_ch=3", "network_g:head=rgb"],
         "datasets: train: task colorization needs network_g: degradation: lightness, not jpeg"),
        ("train_tim_sr8x", ["network_g:num_levels=2", "network_g:trunk_channels=8", "network_g:growth_channels=8"],
         "task sr8x is 8x, and network_g: num_levels 2 gives 4x"),
        ("train_tim_layout_camvid", ["network_g:degradation:void=mask"],
         "datasets: train: void is 'channel', but network_g: degradation: void is 'mask'"),
        ("train_tim_mnist_pca", ["datasets:val:basis=other.idx3"], "datasets: val: basis is 'other.idx3', but"),
        ("train_tim_generic", ["network_g:degradation=lightness", "network_g:num_in_ch=1"],
         "PairedImageDataset reads RGB images, and degradation 'lightness' has other inputs"),
        ("train_tim_generic", ["network_g:degradation=jpeg", "network_g:consistency=project"],
         "PairedImageDataset reads images only, and network_g: consistency 'project' needs more of degradation 'jpeg'"),
        ("train_tim_generic", ["datasets:train:color=y"], "num_in_ch 3 does not fit datasets: train, .*num_in_ch: 1"),
        ("train_tim_generic", ["network_g:num_in_ch=1"], "num_in_ch 1 does not fit datasets: train, .*num_in_ch: 3"),
        ("train_tim_generic", ["network_g:num_out_ch=1"], "num_out_ch 1 does not fit .*: use num_out_ch: 3"),
        ("train_tim_sr8x", ["network_g:num_out_ch=1"], "num_in_ch 3 and num_out_ch 1 do not fit degradation 'bicubic'"),
        ("train_tim_decompression", ["datasets:val:quality=0"], "datasets: val: quality 0 must lie within 1 and 100"),
        ("train_tim_layout_gta", ["datasets:val:dataroot_lq=~"], "datasets: train: rarity: file .*there is no such"),
        ("test_tim_layout_gta", ["datasets:test_1:dataroot_lq=~"], "datasets: test_1: dataroot_lq is missing: inputs"),
        ("test_tim_layout_gta", ["network_g:num_in_ch=11"], "num_in_ch 11 does not fit degradation 'labels', which"),
        ("test_tim_layout_gta", ["datasets:test_1:palette=camvit", "network_g:degradation:palette=camvit"],
         "network_g: degradation: palette 'camvit' is not known: did you mean 'camvid'"),
        ("train_tim_mnist_pca", ["datasets:train:basis=~", "datasets:val:basis=~", "network_g:degradation:basis=~"],
         "network_g: degradation: basis is missing, which 'pca' needs"),
    ],
)  # fmt: skip
def test_a_network_for_another_degradation_than_its_data_is_refused(file, entries, message):
    options = read_option_file(ROOT / "options" / f"{file}.yml")
    for entry in entries:
        set_option(options, entry)
    with pytest.raises(TimError, match=message):
        check_degradations(options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"consistency": "project", "placement": "same"}, "nothing to project for degradation 'unknown'"),
        ({"consistency": "project", "placement": "same", "degradation": "labels"}, "nothing to project for .*'labels'"),
        ({"placement": "same", "degradation": "bicubic"}, "degradation 'bicubic' is super-resolution's"),
        ({"degradation": "jpeg"}, "degradation 'jpeg' keeps the size: it needs placement 'same'"),
        ({"degradation": "jpg"}, "degradation: type 'jpg' is not known: did you mean 'jpeg'"),
        ({"degradation": {"quality": 3}}, "must be a name or a section with a type"),
        ({"degradation": {"type": "jpeg", "quality": 3}}, "network_g: degradation: unknown key 'quality'"),
        ({"head": "lab"}, "head 'lab' is not known"),
        ({"head": "ab"}, "head 'ab' joins colour .*: it needs placement: same, num_in_ch: 1"),
    ],
)
def test_degradations_and_heads_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(TimError, match=message):
        TowerSpec(**arguments)


def test_channels_that_do_not_fit_the_degradation_are_named(tiny_tower):
    section = {"type": "labels", "palette": "camvid", "void": "channel"}
    with pytest.raises(
        TimError, match="num_in_ch 3 does not fit degradation 'labels', which has 12 channels: use num_in"
    ):
        tiny_tower(placement="same", degradation=section)
