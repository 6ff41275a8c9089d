"""Shared fixtures: tiny towers, tiny photographs, no downloads."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import support.processor  # noqa: F401  before PyTorch

# isort: split
import cv2
import numpy as np
import pytest
import torch

import tim_plugin  # noqa: F401  fixes BasicSR before any test imports it

# isort: split
from basicsr.utils import set_random_seed

from tim_plugin.archs.tower_arch import TowerGenerator

ROOT = Path(__file__).resolve().parents[1]
TINY_TOWER = {
    "num_levels": 4,
    "trunk_channels": 4,
    "growth_channels": 4,
    "num_blocks": 1,
    "noise_channels": 2,
    "style_dim": 4,
    "mapping_width": 8,
    "mapping_layers": 2,
    "mapping_init": "he",
}


LONG_FILES = (  # each of them has trainings or process groups of half a minute and more
    "models/test_distributed.py",
    "tools/paper/test_tables.py",
    "tools/paper/test_rivals.py",
    "cli/test_commands.py",
    "tools/demos/test_demos.py",
    "tools/paper/test_figure1.py",
    "test_compat.py",
    "inference/test_towers.py",
    "tools/speed/test_benchmark_steps.py",
    "explorer/test_browser.py",
    "test_method.py",
    "data/test_prepare.py",
)


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that are tested, also where a shell in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one of them at the end."""
    order = {str(Path(__file__).parent / name): index for index, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


@pytest.fixture(autouse=True)
def _same_in_every_run() -> None:
    torch.set_num_threads(1)  # tiny networks are slower with more, and results must not depend on the machine
    set_random_seed(0)  # BasicSR's data sets crop and flip by the global generators


@pytest.fixture
def tiny_tower():
    """Return a function that builds a tiny tower, the same for the same arguments."""

    def build(**changes) -> TowerGenerator:
        torch.manual_seed(0)
        return TowerGenerator(**{**TINY_TOWER, **changes})

    return build


@pytest.fixture(scope="session")
def tiny_network() -> dict:
    """The tiny tower's arguments, as a ``network_g`` section."""
    return {"type": "TowerGenerator", **TINY_TOWER}


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of six real 64x80 photographs cut from scikit-image's."""
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("photos")
    for index, image in enumerate((data.astronaut(), data.chelsea(), data.coffee())):
        for part in range(2):
            crop = cv2.resize(image[:, part * 40 :], (80, 64), interpolation=cv2.INTER_AREA)
            cv2.imwrite(
                str(folder / f"photo{index}{part}.png"), cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2BGR)
            )
    return folder


@pytest.fixture(scope="session")
def partly_damaged(tmp_path_factory, photos) -> Path:
    """A folder of four photographs of which two can be read; the second is cut off, the last is not finite."""
    folder = tmp_path_factory.mktemp("partly_damaged")
    files = sorted(photos.iterdir())
    for name, source in (("a.png", files[0]), ("c.png", files[1])):
        shutil.copy(source, folder / name)
    (folder / "b.png").write_bytes(files[2].read_bytes()[:-100])
    cv2.imwrite(str(folder / "d.tif"), np.full((64, 80, 3), np.nan, np.float32))
    return folder


@pytest.fixture(scope="session")
def label_maps(tmp_path_factory, photos) -> Path:
    """A label map (CamVid's class indices, void included) for each of the photographs."""
    folder, generator = tmp_path_factory.mktemp("labels"), torch.Generator().manual_seed(0)
    for path in sorted(photos.iterdir()):
        cells = torch.randint(12, (8, 10), generator=generator).numpy().astype(np.uint8)
        cv2.imwrite(str(folder / path.name), cells.repeat(8, axis=0).repeat(8, axis=1))
    return folder


@pytest.fixture
def project_copy(tmp_path: Path) -> Path:
    """A folder with the project's options and the laboratory's, for commands that write below their root."""
    for folder in ("options", "tools/demos/options", "tools/paper/options", "tools/towers/options"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path
