"""A video's samples: each frame is sampled with the same latents, and sample j of all frames is a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from tim_plugin.degradations.base import Degradation, Observed
from tim_plugin.inference.shown_samples import ShownSamples
from tim_plugin.inference.video import Video, VideoFiles
from tim_plugin.utils.images import to_pixels

Sample = Callable[[Observed, dict[str, list[float]]], Iterable[Tensor]]


class SampledVideo(NamedTuple):
    """A video that was sampled.

    Attributes:
        consistency: Mean over the frames, for each sample, by measure.
        picture: The first frame, (3, h, w) in [0, 1].
        shown: What a contact sheet shows of the first frame's samples.
    """

    consistency: dict[str, list[float]]
    picture: Tensor
    shown: ShownSamples


def sample_video(
    video: Video, first: Observed, degradation: Degradation, sample: Sample, written: VideoFiles
) -> SampledVideo:
    """Sample a video frame by frame, and write sample j of each into the j-th file.

    Args:
        video: Of which the first frame was read.
        first: That frame.
        degradation: Reads frames.
        sample: Gives an input's samples (m, C, H, W) some at a time, and notes how consistent each is.
        written: The files.

    Raises:
        TimError: A frame is damaged, or OpenCV cannot write the video.
    """
    sums: dict[str, Tensor] = {}
    shown = ShownSamples(len(written.paths), shrink=True)
    for index, frame in enumerate(tqdm(video.frames, unit="frame", leave=False)):
        observed = first if index == 0 else degradation.read(video.read(frame), str(frame))
        consistency: dict[str, list[float]] = {}
        number = 0
        for samples in sample(observed, consistency):
            for one in samples:
                written.add(number, to_pixels(one))
                number += 1
            if index == 0:
                shown.add(samples)
        for name, values in consistency.items():
            sums[name] = sums.get(name, 0) + torch.tensor(values, dtype=torch.float64)
    means = {name: (values / len(video.frames)).tolist() for name, values in sums.items()}
    return SampledVideo(means, degradation.picture(first.lq), shown)
