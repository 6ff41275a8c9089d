"""What tests of TIMModel do with a tiny model: build it, feed it, train it, compare its weights."""

from __future__ import annotations

import torch
from basicsr.models import build_model


def build(options):
    torch.manual_seed(0)
    return build_model(options)


def batch(index, size=2):
    generator = torch.Generator().manual_seed(index)
    return {
        "lq": torch.rand(size, 3, 2, 2, generator=generator),
        "gt": torch.rand(size, 3, 32, 32, generator=generator),
    }


def train(model, first, last):
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)
