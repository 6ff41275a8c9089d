"""The front door: a tower is loaded and sampled in one call, and samples are chosen, kept in part, and saved."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import tim_plugin as tim
from tim_plugin.cli.main import main
from tim_plugin.inference.variety import farthest_points
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png


@pytest.fixture
def tower(tiny_tower):
    return tim.Tower(tiny_tower(consistency="project"))


@pytest.fixture
def thumb(tmp_path):
    path = tmp_path / "thumb.png"
    write_png(path, torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3)
    return path


def pixels(images):
    return (images * 255).round().to(torch.uint8)


def test_every_name_is_offered_by_the_package():
    assert {"load", "list_models", "Tower", "Samples", "sample", "train", "test", "imle", "losses", "metrics"} <= set(
        dir(tim)
    )
    assert all(getattr(tim, name) is not None for name in tim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        tim.laod  # noqa: B018


def test_the_packages_towers_are_listed_and_load_with_what_their_samples_need():
    models = tim.list_models()
    assert models["sr16x-small"].startswith("16x super-resolution")
    tower = tim.load("mnist-pca", device="cpu")
    assert (tower.task, tower.scale, tower.consistency, tower.device.type) == ("mnist_pca", 1, "project", "cpu")
    assert tower.num_levels == len(tower.network.latent_shapes(8, 8)) and "pca_error" in tower.degradation.measured


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sr61x-small", "^model sr61x-small: is neither a file nor a tower of this package: did you mean"),
        ("nowhere.pth", "^nowhere.pth: there is no such checkpoint"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(name, message):
    with pytest.raises(TimError, match=message):
        tim.load(name, device="cpu")
    with pytest.raises(TimError, match="^device cuda:99: is not to be had"):
        tim.load("mnist-pca", device="cuda:99")


@pytest.mark.parametrize("model", ["sr4x-small", "colorize-small", "decompress-small", "mnist-pca"])
def test_a_path_gives_the_pixels_and_the_record_that_the_command_writes(tmp_path, capsys, model):
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.avg_pool2d(image, 5, stride=1, padding=2)
    path = tmp_path / ("given.jpg" if model.startswith("decompress") else "given.png")
    cv2.imwrite(str(path), (image * 255).byte().permute(1, 2, 0).numpy(), [cv2.IMWRITE_JPEG_QUALITY, 10])
    out = tim.load(model, device="cpu").sample(path, n=3, seed=7)
    tim.sample(path, tmp_path / "command", model, num_samples=3, seed=7, device="cpu")
    files = out.save(tmp_path / "api")
    assert [file.name for file in files] == [f"given_s0{j}.png" for j in range(3)]
    for j, file in enumerate(files):
        assert torch.equal(read_image(tmp_path / "command" / file.name).rgb, out.images[j].expand(3, -1, -1))
        assert file.read_bytes() == (tmp_path / "command" / file.name).read_bytes()
    ours, theirs = (json.loads((tmp_path / folder / "samples.json").read_text()) for folder in ("api", "command"))
    assert ours == theirs
    assert (tmp_path / "api" / "given_sheet.png").read_bytes() == (
        tmp_path / "command" / "given_sheet.png"
    ).read_bytes()


def test_alpha_comes_back_in_saved_files(tmp_path, tower):
    content = np.zeros((4, 4, 4), np.uint8)
    content[..., :3], content[2:, :, 3] = 128, 255
    cv2.imwrite(str(tmp_path / "a.png"), content)
    (file,) = tower.sample(tmp_path / "a.png", n=1).save(tmp_path / "out")
    written = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert written.shape == (64, 64, 4) and written[0, 0, 3] == 0 and written[-1, -1, 3] == 255


def test_samples_have_images_on_the_8_bit_grid_consistency_and_seeds(tower, thumb):
    out = tower.sample(thumb, n=3, seed=5)
    assert out.images.shape == (3, 3, 80, 96) and len(out) == 3
    assert torch.equal(pixels(out.images).float() / 255, out.images)
    assert out.consistency["lr_psnr"].shape == (3,) and (out.consistency["lr_psnr"] >= 45).all()
    assert out.seed == 5 and out.seeds == [[j] * 4 for j in range(3)] and out.names == ["thumb"]


def test_coarse_levels_are_kept_as_the_command_keeps_them(tower, thumb):
    out = tower.sample(thumb, n=4, seed=5)
    more = tower.sample(thumb, n=2, keep=(out, 3), levels=2)
    assert torch.equal(more.images, tower.sample(thumb, n=2, seed=5, level_seeds=[3, 3, None, None]).images)
    assert more.seed == 5 and more.seeds == [[3, 3, 0, 0], [3, 3, 1, 1]]
    assert not torch.equal(more.images[0], more.images[1])
    again = tower.sample(thumb, n=2, keep=(more, 1), levels=3)  # of samples that were kept in part themselves
    assert again.seeds == [[3, 3, 1, 0], [3, 3, 1, 1]] and torch.equal(again.images[1], more.images[1])
    whole = tower.sample(thumb, n=8, keep=(out, 3), levels=4)
    assert len(whole) == 1 and (pixels(whole.images[0]).int() - pixels(out.images[3]).int()).abs().max() <= 1
    assert tower.sample(thumb, n=1, keep=(out, 3)).seeds == [[3, 3, 3, 0]]


def test_temperature_scales_the_variety_and_not_what_is_kept(tower, thumb):
    plain = tower.sample(thumb, n=4)
    warm, cold = tower.sample(thumb, n=4, temperature=3.0), tower.sample(thumb, n=4, temperature=0)
    assert torch.equal(tower.sample(thumb, n=4, temperature=[1, 1, 1, 1]).images, plain.images)
    assert cold.images.std(dim=0).max() == 0 < plain.images.std(dim=0).mean() < warm.images.std(dim=0).mean()
    assert (warm.consistency["lr_psnr"] >= 45).all()
    fine = tower.sample(thumb, n=4, keep=(plain, 2), levels=2, temperature=0)  # the kept levels stay as they were drawn
    assert torch.equal(fine.images, tower.sample(thumb, n=4, level_seeds=[2, 2], temperature=[1, 1, 0, 0]).images)
    again = tower.sample(thumb, n=1, keep=(warm, 2), levels=4)
    assert (pixels(again.images[0]).int() - pixels(warm.images[2]).int()).abs().max() <= 1


@pytest.mark.parametrize("temperature", [2.0, [2.0, 1.5, 1.0, 0.5]])
def test_the_command_has_the_same_temperature(tmp_path, thumb, temperature):
    out = tim.load("sr16x-small", device="cpu").sample(thumb, n=1, temperature=temperature)
    out.save(tmp_path / "api")
    words = "2" if temperature == 2.0 else "2,1.5,1,0.5"
    main(
        ["sample", "-i", str(thumb), "-o", str(tmp_path / "command"), "-m", "sr16x-small", "-n", "1"]
        + ["--device", "cpu", "--temperature", words, "--quiet"]
    )
    ours, theirs = (json.loads((tmp_path / folder / "samples.json").read_text()) for folder in ("api", "command"))
    assert ours == theirs and ours["images"][0]["made_with"]["temperature"][0] == 2.0
    assert torch.equal(read_image(tmp_path / "command" / "thumb_s00.png").rgb, out.images[0])


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        (-1, "^temperature -1: must be a number from 0 .no variety. to 10$"),
        (float("nan"), "^temperature nan: must be a number"),
        ([1, 2], "^temperature has 2 entries: give one for all, or one for each of 4 levels$"),
        ("2", "^temperature"),
        (True, "^temperature True: must be"),
    ],
)
def test_a_wrong_temperature_is_one_sentence(tower, thumb, temperature, message):
    with pytest.raises(TimError, match=message):
        tower.sample(thumb, n=1, temperature=temperature)


def test_what_keep_cannot_do_is_one_sentence(tower, thumb):
    out = tower.sample(thumb, n=2)
    for arguments, message in (
        ({"keep": (out, 2)}, "no sample 2: they are 0 to 1"),
        ({"keep": out}, "keep must be samples and the number of one of them"),
        ({"keep": (out, 0), "levels": 5}, "from 1 to 4"),
        ({"keep": (out, 0), "seed": 3}, "were drawn with seed 0"),
        ({"keep": (out, 0), "level_seeds": [1]}, "give one of them"),
        ({"keep": (out, 0), "name": "other"}, "its samples are of thumb, and the input is other"),
        ({"levels": 2}, "give both"),
        ({"level_seeds": [1] * 5}, "has 5 entries, the network has 4 levels"),
        ({"seed": -1}, "seed -1 must be"),
        ({"level_seeds": "12"}, "^level_seeds '12': give a list with a sample's number for each level"),
        ({"level_seeds": [1.5]}, r"^level_seeds \[1.5\]: give a list"),
        ({"n": 0}, "n 0 must be a whole number from 1"),
        ({"n": 10**9}, "n 1000000000 must be a whole number from 1 to 100000"),
        ({"n": "4"}, "n '4' must be a whole number"),
        ({"memory_gib": "4"}, "^memory_gib '4': must be a number$"),
        ({"memory_gib": None}, "^memory_gib None: must be a number$"),
        ({"precision": None}, "^precision None is not known"),
        ({"max_megapixels": "x"}, "^max_megapixels 'x': must be a number$"),
        ({"max_megapixels": None}, "^max_megapixels None: must be a number$"),
        ({"max_megapixels": 0}, "^max_megapixels 0: must be above 0$"),
        ({"max_megapixels": float("nan")}, "^max_megapixels nan: must be above 0$"),
        ({"precision": "fp16"}, "^precision fp16 is not known"),
        ({"memory_gib": 0}, "^memory_gib 0: must be above 0"),
        ({"max_megapixels": 0.001}, "allow it by max_megapixels=1"),
    ):
        with pytest.raises(TimError, match=message):
            tower.sample(thumb, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0}, "^num_samples 0: must be at least 1$"),
        ({"num_samples": "2"}, "^num_samples '2': must be a whole number$"),
        ({"num_samples": 2.5}, "^num_samples 2.5: must be a whole number$"),
        ({"num_samples": 10**6}, "^num_samples 1000000: at most 100000; another seed gives more$"),
        ({"seed": "a"}, "^seed 'a': must be a whole number$"),
        ({"level_seeds": ["a"]}, r"^level_seeds \['a'\]: give a list"),
        ({"level_seeds": [1] * 9}, "^level_seeds has 9 entries, the network has 4 levels$"),
        ({"memory_gib": "4"}, "^memory_gib '4': must be a number$"),
        ({"max_samples_per_batch": 0}, "^max_samples_per_batch 0: must be at least 1$"),
        ({"temperature": "x"}, "^temperature 'x': must be a number"),
        ({"suffix": 3}, "^suffix must be a text, not 3"),
        ({"suffix": "a/b"}, r"^suffix a/b: must not hold / or .*; output names the folder$"),
        ({"device": 1.5}, "^device 1.5: is not to be had"),
        ({"task": 3}, "^task 3"),
        ({"n": 2}, "^there is no argument n: .*num_samples"),
        ({"options": {"num_samples": 2}}, "^options is a section .*: give SampleOptions"),
        ({"model": None}, "^model is of type NoneType: give a tower's name or a checkpoint's path"),
        ({"model": torch.nn.Identity()}, r"^model is of type Identity: .* in memory has .sample\(image\)$"),
        ({"source": Image.new("RGB", (8, 8))}, "^source is of type Image: give the path of a file or folder"),
        ({"source": None}, "^source is of type NoneType"),
        ({"source": [None]}, "^source is of type NoneType"),
        ({"source": ""}, "^source is an empty text"),
        ({"source": []}, "^source: names no input"),
        ({"output": None}, "^output is of type NoneType: give a folder$"),
        ({"output": "."}, "^output .*: is the folder of the input"),
    ],
)
def test_what_is_wrong_with_a_call_of_sample_names_the_argument(tmp_path, monkeypatch, thumb, changes, message):
    monkeypatch.chdir(tmp_path)
    arguments = {"source": thumb, "output": tmp_path / "out", "model": "sr16x-small", "device": "cpu", **changes}
    with pytest.raises(TimError, match=message):
        tim.sample(**arguments)


@pytest.mark.parametrize("name", [None, 3, "", "a\0b", b"a"])
def test_what_is_no_path_is_one_sentence(tower, name):
    with pytest.raises(TimError, match="^name_or_path .*: give a name of tim_plugin.list_models"):
        tim.load(name)
    if not isinstance(name, bytes):
        with pytest.raises(TimError, match="^the input (is|'a).*: give a path, the bytes"):
            tower.sample(name)


def test_samples_of_another_tower_or_picture_are_not_kept(tmp_path, thumb):
    tower, other = tim.load("sr16x-small", device="cpu"), tim.load("flowers-sr16x", device="cpu")
    out = tower.sample(thumb, n=2)
    with pytest.raises(
        TimError, match="^keep: its samples are of another tower, sr16x-small: keep samples that this one"
    ):
        other.sample(thumb, n=1, keep=(out, 0))
    with pytest.raises(TimError, match="^keep: its samples are of another picture named thumb: give the same input"):
        tower.sample(1 - read_image(thumb).rgb, n=1, keep=(out, 0), name="thumb")
    with pytest.raises(TimError, match="another picture named thumb"):
        tower.sample(read_image(thumb).rgb[..., :4], n=1, keep=(out, 0), name="thumb")
    again = tower.sample(thumb, n=1, keep=(out, 1)).images
    for same in (Image.open(thumb), read_image(thumb).rgb):
        assert torch.equal(tower.sample(same, n=1, keep=(out, 1), name="thumb").images, again)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: out.take([4]), r"^take \[4\]: give whole numbers from 0 to 1$"),
        (lambda out: out.take([-3]), r"^take \[-3\]: give"),
        (lambda out: out.take(["a"]), r"^take \['a'\]: give"),
        (lambda out: out.take([1.5]), r"^take \[1.5\]: give"),
        (lambda out: out.take([0, 1, 0]), r"^take \[0, 1, 0\]: names sample 0 more than once: give each once$"),
        (lambda out: out.take([1, -1]), "^take .*: names sample 1 more than once"),
        (lambda out: out.take([True]), r"^take \[True\]: give"),
        (lambda out: out.take(torch.tensor([True, False])), r"^take \[True, False\]: give"),
        (lambda out: out.take(1), "^take 1: give"),
        (lambda out: out.take("1"), "^take '1': give"),
        (lambda out: out.of_input(5), r"^of_input \[5\]: give whole numbers from 0 to 0$"),
        (lambda out: out.of_input("a"), r"^of_input \['a'\]: give"),
        (lambda out: out.take([]).contact_sheet(), "^contact_sheet: there are no samples"),
        (lambda out: out.take([]).save("out"), "^save: there are no samples"),
        (lambda out: out.save(None), "^folder is of type NoneType: give the path of a folder"),
        (lambda out: out.save(""), "^folder is an empty text: give"),
    ],
)
def test_samples_that_are_not_there_are_one_sentence(tmp_path, monkeypatch, tower, thumb, call, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TimError, match=message):
        call(tower.sample(thumb, n=2))
    assert not (tmp_path / "out").exists()


def test_samples_are_taken_by_any_kind_of_whole_number(tower, thumb):
    out = tower.sample(thumb, n=3)
    for places in ([2, 0], (2, -3), np.array([2, 0]), torch.tensor([2, 0]), [np.int64(2), torch.tensor(0)]):
        assert out.take(places).numbers == [2, 0] and torch.equal(out.take(places).images, out.images[[2, 0]])
    assert len(out.take([])) == 0 and torch.equal(out.of_input(-1).images, out.images)


@pytest.mark.parametrize("whole", [np.int64, np.uint8, np.array, torch.tensor], ids=lambda kind: kind.__name__)
def test_whole_numbers_of_any_type_are_those_of_python(tmp_path, tower, thumb, whole):
    out = tower.sample(thumb, n=whole(3), seed=whole(2), temperature=whole(1))
    assert torch.equal(out.images, tower.sample(thumb, n=3, seed=2).images)
    kept = tower.sample(thumb, n=whole(2), keep=(out, whole(1)), levels=whole(2), tile=whole(0), memory_gib=whole(4))
    assert torch.equal(kept.images, tower.sample(thumb, n=2, keep=(out, 1), levels=2).images)
    fixed = tower.sample(thumb, n=whole(1), level_seeds=[whole(1), None])
    assert len(out.most_different(whole(2))) == 2 and out.take([whole(2)]).numbers == [2]
    for index, samples in enumerate((out, kept, fixed)):
        samples.save(tmp_path / str(index))
        (entry,) = json.loads((tmp_path / str(index) / "samples.json").read_text())["images"]
        assert {type(entry["made_with"][key]) for key in ("seed", "num_samples")} == {int}
    options = {"num_samples": 1, "seed": 2, "max_samples_per_batch": 4, "level_seeds": [1]}
    given = {key: [whole(1)] if key == "level_seeds" else whole(value) for key, value in options.items()}
    assert tim.sample(thumb, tmp_path / "a", "sr16x-small", **given) == tim.sample(
        thumb, tmp_path / "b", "sr16x-small", **options
    )


@pytest.mark.parametrize("value", [np.bool_(True), torch.tensor(True), np.float64(2), torch.tensor([2])])
def test_what_is_no_whole_number_is_refused_whatever_its_type(tower, thumb, value):
    for name in ("n", "seed"):
        with pytest.raises(TimError, match=f"^{name} .* must be a whole number"):
            tower.sample(thumb, **{"n": 1, name: value})


def test_samples_of_a_file_with_the_longest_of_names_are_saved_as_the_command_names_them(tmp_path, thumb):
    path = tmp_path / f"{'x' * 251}.png"
    path.write_bytes(thumb.read_bytes())
    (saved,) = tim.load("sr16x-small", device="cpu").sample(path, n=1).save(tmp_path / "a")
    (entry,) = tim.sample(path, tmp_path / "b", "sr16x-small", num_samples=1)
    assert saved.name == entry["samples"][0]["file"]
    assert saved.read_bytes() == (tmp_path / "b" / saved.name).read_bytes()


def test_the_most_different_are_the_farthest_from_those_chosen():
    points = torch.tensor([0.0, 1.0, 9.0, 10.0, 5.0])
    distances = (points[:, None] - points[None]).abs()
    assert farthest_points(distances, 3) == [0, 3, 4]
    assert farthest_points(torch.zeros(4, 4), 4) == [0, 1, 2, 3]


def test_most_different_samples_keep_what_belongs_to_them(tmp_path, tower, thumb):
    out = tower.sample(thumb, n=5)
    chosen = out.most_different(2)
    assert torch.equal(chosen.images, out.images[chosen.numbers])
    assert torch.equal(chosen.consistency["lr_psnr"], out.consistency["lr_psnr"][chosen.numbers])
    distance = tim.losses.PerceptualDistance("tim_small")
    pairs = [float(distance(out.images[i : i + 1], out.images[j : j + 1])) for i in range(5) for j in range(i)]
    assert float(distance(*chosen.images.split(1))) == pytest.approx(max(pairs))
    assert [path.name for path in chosen.save(tmp_path)] == [f"thumb_s0{number}.png" for number in chosen.numbers]
    with pytest.raises(TimError, match="from 1 to 5"):
        out.most_different(6)
    assert tim.metrics.diversity(chosen.images, distance) == pytest.approx(max(pairs))


def test_a_batch_has_the_samples_of_each_input(tmp_path, tower):
    lq = torch.rand(2, 3, 4, 4)
    out = tower.sample(lq, n=3)
    assert out.images.shape == (2, 3, 3, 64, 64) and out.consistency["lr_psnr"].shape == (2, 3)
    alone = tower.sample(lq[1], n=3, name="image_1")
    assert torch.equal(out.of_input(1).images, alone.images)
    assert [path.name for path in out.save(tmp_path)][::3] == ["image_0_s00.png", "image_1_s00.png"]
    assert len(json.loads((tmp_path / "samples.json").read_text())["images"]) == 2
    with pytest.raises(TimError, match="one of the batch"):
        out.most_different(2)
    sheet = out.contact_sheet()
    sheet.save(tmp_path / "sheet.png")
    assert sheet.size[1] > out.of_input(0).contact_sheet().size[1] and (tmp_path / "sheet.png").is_file()


def test_a_name_that_leads_out_of_the_folder_is_refused(tower, thumb):
    with pytest.raises(TimError, match="^name '../x' must not hold / or"):
        tower.sample(thumb, n=1, name="../x")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, tower, thumb):
    with pytest.raises(TimError, match="thumb.png: is a file; give a folder"):
        tower.sample(thumb, n=1).save(thumb)


def test_importing_the_package_and_listing_its_towers_loads_no_torch():
    code = "import sys, tim_plugin; assert not {'torch', 'numpy', 'basicsr', 'cv2'} & set(sys.modules); print('fine')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "fine\n"


def test_distances_take_the_weights_that_fit_their_backbone():
    distance = tim.losses.PerceptualDistance("tim_small")
    assert distance.name == "tim_small feature distance"
    assert "uncalibrated" not in distance.name and distance.roots is not None
    assert tim.losses.PerceptualDistance("tim_small", weights="random").roots is None
    assert tim.losses.PerceptualDistance("alexnet", weights="random").roots is not None
