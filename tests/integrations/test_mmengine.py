"""Towers in mmengine's registry, built from a configuration file and run by mmengine's own test loop."""

from __future__ import annotations

import pytest
import torch

import tim_plugin as tim
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.utils.errors import TimError

pytest.importorskip("mmengine", reason="mmengine is not installed")

from mmengine.config import Config  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.registry import DATASETS, METRICS, MODELS, Registry, init_default_scope  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmengine.structures import BaseDataElement  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

CONFIG = """
custom_imports = dict(imports=["tim_plugin.integrations.mmengine"], allow_failed_imports=False)
levels = 3
network = dict(type="TowerGenerator", num_levels=levels, trunk_channels=4, growth_channels=4, num_blocks=1,
               noise_channels=2, style_dim=4, mapping_width=8, mapping_layers=2, consistency="project",
               degradation=dict(type="bicubic"))
model = dict(type="TIMTower", tower="sr4x-small", n=2, seed=5)
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "tower.py").write_text(CONFIG)
    return Config.fromfile(tmp_path / "tower.py")


@pytest.fixture
def images():
    return torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


def test_the_network_is_built_from_a_configuration_file(config):
    torch.manual_seed(0)
    network = MODELS.build(config.network)
    torch.manual_seed(0)
    ours = TowerGenerator(**{key: value for key, value in config.network.to_dict().items() if key != "type"})
    assert type(network) is TowerGenerator and network.spec == ours.spec and network.spec.scale == 8
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), ours.parameters(), strict=True))
    below = Registry("model", parent=MODELS, scope="a_project")  # such as mmagic's
    assert type(below.build(config.network)) is TowerGenerator


def test_a_key_that_the_tower_does_not_have_is_named(config):
    with pytest.raises(ValueError, match="num_lvls"):
        MODELS.build({**config.network, "num_lvls": 3})


def test_the_model_gives_the_towers_own_samples(config, images):
    model, tower = MODELS.build(config.model), tim.load("sr4x-small", device="cpu")
    ours = tower.sample(images, n=2, seed=5).images
    assert all(torch.equal(one, other) for one, other in zip(model(images), ours, strict=True))
    known = [BaseDataElement(metainfo={"img_path": f"folder/{name}.png"}) for name in "ab"]
    predicted = model(list(images), known, mode="predict")
    assert predicted[0] is known[0]
    for image, name, data in zip(images, "ab", predicted, strict=True):
        assert torch.equal(data.pred_samples.data, tower.sample(image, n=2, seed=5, name=name).images)


def test_a_model_of_a_section_takes_weights_as_mmengine_loads_them(config, images):
    model = MODELS.build({"type": "TIMTower", "tower": config.network, "n": 1})
    changed = {key: value * 1.01 for key, value in model.state_dict().items()}
    before = model(images[:1])[0]
    model.load_state_dict(changed)
    assert before.shape == (1, 3, 48, 40) and not torch.equal(model(images[:1])[0], before)


class Thumbs(Dataset):
    """Two inputs, as mmengine's data sets give them."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        image = torch.rand(3, 6, 5 + index, generator=torch.Generator().manual_seed(index)) * 0.4 + 0.3
        return {"inputs": image, "data_samples": BaseDataElement(metainfo={"img_path": f"t{index}.png"})}


class Shapes(BaseMetric):
    """Collects what the model predicts."""

    def process(self, data_batch, data_samples):
        self.results += [tuple(data["pred_samples"]["data"].shape) for data in data_samples]

    def compute_metrics(self, results):
        return {"widths": [shape[-1] for shape in results], "n": results[0][0]}


def test_mmengines_test_loop_runs_it(config, tmp_path):
    init_default_scope("mmengine")
    DATASETS.register_module(module=Thumbs, force=True)
    METRICS.register_module(module=Shapes, force=True)
    runner = Runner(
        model=config.model,
        work_dir=str(tmp_path / "work"),
        test_dataloader={
            "dataset": {"type": "Thumbs"},
            "batch_size": 2,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "pseudo_collate"},
        },
        test_cfg={},
        test_evaluator={"type": "Shapes"},
        log_level="ERROR",
        experiment_name="tower",
    )
    assert runner.test() == {"widths": [20, 24], "n": 2}


def test_training_is_refused_in_one_sentence(config, images):
    with pytest.raises(TimError, match="mode 'loss': a tower is trained by tim train"):
        MODELS.build(config.model)(images, mode="loss")
