"""Training a backbone: as a command, interrupted and resumed, with a teacher and without, and what is refused."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from backbone import projections
from backbone import student_training as training
from backbone.crops import Crops
from backbone.objectives import SMALLEST_DIFFERENCE, FromTeacher, relative_error
from backbone.projections import put_projections
from backbone.student import PAIRS, Student, pair_distances
from backbone.student_training import Trainer, TrainSpec
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils import bundled
from tim_plugin.utils.bundled import read_weights
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import list_images, read_image, write_png
from tim_plugin.utils.resize import bicubic_resize

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def large_photos(tmp_path_factory, photos):
    """Two photographs that are large enough for every crop."""
    folder = tmp_path_factory.mktemp("large_photos")
    for path in list_images(photos)[::3]:
        write_png(folder / path.name, bicubic_resize(read_image(path).rgb, (130, 150)).clamp(0, 1))
    return folder


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """SqueezeNet with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("teacher") / "squeeze.pth"
        torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def teacher(teacher_file):
    return PerceptualDistance(backbone="squeezenet1_1", weights=str(teacher_file), calibration="none")


@pytest.fixture(autouse=True)
def few_sides(monkeypatch):
    """Small crops take less time; photographs must be large enough for the largest."""
    monkeypatch.setattr(training, "SIDES_PX", {8: 1, 16: 1, 32: 1})
    monkeypatch.setattr(projections, "BATCHES", 1)
    monkeypatch.setattr(projections, "IMAGES", 4)
    monkeypatch.setattr(projections, "SIDE_PX", 32)


def command(name, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")


def train(*arguments, monkeypatch):
    command("train_backbone.py", "--crops", 1, "--save-every-iters", 1, *arguments, monkeypatch=monkeypatch)


def interrupt_after(steps, monkeypatch):
    whole = Trainer.step

    def step(self):
        if self.iteration == steps:
            raise KeyboardInterrupt
        return whole(self)

    monkeypatch.setattr(Trainer, "step", step)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path, large_photos, teacher_file, monkeypatch, capfd):
    given = ["--data", large_photos, "--teacher", teacher_file, "--iters", 4, "--data-terms", "free to use"]
    train(*given, "-o", tmp_path / "whole.safetensors", monkeypatch=monkeypatch)
    with monkeypatch.context() as broken:
        interrupt_after(2, broken)
        with pytest.raises(SystemExit, match="130"):
            train(*given, "-o", tmp_path / "parts.safetensors", monkeypatch=monkeypatch)
    assert not (tmp_path / "parts.safetensors").exists()
    train(*given, "-o", tmp_path / "parts.safetensors", monkeypatch=monkeypatch)
    whole, parts = (read_weights(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts.state[key]) for key, value in whole.state.items())
    assert whole.about == parts.about
    first = Student(0).weights()
    assert not torch.equal(first["trunk.first.0.weight"].half().float(), whole.state["trunk.first.0.weight"])
    card = (tmp_path / "whole.md").read_text()
    assert "2 photographs" in card and "free to use" in card and "squeeze.pth" in card and "Not measured yet" in card
    assert "4/4" in capfd.readouterr().err
    mine = PerceptualDistance(backbone="tim_small", weights=str(tmp_path / "whole.safetensors"), calibration="bundled")
    assert mine(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)) > 0


def test_it_learns_without_a_teacher_and_goes_into_the_package(tmp_path, large_photos, monkeypatch, capsys):
    """The package's folders are replaced, so that its own weights stay."""
    from backbone import commands as module

    monkeypatch.setattr(module, "bundle", lambda name, path: bundled.bundle(name, path, tmp_path / "weights"))
    monkeypatch.setattr(module, "_card_of", lambda root: tmp_path / "docs" / "tim_small.md")
    output = tmp_path / "own.safetensors"
    train("--data", large_photos, "--iters", 2, "--bundle", "-o", output, monkeypatch=monkeypatch)
    assert "teacher: none" in (tmp_path / "docs" / "tim_small.md").read_text()
    assert bundled.read_bundled("tim_small", tmp_path / "weights").about["teacher"] is None
    assert capsys.readouterr().out.count("written: ") == 4


@pytest.fixture
def crops(large_photos):
    return Crops([large_photos], 32)


def first_and_last(trainer, steps, monkeypatch):
    """Terms of the loss at the first and the last of so many steps on one batch."""
    batch = trainer._versions(7, 7)
    monkeypatch.setattr(trainer, "_versions", lambda *key: batch)
    logs = [trainer.step() for _ in range(steps)]
    return logs[0], logs[-1]


def test_without_a_teacher_distances_learn_the_strengths(crops, monkeypatch):
    trainer = Trainer(TrainSpec(iters=16, crops=2, warmup_iters=1), crops, None)
    first, last = first_and_last(trainer, 16, monkeypatch)
    assert last["strength"] < 0.8 * first["strength"]


