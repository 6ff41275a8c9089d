"""From predictions of a teacher's many channels to the few linear ones that distances between them need."""

from __future__ import annotations

import torch
from torch import Tensor

from backbone.crop_versions import draw_versions
from backbone.crops import Crops
from backbone.objectives import FromTeacher
from backbone.student import Student
from tim_plugin.utils.seeds import keyed_generator

SIDE_PX = 64
BATCHES, IMAGES = 8, 16
DIFFERENCES_WEIGHT = 4.0  # a distance is made of them; what all predictions share matters for their length only


@torch.no_grad()
def put_projections(student: Student, objective: FromTeacher, crops: Crops, seed: int) -> None:
    """Fit the student's projections and channel weights, so that its own distance is that of its predictions.

    A map's projection is its head followed by the principal directions of the predictions on versions of training
    photographs: turned, vectors keep lengths and differences, and what the last directions hold is left out.

    Args:
        student: Whose trunk is trained; its projections and heads are overwritten.
        objective: With the heads that predict the teacher's maps.
        crops: What the trunk was trained on.
        seed: Of crops and versions.
    """
    log_heads = []
    for index, moment in enumerate(_moments(student, objective, crops, seed)):
        projection = student.measure.trunk.projections[index]
        directions = torch.linalg.eigh(moment).eigenvectors[:, -projection.out_channels :]  # the greatest values'
        projection.weight.copy_(torch.einsum("tr,tcij->rcij", directions, objective.heads[index]))
        log_heads.append(objective.log_scales[index].expand(projection.out_channels))
    student.log_heads.copy_(torch.cat(log_heads))


def _moments(student: Student, objective: FromTeacher, crops: Crops, seed: int) -> list[Tensor]:
    """Return for each map (C, C): the sum over batches of :func:`_moment` of its predictions."""
    moments = [0.0] * len(objective.heads)
    for index in range(BATCHES):
        key = (seed, "projections", index)
        images = crops.draw(IMAGES, SIDE_PX, keyed_generator(*key))
        versions, _ = draw_versions(images, *key)
        maps = objective.predicted(student, torch.cat(versions))
        moments = [before + _moment(one, len(versions)) for before, one in zip(moments, maps, strict=True)]
    return moments


def _moment(maps: Tensor, versions: int) -> Tensor:
    """(C, C): of the vectors at all positions, and of their differences between the first version and the others."""
    first, *others = maps.chunk(versions)
    differences = torch.cat([one - first for one in others])
    found, changed = (one.transpose(0, 1).flatten(1) for one in (maps, differences))
    return found @ found.T + DIFFERENCES_WEIGHT * changed @ changed.T
