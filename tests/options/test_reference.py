"""The reference of the options and the schema of editors: generated, not stale, and as strict as the checks."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.degradations.table import DEGRADATIONS, degradation_options
from tim_plugin.losses.perceptual_loss import PerceptualDistanceLoss, PixelDistanceLoss
from tim_plugin.options import reference, schema, sections, tower_spec, train_sections, unet_spec, val_sections
from tim_plugin.options.option_file import read_option_file, set_option
from tim_plugin.options.values import Section
from tim_plugin.utils.signatures import options_of

ROOT = Path(__file__).resolve().parents[2]
OPTION_FILES = sorted([*(ROOT / "options").rglob("*.yml"), *(ROOT / "tools").glob("*/options/*.yml")])
SECTIONS = {
    value
    for module in (schema, sections, tower_spec, train_sections, unet_spec, val_sections)
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, Section) and value is not Section
}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def complaints():
    """Return a function that gives what the schema says against options."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(reference.json_schema())
    validator = jsonschema.Draft7Validator(reference.json_schema())
    return lambda opt: [error.message for error in validator.iter_errors(plain(opt))]


@pytest.mark.parametrize("name", ["options.md", "options.schema.json"])
def test_the_generated_files_are_not_stale(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == reference.texts()[name], (
        "run python -m tim_plugin.options.reference"
    )


def test_both_files_are_written(tmp_path):
    reference.write(tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == reference.texts()


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: path.stem)
def test_an_option_file_names_the_schema_and_fits_it(path, complaints):
    first = path.read_text().splitlines()[0]
    relative = os.path.relpath(ROOT / "docs" / "options.schema.json", path.parent)
    assert first == f"# yaml-language-server: $schema={relative}"
    assert complaints(read_option_file(path)) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("network_g:growth_chanels=4", "'growth_chanels' was unexpected"),
        ("network_g:consistency=projekt", "'projekt' is not one of"),
        ("network_g:num_levels=0", "0 is less than the minimum of 1"),
        ("network_g:degradation={type: jpeg, quality: 3}", "is not valid under any of the given schemas"),
        ("imle:beam=2", "'beam' was unexpected"),
        ("imle:search_memory_gib=0", "0 is less than or equal to the minimum of 0"),
        ("train:ema_deacy=0.9", "'ema_deacy' is not one of"),
        ("train:optim_g:bettas=1", "'bettas' is not one of"),
        ("train:optim_g:lr='fast'", "'fast' is not of type 'number'"),
        ("train:perceptual_opt:backbon=x", "'backbon' was unexpected"),
        ("datasets:train:gt_sise=64", "'gt_sise' was unexpected"),
        ("datasets:train:task=sr16", "'sr16' is not one of"),
        ("datasets:train:use_hflip='no'", "'no' is not of type 'boolean'"),
        ("val:num_samples=0", "0 is less than the minimum of 1"),
        ("val:metrics:psnr:crop_bordr=0", "'crop_bordr' was unexpected"),
        ("train:ema_decay=1", "1 is greater than or equal to the maximum of 1"),
        ("train:total_iter=2.5", "2.5 is not of type 'integer'"),
        ("train:scheduler:type=multisteplr", "'multisteplr' is not one of"),
        ("train:scheduler:gama=0.5", "'gama' was unexpected"),
        ("logger:wandb:projcet=x", "'projcet' is not one of"),
        ("my_tool={anything: 1}", "'my_tool' is not one of"),
    ],
)
def test_the_schema_refuses_what_the_checks_refuse(entry, message, complaints):
    opt = read_option_file(ROOT / "options" / "train_tim_sr16x.yml")
    set_option(opt, entry)
    (complaint,) = complaints(opt)
    assert message in complaint


@pytest.mark.parametrize(
    "entry", ["my_tool={anything: 1}", "path:pretrain_network_d=x", "network_g:consistency=off", "train:amp=off"]
)
def test_the_schema_lets_pass_what_the_checks_let_pass(entry, complaints):
    opt = read_option_file(ROOT / "options" / "train_tim_sr16x.yml")
    set_option(opt, entry)
    if entry.startswith(("my_tool", "path")):
        opt["model_type"] = "Mine"
    assert complaints(opt) == []


def test_the_reference_names_every_key_and_what_it_means():
    page = reference.texts()["options.md"]
    keys = [key for section in SECTIONS for key in section.keys().values()]
    keys += [key for kind in DEGRADATIONS for key in degradation_options(kind)]
    assert len(keys) > 100
    for key in keys:
        assert key.sentence.endswith("."), key.name
        assert f"{key.sentence.replace('``', '`')} |" in page, key.name


def test_the_towers_signature_and_docstring_are_its_options():
    parameters = inspect.signature(TowerGenerator).parameters
    assert {name: value.default for name, value in parameters.items()} == {
        name: key.default for name, key in tower_spec.TowerSpec.keys().items()
    }
    assert {value.kind for value in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert "    style_dim: Length of each level's style vector." in inspect.getdoc(TowerGenerator)
    with pytest.raises(TypeError, match="positional"):
        TowerGenerator(3)


@pytest.mark.parametrize(
    ("loss", "section"), [(PerceptualDistanceLoss, schema.DistanceSpec), (PixelDistanceLoss, schema.PixelSpec)]
)
def test_a_distances_options_are_its_constructors_arguments(loss, section):
    theirs = {option.name: option.default for option in options_of(loss)}
    assert {"type": loss.__name__, **theirs} == {name: key.default for name, key in section.keys().items()}
