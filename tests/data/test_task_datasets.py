"""Every task's dataset: LQ and GT show the same place, workers change nothing, and odd files are read or named."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from PIL import Image
from torch.utils.data import DataLoader

from tim_plugin.data.degraded_image_dataset import DegradedImageDataset
from tim_plugin.data.keyed_sampler import KeyedSampler
from tim_plugin.data.prepare_digits import prepare_digits
from tim_plugin.data.prepare_photographs import Settings, prepare_folder
from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.degradations.labels import Labels
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import write_png

ON_THE_FLY = {
    "sr4x": {},
    "sr8x": {},
    "sr16x": {},
    "colorization": {},
    "decompression": {"quality": [20, 60]},
}
SIDE = 48


def options(folder, task, **changes):
    return {"name": "x", "phase": "train", "task": task, "dataroot_gt": str(folder), "gt_size": SIDE, **changes}


def marked(folder, count=6, size=(64, 96), mark=4):
    """Dark images with one bright square each; and label maps with a sky there in a field of road."""
    generator = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for index in range(count):
        image, labels = np.full((*size, 3), 40, np.uint8), np.full(size, 3, np.uint8)
        y, x = (int(generator.integers(0, side // mark)) * mark for side in size)
        image[y : y + mark, x : x + mark], labels[y : y + mark, x : x + mark] = 255, 0
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        cv2.imwrite(str(folder / "labels" / f"{index}.png"), labels)
    return folder / "images", folder / "labels"


def brightest(image):
    """Position of the mark, in units of the image's size, or None where it was cut off."""
    grey = image.mean(dim=0)
    if grey.max() < grey.median() + 0.15:
        return None
    where = (grey >= grey.max() - 0.05).nonzero().float().mean(dim=0) + 0.5
    return where / torch.tensor(grey.shape)


def assert_aligned(dataset, shown_of_lq=lambda lq: lq, tolerance=0.07):
    found = 0
    for epoch in range(6):
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            item = dataset[index]
            gt, lq = brightest(item["gt"]), brightest(shown_of_lq(item["lq"]))
            if gt is not None and lq is not None:
                assert torch.allclose(gt, lq, atol=tolerance), (gt, lq)
                found += 1
    assert found >= 5


@pytest.mark.parametrize("task", ["sr4x", "colorization", "decompression"])
def test_lq_and_gt_show_the_same_place(tmp_path, task):
    images, _ = marked(tmp_path)
    extra = {"quality": 90} if task == "decompression" else {}
    assert_aligned(DegradedImageDataset(options(images, task, use_hflip=True, use_rot=True, **extra)))


@pytest.mark.parametrize(("task", "mark"), [("sr8x", 8), ("sr16x", 16)])
def test_strongly_shrunk_lq_and_gt_show_the_same_place(tmp_path, task, mark):
    images, _ = marked(tmp_path, size=(16 * mark, 20 * mark), mark=mark)
    section = {**options(images, task, use_hflip=True, use_rot=True), "gt_size": 12 * mark}
    assert_aligned(DegradedImageDataset(section))


@pytest.mark.parametrize("scale", [1, 2])
def test_pairs_of_ones_own_show_the_same_place(tmp_path, scale):
    images, _ = marked(tmp_path)
    (tmp_path / "lq").mkdir()
    for path in images.iterdir():
        small = cv2.resize(cv2.imread(str(path)), None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / "lq" / path.name), small)
    section = {
        "type": "PairedImageDataset",
        "name": "x",
        "phase": "train",
        "scale": scale,
        "dataroot_gt": str(images),
        "dataroot_lq": str(tmp_path / "lq"),
        "io_backend": {"type": "disk"},
        "gt_size": SIDE,
        "use_hflip": True,
        "use_rot": True,
    }
    dataset = build_dataset(section)
    dataset.set_epoch = lambda epoch: None
    assert_aligned(dataset)


@pytest.mark.parametrize("task", ["sr4x", "colorization", "decompression"])
def test_prepared_files_show_the_same_place(tmp_path, task):
    images, _ = marked(tmp_path / "photos")
    settings = Settings(task, 64, "whole", {"quality": 90} if task == "decompression" else {})
    prepare_folder(images, tmp_path / "out", settings, workers=1)
    turned = task != "decompression"
    folders = {"dataroot_lq": str(tmp_path / "out" / "lq"), "use_hflip": turned, "use_rot": turned}
    assert_aligned(DegradedImageDataset(options(tmp_path / "out" / "gt", task, **folders)))


