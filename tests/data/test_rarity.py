"""Rarity of colours: densities by brute force, what is drawn and weighed, staleness, and pairs by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tim_plugin.cli.main import main
from tim_plugin.data import rarity as module
from tim_plugin.data import rarity_scan
from tim_plugin.data.pairs import pair_files
from tim_plugin.data.rarity import Rarity, mean_colours, rarity_scores
from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.degradations.labels import Labels
from tim_plugin.utils.errors import TimError

LABELS = Labels("camvid")


@pytest.fixture
def folders(photos, label_maps, tmp_path):
    """Copies of the photographs and label maps that a test may change."""
    for source, name in ((photos, "images"), (label_maps, "labels")):
        (tmp_path / name).mkdir()
        for path in source.iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    return tmp_path / "images", tmp_path / "labels"


def pairs_of(images, labels):
    files = sorted(images.iterdir())
    return list(zip(files, pair_files(files, labels), strict=True))


def test_mean_colours_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    image, raw = torch.rand(3, 5, 7, generator=generator), torch.randint(3, (5, 7), generator=generator)
    one_hot = torch.stack([(raw == index).float() for index in range(4)])
    found = mean_colours(image, one_hot)
    assert found.present.tolist() == [True, True, True, False]
    for index in range(3):
        assert torch.allclose(found.means[index], image[:, raw == index].mean(dim=1).double())


def test_scores_are_the_inverse_of_a_kernel_density_by_brute_force(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    means, present = torch.rand(9, 2, 3, generator=generator), torch.rand(9, 2, generator=generator) > 0.3
    monkeypatch.setattr(module, "AT_ONCE", 4)  # several chunks
    scores = rarity_scores(means, present, bandwidth=0.2)
    for c in range(2):
        shown = [i for i in range(9) if present[i, c]]
        density = {
            i: sum(math.exp(-float((means[i, c] - means[j, c]).square().sum()) / 0.08) for j in shown) / len(shown)
            for i in shown
        }
        mean = sum(1 / value for value in density.values()) / len(shown)
        for i in range(9):
            assert float(scores[i, c]) == pytest.approx(1 / density[i] / mean if i in shown else 0, rel=1e-5)


def test_an_outlier_is_drawn_and_weighed_more():
    means = torch.full((10, 1, 3), 0.5)
    means[7] = 0.9
    rarity = Rarity(rarity_scores(means, torch.ones(10, 1, dtype=torch.bool)), [], {})
    assert rarity.probabilities.sum() == pytest.approx(1)
    assert rarity.probabilities.argmax() == 7 and rarity.probabilities[7] > 3 * rarity.probabilities[0]


def test_a_class_is_drawn_first_then_an_image_by_its_rarity_in_it():
    scores = torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, 0.0]])
    assert torch.allclose(
        Rarity(scores, [], {}).probabilities, torch.tensor([0.5 * 0.25, 0.5 * 0.75 + 0.5, 0.0]), atol=1e-6
    )


def test_weights_are_each_pixels_class_with_mean_1_and_masked_void_0():
    one_hot = torch.zeros(2, 2, 3)
    one_hot[0, 0], one_hot[1, 1, :2] = 1, 1  # three pixels of class 0, two of class 1, one void
    weights = Rarity(torch.tensor([[2.0, 0.5]]), [], {}).weight_map(0, one_hot)
    mean = (3 * 2 + 2 * 0.5) / 5
    assert torch.allclose(weights[0], torch.tensor([[2.0, 2, 2], [0.5, 0.5, 0]]) / mean)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_computed_saved_and_loaded_is_the_same(folders, tmp_path, workers):
    computed = compute_rarity(*folders, LABELS, workers=workers)
    computed.save(tmp_path / "below" / "rarity.json")
    loaded = Rarity.load(tmp_path / "below" / "rarity.json")
    assert torch.equal(loaded.scores, computed.scores) and loaded.scores.shape == (6, 12)
    loaded.check(pairs_of(*folders), LABELS.describe())
    means = [
        mean_colours(
            torch.from_numpy(cv2.imread(str(image))[..., ::-1].copy()).permute(2, 0, 1) / 255,
            LABELS.read(label.read_bytes(), "x").lq,
        )
        for image, label in pairs_of(*folders)
    ]
    expected = rarity_scores(*(torch.stack(parts) for parts in zip(*means, strict=True)))
    assert torch.allclose(loaded.scores, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, labels: (images / "photo00.png").write_bytes(b"other"), "photo00.png .* is new or has changed"),
        (lambda images, labels: (labels / "photo10.png").write_bytes(b"x"), "label map photo10.png is new or has"),
        (lambda images, labels: (images / "photo21.png").unlink(), "files are missing"),
    ],
)
def test_stale_statistics_are_refused(folders, change, message):
    computed = compute_rarity(*folders, LABELS)
    change(*folders)
    with pytest.raises(TimError, match=f"is stale: .*{message}.*run python tools/prepare_data.py layouts again"):
        computed.check(pairs_of(*folders), LABELS.describe())


def test_a_file_that_kept_its_size_is_noticed_and_one_that_was_only_touched_is_not(folders):
    images, labels = folders
    path = images / "photo00.bmp"
    (images / "photo00.png").unlink()
    cv2.imwrite(str(path), np.zeros((64, 80, 3), np.uint8))
    computed = compute_rarity(images, labels, LABELS)
    path.touch()
    computed.check(pairs_of(images, labels), LABELS.describe())
    cv2.imwrite(str(path), np.full((64, 80, 3), 9, np.uint8))
    with pytest.raises(TimError, match="photo00.bmp .* has changed"):
        computed.check(pairs_of(images, labels), LABELS.describe())


@pytest.mark.parametrize("bandwidth", [0, -1, math.nan, math.inf])
def test_a_bandwidth_that_cannot_be_is_refused(folders, bandwidth):
    with pytest.raises(TimError, match="--bandwidth .*: must be more than 0"):
        compute_rarity(*folders, LABELS, bandwidth)


def test_statistics_of_another_palette_are_refused(folders):
    with pytest.raises(TimError, match="is stale: it was computed with .*camvid"):
        compute_rarity(*folders, LABELS).check(pairs_of(*folders), Labels("camvid", "mask").describe())


def test_missing_or_damaged_statistics_name_the_command(tmp_path):
    with pytest.raises(TimError, match="there is no such file; python tools/prepare_data.py layouts writes it"):
        Rarity.load(tmp_path / "rarity.json")
    (tmp_path / "rarity.json").write_text('{"scores": 3}')
    with pytest.raises(TimError, match="rarity.json is damaged"):
        Rarity.load(tmp_path / "rarity.json")


def test_a_pair_of_two_sizes_is_named(folders):
    cv2.imwrite(str(folders[1] / "photo11.png"), np.zeros((10, 12), np.uint8))
    with pytest.raises(TimError, match="photo11.png: is 80x64, but its label map .*photo11.png is 12x10"):
        compute_rarity(*folders, LABELS)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_scan_that_was_cut_off_goes_on(folders, tmp_path, monkeypatch, workers):
    """Two images are measured, the third is damaged; mended, the next run measures only what is missing."""
    images, labels = folders
    progress, third = tmp_path / "rarity.json.partial", labels / "photo10.png"
    content = third.read_bytes()
    third.write_bytes(content[:-20])
    with pytest.raises(TimError, match="photo10.png: is truncated"):
        compute_rarity(images, labels, LABELS, workers=workers, progress=progress)
    assert len(progress.read_text().splitlines()) == 2
    progress.write_text(progress.read_text() + '{"source": ["cut o')
    third.write_bytes(content)
    seen = []
    monkeypatch.setattr(
        rarity_scan, "mean_colours", lambda image, one_hot: seen.append(1) or mean_colours(image, one_hot)
    )
    again = compute_rarity(images, labels, LABELS, progress=progress)
    assert len(seen) == 4
    assert torch.equal(again.scores, compute_rarity(images, labels, LABELS).scores)
    seen.clear()
    compute_rarity(images, labels, Labels("camvid", "mask"), progress=progress)  # another palette measures anew
    assert len(seen) == 6


def test_a_damaged_scan_is_named(folders, tmp_path):
    progress, second = tmp_path / "x.partial", folders[1] / "photo01.png"
    second.write_bytes(second.read_bytes()[:-20])
    with pytest.raises(TimError, match="photo01.png: is truncated"):
        compute_rarity(*folders, LABELS, progress=progress)
    line = progress.read_bytes()
    few = json.loads(line)
    few["found"][0].pop()
    for content in (
        b'{"means": 3}\n',
        b"caf\xe9\n",
        line.replace(b"[[", b"[[0, ", 1),
        json.dumps(few).encode() + b"\n",
    ):
        progress.write_bytes(content)
        with pytest.raises(TimError, match="x.partial: is damaged .*; delete it"):
            compute_rarity(*folders, LABELS, progress=progress)
    with pytest.raises(TimError, match="--workers 0: must be 1 or more"):
        compute_rarity(*folders, LABELS, workers=0)


def test_a_damaged_pair_is_left_out_by_name_and_never_drawn(folders, tmp_path, capsys):
    images, labels = folders
    contents = [(path, path.read_bytes()) for path in (images / "photo01.png", labels / "photo10.png")]
    for path, content in contents:
        path.write_bytes(content[:-20])
    output, command = tmp_path / "rarity.json", ["-i", images, "--labels", labels, "-o", tmp_path / "rarity.json"]
    arguments = ["layouts", *map(str, command), "--palette", "camvid", "--workers", "1"]
    with pytest.raises(SystemExit, match="2"):
        main(arguments, "prepare")
    said = capsys.readouterr()
    assert "error: 2 pairs could not be measured, see above, and are never drawn; the others are done" in said.err
    assert said.err.count("skipped: ") == 2 and all(f"{path}: is truncated" in said.err for path, _ in contents)
    assert said.out.startswith("4 images; ")
    found = Rarity.load(output)
    assert (found.probabilities == 0).tolist() == [False, True, True, False, False, False]
    assert found.probabilities.sum() == pytest.approx(1)
    found.check(pairs_of(images, labels), LABELS.describe())
    for path, content in contents:
        path.write_bytes(content)
    with pytest.raises(TimError, match="is stale: photo01.png .* is new or has changed"):
        found.check(pairs_of(images, labels), LABELS.describe())
    main(arguments, "prepare")
    whole = compute_rarity(images, labels, LABELS)
    assert torch.equal(Rarity.load(output).scores, whole.scores) and not list(tmp_path.glob("*.partial"))


def test_pairs_that_are_all_damaged_are_one_error(folders):
    for path in folders[1].iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TimError, match="photo00.png: is truncated.*; none of the 6 pairs of .*images can be measured"):
        compute_rarity(*folders, LABELS, leave_out=print)


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_pairs_are_found_by_name(tmp_path):
    lq = touch(tmp_path / "lq", "a.jpg", "city_1_gtFine_color.png", "d_L.png", "notes.txt")
    gt = [tmp_path / name for name in ("a.png", "city_1_leftImg8bit.png", "d.png")]
    assert [path.name for path in pair_files(gt, lq)] == ["a.jpg", "city_1_gtFine_color.png", "d_L.png"]
    with pytest.raises(TimError, match="b.png: has no LQ file of that name in"):
        pair_files([tmp_path / "b.png"], lq)
    with pytest.raises(TimError, match="there is no such folder"):
        pair_files(gt, tmp_path / "none")
    with pytest.raises(TimError, match="y/a.png: and .*x/a.png would both have the LQ file .*a.jpg"):
        pair_files([tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"], lq)
    (lq / "a.png").write_bytes(b"x")
    with pytest.raises(TimError, match="have one name"):
        pair_files(gt, lq)


def test_pairs_of_one_stem_come_before_those_of_a_shared_name(tmp_path):
    lq = touch(tmp_path / "lq", "cat.png", "cat_L.png", "dog_L.png", "dog_gtFine_color.png")
    for names in (["cat.png", "cat_L.png"], ["cat_L.png", "cat.png"], ["cat.png"], ["dog_L.png"]):
        assert [path.name for path in pair_files([tmp_path / name for name in names], lq)] == names
    pairs = pair_files([tmp_path / "cat_leftImg8bit.png", tmp_path / "cat.png"], lq)  # what is left over has one way
    assert [path.name for path in pairs] == ["cat_L.png", "cat.png"]
    for gt, shared in (("cat_leftImg8bit.png", "cat"), ("dog.png", "dog")):
        with pytest.raises(TimError, match=rf"have one name \({shared}\): keep one of them"):
            pair_files([tmp_path / gt], lq)
    with pytest.raises(TimError, match="bird_leftImg8bit.png: and .*bird_L.png would both have the LQ file .*bird.png"):
        pair_files([tmp_path / "bird_L.png", tmp_path / "bird_leftImg8bit.png"], touch(tmp_path / "birds", "bird.png"))
