"""
Colourisation: several colours for one grey photograph
======================================================

The tower reads the lightness of a photograph and gives its colours; whatever it gives, the lightness stays the input's.
"""

import os

import matplotlib.pyplot as plt
from PIL import Image
from skimage import data

import tim_plugin as tim

SMALL = "TIM_GALLERY_SMALL" in os.environ  # the tests' setting
SIDE, SAMPLES = (32, 3) if SMALL else (128, 5)

photo = Image.fromarray(data.coffee()[20:380, 120:480]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)

# %%
# A colour image may be given too: its lightness is taken.

tower = tim.load("colorize-small")
out = tower.sample(photo, n=SAMPLES, seed=0)
share = out.consistency["l_in_step"]
print("Share of pixels whose L is within one 8-bit step of the input's:", [round(float(value), 4) for value in share])

# %%
# The tower is small and gives muted tints (see its card); samples differ in them.

grey = photo.convert("L")
panels = [("input", grey), *((f"sample {j}", image.permute(1, 2, 0)) for j, image in enumerate(out.images))]
panels += [("photograph", photo)]
figure, places = plt.subplots(1, len(panels), figsize=(2 * len(panels), 2.3), layout="constrained")
for axes, (title, picture) in zip(places, panels, strict=True):
    axes.imshow(picture, cmap="gray")
    axes.set_title(title, fontsize=9)
    axes.axis("off")
plt.show()

# %%
# How far samples are from one another, by the distance that comes with the package.

distance = tim.losses.PerceptualDistance("tim_small")
diversity = float(tim.metrics.diversity(out.images, distance))
print(f"mean tim_small distance between two samples: {diversity:.3f}")