def test_a_teachers_distance_is_learned_and_the_teacher_stays(crops, teacher, monkeypatch):
    weights = {key: value.clone() for key, value in teacher.state_dict().items()}
    trainer = Trainer(TrainSpec(iters=16, crops=2, warmup_iters=1), crops, teacher)
    first, last = first_and_last(trainer, 16, monkeypatch)
    assert all(last[term] < 0.8 * first[term] for term in ("maps", "differences", "distance"))
    assert all(torch.equal(value, weights[key]) for key, value in teacher.state_dict().items())


def test_what_is_put_into_the_package_is_what_was_learned(crops, teacher):
    """Heads of few directions are kept whole: the student's own distance is that of its predictions."""
    student = Student(0)
    objective = FromTeacher(teacher, student.measure.trunk.activation_channels, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        objective.log_scales.copy_(torch.linspace(-1, 1, 7))
        for head in objective.heads:
            few = torch.randn(4, head.shape[1], 1, 1, generator=generator)
            head.copy_(torch.einsum("tr,rcij->tcij", torch.randn(len(head), 4, generator=generator), few))
    put_projections(student, objective, crops, 0)
    a, b = crops.draw(8, 32, generator).chunk(2)
    with torch.no_grad():
        learned = student.measure.distance(*(objective.features(student, one) for one in (a, b)))
        own = student.measure.distance(*(student.features(one) for one in (a, b)))
    torch.testing.assert_close(own, learned, rtol=1e-3, atol=1e-5)


def test_predictions_lie_where_the_teachers_maps_lie(teacher):
    """At sides from 8 pixels on; each vector of both has length 1."""
    student = Student(0)
    objective = FromTeacher(teacher, student.measure.trunk.activation_channels, 0)
    for side in (8, 16, 32):
        images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side))
        with torch.no_grad():
            found = objective.predicted(student, images)
            wanted = objective.wanted(images, [tuple(one.shape[-2:]) for one in found])
        assert [one.shape for one in found] == [one.shape for one in wanted]
        for one in (*found, *(wanted if side > 8 else [])):  # a mean of vectors of length 1 is shorter
            torch.testing.assert_close(one.square().sum(dim=1), torch.ones(2, *one.shape[-2:]), rtol=1e-3, atol=1e-3)


def test_the_error_of_differences_is_that_of_a_loop():
    found, wanted = torch.rand(2, 8, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = []
    for i, j in PAIRS:
        for n in range(2):
            a, b = 2 * i + n, 2 * j + n
            difference = wanted[a] - wanted[b]
            error = ((found[a] - found[b] - difference) ** 2).sum(dim=0).mean()
            expected.append(error / ((difference**2).sum(dim=0).mean() + SMALLEST_DIFFERENCE))
    torch.testing.assert_close(relative_error(found, wanted, 4), torch.stack(expected).mean())
    assert relative_error(wanted + 3, wanted, 4) < 1e-9  # what all share does not count


def test_a_run_starts_from_an_earlier_ones_weights(tmp_path, crops):
    first = Trainer(TrainSpec(iters=1, crops=1), crops, None)
    first.run(tmp_path / "first.state.pth")
    second = Trainer(TrainSpec(iters=2, crops=1, often=("jpeg",)), crops, None)
    second.start_from(tmp_path / "first.state.pth")
    assert second.iteration == 0 and second.before["training"]["iters"] == 1
    for key, value in first.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[key])
    with pytest.raises(TimError, match="did you mean 'jpeg'"):
        TrainSpec(often=("jpg",))


def test_pair_distances_are_those_of_the_measure():
    student = Student(0)
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = pair_distances(student.features(images), 4).sum(dim=0).view(len(PAIRS), 2)
        expected = torch.stack(
            [student.measure(images[2 * i : 2 * i + 2], images[2 * j : 2 * j + 2]) for i, j in PAIRS]
        )
    torch.testing.assert_close(found, expected)


def test_a_state_of_other_options_is_refused(tmp_path, crops):
    path = tmp_path / "run.state.pth"
    torch.save(Trainer(TrainSpec(iters=2), crops, None).state(), path)
    with pytest.raises(TimError, match=r"run.state.pth: holds a run of other options \(spec: .*remove it"):
        Trainer(TrainSpec(iters=3), crops, None).resume(path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--iters", "0"], "--iters must be at least 1"),
        (["--teacher", "no.pth"], "--teacher: weights 'no.pth' is neither"),
        (["-o", "own.pth"], "-o own.pth: must end with .safetensors"),
        (["--data", "nowhere"], "nowhere: there is no such image or folder"),
    ],
)
def test_a_mistake_is_one_line(large_photos, arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("--data", large_photos, *arguments, monkeypatch=monkeypatch)
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_a_small_photograph_is_named(photos):
    with pytest.raises(TimError, match=r"photo00.png: is 80x64 pixels large; 128 are needed"):
        Crops([photos], 128)


def test_crops_depend_on_the_generator_alone(crops):
    first, same, other = (crops.draw(3, 16, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (3, 3, 16, 16) and torch.equal(first, same) and not torch.equal(first, other)