@pytest.mark.parametrize("resize", ["none", "whole", "short_side"])
def test_label_maps_and_images_show_the_same_place(tmp_path, resize):
    images, labels = marked(tmp_path)
    size = [48, 64] if resize == "none" else [80, 112]
    section = options(images, "layouts", palette="camvid", dataroot_lq=str(labels), use_hflip=True, resize=resize)
    dataset = DegradedImageDataset({**section, "gt_size": size})
    assert dataset[0]["lq"].shape == (12, *size) and dataset[0]["gt"].shape == (3, *size)
    assert_aligned(dataset, lambda lq: lq[:1])  # the channel of sky


def test_digits_and_their_reconstructions_belong_together():
    pytest.importorskip("sklearn")
    source = "sklearn:digits/train"
    dataset = DegradedImageDataset(options(source, "mnist_pca", basis=source, gt_size=32))
    for index in (0, 700, 1499):
        item = dataset[index]
        assert torch.allclose(dataset.degradation.degrade(item["gt"]).lq, item["lq"])
        assert item["gt"].shape == item["lq"].shape == (1, 32, 32)


def test_prepared_digits_belong_together_and_are_not_mirrored(tmp_path):
    pytest.importorskip("sklearn")
    source = "sklearn:digits/test"
    prepare_digits(source, tmp_path, "sklearn:digits/train", workers=1)
    section = options(tmp_path / "gt", "mnist_pca", basis="sklearn:digits/train", gt_size=32)
    dataset = DegradedImageDataset({**section, "dataroot_lq": str(tmp_path / "lq")})
    for index in (0, 100, 255):
        item = dataset[index]
        wanted = dataset.degradation.coordinates(item["gt"])
        assert (dataset.degradation.coordinates(item["lq"]) - wanted).norm() < 3e-3 * wanted.norm()
    with pytest.raises(TimError, match="cannot be mirrored"):
        DegradedImageDataset({**section, "dataroot_lq": str(tmp_path / "lq"), "use_hflip": True})


def test_users_jpegs_of_all_kinds_fit_into_one_batch(photos, tmp_path):
    for index, path in enumerate(sorted(photos.iterdir())):
        with Image.open(path) as image:
            kind = image.convert("L") if index == 2 else image
            kind.save(tmp_path / f"{path.stem}.jpg", quality=20 + 10 * index, subsampling=index % 3)
    section = options(photos, "decompression", dataroot_lq=str(tmp_path))
    (batch,) = DataLoader(DegradedImageDataset(section), 6, sampler=range(6))
    assert batch["lq"].shape == (6, 3, SIDE, SIDE) and batch["given"]["cb"].shape == (6, SIDE, SIDE)
    assert len({tuple(pair) for pair in batch["given"]["sampling"].tolist()}) == 4


def epoch_of(dataset, epoch, workers):
    sampler = KeyedSampler(dataset, 1, 0, 2)
    sampler.set_epoch(epoch)
    return list(DataLoader(dataset, 4, sampler=sampler, num_workers=workers))


def flat(value):
    if isinstance(value, dict):
        return [part for key in sorted(value) for part in flat(value[key])]
    return [value]


@pytest.mark.parametrize("task", [*ON_THE_FLY, "layouts", "mnist_pca"])
def test_workers_change_nothing(photos, label_maps, tmp_path, task):
    section = options(photos, task, use_hflip=True, **ON_THE_FLY.get(task, {}))
    if task == "mnist_pca":
        pytest.importorskip("sklearn")
        section.update(basis="sklearn:digits/train", dataroot_gt="sklearn:digits/train", gt_size=32, max_images=20)
    if task == "layouts":
        compute_rarity(photos, label_maps, Labels("camvid")).save(tmp_path / "rarity.json")
        section.update(palette="camvid", dataroot_lq=str(label_maps))
        section["rarity"] = {"file": str(tmp_path / "rarity.json"), "resample": True, "weight": True}
    first, *others = (epoch_of(DegradedImageDataset(dict(section)), 3, workers) for workers in (0, 1, 3))
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert a.keys() == b.keys()
            for x, y in zip(flat(a), flat(b), strict=True):
                assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    another = epoch_of(DegradedImageDataset(dict(section)), 4, 0)
    assert any(not torch.equal(a["gt"], b["gt"]) for a, b in zip(first, another, strict=True))


def test_each_image_draws_its_quality_and_validation_draws_the_same_again(photos):
    section = options(photos, "decompression", quality=[1, 90])
    tables = {tuple(item["given"]["tables"].flatten().tolist()) for item in DegradedImageDataset(section)}
    assert len(tables) >= 4
    validation = DegradedImageDataset({**section, "phase": "val"})
    assert all(torch.equal(validation[i]["lq"], validation[i]["lq"]) for i in range(6))


