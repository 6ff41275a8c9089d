"""
Digits: figure 1 of the paper
=============================

A digit is known by its first ten principal components only. Each sample keeps these ten and fills in all others.
In the plane of coordinates 11 and 12, which the input does not tell, the real digit should be among the samples.
"""

import os

import matplotlib.pyplot as plt

import tim_plugin as tim
from tim_plugin.utils.digit_files import fit_to_digits, read_digits

SMALL = "TIM_GALLERY_SMALL" in os.environ  # the tests' setting
DIGITS, SAMPLES = (2, 12) if SMALL else (4, 100)

tower = tim.load("mnist-pca")
digits = read_digits("sklearn:digits/test")[:DIGITS].float() / 255  # (n, 1, 32, 32), of other writers than MNIST's

# %%
# What the tower reads of a digit is its reconstruction from ten components, on the basis that it was trained with.

inputs = [tower.degradation.degrade(digit).lq for digit in digits]
outs = [tower.sample(digit, n=SAMPLES, seed=0) for digit in digits]
print("error of the ten given coordinates, worst:", max(float(out.consistency["pca_error"].max()) for out in outs))

# %%
# Figure 1a: input, predictions, original.

shown = 6
figure, places = plt.subplots(DIGITS, shown + 2, figsize=(8, DIGITS), squeeze=False, layout="constrained")
for row, lq, out, digit in zip(places, inputs, outs, digits, strict=True):
    for axes, picture in zip(row, [lq, *out.images[:shown], digit], strict=True):
        axes.imshow(picture[0].clamp(0, 1), cmap="gray")
        axes.axis("off")
places[0][0].set_title("input", fontsize=8)
places[0][-1].set_title("original", fontsize=8)

# %%
# Figure 1b: predictions in the plane of coordinates 11 and 12 of the digits' own basis, and the real digit.

mean, components = fit_to_digits("sklearn:digits/train", 12)
planes = [(out.images[:, 0].flatten(1) - mean) @ components[10:].T for out in outs]  # (SAMPLES, 2) each
real = (digits.flatten(1) - mean) @ components[10:].T
figure, places = plt.subplots(1, DIGITS, figsize=(2.5 * DIGITS, 2.6), layout="constrained")
for axes, points, star in zip(places, planes, real, strict=True):
    axes.scatter(*points.T, s=6, alpha=0.4, label="predictions")
    axes.scatter(*star, s=120, marker="*", color="tab:red", label="the real digit")
places[0].legend(fontsize=7)
plt.show()
