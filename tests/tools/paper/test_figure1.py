"""Figure 1: trained once, and never made of other digits than the page is of."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from demos import digits_demo as digits
from idx_files import idx_content
from paper import cached_runs, figure1, targets
from paper.targets import reproduce
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils.errors import TimError

ROOT = Path(__file__).resolve().parents[3]
SIZES = ("trunk_channels", "growth_channels", "num_blocks", "mapping_width", "mapping_layers")


@pytest.fixture
def asked(project_copy, arguments, tiny_network, monkeypatch):
    """Make targets by a tiny network in three iterations."""
    pytest.importorskip("sklearn")
    path = project_copy / "tools" / "demos" / "options" / digits.DEMO.option_file
    opt = json.loads(json.dumps(read_option_file(path)))
    opt["network_g"].update({key: tiny_network[key] for key in SIZES})
    opt["imle"].update(samples_per_level=2, pool_size=8, reuse=2)
    opt["datasets"]["val"]["max_images"] = 9
    opt["train"]["total_iter"] = 3
    opt["logger"].update(save_checkpoint_freq=1, progress_bar=False)
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    monkeypatch.setattr(digits, "MEASURED_DIGITS", 2)
    monkeypatch.setattr(digits, "PREDICTIONS", 20)

    def call(target="fig1", tasks=None, mnist=None):
        reproduce(project_copy, arguments(tasks=tasks, data=project_copy, target=target, mnist=mnist))

    return call


def test_figure_1_goes_on_where_it_was_killed_and_is_trained_once(asked, project_copy, monkeypatch, capsys):
    train, seen = cached_runs.train_pipeline, []

    def killed(root, argv, on_step):
        def stop(current_iter, log):
            if current_iter == 3:
                raise KeyboardInterrupt

        train(root, argv, stop)

    def noting(root, argv, on_step):
        train(root, argv, lambda current_iter, log: seen.append(current_iter))

    monkeypatch.setattr(cached_runs, "train_pipeline", killed)
    with pytest.raises(KeyboardInterrupt):
        asked()
    monkeypatch.setattr(cached_runs, "train_pipeline", noting)
    asked()
    assert seen == [3]
    folder = project_copy / "docs" / "results" / "small"
    first = json.loads((folder / "fig1.json").read_text())
    assert first["conditions"]["iterations"] == 3 and first["conditions"]["data_set"] == "scikit-learn's digits"
    assert first["conditions"]["run"].startswith("reproduce_mnist_pca_")
    assert first["measures"]["figure_1b"]["digits"] == 2
    assert min((folder / name).stat().st_size for name in ("fig1.png", "fig1a.png")) > 5000
    asked()
    assert seen == [3] and json.loads((folder / "fig1.json").read_text())["measures"] == first["measures"]
    assert "# Figure 1" in capsys.readouterr().out


def test_on_mnist_it_is_of_the_packages_tower(asked, project_copy, monkeypatch, tmp_path):
    monkeypatch.setattr(figure1, "OF_MNIST", 3)
    shapes = torch.rand(60, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    pixels = torch.nn.functional.interpolate(shapes, (28, 28), mode="bilinear").mul(255).round().byte()
    for name, count in zip(digits.MNIST_FILES.values(), (60, 9), strict=True):
        (tmp_path / name).write_bytes(gzip.compress(idx_content(pixels[:count, 0].numpy())))
    card = project_copy / "docs" / "models" / "mnist-pca.json"
    card.parent.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "models" / card.name, card)
    asked(mnist=tmp_path)
    found = json.loads((project_copy / "docs" / "results" / "small" / "fig1.json").read_text())
    told = json.loads(card.read_text())["conditions"]
    assert found["conditions"]["tower"] == "mnist-pca" and found["conditions"]["data_set"] == "MNIST"
    assert found["conditions"]["iterations"] == told["iterations"] and "run" not in found["conditions"]
    assert found["measures"]["figure_1b"]["digits"] == 3 and found["measures"]["parameters"] == 408822
    assert not (project_copy / "experiments").exists()  # nothing is trained


def test_a_page_of_mnist_is_not_replaced_by_other_digits(asked, project_copy, monkeypatch, capsys):
    folder = project_copy / "docs" / "results" / "small"
    folder.mkdir(parents=True)
    text = json.dumps({"measures": {}, "conditions": {"data_set": "MNIST"}})
    (folder / "fig1.json").write_text(text)
    (folder / "fig1.md").write_text("of MNIST")
    with pytest.raises(TimError, match="--mnist: .*fig1.json is of MNIST: give its folder"):
        asked()
    monkeypatch.setattr(targets, "_need", lambda *about: None)
    asked("all", "mnist_pca")  # the other targets are made as they are asked for
    said = capsys.readouterr()
    assert "it stays as it is" in said.err and "of MNIST" in said.out
    assert (folder / "fig1.json").read_text() == text and not (project_copy / "experiments").exists()
