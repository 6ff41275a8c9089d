"""
A degradation of one's own: a hole in the image
===============================================

What an input tells of an image is a class: how it comes about, which images are consistent with it, how to measure it.
Here the middle is missing, and a tiny tower learns to fill it in, by conditional IMLE on plain tensors.
"""

import os

import matplotlib.pyplot as plt
import torch
from skimage import data

import tim_plugin as tim
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.base import Degradation, Measure, Observed
from tim_plugin.utils.images import decode_image

SMALL = "TIM_GALLERY_SMALL" in os.environ  # the tests' setting
SIDE, STEPS, SAMPLES = (24, 2, 3) if SMALL else (36, 30, 6)


class Hole(Degradation):
    """The middle ninth of an image (..., C, H, W) is grey; all else is known."""

    projects = True
    measured = {"equal": Measure("share of pixels that are unknown, or the input's", "higher")}

    def unknown(self, images):
        rows, columns = (torch.arange(side) * 3 // side == 1 for side in images.shape[-2:])
        return rows[:, None] & columns  # (H, W)

    def degrade(self, gt, generator=None):
        return Observed(torch.where(self.unknown(gt), 0.5, gt))

    def read(self, content, name):
        return self.degrade(decode_image(content, name).rgb)

    def project(self, images, given):
        return torch.where(self.unknown(images), images, given["lq"])

    def measure(self, images, observed):
        equal = (images - observed.lq).abs().amax(dim=1) < 1 / 255
        return {"equal": (equal | self.unknown(images)).float().mean(dim=(1, 2))}


hole, generator = Hole(), torch.manual_seed(0)
photo = torch.from_numpy(data.chelsea()[::2, ::2].copy()).permute(2, 0, 1) / 255
sizes = {"trunk_channels": 16, "growth_channels": 8, "num_blocks": 1, "noise_channels": 2}
tower = TowerGenerator(num_levels=2, placement="same", mapping_init="he", **sizes)
optimizer, distance = torch.optim.Adam(tower.parameters(), lr=1e-3), tim.losses.PerceptualDistance("tim_small")
# %%
# Train: for four crops, search the nearest of eight samples a level, and pull that one nearer.
for _ in range(STEPS):
    gt = torch.stack([photo[:, y : y + SIDE, x : x + SIDE] for y, x in torch.randint(150 - SIDE, (4, 2))])
    lq = hole.degrade(gt).lq
    latents, _ = tim.imle.search(tower, lq, gt, distance, samples_per_level=8, generator=generator)
    optimizer.zero_grad()
    distance(tim.imle.generate(tower, lq, latents)[-1], gt).mean().backward()
    optimizer.step()
# %%
# Samples of one input, made consistent with it: what is known is put back.
given = Observed(lq[:1].repeat(SAMPLES, 1, 1, 1))
drawn = tim.imle.Latents.draw(tower.latent_shapes(SIDE // 2, SIDE // 2), SAMPLES, generator)
images = hole.project_for_saving(tim.imle.generate(tower, given.lq, drawn)[-1].detach(), given)
print("consistency:", hole.measure(images, given)["equal"])
plt.imshow(torch.cat([given.lq[:1], images, gt[:1]]).permute(2, 0, 3, 1).flatten(1, 2))  # input, samples, photo
plt.axis("off")
