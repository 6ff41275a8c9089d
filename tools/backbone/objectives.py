"""What a student is trained for: a teacher's maps and distances, or without one the strengths of distortions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbone.crop_versions import PAIRS
from backbone.student import Student, pair_distances
from tim_plugin.losses.distance import PerceptualDistance

TEACHER = "squeezenet1_1"
SMALLEST = 2e-3  # added to distances before their logarithm: below it nothing is seen
SMALLEST_DIFFERENCE = 0.02  # of unit vectors, squared and averaged over positions: smaller errors do not count
DISTANCE_WEIGHT, MAP_WEIGHT = 0.3, 0.1
ERROR_BETA = 0.2  # of the logarithm of a distance: larger errors count in proportion, smaller ones by their square
WEAKEST = 0.02  # added to strengths before their logarithm
CONTRAST_WIDTH = 0.1
TINY = 1e-8


class FromTeacher(nn.Module):
    """Maps, their differences, and distances of a SqueezeNet.

    Linear heads predict the teacher's unit-normalised maps from the student's activations. The loss is the sum of: the
    squared error of the predictions; the squared error of the *difference* between the predictions for two versions
    of an image, relative to the teacher's difference; and the error of the logarithm of the distance, in all and map
    by map. The second is relative because an error that is small beside a map may be as large as the difference that
    a distance, and its gradient, is made of.

    Args:
        teacher: Its distance.
        channels: Of the student's activations.
        seed: Of the heads.
    """

    def __init__(self, teacher: PerceptualDistance, channels: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self.teacher = [teacher]  # in a list, so that it is none of this module's parameters
        generator = torch.Generator().manual_seed(seed)
        self.heads = nn.ParameterList(
            torch.randn(wanted, given, 1, 1, generator=generator) / math.sqrt(given)
            for given, wanted in zip(channels, teacher.trunk.channels, strict=True)
        )
        self.log_scales = nn.Parameter(torch.zeros(len(channels)))

    def forward(self, student: Student, versions: list[Tensor], strengths: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss for versions, each (N, 3, H, W)."""
        images = torch.cat(versions).contiguous(memory_format=torch.channels_last)
        found = self.predicted(student, images)
        wanted = self.wanted(images, [tuple(one.shape[-2:]) for one in found])
        differences = [relative_error(one, other, len(versions)) for one, other in zip(found, wanted, strict=True)]
        distances, targets = (
            pair_distances(self._weighted(maps, scales), len(versions))
            for maps, scales in ((found, self.log_scales), (wanted, torch.zeros_like(self.log_scales)))
        )
        errors = [(one - other).square().sum(dim=1).mean() for one, other in zip(found, wanted, strict=True)]
        return {
            "maps": torch.stack(errors).mean(),
            "differences": torch.stack(differences).mean(),
            "distance": DISTANCE_WEIGHT * _log_error(distances.sum(dim=0), targets.sum(dim=0))
            + MAP_WEIGHT * _log_error(distances, targets),
        }

    def features(self, student: Student, images: Tensor) -> list[Tensor]:
        """Return maps of images (N, 3, H, W) whose squared difference is the distance as learned so far."""
        return self._weighted(self.predicted(student, images), self.log_scales)

    def predicted(self, student: Student, images: Tensor) -> list[Tensor]:
        """Return what is predicted for each of the teacher's maps, (N, C_t, H_l, W_l) of length 1."""
        pairs = zip(student.activations(images), self.heads, strict=True)
        return [_unit(F.conv2d(one, head)) for one, head in pairs]

    @torch.no_grad()
    def wanted(self, images: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Return the teacher's maps at those sizes, (N, C_t, H_l, W_l) of length 1, or means of such.

        A mirrored border of one pixel puts the teacher's positions where the student's are; images below its smallest
        input are enlarged to it, and its maps are averaged to the student's size.
        """
        maps = self.teacher[0].features(F.pad(images, (1, 1, 1, 1), mode="reflect"))
        return [F.adaptive_avg_pool2d(one, size) for one, size in zip(maps, sizes, strict=True)]

    @staticmethod
    def _weighted(maps: list[Tensor], log_scales: Tensor) -> list[Tensor]:
        return [one * (scale / 2).exp() for one, scale in zip(maps, log_scales, strict=True)]


class WithoutTeacher(nn.Module):
    """Strengths alone: a distance grows with a distortion's strength, and a version is nearest to its own image.

    The loss is the sum of: the error of the ratio of the distances of a stronger and a weaker version, which is to be
    that of their strengths; and the cross-entropy of finding each version's image among the batch by the distance.
    """

    def forward(self, student: Student, versions: list[Tensor], strengths: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss for four versions, each (N, 3, H, W).

        Args:
            student: Whose distance learns.
            versions: Of :func:`backbone.crop_versions.draw_versions`.
            strengths: (N, 2) of the second and the third version, the weaker one first.
        """
        maps = student.features(torch.cat(versions))
        distances = log_distance(pair_distances(maps, len(versions)).sum(dim=0)).view(len(PAIRS), -1)
        weaker, stronger = (distances[PAIRS.index((0, version))] for version in (1, 2))
        wanted = (strengths + WEAKEST).log().diff(dim=1).flatten()
        return {
            "strength": F.smooth_l1_loss(stronger - weaker, wanted, beta=ERROR_BETA),
            "contrast": _contrast(maps, len(versions)),
        }

    def features(self, student: Student, images: Tensor) -> list[Tensor]:
        """Return maps of images (N, 3, H, W) whose squared difference is the distance as learned so far."""
        return student.features(images)


def relative_error(found: Tensor, wanted: Tensor, versions: int) -> Tensor:
    """Return the squared error of the difference between versions over the square of the difference that is wanted.

    Args:
        found: (V N, C, H, W), version by version.
        wanted: Of the same shape: the teacher's.
        versions: V.

    Returns:
        Its mean over all pairs of versions and items.
    """
    (a, b), errors = (one.chunk(versions) for one in (found, wanted)), []
    for i, j in PAIRS:
        difference = b[i] - b[j]
        error = (a[i] - a[j] - difference).square().sum(dim=1).mean(dim=(1, 2))
        errors.append((error / (difference.square().sum(dim=1).mean(dim=(1, 2)) + SMALLEST_DIFFERENCE)).mean())
    return torch.stack(errors).mean()


def _contrast(maps: list[Tensor], versions: int) -> Tensor:
    """Cross-entropy of each version's nearest image, by distances (V N - N, N)."""
    count = len(maps[0]) // versions
    distance = sum(
        torch.cdist(one[count:].flatten(1), one[:count].flatten(1)).square() / one[0, 0].numel() for one in maps
    )
    own = torch.arange(count, device=distance.device).repeat(versions - 1)
    return F.cross_entropy(-log_distance(distance) / CONTRAST_WIDTH, own) * CONTRAST_WIDTH


def log_distance(distance: Tensor) -> Tensor:
    """Return the logarithm that errors of distances are measured in; near 0 it levels off."""
    return (distance + SMALLEST).log()


def _log_error(found: Tensor, wanted: Tensor) -> Tensor:
    return F.smooth_l1_loss(log_distance(found), log_distance(wanted), beta=ERROR_BETA)


def _unit(maps: Tensor) -> Tensor:
    return maps / (maps.square().sum(dim=1, keepdim=True) + TINY).sqrt()
