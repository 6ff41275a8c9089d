"""tim evaluate --metrics calibration,variation,cfid: figures equal brute force, impossible ones are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torchvision
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img

from tim_plugin.degradations.tasks import get_task
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics import case_measures
from tim_plugin.metrics.case_measures import Tools, score
from tim_plugin.metrics.cases import FolderCases
from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.metrics.image_sets import FeatureSet, conditional_frechet_distance
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import read_image, write_png

SAMPLES = 9  # fewer have no 80 % interval


class Means(torch.nn.Module):
    """The mean of each channel: three features."""

    def forward(self, images):
        return (images.float().mean(dim=(2, 3)),)


@pytest.fixture
def folders(photos, tmp_path):
    """GTs, and samples that are the GT in other noise each, too little of it for the GT to be one of them."""
    for number, path in enumerate(sorted(photos.iterdir())):
        gt = read_image(path).rgb[:, :32, :48]
        write_png(tmp_path / "gt" / path.name, gt)
        generator = torch.Generator().manual_seed(number)
        middle = gt + 0.1 * torch.randn(gt.shape, generator=generator)
        for index in range(SAMPLES):
            sample = middle + 0.03 * torch.randn(gt.shape, generator=generator)
            write_png(tmp_path / "pred" / f"{path.stem}_s{index:02d}.png", sample.clamp(0, 1))
    return tmp_path


def images(folders):
    """Each GT with its samples, as they are on the disk."""
    for path in sorted((folders / "gt").iterdir()):
        found = [read_image(file).rgb for file in sorted((folders / "pred").glob(f"{path.stem}_s*.png"))]
        yield read_image(path).rgb, torch.stack(found)


def slow_spread(spaces):
    """Variance over samples and error of the mean, coordinate by coordinate."""
    variance = np.mean([np.var(samples, axis=0, ddof=1).mean() for samples, _ in spaces])
    error = np.mean([((samples.mean(axis=0) - truth) ** 2).mean() for samples, truth in spaces])
    return np.sqrt((SAMPLES + 1) / SAMPLES * variance / error)


def test_figures_of_folders_equal_brute_force(folders, run_tool, capsys):
    run_tool("--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "calibration,variation",
        "--lpips-backbone", "tim_small", "-o", folders / "figures.json",
    )  # fmt: skip
    content = json.loads((folders / "figures.json").read_text())
    figures, distance = content["figures"], PerceptualDistance("tim_small")
    energy, psnr, lpips, l_std, pixels = [], [], [], [], []
    with torch.no_grad():
        for gt, samples in images(folders):
            to_gt = [float(distance(one[None], gt[None])) for one in samples]
            pairs = [float(distance(a[None], b[None])) for i, a in enumerate(samples) for b in samples[:i]]
            energy.append(np.mean(np.sqrt(to_gt)) - np.mean(np.sqrt(pairs)) / 2)
            psnr.append(np.std([calculate_psnr(tensor2img(one), tensor2img(gt), 0) for one in samples]))
            lpips.append(np.std(to_gt))
            l_std.append(np.std(samples.numpy(), axis=0).mean())
            pixels.append((samples.flatten(1).double().numpy(), gt.flatten().double().numpy()))
    assert set(figures) == {"energy_score", "crps", "spread_over_error", "coverage", "rank_histogram", "variation"}
    assert figures["energy_score"]["features"] == pytest.approx(np.mean(energy), rel=1e-4)
    crps = [np.abs(x - t).mean() - sum(np.abs(a - b).mean() for a in x for b in x) / 144 for x, t in pixels]
    assert figures["crps"]["pixels"] == pytest.approx(np.mean(crps), rel=1e-6)
    assert figures["spread_over_error"]["pixels"] == pytest.approx(slow_spread(pixels), rel=1e-6)
    assert figures["variation"]["g_std"] == pytest.approx({"psnr": np.mean(psnr), "lpips": np.mean(lpips)}, rel=1e-3)
    assert figures["variation"]["l_std"] == pytest.approx(np.mean(l_std), rel=1e-4)
    for space in ("pixels", "features"):
        covered = figures["coverage"][space]
        assert covered["50%"] < 0.4 and covered["50%"] < covered["80%"] < 0.7  # too much alike, and shown as such
        assert "90%" not in covered
        assert len(figures["rank_histogram"][space]) == SAMPLES + 1 and figures["spread_over_error"][space] < 0.7
    assert "fair energy score" in content["conditions"]["calibration"]
    assert "coverage pixels 50%" in capsys.readouterr().out


@pytest.mark.parametrize(
    "metric", ["energy_score", "crps", "coverage", "spread_over_error", "calibration", "variation"]
)
def test_one_sample_of_each_input_is_refused(metric, folders, run_tool):
    least = 3 if metric == "coverage" else 2
    for path in (folders / "pred").glob("*_s0[1-9].png"):
        path.unlink()
    with pytest.raises(TimError, match=rf"^--metrics \w+: takes {least} samples of each input, and there are 1$"):
        run_tool("--pred", folders / "pred", "--gt", folders / "gt", "--metrics", metric,
            "--lpips-backbone", "tim_small",
        )  # fmt: skip


def test_the_conditional_distance_is_that_of_inputs_first_samples_and_ground_truths(folders):
    degradation, extractor = get_task("sr16x").build({}, "here"), Extractor(Means(), "means", "fid", "kid", "0", 3)
    cases = FolderCases(folders / "pred", folders / "gt", degradation=degradation)
    found = score(cases, Tools(("cfid",), extractor=extractor), {}, len(cases))
    pairs, real = FeatureSet(extractor), FeatureSet(extractor)
    for gt, samples in images(folders):
        lq, first, truth = (pairs.compute(one[None]) for one in (degradation.degrade(gt).lq, samples[0], gt))
        pairs.take(np.concatenate([lq, first], axis=1))
        real.take(np.concatenate([lq, truth], axis=1))
    assert found["cfid"] == pytest.approx(conditional_frechet_distance(pairs, real)) and found["cfid"] > 0


def test_inputs_that_are_left_out_leave_too_few_for_a_conditional_distance(folders, monkeypatch):
    degradation, extractor = get_task("sr16x").build({}, "here"), Extractor(Means(), "means", "fid", "kid", "0", 3)
    cases, seen = FolderCases(folders / "pred", folders / "gt", degradation=degradation), []
    measure = case_measures._row

    def failing(case, tools):
        seen.append(case)
        if len(seen) > 4:
            raise TimError("this one cannot be read")
        return measure(case, tools)

    monkeypatch.setattr(case_measures, "_row", failing)
    with pytest.raises(TimError, match="^--metrics cfid: takes 5 ground truths with 3 features, and there are 4$"):
        score(cases, Tools(("cfid",), extractor=extractor), {}, len(cases))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ([], "^--metrics cfid: measures samples with their input: say which --task made it$"),
        (["--task", "sr16x"], "^--metrics cfid: takes 514 ground truths with 512 features, and there are 6$"),
    ],
)
def test_a_conditional_distance_that_is_not_to_be_had_is_named(task, message, folders, run_tool):
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), folders / "squeeze.pth")
    with pytest.raises(TimError, match=message):
        run_tool("--pred", folders / "pred", "--gt", folders / "gt", "--metrics", "cfid", *task,
            "--feature-extractor", folders / "squeeze.pth",
        )  # fmt: skip
