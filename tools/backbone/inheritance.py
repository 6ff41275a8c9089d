"""What a student has of its teacher before it learns: the layers' strongest channels, with their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.squeezenet import Fire

from backbone.crops import Crops
from backbone.objectives import FromTeacher
from backbone.student import Student
from tim_plugin.utils.seeds import keyed_generator

SIDE_PX, IMAGES = 64, 64


@torch.no_grad()
def inherit(student: Student, objective: FromTeacher, crops: Crops, seed: int) -> None:
    """Fill a student and the heads of its objective with its teacher's weights (SqueezeNet 1.1).

    Each layer keeps the channels with the greatest mean square on training photographs, of each half of a fire module
    as many; squeezes keep all that the student has room for. A head predicts what is kept by itself, the rest by 0.

    Args:
        student: Its trunk has the teacher's layers, with no more channels than those.
        objective: Its heads are overwritten.
        crops: Training photographs.
        seed: Of the crops.
    """
    trunk, teacher = student.measure.trunk, objective.teacher[0]
    images = crops.draw(IMAGES, SIDE_PX, keyed_generator(seed, "inheritance"))
    x = F.pad(teacher.prepared(images), (1, 1, 1, 1), mode="reflect")
    own, kept, mapped = iter([trunk.first[0], *trunk.fires]), torch.arange(3), []
    for layer in teacher.trunk.layers:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            kept = _copy(layer, next(own), _strongest(x.relu(), trunk.first[0].out_channels), kept)
            mapped.append(kept)
        elif isinstance(layer, Fire):
            kept = _copy_fire(layer, next(own), x, kept)
            mapped.append(kept)
    for head, channels in zip(objective.heads, (mapped[index] for index in trunk.mapped), strict=True):
        head.zero_()
        head[channels, torch.arange(len(channels))] = 1.0


def _copy_fire(given: Fire, fire: Fire, made: Tensor, inputs: Tensor) -> Tensor:
    """Copy a fire module that reads the inputs (places in the teacher's map) and makes ``made``; return its places."""
    squeezed = torch.arange(fire.squeeze.out_channels)
    _copy(given.squeeze, fire.squeeze, squeezed, inputs)
    halves = made.split([given.expand1x1.out_channels, given.expand3x3.out_channels], dim=1)
    pairs = ((given.expand1x1, fire.expand1x1), (given.expand3x3, fire.expand3x3))
    chosen = [
        _copy(theirs, ours, _strongest(half, ours.out_channels), squeezed)
        for (theirs, ours), half in zip(pairs, halves, strict=True)
    ]
    return torch.cat([chosen[0], chosen[1] + given.expand1x1.out_channels])


def _copy(given: nn.Conv2d, conv: nn.Conv2d, outputs: Tensor, inputs: Tensor) -> Tensor:
    conv.weight.copy_(given.weight[outputs][:, inputs])
    conv.bias.copy_(given.bias[outputs])
    return outputs


def _strongest(activations: Tensor, count: int) -> Tensor:
    """Return the places (count,) of the channels with the greatest mean square, in their order."""
    return activations.square().mean(dim=(0, 2, 3)).topk(count).indices.sort().values
