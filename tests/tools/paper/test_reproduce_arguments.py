"""What ``tools/reproduce.py`` is told: which tasks, which data, which features, checked before anything is trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from paper import parallel_runs as training
from paper import targets
from paper.cached_runs import content_of
from paper.halved_photographs import gathered, halved, tiles
from paper.presets import SMALL
from paper.targets import reproduce
from paper.workbench import Workbench
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image, write_png


def photographs(folder, seeds):
    """Folders ``train`` and ``val`` with a photograph of noise for each name."""
    for phase in ("train", "val"):
        for name, seed in seeds.items():
            noise = torch.rand(3, 130, 130, generator=torch.Generator().manual_seed(seed))
            write_png(folder / phase / f"{name}.png", noise)
    return folder


@pytest.fixture
def asked(project_copy, arguments, monkeypatch):
    """Call ``reproduce`` with photographs; training is an error."""

    def no_training(*runs):
        raise AssertionError("training began")

    monkeypatch.setattr(training, "_trained", no_training)
    data = photographs(project_copy / "data", {"a": 1})

    def call(**given):
        reproduce(project_copy, arguments(**{"data": data, **given}))

    return call


def test_other_photographs_of_the_same_name_are_never_mixed(project_copy):
    def folders(data):
        return Workbench(project_copy, SMALL, data, "random").folders

    first = folders(photographs(project_copy / "A", {"one": 1, "two": 2}))
    second = folders(photographs(project_copy / "B", {"one": 3}))
    for phase, names in (("train", ["one.png"]), ("val", ["one.png"]), ("measured", ["one_0_0.png"])):
        assert [path.name for path in list_images(second[phase])] == names
        pictures = [read_image(one[phase] / names[0]).rgb for one in (first, second)]
        assert not torch.equal(*pictures)
    assert folders(project_copy / "A") == first and len(list_images(first["train"])) == 2
    moved = photographs(project_copy / "elsewhere" / "A", {"one": 1, "two": 2})
    assert folders(moved) == first  # content counts, not the place
    run = Workbench(project_copy, SMALL, moved, "random").run(SMALL.tim("sr16x"), 0)
    assert run.overrides["datasets:train:dataroot_gt"] == str(first["train"])


@pytest.mark.parametrize("target", ["table2", "table5", "fig9", "beyond", "all"])
@pytest.mark.parametrize(
    ("features", "message"),
    [(None, "--features random: sets of images need trained features"), ("nowhere.pth", "nowhere.pth")],
)
def test_features_are_looked_for_before_anything_is_trained(asked, target, features, message):
    with pytest.raises(TimError, match=message):
        asked(target=target, features=features)


def test_sheets_of_samples_need_no_features_of_sets(asked):
    with pytest.raises(AssertionError, match="training began"):
        asked(target="fig6", features="random")


@pytest.mark.parametrize("target", ["table2", "table5", "beyond", "all"])
@pytest.mark.parametrize("tasks", ["", ",", " , "])
def test_no_task_at_all_is_refused_and_pages_stay(asked, project_copy, target, tasks):
    page = project_copy / "docs" / "results" / "small" / f"{target}.json"
    page.parent.mkdir(parents=True)
    page.write_text("{}")
    with pytest.raises(TimError, match=r"--tasks: names no task; .*sr16x"):
        asked(target=target, tasks=tasks, features="nowhere.pth")
    assert page.read_text() == "{}"


@pytest.mark.parametrize(
    ("target", "tasks", "message"),
    [
        ("fig6", "decompression", "--tasks decompression: is not one of fig6's.*sr16x"),
        ("fig3", "sr8x", "--tasks sr8x: is not one of fig3's"),
        ("fig1", "sr16x", "--tasks sr16x: is not one of fig1's.*mnist_pca"),
        ("all", "sr2x", "--tasks sr2x: is not one of all's"),
    ],
)
def test_tasks_that_a_target_has_not_got_are_refused(asked, target, tasks, message):
    with pytest.raises(TimError, match=message):
        asked(target=target, tasks=tasks)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_figure_1_refuses_a_device_that_it_would_not_use(asked, device):
    with pytest.raises(TimError, match=f"--device {device}: fig1 is trained and measured on the CPU.* leave it out"):
        asked(target="fig1", device=device)


@pytest.mark.parametrize("target", ["table5", "rivals", "all", "weights"])
@pytest.mark.parametrize("option", ["finished", "add"])
def test_finished_goes_with_tables_that_a_part_of_the_runs_make(asked, target, option):
    with pytest.raises(
        TimError, match=f"--{option}: {target} needs all of its runs; it goes with table2, table3, table4"
    ):
        asked(target=target, **{option: True})


def test_weights_have_no_tasks(asked):
    with pytest.raises(TimError, match="--tasks: weights has none"):
        asked(target="weights", name=["sr16x-small"], tasks="sr16x")


def test_weights_say_what_they_are_called_now(asked, capsys):
    with pytest.raises(TimError, match="--name sr16-small: is not a tower"):
        asked(target="weights", name=["sr16-small"])
    assert "tools/reproduce.py weights is now called tools/make_weights.py" in capsys.readouterr().err


def test_all_makes_the_named_tasks_only(asked, project_copy, monkeypatch):
    made = []

    def noting(name):
        def make(bench, tasks, mnist):
            made.append((name, tuple(tasks)))
            folder = project_copy / "docs" / "results" / "small"
            folder.mkdir(parents=True, exist_ok=True)
            for page in ("fig9", name):
                (folder / f"{page}.md").write_text("")

        return make

    replaced = {name: one._replace(make=noting(name), sets=False) for name, one in targets.TARGETS.items()}
    replaced["fig9"] = replaced["table5"]
    monkeypatch.setattr(targets, "TARGETS", replaced)
    asked(target="all", tasks="sr16x")
    named = ("fig3", "table5", "table2", "table3", "table4", "fig6", "beyond", "networks", "rivals", "calibration")
    named += ("latents",)
    assert made == [(name, ("sr16x",)) for name in named]
    made.clear()
    asked(target="all", tasks="colorization,decompression")
    assert dict(made) == {
        "table5": ("decompression",),
        **dict.fromkeys(("table2", "table3", "table4"), ("decompression", "colorization")),
        "fig7": ("colorization",),
        "fig8": ("decompression",),
        "networks": ("decompression",),
        "rivals": ("colorization",),
        **dict.fromkeys(("calibration", "latents"), ("colorization", "decompression")),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "table2"}, "--data: table2 needs a folder of photographs"),
        ({"target": "table5", "tasks": "sr8x", "data": "x"}, "--tasks sr8x: is not one of table5's"),
        ({"target": "table5", "seeds": 0, "data": "x"}, "--seeds 0: must be 1 or more"),
        ({"target": "fig3", "data": "x"}, "--data: there is no folder"),
        ({"target": "weights", "data": "x"}, "--name says which tower 'weights' makes.*sr16x-small"),
        ({"target": "table2", "data": "x", "name": ["sr16x-small"]}, "--name says which tower"),
        ({"target": "weights", "data": "x", "name": ["sr16x"]}, "--name sr16x: is not a tower.*sr16x-small"),
    ],
)
def test_arguments_are_checked(tmp_path, project_copy, arguments, changes, message):
    given = {"data": None, **changes}
    given["data"] = None if given["data"] is None else tmp_path / given["data"]
    with pytest.raises(TimError, match=message):
        reproduce(project_copy, arguments(**given))


def test_random_features_cannot_compare_sets(bench):
    with pytest.raises(TimError, match="--features random: sets of images need trained features"):
        _ = dataclasses.replace(bench, features="random").extractor


def test_folders_are_gathered_into_one(tmp_path):
    for folder, names in {"a": ("1.png", "2.png"), "b": ("3.png",)}.items():
        for name in names:
            write_png(tmp_path / folder / name, torch.rand(3, 4, 4))
    folders = [tmp_path / "a", tmp_path / "b"]
    target = gathered(folders, tmp_path / "work")
    written = {path.name: path.read_bytes() for path in list_images(target)}
    assert written == {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()}
    assert gathered(folders, tmp_path / "work") == target
    write_png(tmp_path / "b" / "2.png", torch.rand(3, 4, 4))
    with pytest.raises(TimError, match=r"--data: 2\.png lies in more than one of .*a, .*b: rename one"):
        gathered(folders, tmp_path / "work")


def test_tiles_cover_the_middle(tmp_path):
    image = torch.rand(3, 134, 140).mul(255).round().div(255)
    write_png(tmp_path / "in" / "a.png", image)
    tiles(tmp_path / "in", tmp_path / "out", 64)
    names = [path.name for path in list_images(tmp_path / "out")]
    assert names == ["a_0_0.png", "a_1_1.png"]
    assert torch.allclose(read_image(tmp_path / "out" / "a_1_1.png").rgb, image[:, 67:131, 70:134])


def test_what_was_made_of_the_same_images_counts_as_the_same(tmp_path):
    for side in ("a", "b"):
        write_png(tmp_path / "in" / f"{side}.png", torch.rand(3, 128, 130))
    made = [halved([tmp_path / "in"], tmp_path / one) for one in ("here", "there")]
    write_png(made[1] / "a.png", read_image(made[1] / "a.png").rgb.flip(-1))  # as another machine rounds it
    cut = [tiles(folder, tmp_path / f"tiles_{index}", 32) for index, folder in enumerate(made)]
    assert content_of(made[0]) == content_of(made[1]) and content_of(cut[0]) == content_of(cut[1])
    all_of_them = tiles(made[0], tmp_path / "all", 32, 1)
    assert content_of(all_of_them) != content_of(cut[0]) and len(list_images(all_of_them)) == 8
    tiles(made[0], cut[1], 32, 1)  # into the same folder
    assert content_of(cut[1]) not in (content_of(cut[0]), content_of(all_of_them))
    write_png(tmp_path / "in" / "c.png", torch.rand(3, 128, 130))
    assert content_of(halved([tmp_path / "in"], tmp_path / "here")) != content_of(made[0])
