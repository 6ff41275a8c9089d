"""Public weights of the compared systems load: their files' keys and shapes, and that they compute what they did."""

from __future__ import annotations

import itertools

import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import nn
from torch.nn import functional as F

from tim_plugin.archs.colour_bins import annealed_mean
from tim_plugin.utils.checkpoints import load_network
from tim_plugin.utils.errors import TimError

RFB = {"type": "RFBESRGAN", "num_feat": 16, "num_block": 1, "num_rfb_block": 1, "num_grow_ch": 16}
ZHANG = {"type": "Zhang2016", "widths": (4, 4, 8, 8)}
TWICE = {"type": "RepeatedRRDBNet", "num_feat": 4, "num_block": 1, "num_grow_ch": 4}
DNCNN = {"type": "DnCNN", "num_feat": 4, "num_layers": 4, "batch_norm": False}


# The public files' keys and shapes, written down from the public networks and not from ours.


def published_rfb(feat=64, grow=32, blocks=15, rfb_blocks=8):
    """RFB-ESRGAN's, for 16 times."""
    shapes = {}

    def conv(name, inner, outer):
        shapes.update({f"{name}.weight": (outer, inner, 3, 3), f"{name}.bias": (outer,)})

    def rfb(name, inner, outer):
        quarter = inner // 4
        chains = [
            [(quarter, inner, 1, 1), (quarter, quarter, 3, 3)],
            [(quarter, inner, 1, 1), (quarter, quarter, 3, 1), (quarter, quarter, 3, 3)],
            [(quarter, inner, 1, 1), (quarter, quarter, 1, 3), (quarter, quarter, 3, 3)],
            [
                (quarter // 2, inner, 1, 1),
                (quarter // 4 * 3, quarter // 2, 1, 3),
                (quarter, quarter // 4 * 3, 3, 1),
                (quarter, quarter, 3, 3),
            ],
        ]
        for branch, chain in enumerate(chains):
            shapes.update({f"{name}.branch{branch}.{k}.conv.weight": one for k, one in enumerate(chain)})
        shapes[f"{name}.ConvLinear.conv.weight"] = (outer, 4 * quarter, 1, 1)
        shapes[f"{name}.shortcut.conv.weight"] = (outer, inner, 1, 1)

    conv("conv_first", 3, feat)
    for trunk, count, layer in (("RRDB_trunk", blocks, conv), ("RRDB_trunk_rfb", rfb_blocks, rfb)):
        for block, dense, k in itertools.product(range(count), (1, 2, 3), (1, 2, 3, 4, 5)):
            layer(f"{trunk}.{block}.RDB{dense}.conv{k}", feat + (k - 1) * grow, feat if k == 5 else grow)
    for name in ("trunk_conv", "upconv1", "upconv2", "upconv3", "upconv4"):
        rfb(name, feat, feat)
    rfb("upsampler2.0", feat, 4 * feat)
    rfb("upsampler4.0", feat, 4 * feat)
    conv("HRconv", feat, feat)
    conv("conv_last", feat, 3)
    return shapes


def published_zhang(widths=(64, 128, 256, 512), counters=True):
    """Zhang et al.'s; files from before PyTorch 0.4.1 have no counters of batches."""
    shapes, inner = {}, 1
    for block, (outer, layers) in enumerate(zip([*widths, *[widths[-1]] * 3], (2, 2, 3, 3, 3, 3, 3), strict=True)):
        for layer in range(layers):
            name = f"model{block + 1}.{2 * layer}"
            shapes |= {f"{name}.weight": (outer, inner, 3, 3), f"{name}.bias": (outer,)}
            inner = outer
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"model{block + 1}.{2 * layers}.{key}"] = (outer,)
        if counters:
            shapes[f"model{block + 1}.{2 * layers}.num_batches_tracked"] = ()
    half = inner // 2
    for place, weight in ((0, (inner, half, 4, 4)), (2, (half, half, 3, 3)), (4, (half, half, 3, 3))):
        shapes |= {f"model8.{place}.weight": weight, f"model8.{place}.bias": (half,)}
    shapes |= {"model8.6.weight": (313, half, 1, 1), "model8.6.bias": (313,), "model_out.weight": (2, 313, 1, 1)}
    return shapes


def filled(shapes):
    """Random values for a state dict: kept small, variances positive."""
    torch.manual_seed(0)
    values = {key: 0.1 * torch.rand(shape) for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}
    return values | {key: torch.tensor(7) for key in shapes if key.endswith("num_batches_tracked")}


def loaded(path, state, section):
    torch.save(state, path)
    return load_network(path, options=section)[0]


def test_public_weights_of_rfb_esrgan(tmp_path):
    with torch.device("meta"):
        network = build_network({"type": "RFBESRGAN"})
        state = {key: torch.empty(shape) for key, shape in published_rfb().items()}
    own = {key: one.shape for key, one in network.state_dict().items()}
    assert {key: one.shape for key, one in network.renamed(state).items()} == own
    state = filled(published_rfb(feat=16, grow=16, blocks=1, rfb_blocks=1))
    found = loaded(tmp_path / "net.pth", state, RFB).state_dict()
    for public, ours in (
        ("RRDB_trunk.0.RDB3.conv5.bias", "body.0.rdb3.conv5.bias"),
        ("RRDB_trunk_rfb.0.RDB1.conv2.branch3.1.conv.weight", "rfb_body.0.rdb1.conv2.branches.3.2.weight"),
        ("trunk_conv.ConvLinear.conv.weight", "trunk.join.weight"),
        ("upsampler2.0.shortcut.conv.weight", "expand.0.shortcut.weight"),
        ("upsampler4.0.branch0.1.conv.weight", "expand.1.branches.0.2.weight"),
        ("upconv3.branch1.2.conv.weight", "upconvs.2.branches.1.4.weight"),
        ("HRconv.weight", "conv_hr.weight"),
    ):
        assert torch.equal(state[public], found[ours])


@pytest.mark.parametrize("counters", [True, False])
def test_public_weights_of_zhang(tmp_path, counters):
    with torch.device("meta"):
        network = build_network({"type": "Zhang2016"})
        state = {key: torch.empty(shape) for key, shape in published_zhang(counters=counters).items()}
    own = {key: one.shape for key, one in network.state_dict().items() if counters or "num_batches" not in key}
    assert {key: one.shape for key, one in network.renamed(state).items()} == own
    state = filled(published_zhang((4, 4, 8, 8), counters))
    network = loaded(tmp_path / "net.pth", state, ZHANG)
    lightness = torch.rand(1, 1, 32, 32)
    # The public network's own forward pass: its softmax is not annealed.
    out, layers = (lightness * 100 - 50) / 100, (2, 2, 3, 3, 3, 3, 3)
    for block, count in enumerate(layers):
        name, dilation = f"model{block + 1}", 2 if block in (4, 5) else 1
        for layer in range(count):
            stride = 2 if block < 3 and layer == count - 1 else 1
            weight, bias = (state[f"{name}.{2 * layer}.{key}"] for key in ("weight", "bias"))
            out = F.relu(F.conv2d(out, weight, bias, stride, dilation, dilation))
        keys = ("running_mean", "running_var", "weight", "bias")
        out = F.batch_norm(out, *(state[f"{name}.{2 * count}.{key}"] for key in keys))
    out = F.relu(F.conv_transpose2d(out, state["model8.0.weight"], state["model8.0.bias"], 2, 1))
    for place in (2, 4):
        out = F.relu(F.conv2d(out, state[f"model8.{place}.weight"], state[f"model8.{place}.bias"], 1, 1))
    out = F.conv2d(out, state["model8.6.weight"], state["model8.6.bias"])
    assert torch.allclose(network.logits(lightness), out, atol=1e-5)
    ab = F.conv2d(out.softmax(dim=1), state["model_out.weight"]) * 110
    assert torch.allclose(annealed_mean(network.logits(lightness), network.centres, 1.0), ab, atol=1e-3)


# Which convolutions have a bias (first, middle, last), batch norm's epsilon (None: there is none), what a file's keys
# begin with: SaoYan's, cszn's training code, KAIR's with batch norm, and KAIR's as published, with it folded in.
PUBLIC_DNCNN = [
    ("module.dncnn", (False, False, False), 1e-5, 17, False),
    ("dncnn", (True, False, False), 1e-4, 17, True),
    ("model", (True, True, True), 1e-4, 20, True),
    ("model", (True, True, True), None, 20, True),
]


@pytest.mark.parametrize(("prefix", "biases", "eps", "num_layers", "counters"), PUBLIC_DNCNN)
def test_public_weights_of_dncnn(tmp_path, prefix, biases, eps, num_layers, counters):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=biases[0]), nn.ReLU()]
    for _ in range(num_layers - 2):
        layers.append(nn.Conv2d(64, 64, 3, 1, 1, bias=biases[1]))
        layers += [] if eps is None else [nn.BatchNorm2d(64, eps=eps)]
        layers.append(nn.ReLU())
    chain = nn.Sequential(*layers, nn.Conv2d(64, 3, 3, 1, 1, bias=biases[2])).eval()
    lq = torch.rand(1, 3, 12, 14)
    with torch.no_grad():
        for one in chain.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.running_mean.uniform_(-0.1, 0.1)
                one.running_var.uniform_(1e-4, 1e-2)  # so small that epsilon shows
                one.weight.uniform_(0.05, 0.15)
                one.bias.uniform_(-0.1, 0.1)
        expected = lq - chain(lq)
    state = {f"{prefix}.{key}": v for key, v in chain.state_dict().items() if counters or "num_batches" not in key}
    assert (f"{prefix}.{len(chain) - 1}.bias" in state) == biases[2]
    section = {"type": "DnCNN", "num_layers": num_layers, "batch_norm": eps is not None}
    section |= {} if eps in (None, 1e-5) else {"norm_eps": eps}
    network = loaded(tmp_path / "net.pth", state, section)
    assert torch.allclose(network(lq), expected, atol=1e-5) and not torch.allclose(expected, lq, atol=1e-2)


def test_a_dncnn_file_that_lacks_a_layer_is_refused(tmp_path):
    network = build_network(DNCNN)
    chain = {2 * k: one for k, one in enumerate([network.first, *network.convs, network.last])}
    state = {f"model.{place}.{key}": v for place, one in chain.items() for key, v in one.state_dict().items()}
    del state["model.2.weight"], state["model.2.bias"]
    with pytest.raises(TimError, match="net.pth does not fit the network"):
        loaded(tmp_path / "net.pth", state, DNCNN)


def test_esrgans_own_weights_are_applied_twice(tmp_path):
    torch.manual_seed(0)
    once = RRDBNet(3, 3, 4, 4, 1, 4)
    twice = loaded(tmp_path / "net.pth", {"params_ema": once.state_dict()}, TWICE)
    lq = torch.rand(1, 3, 3, 5)
    assert torch.equal(twice(lq), once(once(lq)))


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(TimError, match="net.pth does not fit the network"):
        loaded(tmp_path / "net.pth", build_network(DNCNN).state_dict(), RFB)
