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
def put_projections(student: Student, objective: FromTeacher, crops: Crops, seed: int) -> list[float]:
    """Fit the student's projections and channel weights, so that its own distance is that of its predictions.

    A map's projection is its head followed by the principal directions of the predictions on versions of training
    photographs: turned, vectors keep lengths and differences, and what the last directions hold is left out.

    Args:
        student: Whose trunk is trained; its projections and heads are overwritten.
        objective: With the heads that predict the teacher's maps.
        crops: What the trunk was trained on.
        seed: Of crops and versions.

    Returns:
        For each map the share of the predictions' squares that its projection keeps.
    """
    moments = [0.0] * len(objective.heads)
    for index in range(BATCHES):
        key = (seed, "projections", index)
        images = crops.draw(IMAGES, SIDE_PX, keyed_generator(*key))
        versions, _ = draw_versions(images, *key)
        maps = objective.predicted(student, torch.cat(versions))
        moments = [before + _moment(one, len(versions)) for before, one in zip(moments, maps, strict=True)]
    kept, log_heads = [], []
    for index, (moment, projection) in enumerate(zip(moments, student.measure.trunk.projections, strict=True)):
        values, directions = torch.linalg.eigh(moment)  # ascending
        directions = directions[:, -projection.out_channels :]
        projection.weight.copy_(torch.einsum("tr,tcij->rcij", directions, objective.heads[index]))
        kept.append((values[-projection.out_channels :].sum() / values.sum()).item())
        log_heads.append(objective.log_scales[index].expand(projection.out_channels))
    student.log_heads.copy_(torch.cat(log_heads))
    return kept


def _moment(maps: Tensor, versions: int) -> Tensor:
    """(C, C): of the vectors at all positions, and of their differences between the first version and the others."""
    first, *others = maps.chunk(versions)
    differences = torch.cat([one - first for one in others])
    found, changed = (one.transpose(0, 1).flatten(1) for one in (maps, differences))
    return found @ found.T + DIFFERENCES_WEIGHT * changed @ changed.T
