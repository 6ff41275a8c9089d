"""What an installation holds: our wheel, built as pip builds it and run without the checkout, and BasicSR in it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import cv2
import numpy as np
import pytest

import build_basicsr_wheel as basicsr_wheel
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.inference.towers import towers
from tim_plugin.utils.images import read_image

URL = "https://example.org/tim_plugin"  # of setup.py
ROOT = Path(__file__).resolve().parents[1]
WHEEL = ROOT / "wheels" / basicsr_wheel.WHEEL
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "wheels", "options", "tim_plugin")
IMPORTED_AS = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
NAMED_BY_EXTRAS = {
    "skimage",
    "sklearn",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "openvino",
    "gradio",
    "starlette",
    "uvicorn",
}
NAMED_BY_EXTRAS |= {"huggingface_hub", "spandrel", "mmengine", "deepinv"}
OF_CLUSTERS = {"wandb", "mc"}  # BasicSR imports them where an option file asks for it
TOWERS = {
    "sr": "small.png",
    "decompress": "photo.jpg",
    "colorize": "grey.png",
    "layout": "labels.png",
    "mnist": "digit.png",
    "flowers-sr": "small.png",
    "flowers-colorize": "grey.png",
}


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def build(kind: str, source: Path, folder: Path) -> Path:
    """Call the build backend as pip does."""
    code = f"from setuptools.build_meta import build_{kind} as build; print(build({str(folder)!r}))"
    folder.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """Our source archive, unpacked."""
    folder = tmp_path_factory.mktemp("source")
    checkout = folder / "checkout"
    checkout.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "_vendor", "*.egg-info")
    for name in SOURCES:
        path = ROOT / name
        shutil.copytree(path, checkout / name, ignore=ignored) if path.is_dir() else shutil.copy(path, checkout)
    archive = build("sdist", checkout, folder / "dist")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist) -> Path:
    """Our wheel, built of the source archive."""
    return build("wheel", sdist, sdist.parent / "dist")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Our wheel unpacked, among everything else that is installed here but BasicSR and tim_plugin."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    for path in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(path).iterdir():
            if (
                not re.match(r"(__editable__\S*)?(basicsr|tim_plugin)", entry.name)
                and not (folder / entry.name).exists()
            ):
                (folder / entry.name).symlink_to(entry)
    return folder


def run_in(site: Path, code: str, cwd: Path, *before: Path) -> str:
    """Run code where only a folder's packages are installed."""
    path = os.pathsep.join(map(str, [*before, site]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def run_here(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def metadata(wheel: Path) -> Message:
    return HeaderParser().parsestr(
        next(text.decode() for name, text in entries(wheel).items() if name.endswith("METADATA"))
    )


def imported(sources: Iterable[bytes]) -> set[str]:
    """The names of what is imported from outside the standard library."""
    found = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"distutils", "tim_plugin", "basicsr"}


def test_the_wheel_of_basicsr_has_a_right_record_and_its_licence():
    files = entries(WHEEL)
    recorded = files.pop(basicsr_wheel.RECORD)
    assert basicsr_wheel.record(files) == recorded
    assert files[basicsr_wheel.LICENCE] == (ROOT / "wheels" / "LICENSE").read_bytes()
    assert b"Apache License" in files[basicsr_wheel.LICENCE]


def test_the_wheel_of_basicsr_is_written_alike_twice(tmp_path):
    files = entries(WHEEL)
    first, second = tmp_path / "first.whl", tmp_path / "second.whl"
    for path in (first, second):
        basicsr_wheel.write_wheel(path, files.items())
    assert first.read_bytes() == second.read_bytes()
    assert entries(first) == files


@pytest.mark.skipif("BASICSR_SDIST" not in os.environ, reason="BASICSR_SDIST: BasicSR's source archive")
def test_the_wheel_of_basicsr_is_its_source_unedited(tmp_path):
    source = Path(os.environ["BASICSR_SDIST"])
    assert entries(basicsr_wheel.build(source, tmp_path)) == entries(WHEEL)
    with tarfile.open(source) as archive:
        files = {
            name.split("/", 1)[1]: archive.extractfile(name).read()
            for name in archive.getnames()
            if name.endswith(".py")
        }
    ours = {name: content for name, content in entries(WHEEL).items() if name.endswith(".py")}
    assert ours == {name: content for name, content in files.items() if name.startswith("basicsr/")}


def test_another_source_is_refused(tmp_path):
    (tmp_path / "basicsr-1.4.2.tar.gz").write_bytes(b"another")
    with pytest.raises(SystemExit, match=r"is not basicsr-1\.4\.2\.tar\.gz as published"):
        basicsr_wheel.build(tmp_path / "basicsr-1.4.2.tar.gz", tmp_path)


def test_our_wheel_holds_basicsr_unedited(wheel):
    files, begin = entries(wheel), "tim_plugin/_vendor/"
    assert {name.removeprefix(begin): files[name] for name in files if name.startswith(begin)} == entries(WHEEL)


def test_our_wheel_says_what_it_is(wheel):
    about, files = metadata(wheel), entries(wheel)
    assert about["Author"] == "The tim_plugin authors" and about["License-Expression"] == "Apache-2.0"
    versions = {line.rsplit(" ", 1)[1] for line in about.get_all("Classifier") if ":: 3." in line}
    assert versions == {"3.10", "3.11", "3.12", "3.13", "3.14"}
    assert "tim_plugin/py.typed" in files
    licences = [name for name in files if ".dist-info/licenses/" in name and not name.endswith("/")]
    assert sorted(name.split("licenses/")[1] for name in licences) == ["LICENSE", "wheels/LICENSE"]


def test_the_package_pages_links_are_absolute_and_those_of_the_readme_are_not(wheel):
    page, readme = metadata(wheel).get_payload(), (ROOT / "README.md").read_text()
    assert set(re.findall(r"\]\((?!https://)", readme)) and not re.findall(r"\]\((?!https://)", page)
    assert f"({URL}/raw/main/docs/flowers-sr16x.jpg)" in page and f"({URL}/blob/main/docs/install.md)" in page
    assert page.count("](") == readme.count("](")


def test_our_wheel_requires_what_is_imported_and_nothing_else(wheel):
    lines = [line for line in metadata(wheel).get_all("Requires-Dist") if "extra ==" not in line]
    required = {re.match(r"[\w-]+", line).group() for line in lines}
    sources = [content for name, content in entries(wheel).items() if name.endswith(".py")]
    modules = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in required}
    assert modules == imported(sources) - NAMED_BY_EXTRAS - OF_CLUSTERS


def test_the_wheel_without_the_checkout_samples_with_every_tower(installed, tmp_path, photos):
    gt = read_image(sorted(photos.iterdir())[0]).rgb[:, :64, :64]
    pixels = (gt.permute(1, 2, 0).numpy()[..., ::-1] * 255).astype(np.uint8)
    grey = pixels[..., 1]
    cv2.imwrite(str(tmp_path / "small.png"), cv2.resize(pixels, (8, 8), interpolation=cv2.INTER_AREA))
    (tmp_path / "photo.jpg").write_bytes(Jpeg(quality=5).encode(gt))
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "digit.png"), cv2.resize(grey, (32, 32)))
    cv2.imwrite(str(tmp_path / "labels.png"), (grey.astype(int) * 11 // 256).astype(np.uint8))
    code = f"""
from tim_plugin.inference import towers
from tim_plugin.cli.main import main
for name in towers.towers():
    file = next(file for begin, file in {TOWERS}.items() if name.startswith(begin))
    main(["sample", "-i", file, "-o", f"out/{{name}}", "--model", name, "-n", "2", "--device", "cpu"])
print("tim_plugin:", towers.__file__)
"""
    place = run_in(installed, code, tmp_path).rsplit("tim_plugin: ", 1)[1]
    assert Path(place).is_relative_to(installed)
    names = {path.stem for path in (ROOT / "tim_plugin" / "weights").glob("*.safetensors")} - {"tim_small"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for folder in (tmp_path / "out").iterdir():
        samples = [cv2.imread(str(path)) for path in sorted(folder.glob("*_s0?.png"))]
        assert len(samples) == 2 and (samples[0] != samples[1]).any()


def test_a_project_imports_the_basicsr_of_the_wheel(installed, tmp_path):
    code = "import tim_plugin; from basicsr.train import train_pipeline; import basicsr; print(basicsr.__file__)"
    place = Path(run_in(installed, code, tmp_path))
    assert place == installed / "tim_plugin" / "_vendor" / "basicsr" / "__init__.py"


def test_a_user_s_own_basicsr_goes_first(installed, tmp_path):
    with zipfile.ZipFile(WHEEL) as file:
        file.extractall(tmp_path / "own")
    code = "import tim_plugin; from basicsr.train import train_pipeline; import basicsr; print(basicsr.__file__)"
    place = Path(run_in(installed, code, tmp_path, installed, tmp_path / "own"))
    assert place == tmp_path / "own" / "basicsr" / "__init__.py"


def test_an_editable_installation_has_basicsr_too(sdist):
    build("editable", sdist, sdist.parent / "editable")
    assert (sdist / "tim_plugin" / "_vendor" / "basicsr" / "train.py").is_file()


def test_basicsr_s_niqe_needs_no_old_name_of_scipy():
    code = (
        "import sys, scipy.ndimage\n"
        "sys.modules['scipy.ndimage.filters'] = None; del scipy.ndimage.filters  # as in SciPy 2\n"
        "import tim_plugin; from basicsr.metrics.niqe import convolve\n"
        "print(convolve is scipy.ndimage.convolve)"
    )
    assert run_here(code) == "True"


def test_basicsr_compares_versions_without_distutils():
    code = "import sys; sys.modules['distutils'] = None; import tim_plugin, basicsr.archs.arch_util; print('fine')"
    assert run_here(code) == "fine"


@pytest.mark.skipif(shutil.which("sed") is None, reason="sed is not installed")
def test_the_check_of_an_installation_has_an_input_for_each_tower():
    script = (ROOT / "tools" / "check_install.sh").read_text()
    expression = re.search(r"sed '([^']+)'\)\"\.\*", script)[1]
    made = set(re.findall(r'save\("(\w+)\.', script))
    for tower in towers():
        kind = subprocess.run(
            ["sed", expression], input=tower, capture_output=True, text=True, check=True
        ).stdout.strip()
        assert kind in made, tower
