"""
Digits: figure 1 of the paper
=============================

A digit is known by its first ten principal components only. Each sample keeps these ten and fills in all others. In the
plane of the next two coordinates, which the input does not tell, the real digit should be among the samples.
"""

import os

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

import tim_plugin as tim
from tim_plugin.utils.resize import bicubic_resize

SMALL = "TIM_GALLERY_SMALL" in os.environ  # the tests' setting
DIGITS, SAMPLES = (2, 12) if SMALL else (4, 60)

# %%
# The tower was trained on MNIST. scikit-learn's digits, by other writers, are put as MNIST's are: 20x20 in the middle.

written = torch.from_numpy(load_digits().images).float() / 16  # (n, 8, 8)
digits = F.pad(bicubic_resize(written[:, None], (20, 20)).clamp(0, 1), [6] * 4)  # (n, 1, 32, 32)
known, unseen = digits[DIGITS:], digits[:DIGITS]

tower = tim.load("mnist-pca")
inputs = [tower.degradation.degrade(digit).lq for digit in unseen]  # their reconstructions from ten components
outs = [tower.sample(digit, n=SAMPLES, seed=0) for digit in unseen]
print("error of the ten given coordinates, worst:", max(float(out.consistency["pca_error"].max()) for out in outs))

# %%
# Figure 1a: input, predictions, original.

shown = 6
figure, places = plt.subplots(DIGITS, shown + 2, figsize=(8, DIGITS), squeeze=False, layout="constrained")
for row, lq, out, digit in zip(places, inputs, outs, unseen, strict=True):
    for axes, picture in zip(row, [lq, *out.images[:shown], digit], strict=True):
        axes.imshow(picture[0].clamp(0, 1), cmap="gray")
        axes.axis("off")
places[0][0].set_title("input", fontsize=8)
places[0][-1].set_title("original", fontsize=8)

# %%
# Figure 1b: the two directions in which digits vary most beside the ten components; predictions, and the real digit.

unknown = torch.stack([digit - tower.degradation.degrade(digit).lq for digit in known]).flatten(1)
directions = torch.linalg.svd(unknown - unknown.mean(dim=0), full_matrices=False).Vh[:2]  # (2, 32 * 32)
figure, places = plt.subplots(1, DIGITS, figsize=(2.5 * DIGITS, 2.6), layout="constrained")
planes = [(out.images - lq).flatten(1) @ directions.T for lq, out in zip(inputs, outs, strict=True)]  # (SAMPLES, 2)
for axes, lq, points, digit in zip(places, inputs, planes, unseen, strict=True):
    axes.scatter(*points.T, s=6, alpha=0.4, label="predictions")
    axes.scatter(*directions @ (digit - lq).flatten(), s=120, marker="*", color="tab:red", label="the real digit")
places[0].legend(fontsize=7)
plt.show()
