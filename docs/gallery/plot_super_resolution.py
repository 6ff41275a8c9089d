"""
Super-resolution: several enlargements of one thumbnail
=======================================================

A thumbnail has many right enlargements. Each sample of a tower is another one, and each, shrunk again, gives the
thumbnail.
"""

# %%
# A photograph that the tower was not trained on, shrunk 16 times by antialiased bicubic.

import os

import matplotlib.pyplot as plt
from PIL import Image
from skimage import data

import tim_plugin as tim

SMALL = "TIM_GALLERY_SMALL" in os.environ  # the tests' setting
SIDE, SAMPLES = (64, 3) if SMALL else (192, 6)

photo = Image.fromarray(data.chelsea()[30:222, 130:322]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
thumbnail = photo.resize((SIDE // 16, SIDE // 16), Image.Resampling.BICUBIC)

# %%
# ``sample`` takes a picture, a path, an array or a tensor. Sample j depends on the seed and on j alone.

tower = tim.load("sr16x-small")
out = tower.sample(thumbnail, n=SAMPLES, seed=0)
print(tower.scale, tuple(out.images.shape))
print("LR-PSNR of each sample, dB:", [round(float(value), 1) for value in out.consistency["lr_psnr"]])

# %%
# The input, the samples, where they differ (their standard deviation, enhanced), and the photograph.

deviation = out.images.std(dim=0).mean(dim=0)
panels = [("input", thumbnail), *((f"sample {j}", image.permute(1, 2, 0)) for j, image in enumerate(out.images))]
panels += [("deviation", deviation), ("photograph", photo)]
figure, places = plt.subplots(1, len(panels), figsize=(2 * len(panels), 2.3), layout="constrained")
for axes, (title, picture) in zip(places, panels, strict=True):
    axes.imshow(picture, cmap="magma")
    axes.set_title(title, fontsize=9)
    axes.axis("off")

# %%
# The samples that differ most; and sample 0's coarse levels under fine ones that are drawn anew.

two = out.most_different(2)
variations = tower.sample(thumbnail, n=SAMPLES, keep=(out, 0), levels=2)
figure, places = plt.subplots(1, SAMPLES, figsize=(2 * SAMPLES, 2.3), layout="constrained")
for axes, image in zip(places, variations.images, strict=True):
    axes.imshow(image.permute(1, 2, 0))
    axes.axis("off")
figure.suptitle("the two coarse levels of sample 0, other fine ones", fontsize=9)
plt.show()
