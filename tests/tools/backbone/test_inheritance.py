"""What a student has of its teacher before it learns."""

from __future__ import annotations

import pytest
import torch
import torchvision

from backbone.crop_versions import draw_versions
from backbone.inheritance import inherit
from backbone.objectives import FromTeacher
from backbone.student import Student
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.losses.tim_small import SmallTrunk

TEACHERS = (64, 128, 128, 256, 256, 384, 384, 512, 512)


class Drawn:
    """In place of photographs."""

    def draw(self, count, side, generator):
        return torch.rand(count, 3, side, side, generator=generator)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """SqueezeNet with random weights and biases, without which a border of zeros would leave nothing to normalise."""
    path = tmp_path_factory.mktemp("teacher") / "squeeze.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torchvision.models.squeezenet1_1().state_dict()
        torch.save({key: one + 0.1 * torch.randn(one.shape) * ("bias" in key) for key, one in state.items()}, path)
    return PerceptualDistance(backbone="squeezenet1_1", weights=str(path), calibration="none")


def objective_of(student, teacher):
    return FromTeacher(teacher, student.measure.trunk.activation_channels, 0)


def framed(teacher, count, side):
    """Images whose border is what the networks see as 0, so that mirrored and empty borders are the same."""
    images = ((1 + teacher.shift) / 2).expand(count, 3, side, side).clone()
    images[..., 2:-2, 2:-2] = torch.rand(count, 3, side - 4, side - 4, generator=torch.Generator().manual_seed(3))
    return images


@pytest.mark.parametrize("side", [32, 48])
def test_with_the_teachers_channels_a_student_is_its_teacher(teacher, monkeypatch, side):
    monkeypatch.setitem(SmallTrunk.__init__.__kwdefaults__, "channels", TEACHERS)
    student = Student(0)
    objective = objective_of(student, teacher)
    inherit(student, objective, Drawn(), 0)
    images = framed(teacher, 2, side)
    with torch.no_grad():
        found = objective.predicted(student, images)
        wanted = objective.wanted(images, [tuple(one.shape[-2:]) for one in found])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_with_fewer_channels_it_is_nearer_to_its_teacher_than_a_random_one(teacher):
    student = Student(0)
    objective = objective_of(student, teacher)
    versions, strengths = draw_versions(framed(teacher, 4, 32), 0)
    with torch.no_grad():
        random = objective(student, versions, strengths)
        inherit(student, objective, Drawn(), 0)
        inherited = objective(student, versions, strengths)
    assert inherited["maps"] < 0.7 * random["maps"]
    assert inherited["differences"] < random["differences"]


def test_what_is_kept_depends_on_the_seed_alone(teacher):
    students = [Student(0) for _ in range(2)]
    for student in students:
        inherit(student, objective_of(student, teacher), Drawn(), 1)
    first, second = (student.state_dict() for student in students)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
