"""
The search on plain tensors: a training loop of one's own
=========================================================

Conditional IMLE without BasicSR or option files: draw candidates, keep the one that lies nearest to the photograph,
pull that one nearer. Then the paper's figure 3 in small: how near the candidates come, the more of them are drawn.
"""

import os

import matplotlib.pyplot as plt
import torch
from skimage import data

import tim_plugin  # noqa: F401  makes BasicSR's layers importable
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.imle import generate, search, target_pyramid
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.resize import bicubic_resize

SMALL = "TIM_GALLERY_SMALL" in os.environ  # the tests' setting
STEPS, NUMBERS, SEARCHED = (4, (1, 6), 4) if SMALL else (40, (1, 2, 4, 8, 16, 32), 8)

torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
photos = [torch.from_numpy(one[::2, ::2].copy()).permute(2, 0, 1) / 255 for one in (data.astronaut(), data.chelsea())]
distance = PerceptualDistance(backbone="tim_small", weights="bundled", calibration="bundled")
# A small tower that enlarges eight times, in three levels.
sizes = {"trunk_channels": 16, "growth_channels": 8, "num_blocks": 1, "noise_channels": 2, "style_dim": 16}
tower = TowerGenerator(num_levels=3, mapping_width=32, mapping_layers=2, mapping_init="he", **sizes)
optimizer = torch.optim.Adam(tower.parameters(), lr=2e-3)


def crops(count):
    """Return inputs (N, 3, 4, 4) and what is to be found, (N, 3, 32, 32), both in [0, 1]."""
    found = []
    for photo in photos * (count // 2):
        y, x = (int(torch.randint(side - 32, ())) for side in photo.shape[-2:])
        found.append(photo[:, y : y + 32, x : x + 32])
    gt = torch.stack(found)
    return bicubic_resize(gt, (4, 4)).clamp(0, 1), gt


# %%
# Train: the search chooses one of 8 candidates at each level, level by level, and the step is taken on those.
losses = []
for _ in range(STEPS):
    lq, gt = crops(2)
    latents, _ = search(tower, lq, gt, distance, 8, generator=generator)
    images = generate(tower, lq, latents)  # one image a level, coarse to fine
    loss = sum(distance(image, target).mean() for image, target in zip(images, target_pyramid(gt, 3), strict=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss: {losses[0]:.3f} at first, {losses[-1]:.3f} at last")

# %%
# Search with more and more candidates: all levels at once (vanilla), and level by level (hierarchical).
lq, gt = crops(SEARCHED)
curves = {"vanilla": [], "hierarchical": []}
for sampling, curve in curves.items():
    for number in NUMBERS:
        _, distances = search(tower, lq, gt, distance, number, generator=generator, sampling=sampling)
        curve.append(distances.sum(dim=1).mean().item())
    plt.plot(NUMBERS, curve, marker="o", label=sampling)
plt.xscale("log", base=2)
plt.xlabel("candidates a level")
plt.ylabel(f"distance of the nearest, {distance.name}")
plt.legend()
