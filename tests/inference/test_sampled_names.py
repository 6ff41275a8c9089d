"""Images of a data set that share a stem have samples of their own, in validation, tests and evaluation."""

from __future__ import annotations

import pytest
import torch
from basicsr.data import build_dataset
from torch.utils.data import DataLoader, Dataset

from tim_plugin.inference.image_samples import sample_loader
from tim_plugin.utils.images import write_png


class Unlisted(Dataset):
    """A data set of one's own, which does not list its files."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"lq": torch.zeros(3, 2, 2), "lq_path": f"{index}/same.png"}


@pytest.fixture
def folders(tmp_path):
    for name in ("a/x.png", "b/x.png"):
        write_png(tmp_path / "gt" / name, torch.rand(3, 32, 32))
    write_png(tmp_path / "lq" / "x.png", torch.rand(3, 2, 2))  # BasicSR looks for the LQ by the name without folders
    (tmp_path / "meta.txt").write_text("a/x.png\nb/x.png\n")
    write_png(tmp_path / "plain" / "v.png", torch.rand(3, 32, 32))
    (tmp_path / "plain" / "v.jpg").write_bytes((tmp_path / "plain" / "v.png").read_bytes())
    return tmp_path


def options(folders, kind):
    common = {"name": "v", "phase": "val", "scale": 16}
    if kind == "DegradedImageDataset":
        return {**common, "type": kind, "task": "sr16x", "dataroot_gt": str(folders / "plain")}
    roots = {"dataroot_gt": str(folders / "gt"), "dataroot_lq": str(folders / "lq"), "io_backend": {"type": "disk"}}
    return {
        **common,
        "type": kind,
        **roots,
        "meta_info_file": str(folders / "meta.txt"),
        "io_backend": {"type": "disk"},
    }


@pytest.mark.parametrize(
    ("kind", "names"), [("DegradedImageDataset", ["v_jpg", "v_png"]), ("PairedImageDataset", ["x_png_0", "x_png_1"])]
)
@pytest.mark.parametrize("indices", [None, [1]])
def test_names_differ_and_are_the_same_in_each_process(folders, tiny_tower, kind, names, indices):
    dataset = build_dataset(options(folders, kind))
    loader = DataLoader(dataset, sampler=indices)
    sampled = [image.name for image, _ in sample_loader(tiny_tower(), loader, 1, 0, indices=indices)]
    assert sampled == [names[index] for index in indices or range(2)]


def test_a_data_set_that_does_not_list_its_files_has_names_too(tiny_tower):
    assert [image.name for image, _ in sample_loader(tiny_tower(), DataLoader(Unlisted()), 1, 0)] == ["same", "same_1"]
