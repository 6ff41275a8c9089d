"""
Decompression: several photographs behind one JPEG
==================================================

A JPEG of low quality keeps little of a photograph. Each sample is one that would have been compressed to the same JPEG.
"""

import io
import os

import matplotlib.pyplot as plt
from PIL import Image
from skimage import data

import tim_plugin as tim

SMALL = "TIM_GALLERY_SMALL" in os.environ  # the tests' setting
SIDE, SAMPLES = (32, 3) if SMALL else (128, 5)

# %%
# The file is what is known: the tower reads its coefficients and quantisation tables, not only its pixels. So it is
# given as bytes (or as a path).

photo = Image.fromarray(data.astronaut()[20:276, 90:346]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
file = io.BytesIO()
photo.save(file, "JPEG", quality=5)
jpeg = file.getvalue()

tower = tim.load("decompress-small")
out = tower.sample(jpeg, n=SAMPLES, seed=0)
share = out.consistency["dct_agreement"]
print(f"{len(jpeg)} bytes; coefficients that stay the same when compressed again:", [f"{value:.2%}" for value in share])

# %%
panels = [("JPEG, quality 5", Image.open(file))]
panels += [(f"sample {j}", image.permute(1, 2, 0)) for j, image in enumerate(out.images)]
panels += [("deviation", out.images.std(dim=0).mean(dim=0)), ("photograph", photo)]
figure, places = plt.subplots(1, len(panels), figsize=(2 * len(panels), 2.3), layout="constrained")
for axes, (title, picture) in zip(places, panels, strict=True):
    axes.imshow(picture, cmap="magma")
    axes.set_title(title, fontsize=9)
    axes.axis("off")
plt.show()
