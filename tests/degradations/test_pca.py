"""Principal components against scikit-learn, digits from idx files, and what a saved digit keeps of its coordinates."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from idx_files import idx_content
from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.pca import PrincipalComponents
from tim_plugin.degradations.table import build_degradation
from tim_plugin.utils.digit_files import fit_to_digits, principal_components, read_digits
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_png, write_png

TRAIN, TEST = "sklearn:digits/train", "sklearn:digits/test"


@pytest.fixture
def degradation():
    pytest.importorskip("sklearn")
    return PrincipalComponents.from_options(TRAIN)


def idx_file(path: Path, count=20, compress=True) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
    content = idx_content(pixels)
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


def test_components_equal_scikit_learns_up_to_sign():
    decomposition = pytest.importorskip("sklearn.decomposition")
    images = torch.rand(200, 30, generator=torch.Generator().manual_seed(0)).double() ** 2
    mean, components = principal_components(images, 7)
    reference = decomposition.PCA(7).fit(images.numpy())
    assert np.allclose(mean, reference.mean_)
    signs = np.sign((components.numpy() * reference.components_).sum(axis=1, keepdims=True))
    assert np.allclose(components * signs, reference.components_, atol=1e-8)


def test_the_basis_is_the_training_digits_and_its_sign_is_fixed():
    pytest.importorskip("sklearn")
    mean, components = fit_to_digits(TRAIN, 10)
    again = principal_components(read_digits(TRAIN).flatten(1).double() / 255, 10)
    assert torch.equal(mean, again[0].float()) and torch.equal(components, again[1].float())
    assert torch.allclose(components @ components.T, torch.eye(10), atol=1e-5)
    assert (components.gather(1, components.abs().argmax(dim=1, keepdim=True)) > 0).all()
    assert len(read_digits(TRAIN)) == 1541 and len(read_digits(TEST)) == 256


def test_the_lq_is_the_reconstruction(degradation):
    decomposition = pytest.importorskip("sklearn.decomposition")
    reference = decomposition.PCA(10).fit(read_digits(TRAIN).flatten(1).double() / 255)
    digit = read_digits(TEST)[3].float() / 255
    expected = reference.inverse_transform(reference.transform(digit.flatten()[None].double()))[0]
    assert np.allclose(degradation.degrade(digit).lq.flatten(), expected, atol=1e-4)


def test_projection_replaces_the_first_coordinates_exactly_and_no_other(degradation):
    digits = read_digits(TEST)[:4].float() / 255
    given = {"lq": torch.stack([degradation.degrade(digit).lq for digit in digits])}
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    once = degradation.project(images, given)
    assert torch.allclose(degradation.coordinates(once), degradation.coordinates(digits), atol=1e-4)
    assert torch.allclose(degradation.project(once, given), once, atol=1e-5)
    assert torch.allclose(degradation.project(digits, given), digits, atol=1e-5)
    change = (once - images).flatten(1)
    inside = change @ degradation.components.T @ degradation.components
    assert torch.allclose(change, inside, atol=1e-4)  # nothing beside the ten components moved
    variable = images[:1, :, :, :].double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: degradation.project(x, {"lq": given["lq"][:1].double()})[..., 10:12, 10:12], (variable,)
    )


def test_saved_digits_keep_their_coordinates_to_a_fraction_of_a_percent(degradation):
    digits = read_digits(TEST)[:4].float() / 255
    observed = Observed(torch.stack([degradation.degrade(digit).lq for digit in digits]))
    raw = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    saved = degradation.project_for_saving(raw, observed)
    assert torch.equal(saved, saved.mul(255).round() / 255)
    assert degradation.measure(saved, observed)["pca_error"].max() < 3e-3
    assert degradation.measure(raw, observed)["pca_error"].min() > 0.1


def test_a_prepared_file_has_the_coordinates_of_its_digit(degradation):
    for digit in read_digits(TEST)[:6].float() / 255:
        given = degradation.degrade(digit).lq
        read = degradation.read(degradation.encode(digit), "x").lq
        wanted = degradation.coordinates(given[None])
        assert (degradation.coordinates(read[None]) - wanted).norm() < 3e-3 * wanted.norm()
        assert (read - given).abs().max() < 0.05


def test_idx_files_are_read_gzipped_or_not(tmp_path):
    plain = read_digits(str(idx_file(tmp_path / "plain-idx3-ubyte", compress=False)))
    assert torch.equal(read_digits(str(idx_file(tmp_path / "a-idx3-ubyte.gz"))), plain)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    assert np.array_equal(plain[:, 0, 2:30, 2:30], pixels) and plain[:, :, :2].max() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "x-idx3-ubyte: there is no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "x-idx3-ubyte: is truncated or damaged: 20 images"),
        (lambda path: path.write_bytes(b"\x00" * 100), "x-idx3-ubyte: is no idx file of 28x28 images"),
        (lambda path: path.write_bytes(b"\x1f\x8b123"), "x-idx3-ubyte: cannot be read"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, change, message):
    path = idx_file(tmp_path / "x-idx3-ubyte", compress=False)
    change(path)
    with pytest.raises(TimError, match=message):
        read_digits(str(path))


def test_an_unknown_split_is_named():
    with pytest.raises(TimError, match="sklearn:digits/all: there are sklearn:digits/train and"):
        read_digits("sklearn:digits/all")


def test_a_digits_file_may_be_28_or_32_pixels_wide(degradation, tmp_path):
    digit = read_digits(TEST)[0].float() / 255
    small, large = (degradation.read(encode_png(one), "x").lq for one in (digit[:, 2:30, 2:30], digit))
    assert torch.equal(small, large)
    assert torch.allclose(large, degradation.degrade(digit).lq, atol=1e-5)
    write_png(tmp_path / "photo.png", torch.rand(3, 40, 32))
    with pytest.raises(TimError, match="photo.png: is 32x40; a digit is 28x28 or 32x32"):
        degradation.read((tmp_path / "photo.png").read_bytes(), "photo.png")


@pytest.mark.parametrize("number", [0, -3, True, "10", 2.0])
def test_a_number_of_components_that_cannot_be_is_refused(number):
    with pytest.raises(TimError, match="num_components .* must be a whole number from 1"):
        PrincipalComponents.from_options(TRAIN, number)


def test_a_crop_of_a_digit_is_refused(degradation):
    with pytest.raises(TimError, match="a digit must be 32x32 pixels, not 16x16: use gt_size: 32"):
        degradation.degrade(torch.rand(1, 16, 16))


def test_too_few_images_for_a_basis():
    with pytest.raises(TimError, match="10 principal components need more"):
        principal_components(torch.rand(8, 30), 10)


def test_a_checkpoint_can_stand_for_the_digits(degradation, tmp_path):
    section = {"degradation": {"type": "pca", "basis": TRAIN, **degradation.portable()}}
    torch.save({"params": {"a": torch.zeros(1)}, "network_g": section}, tmp_path / "net.pth")
    again = PrincipalComponents.from_options(str(tmp_path / "net.pth"))
    assert torch.equal(again.components, degradation.components)
    with pytest.raises(TimError, match="num_components 3: .*net.pth was trained with 10"):
        PrincipalComponents.from_options(str(tmp_path / "net.pth"), 3)
    degradation.require_same(section["degradation"], "net.pth")
    degradation.require_same({}, "net.pth")
    for other in (PrincipalComponents.from_options(TRAIN, 5), PrincipalComponents.from_options(TEST)):
        with pytest.raises(TimError, match="net.pth: was trained with another PCA basis"):
            other.require_same(section["degradation"], "net.pth")
    torch.save({"params": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(TimError, match="other.pth: holds no PCA basis"):
        PrincipalComponents.from_options(str(tmp_path / "other.pth"))


ROW = [0.0] * 1024
WRONG_BASES = {
    "other keys": ({"a": 1}, "holds a"),
    "no key": ({}, "holds nothing"),
    "a number as key": ({3: ROW, "mean": ROW, "components": [ROW]}, "holds 3, mean, components"),
    "numbers alone": ({"mean": 1, "components": 2}, r"has a mean of shape \[\] and components of \[\], not \[1024\]"),
    "another size": ({"mean": ROW[:9], "components": [ROW[:9]]}, r"has a mean of shape \[9\] and components of \[1, 9"),
    "one row": ({"mean": ROW, "components": ROW}, r"has .* components of \[1024\]"),
    "no component": ({"mean": ROW, "components": torch.zeros(0, 1024)}, r"has .* components of \[0, 1024\]"),
    "text": ({"mean": "x.pth", "components": [ROW]}, "holds what are no rows of numbers"),
    "rows of two lengths": ({"mean": ROW, "components": [ROW, ROW[1:]]}, "holds what are no rows of numbers"),
    "a section": ({"mean": {"a": 1}, "components": [ROW]}, "holds what are no rows of numbers"),
    "what is not finite": (
        {"mean": [float("nan"), *ROW[1:]], "components": [ROW]},
        "holds numbers that are not finite",
    ),
    "complex": ({"mean": torch.zeros(1024, dtype=torch.complex64), "components": [ROW]}, "holds numbers that are not"),
}


@pytest.mark.parametrize("kind", WRONG_BASES)
def test_a_basis_that_is_none_is_named(kind, tmp_path):
    basis, message = WRONG_BASES[kind]
    with pytest.raises(TimError, match=f"^network_g: degradation: basis {message}.*: use "):
        build_degradation("pca", {"basis": basis}, "network_g: degradation")
    section = {"degradation": {"type": "pca", "basis": basis}}
    path = tmp_path / "net.pth"
    torch.save({"params": {"a": torch.zeros(1)}, "network_g": section}, path)
    with pytest.raises(TimError, match=f"net.pth: its PCA basis {message}"):
        PrincipalComponents.from_options(str(path))
    own = PrincipalComponents(torch.zeros(1024), torch.eye(1024)[:1])
    with pytest.raises(TimError, match=f"net.pth: its PCA basis {message}"):
        own.require_same(section["degradation"], "net.pth")


@pytest.mark.parametrize("section", [3, {"degradation": "pca"}, {"degradation": [1]}, {"degradation": {"basis": "x"}}])
def test_a_checkpoint_without_a_basis_is_named(section, tmp_path):
    torch.save({"params": {"a": torch.zeros(1)}, "network_g": section}, tmp_path / "net.pth")
    with pytest.raises(TimError, match="net.pth: holds no PCA basis"):
        PrincipalComponents.from_options(str(tmp_path / "net.pth"))
