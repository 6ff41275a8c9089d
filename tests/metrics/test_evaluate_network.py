"""tools/evaluate.py -opt FILE -m CHECKPOINT: the option file's network with the checkpoint's weights."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tim_plugin.utils.errors import TimError

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate.py"


@pytest.fixture
def evaluate(photos, tiny_tower, tiny_network, tmp_path, monkeypatch):
    """Return a function that evaluates a tiny 16x tower with some options overridden and gives what is written."""
    torch.save({"params_ema": tiny_tower().state_dict(), "network_g": tiny_network}, tmp_path / "net.pth")
    dataset = {"name": "mine", "type": "DegradedImageDataset", "task": "sr16x", "dataroot_gt": str(photos)}
    opt = {"name": "t", "model_type": "TIMModel", "scale": 16, "num_gpu": 0, "manual_seed": 0}
    opt |= {"datasets": {"test_1": {**dataset, "max_images": 2}}, "network_g": tiny_network}
    opt |= {"path": {"pretrain_network_g": None}, "val": {"save_img": False, "num_samples": 2}}
    (tmp_path / "t.yml").write_text(yaml.safe_dump(opt))
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("evaluate_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*overrides, metrics="consistency"):
        given = ["-opt", "t.yml", "-m", "net.pth", "-n", "1", "--metrics", metrics, "-o", "f.json"]
        overriding = ["--force_yml", *overrides] if overrides else []
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *given, *overriding])
        tool.main()
        return json.loads((tmp_path / "f.json").read_text())

    return call


def test_an_override_of_the_network_is_applied_and_printed(evaluate, capsys):
    plain = evaluate()
    assert "forced" not in plain["conditions"]
    projected = evaluate("network_g:consistency=project")
    assert plain["figures"]["lr_psnr"]["worst"] < 40 < projected["figures"]["lr_psnr"]["worst"]
    assert projected["conditions"]["forced"] == "network_g:consistency=project"
    assert "forced: network_g:consistency=project" in capsys.readouterr().out


@pytest.mark.parametrize("override", ["network_g:trunk_channels=8", "network_g:num_blocks=2"])
def test_a_network_of_other_shapes_than_the_checkpoint_is_refused(override, evaluate):
    with pytest.raises(TimError, match="net.pth does not fit the network: .*Use the network_g that it was trained"):
        evaluate(override)


def test_the_weights_are_those_that_the_option_file_names(evaluate, tiny_tower, tiny_network, tmp_path):
    other = tiny_tower()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    content = {"params_ema": tiny_tower().state_dict(), "params": other.state_dict(), "network_g": tiny_network}
    torch.save(content, tmp_path / "net.pth")
    ema, params = evaluate(), evaluate("path:param_key_g=params")
    assert evaluate("path:param_key_g=params_ema")["figures"] == ema["figures"] != params["figures"]


def test_the_former_name_of_consistency_works_and_is_said_once(evaluate, capsys):
    now = evaluate()
    assert capsys.readouterr().err.count("note:") == 0
    former = evaluate(metrics="agreement,consistency")
    assert former["figures"] == now["figures"] and "lr_psnr" in now["figures"]
    assert capsys.readouterr().err.count("note: --metrics agreement is called consistency now") == 1
