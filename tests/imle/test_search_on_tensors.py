"""The search on plain tensors: what it equals, which towers and distances it takes, what it says of wrong ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tim_plugin
from tim_plugin.degradations.base import Observed
from tim_plugin.imle import condition_pyramid, generate, search, target_pyramid
from tim_plugin.imle.search import hierarchical, vanilla
from tim_plugin.imle.tower_runner import SearchPlan
from tim_plugin.losses.distance import PixelDistance
from tim_plugin.utils.errors import TimError


@pytest.fixture
def pair():
    """Inputs and observed images of three examples."""
    generator = torch.Generator().manual_seed(3)
    return torch.rand(3, 3, 3, 2, generator=generator), torch.rand(3, 3, 48, 32, generator=generator)


def source() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def same_latents(a, b):
    return all(torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


def squares(a, b):
    """A distance that is a function."""
    return (a - b).square().mean(dim=(1, 2, 3))


def test_the_name_is_the_function_and_the_module_can_be_imported():
    assert tim_plugin.imle.search is search and callable(search)
    assert hierarchical.__module__ == "tim_plugin.imle.search"


@pytest.mark.parametrize("sampling", ["hierarchical", "vanilla"])
def test_it_is_the_search_of_the_pyramids(tiny_tower, pair, sampling):
    tower, (lq, gt) = tiny_tower(consistency="project", condition_every_level=True), pair
    latents, distances = search(tower, lq, gt, PixelDistance(), 5, generator=source(), sampling=sampling)
    pyramids = condition_pyramid(Observed(lq), tower.spec, tower.degradation), target_pyramid(gt, 4)
    way = {"hierarchical": hierarchical, "vanilla": vanilla}[sampling]
    expected = way(tower, PixelDistance(), *pyramids, [5] * 4, source())
    assert same_latents(latents, expected.latents) and torch.equal(distances, expected.distances)


def test_the_images_of_what_is_found_have_its_distances_and_gradients(tiny_tower, pair):
    tower, (lq, gt) = tiny_tower(), pair
    latents, distances = search(tower, lq, gt, PixelDistance(), [4, 3, 2, 1], generator=source())
    images = generate(tower, lq, latents)
    found = torch.stack([squares(*both) for both in zip(images, target_pyramid(gt, 4), strict=True)], dim=1)
    assert distances.shape == (3, 4) and torch.allclose(found, distances, rtol=1e-4)
    found.sum().backward()
    assert tower.levels[0].conv_first.bias.grad.abs().sum() > 0


def test_more_examples_than_run_at_once_are_searched_in_turn(tiny_tower, pair):
    tower, (lq, gt) = tiny_tower(), pair
    latents, distances = search(tower, lq, gt, squares, 4, generator=source(), max_candidates_per_batch=2)
    assert latents.batch_size == 3 and distances.shape == (3, 4)
    first, _ = search(tower, lq[:2], gt[:2], squares, 4, generator=source())
    assert same_latents(latents.index(slice(2)), first)


@pytest.mark.parametrize("whole", [np.int64, torch.tensor])
def test_whole_numbers_are_of_any_type(tiny_tower, pair, whole):
    tower, (lq, gt) = tiny_tower(), pair
    expected, _ = search(tower, lq, gt, squares, [2, 3, 1, 1], generator=source(), max_candidates_per_batch=4)
    for counts in ([whole(2), whole(3), whole(1), whole(1)], whole([2, 3, 1, 1])):
        plan = SearchPlan(memory_gib=whole(4))
        options = {"generator": source(), "max_candidates_per_batch": whole(4), "plan": plan}
        assert same_latents(search(tower, lq, gt, squares, counts, **options)[0], expected)
    assert len(target_pyramid(gt, whole(4))) == 4


def test_what_has_a_network_is_that_network(tiny_tower, pair):
    tower = tiny_tower()
    a, _ = search(SimpleNamespace(network=tower), *pair, squares, 3, generator=source())
    b, _ = search(tower, *pair, squares, 3, generator=source(), plan=SearchPlan(channels_last=True))
    assert same_latents(a, b)
    assert torch.equal(generate(SimpleNamespace(network=tower), pair[0], a)[-1], generate(tower, pair[0], a)[-1])


class Plain:
    """A tower of two levels without a spec: it reads the input at each level."""

    def __init__(self, grown=2):
        self.grown = grown

    def latent_shapes(self, height, width):
        return [((1, height, width), (2,)), ((1, height * 2, width * 2), (2,))]

    def forward_level(self, level, condition, latent, state=None):
        below = condition.image if state is None else state
        wide = below.repeat_interleave(self.grown, dim=-1).repeat_interleave(self.grown, dim=-2)
        image = (wide + 0.1 * latent.style.sum(dim=1)[:, None, None, None]).sigmoid()
        return image, image


def test_a_tower_of_ones_own_needs_two_methods(pair):
    lq = pair[0]
    gt = pair[1][..., :12, :8]
    latents, distances = search(Plain(), lq, gt, squares, [50, 20], generator=source())
    image = generate(Plain(), lq, latents)[-1]
    assert distances.shape == (3, 2) and torch.allclose(squares(image, gt), distances[:, 1], rtol=1e-4)
    with pytest.raises(
        TimError, match=r"level 1 of the tower gives shape \(18, 3, 9, 6\): .* should be \(18, 3, 6, 4\)"
    ):
        search(Plain(grown=3), lq, gt, squares, 20, generator=source())


@pytest.mark.parametrize("sampling", ["hierarchical", "vanilla"])
@pytest.mark.parametrize("measure", [squares, PixelDistance(), lambda a, b: squares(a, b)[:, None, None, None]])
def test_any_function_is_searched_with_its_latents(pair, sampling, measure):
    lq, gt = pair[0], pair[1][..., :3, :2]

    def brighter(lq, latent):
        assert latent.shape[1:] == (1,)
        return lq * latent[:, :, None, None].sigmoid()

    latents, distances = search(
        brighter, lq, gt, measure, 60, generator=source(), sampling=sampling, latent_shapes=(1,)
    )
    assert latents.shape == (3, 1) and distances.shape == (3, 1)
    assert torch.allclose(squares(brighter(lq, latents), gt), distances[:, 0], rtol=1e-4)
    best = (lq * gt).sum(dim=(1, 2, 3)) / lq.square().sum(dim=(1, 2, 3))  # the factor of least squares
    assert (latents[:, 0].sigmoid() - best.clamp(0, 1)).abs().max() < 0.15


def test_a_function_may_take_several_latents(pair):
    lq, gt = pair[0], pair[1][..., :3, :2]

    def tower(lq, latents):
        noise, shift = latents
        return lq + 0.1 * noise + 0.1 * shift[:, :, None, None]

    latents, distances = search(tower, lq, gt, squares, 9, generator=source(), latent_shapes=[(3, 3, 2), (3,)])
    assert [part.shape for part in latents] == [(3, 3, 3, 2), (3, 3)]
    assert torch.allclose(squares(tower(lq, latents), gt), distances[:, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lq": torch.rand(3, 3, 2)}, r"lq has shape \(3, 3, 2\): it must be \(N, C, H, W\): \[None\] adds the batch"),
        ({"gt": torch.rand(2, 3, 48, 32)}, "lq has 3 items and gt 2: give one observed image for each"),
        ({"gt": torch.rand(3, 3, 47, 32)}, "gt is 32x47: of an lq of 2x3 the tower gives 32x48, 16 times the size"),
        ({"gt": torch.rand(3, 1, 48, 32)}, "gt has 1 channels, and the tower gives 3"),
        ({"lq": torch.rand(3, 1, 3, 2)}, "lq has 1 channels, and the tower reads 3"),
        ({"gt": 255 * torch.rand(3, 3, 48, 32)}, r"gt has values up to 25\d.*: divide by 255"),
        ({"lq": -torch.ones(3, 3, 3, 2)}, r"lq has values down to -1.*\(lq \+ 1\) / 2"),
        ({"gt": torch.zeros(3, 3, 48, 32, dtype=torch.uint8)}, r"gt is torch.uint8: .*gt.float\(\) / 255"),
        ({"lq": np.zeros((3, 3, 3, 2))}, "lq is ndarray: give a tensor"),
        ({"generator": 5}, r"generator is 5: give torch.Generator\(\).manual_seed\(0\)"),
        ({"sampling": "hierachical"}, "sampling 'hierachical' is not known: did you mean 'hierarchical'"),
        ({"samples_per_level": [3, 2]}, "samples_per_level has 2 entries for 4 levels"),
        ({"samples_per_level": 0}, "samples_per_level is 0: it must be a whole number of at least 1"),
        ({"samples_per_level": [3, 2, 1, 1], "sampling": "vanilla"}, "differs by level, and vanilla sampling draws"),
        ({"max_candidates_per_batch": 0}, "max_candidates_per_batch is 0: it must be a whole number of at least 1"),
        ({"reject_radius": -1.0}, "reject_radius is -1.0: it must be a number of at least 0"),
        ({"samples_per_level": "2"}, "samples_per_level is '2': it must be a whole number of at least 1"),
        ({"lq": torch.rand(3, 3, 3, 2).to_sparse()}, r"lq is a sparse tensor: give lq.to_dense\(\)"),
        ({"given": 3}, "given is int: give a dict, {name: tensor}, the batch first"),
        ({"reject_radius": float("nan")}, "reject_radius is nan: it must be a number of at least 0"),
        ({"reject_radius": float("inf")}, "reject_radius is inf: it must be a finite number of at least 0"),
        ({"plan": 3}, r"plan is int: give tim_plugin.imle.SearchPlan\(...\), or leave it out"),
        (
            {"lq": torch.rand(3, 3, 3, 2).double(), "gt": torch.rand(3, 3, 48, 32).double()},
            r"lq is torch.float64 and the tower's weights are torch.float32: give lq.to\(torch.float32\)",
        ),
        ({"tower": torch.nn.Identity()}, "Identity has no forward_level .* give latent_shapes too"),
        ({"latent_shapes": (4,)}, "latent_shapes is for a tower that is a function"),
        ({"distance": "lpips"}, "distance is str: give a PerceptualDistance or a function"),
        ({"distance": lambda a, b: squares(a, b).mean()}, r"distance gives shape \(\) for 18 images: one .* \(18,\)"),
        (
            {"tower": lambda lq, z: lq, "latent_shapes": (4,)},
            r"gives shape \(18, 3, 3, 2\): .* \(18, 3, 48, 32\)",
        ),
        (
            {"tower": lambda lq, z: lq, "latent_shapes": (4, 0)},
            r"latent_shapes \(4, 0\): give a shape without",
        ),
        ({"tower": lambda lq, z: lq, "latent_shapes": (4,), "given": {}}, "given is for a tower that projects"),
    ],
)
def test_what_is_wrong_is_one_sentence(tiny_tower, pair, changes, message):
    lq, gt = pair
    arguments = {"tower": tiny_tower(), "lq": lq, "gt": gt, "distance": squares, "generator": source(), **changes}
    with pytest.raises(TimError, match=message):
        search(**arguments)


def test_a_pyramid_is_run_on_the_latents_of_its_coarsest_level(tiny_tower):
    tower, lq = tiny_tower(placement="same", degradation="unknown", consistency="off"), torch.rand(2, 3, 16, 16)
    latents, _ = search(tower, lq, lq, squares, 2, generator=source())
    assert latents[0].noise.shape[-2:] == (2, 2) and generate(tower, lq, latents)[-1].shape == lq.shape


def test_what_generate_cannot_run_is_one_sentence(tiny_tower, pair):
    tower, (lq, gt) = tiny_tower(), pair
    latents, _ = search(tower, lq, gt, squares, 1, generator=source())
    for inputs, given, message in (
        (
            lq[:2],
            latents,
            r"^latents of level 1 have shapes \(3, .* an lq of \(2, 3, 3, 2\) needs \(2, .*: give the latents",
        ),
        (torch.rand(3, 3, 4, 2), latents, "^latents of level 1 have shapes .* chosen for this lq$"),
        (lq, list(latents)[:2], "^latents has 2 levels, and the tower 4$"),
        (lq, None, "^latents is NoneType: give those that tim_plugin.imle.search chose$"),
        (lq, gt, "^latents is Tensor: give those"),
        (None, latents, "^lq is NoneType: give a tensor"),
        (lq.double(), latents, "^lq is torch.float64"),
    ):
        with pytest.raises(TimError, match=message):
            generate(tower, inputs, given)


@pytest.mark.parametrize(
    ("gt", "num_levels", "message"),
    [
        (torch.ones(1, 3, 8, 8, dtype=torch.uint8), 2, r"gt is torch.uint8: .* gt.float\(\) / 255"),
        (torch.ones(3, 8, 8), 2, r"gt has shape \(3, 8, 8\): it must be \(N, C, H, W\): \[None\] adds the batch"),
        (np.ones((1, 3, 8, 8)), 2, "gt is ndarray: give a tensor"),
        (torch.ones(1, 3, 8, 8), 0, "num_levels is 0: it must be a whole number of at least 1"),
        (torch.ones(1, 3, 8, 8), 1.5, "num_levels is 1.5: it must be a whole number"),
        (torch.ones(1, 3, 8, 6), 3, "an image of 6x8 does not divide into 3 levels"),
    ],
)
def test_what_has_no_target_pyramid_is_one_sentence(gt, num_levels, message):
    with pytest.raises(TimError, match=f"^{message}"):
        target_pyramid(gt, num_levels)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "fp16"}, "^precision 'fp16' is not known: did you mean 'bf16'"),
        ({"memory_gib": "4"}, "^memory_gib is the text '4'"),
        ({"memory_gib": 0}, "^memory_gib 0: must be above 0"),
    ],
)
def test_a_plan_that_is_none_is_one_sentence(values, message):
    with pytest.raises(TimError, match=message):
        SearchPlan(**values)


def test_a_projection_that_needs_more_says_what(tiny_tower):
    tower = tiny_tower(placement="same", degradation="jpeg", consistency="project")
    lq = torch.rand(1, 3, 32, 32)
    with pytest.raises(TimError, match="the tower projects and needs .* of each input: given="):
        search(tower, lq, lq, squares, 2, generator=source())


@pytest.mark.skipif(torch.cuda.is_available(), reason="the meta device stands for another where there is no GPU")
def test_another_device_is_named(tiny_tower, pair):
    lq, gt = pair
    with pytest.raises(TimError, match="lq is on meta and gt on cpu"):
        search(tiny_tower(), lq.to("meta"), gt, squares, generator=source())
    with pytest.raises(TimError, match="generator is on cpu and lq on meta: it must be on the same"):
        search(tiny_tower(), lq.to("meta"), gt.to("meta"), squares, generator=source())
