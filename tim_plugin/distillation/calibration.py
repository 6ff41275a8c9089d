"""One weight a channel, fitted after training so that a trunk's distance follows the teacher's.

The weights that are learned together with the trunk also answer to images that are made to deceive it; these are
fitted, with the trunk as it has become, for what a distance is judged by.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tim_plugin.distillation.crops import Crops
from tim_plugin.distillation.distortions import FAMILIES
from tim_plugin.distillation.evaluation import SIDE_PX, family_distances
from tim_plugin.distillation.objectives import ERROR_BETA, log_distance
from tim_plugin.imle.distance import PerceptualDistance
from tim_plugin.seeds import keyed_generator

IMAGES = 200
STEPS, LR = 500, 0.03
MEAN_WEIGHT, WORST_WEIGHT, OVERALL_WEIGHT, SCALE_WEIGHT = 8.0, 4.0, 4.0, 0.2
EVENNESS = 0.02  # how much a channel's logarithm is drawn to the mean


def calibrated_heads(measure: PerceptualDistance, teacher: PerceptualDistance, crops: Crops, seed: int) -> Tensor:
    """Return a positive weight for each channel of all stages, (C,).

    They are those for which the logarithms of distances between versions of training photographs correlate best with
    the teacher's, on average over families of distortion, in the worst family and over all, at the teacher's scale.

    Args:
        measure: The trunk's distance, not calibrated.
        teacher: Whose distance is to be matched.
        crops: What the trunk was trained on.
        seed: Of crops and versions.
    """
    parts, target = _problem(measure, teacher, crops, seed)
    wanted = [log_distance(one) for one in target]
    log_heads = (sum(one.sum() for one in target) / sum(one.sum() for one in parts)).log()
    log_heads = log_heads.expand(parts[0].shape[1]).clone().requires_grad_()
    optimizer = torch.optim.Adam([log_heads], lr=LR)
    for _ in range(STEPS):
        found = [log_distance(one @ log_heads.exp()) for one in parts]
        families = torch.stack([1 - _correlation(a, b) for a, b in zip(found, wanted, strict=True)])
        everything = torch.cat(found), torch.cat(wanted)
        loss = (
            MEAN_WEIGHT * families.mean()
            + WORST_WEIGHT * families.max()
            + OVERALL_WEIGHT * (1 - _correlation(*everything))
            + SCALE_WEIGHT * F.smooth_l1_loss(*everything, beta=ERROR_BETA)
            + EVENNESS * (log_heads - log_heads.mean()).square().mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return log_heads.detach().exp()


@torch.no_grad()
def _problem(
    measure: PerceptualDistance, teacher: PerceptualDistance, crops: Crops, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """By family: what each channel adds to the distances of pairs of versions, (P, C), and the teacher's, (P,)."""
    images = crops.draw(IMAGES, SIDE_PX, keyed_generator(seed, "calibration"))
    measures = {"parts": lambda a, b: _channel_parts(measure.features(a), measure.features(b)), "teacher": teacher}
    found = [
        family_distances(measures, images, family, (seed, "calibration", name)) for name, family in FAMILIES.items()
    ]
    return [one["parts"] for one in found], [one["teacher"] for one in found]


def _channel_parts(a: list[Tensor], b: list[Tensor]) -> Tensor:
    return torch.cat([(x - y).square().mean(dim=(2, 3)) for x, y in zip(a, b, strict=True)], dim=1)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([a, b]))[0, 1]
