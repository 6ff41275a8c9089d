"""What a student is trained for: a teacher's maps and distances, or without one the strengths of distortions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tim_plugin.distillation.student import Student, pair_distances
from tim_plugin.distillation.versions import PAIRS
from tim_plugin.imle.distance import PerceptualDistance

TEACHER = "squeezenet1_1"
TEACHER_LAYERS = ((0,), (1,), (2,), (3, 4), (5, 6))  # which of the teacher's maps each stage is to stand for
SMALLEST = 1e-3  # added to distances before their logarithm: below it nothing is seen
STAGE_WEIGHT, RANK_WEIGHT = 0.5, 0.2
RANK_WIDTH = 0.1  # of the logarithm: how far apart two distances are to be for an order that is certain
ERROR_BETA = 0.2  # of the logarithm of a distance: larger errors count in proportion, smaller ones by their square
WEAKEST = 0.02  # added to strengths before their logarithm
CONTRAST_WIDTH = 0.1


class FromTeacher(nn.Module):
    """Maps and distances of a SqueezeNet.

    The loss is the sum of: one minus the cosine between the teacher's map at a position and what a linear head
    makes of the student's; the error of the logarithm of the distance between versions, in all and stage by stage;
    and how far the distances of two pairs are from the teacher's order.

    Args:
        teacher: Its distance.
        channels: Of the student's stages.
        seed: Of the heads.
    """

    def __init__(self, teacher: PerceptualDistance, channels: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self.teacher = [teacher]  # in a list, so that it is none of this module's parameters
        targets = [sum(teacher.trunk.channels[layer] for layer in layers) for layers in TEACHER_LAYERS]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.heads = nn.ModuleList(nn.Conv2d(*sizes, 1) for sizes in zip(channels, targets, strict=True))

    def forward(self, student: Student, versions: list[Tensor], strengths: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss for versions, each (N, 3, H, W)."""
        images, teacher = torch.cat(versions), self.teacher[0]
        with torch.no_grad():
            wanted = teacher.features(images)
            layers = pair_distances(wanted, len(versions))
            target = torch.stack([layers[list(group)].sum(dim=0) for group in TEACHER_LAYERS])
        maps = student.features(images)
        found = pair_distances(student.weighted(maps), len(versions))
        total, target_total = log_distance(found.sum(dim=0)), log_distance(target.sum(dim=0))
        return {
            "maps": self._map_loss(*(_ends(some, len(versions)) for some in (maps, wanted))),
            "distance": F.smooth_l1_loss(total, target_total, beta=ERROR_BETA)
            + STAGE_WEIGHT * F.smooth_l1_loss(log_distance(found), log_distance(target), beta=ERROR_BETA),
            "rank": RANK_WEIGHT * _rank_loss(total, target_total),
        }

    def _map_loss(self, maps: list[Tensor], wanted: list[Tensor]) -> Tensor:
        losses = []
        for head, one, layers in zip(self.heads, maps, TEACHER_LAYERS, strict=True):
            targets = [wanted[layer] for layer in layers]
            made = F.interpolate(
                head(one * one.shape[1] ** 0.5), targets[0].shape[-2:], mode="bilinear", align_corners=False
            )
            for part, target in zip(made.split([one.shape[1] for one in targets], dim=1), targets, strict=True):
                losses.append(1 - F.cosine_similarity(part, target, dim=1).mean())
        return torch.stack(losses).mean()


class WithoutTeacher(nn.Module):
    """Strengths alone: a distance grows with a distortion's strength, and a version is nearest to its own image.

    The loss is the sum of: the error of the ratio of the distances of a stronger and a weaker version, which is to be
    that of their strengths; and the cross-entropy of finding each version's image among the batch by the distance.
    """

    def forward(self, student: Student, versions: list[Tensor], strengths: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss; see :class:`FromTeacher`. Of strengths (N, 2) the first is the weaker one."""
        maps = student.weighted(student.features(torch.cat(versions)))
        distances = log_distance(pair_distances(maps, len(versions)).sum(dim=0)).view(len(PAIRS), -1)
        weaker, stronger = (distances[PAIRS.index((0, version))] for version in (1, 2))
        wanted = (strengths + WEAKEST).log().diff(dim=1).flatten()
        return {
            "strength": F.smooth_l1_loss(stronger - weaker, wanted, beta=ERROR_BETA),
            "contrast": _contrast(maps, len(versions)),
        }


def _contrast(maps: list[Tensor], versions: int) -> Tensor:
    """Cross-entropy of each version's nearest image, by distances (V N - N, N)."""
    count = len(maps[0]) // versions
    distance = sum(
        torch.cdist(one[count:].flatten(1), one[:count].flatten(1)).square() / one[0, 0].numel() for one in maps
    )
    own = torch.arange(count, device=distance.device).repeat(versions - 1)
    return F.cross_entropy(-log_distance(distance) / CONTRAST_WIDTH, own) * CONTRAST_WIDTH


def _ends(maps: list[Tensor], versions: int) -> list[Tensor]:
    """The maps of the images and of their last versions: half the work, and the others lie between."""
    parts = [one.chunk(versions) for one in maps]
    return [torch.cat([part[0], part[-1]]) for part in parts]


def log_distance(distance: Tensor) -> Tensor:
    """Return the logarithm that errors of distances are measured in; near 0 it levels off."""
    return (distance + SMALLEST).log()


def _rank_loss(found: Tensor, target: Tensor) -> Tensor:
    """Of neighbours in the batch, which belong to different images: the logistic loss of their order."""
    gap, wanted = found - found.roll(1), target - target.roll(1)
    return F.softplus(-gap * wanted.sign() / RANK_WIDTH).mul(RANK_WIDTH).mean()