def test_resampling_draws_rare_images_more_often(photos, label_maps, tmp_path):
    rarity = compute_rarity(photos, label_maps, Labels("camvid"))
    rarity.scores[:] = torch.tensor([8.0, 1, 1, 1, 1, 1])[:, None]
    rarity.save(tmp_path / "rarity.json")
    section = options(photos, "layouts", palette="camvid", dataroot_lq=str(label_maps))
    dataset = DegradedImageDataset({**section, "rarity": {"file": str(tmp_path / "rarity.json"), "resample": True}})
    dataset.set_epoch(0)
    drawn = [dataset[index]["gt_path"] for index in range(300)]
    share = drawn.count(dataset.paths[0]) / len(drawn)
    assert abs(share - 8 / 13) < 0.1
    assert "weight" not in dataset[0]


def encoded(image, kind, **save):
    file = io.BytesIO()
    image.save(file, kind, **save)
    return file.getvalue()


def exif(value):
    tags = Image.Exif()
    tags[274] = value
    return tags


@pytest.fixture
def picture():
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(data.coffee()[:70, :101].copy())


FILES = {
    "odd": lambda image: ("x.png", encoded(image, "PNG")),
    "grey": lambda image: ("x.png", encoded(image.convert("L"), "PNG")),
    "palette": lambda image: ("x.png", encoded(image.convert("P", palette=Image.Palette.ADAPTIVE), "PNG")),
    "cmyk": lambda image: ("x.jpg", encoded(image.convert("CMYK"), "JPEG")),
    "rotated": lambda image: ("x.jpg", encoded(image, "JPEG", exif=exif(6))),
    "16 bit": lambda image: ("x.png", cv2.imencode(".png", np.asarray(image).astype(np.uint16) * 257)[1].tobytes()),
}


@pytest.mark.parametrize("task", ON_THE_FLY)
@pytest.mark.parametrize("kind", FILES)
def test_photographs_of_any_kind_are_degraded(tmp_path, picture, task, kind):
    name, content = FILES[kind](picture)
    (tmp_path / name).write_bytes(content)
    item = DegradedImageDataset({**options(tmp_path, task), "phase": "val", "gt_size": None})[0]
    height, width = item["gt"].shape[-2:]
    assert (height > width) == (kind == "rotated")
    assert item["gt"].std() > 0.02 and torch.isfinite(item["lq"]).all()


@pytest.mark.parametrize("task", ON_THE_FLY)
def test_a_truncated_photograph_is_named(tmp_path, picture, task):
    (tmp_path / "x.jpg").write_bytes(encoded(picture, "JPEG")[:-300])
    with pytest.raises(TimError, match="x.jpg: is truncated"):
        DegradedImageDataset(options(tmp_path, task))[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_rot": True, "gt_size": [32, 48]}, "use_rot turns crops, which must be square"),
        ({"gt_size": [32, 50]}, r"gt_size \[32, 50\] is not a multiple of 16"),
        ({"rarity": {"resample": True}}, "rarity needs label maps"),
        ({"palette": "camvit"}, "palette 'camvit' is not known"),
        ({"quality": 3}, "quality is no option of image synthesis from scene layouts"),
    ],
)
def test_wrong_options_of_layouts_are_named(photos, label_maps, changes, message):
    section = options(photos, "layouts", palette="camvid", dataroot_lq=str(label_maps))
    with pytest.raises(TimError, match=message):
        DegradedImageDataset({**section, **changes})


def test_prepared_jpegs_cannot_be_mirrored_or_resized(photos):
    section = options(photos, "decompression", dataroot_lq=str(photos))
    with pytest.raises(TimError, match="LQ files of image decompression cannot be mirrored"):
        DegradedImageDataset({**section, "use_hflip": True})
    with pytest.raises(TimError, match="LQ files cannot be resized"):
        DegradedImageDataset({**section, "resize": "short_side"})


def test_lq_files_of_another_size_are_named(tmp_path):
    for part, size in (("gt", 64), ("lq", 32)):
        write_png(tmp_path / part / "a.png", torch.rand(3, size, size))
    with pytest.raises(TimError, match="a.png: is 64x64, but 1 times its LQ .*a.png is 32x32"):
        DegradedImageDataset(options(tmp_path / "gt", "colorization", dataroot_lq=str(tmp_path / "lq")))[0]
