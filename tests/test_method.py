"""The method works: one input, several right answers, one seen at a time; cIMLE finds all, regression their mean."""

from __future__ import annotations

import torch

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import target_pyramid
from tim_plugin.imle.search import hierarchical
from tim_plugin.imle.types import Condition
from tim_plugin.inference.sampler import sample
from tim_plugin.losses.distance import PixelDistance

STEPS, BATCH, SIDE = 250, 8, 8
COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.8, 0.8, 0.1]])


def problem(generator):
    """A grey 2x2 input; its answer is one of four colours, each as likely, of which only one is shown."""
    lq = torch.full((BATCH, 3, 2, 2), 0.5)
    mode = torch.randint(len(COLOURS), (BATCH,), generator=generator)
    return lq, COLOURS[mode][:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()


def trained(num_candidates):
    """Train the same tower with m candidates; one candidate is plain regression (the codes are noise to it)."""
    torch.manual_seed(0)
    tower = TowerGenerator(
        num_levels=2,
        trunk_channels=8,
        growth_channels=8,
        num_blocks=1,
        noise_channels=2,
        style_dim=8,
        mapping_width=16,
        mapping_layers=2,
        mapping_init="he",
    )
    optimizer = torch.optim.Adam(tower.parameters(), lr=5e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)  # else shares depend on where it stops
    generator, distance = torch.Generator().manual_seed(0), PixelDistance()
    for _ in range(STEPS):
        lq, gt = problem(generator)
        conditions, targets = [Condition(lq), Condition(None)], target_pyramid(gt, 2)
        latents = (
            hierarchical(tower, distance, conditions, targets, [num_candidates] * 2, generator, 64).latents
            if num_candidates > 1
            else Latents.draw(tower.latent_shapes(2, 2), BATCH, generator)
        )
        loss = sum(
            distance(image, target).mean() for image, target in zip(tower(conditions, latents), targets, strict=True)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return tower.eval()


def colours_of_samples(tower):
    lq = torch.full((1, 3, 2, 2), 0.5)
    samples = sample(tower, [Condition(lq), Condition(None)], 64, seed=1, max_samples_per_batch=64)[0]
    return samples.mean(dim=(2, 3))  # (n, 3)


def test_imle_covers_every_mode_and_regression_gives_their_mean():
    distances = torch.cdist(colours_of_samples(trained(num_candidates=8)), COLOURS)  # (n, modes)
    nearest = distances.argmin(dim=1)
    shares = torch.bincount(nearest[distances.min(dim=1).values < 0.25], minlength=len(COLOURS)) / len(nearest)
    assert (shares >= 0.05).all(), shares
    assert shares.sum() >= 0.7, shares
    flat = colours_of_samples(trained(num_candidates=1))
    assert (torch.cdist(flat, COLOURS).min(dim=1).values > 0.3).all()
    assert (flat - COLOURS.mean(dim=0)).norm(dim=1).max() < 0.2
