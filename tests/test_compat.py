"""BasicSR becomes importable whatever a user imports first, and resumes on any machine."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset

import tim_plugin
from tim_plugin import compat
from tim_plugin.utils.errors import TimError

PACKAGE = Path(tim_plugin.__file__).parent
ORDERS = {
    "a network of ours first": """
from tim_plugin.archs.tower_arch import TowerGenerator
from basicsr.utils.registry import ARCH_REGISTRY
assert ARCH_REGISTRY.get('TowerGenerator') is TowerGenerator
""",
    "what knows no BasicSR first": """
import sys, tim_plugin.utils.processes, tim_plugin.inference.image_samples, tim_plugin.imle.search
assert 'basicsr' not in sys.modules
from basicsr.utils.registry import ARCH_REGISTRY
ARCH_REGISTRY.get('TowerGenerator')
""",
    "the list of what is registered first": "import tim_plugin.register",
    "a compared system's module first": """
from tim_plugin.archs.reference_archs import RepeatedRRDBNet
assert RepeatedRRDBNet().network.__class__.__name__ == "RRDBNet"
from basicsr.utils.registry import ARCH_REGISTRY
assert ARCH_REGISTRY.get("RepeatedRRDBNet") is RepeatedRRDBNet
""",
    "a tower before BasicSR": """
import sys, tim_plugin
block = type(tim_plugin.load("sr4x-small").network.levels[0].blocks[0])
assert not {"basicsr", "torchvision", "scipy"} & set(sys.modules)
from basicsr.utils.registry import ARCH_REGISTRY
import basicsr, torchvision
assert ARCH_REGISTRY.get("RRDBNet") is basicsr.archs.rrdbnet_arch.RRDBNet and basicsr.archs.rrdbnet_arch.RRDB is block
assert basicsr.archs.arch_util.torchvision.__version__ == torchvision.__version__
""",
    "a BasicSR whose block needs more than its own file": """
from tim_plugin.utils import basicsr_blocks
import tim_plugin.archs.tower_arch
basicsr_blocks.MODULE = "basicsr.archs.not_there"
try:
    basicsr_blocks.rrdb()
except ImportError as error:
    assert "not_there" in str(error)
import sys
assert "basicsr" in sys.modules and not basicsr_blocks._loaded  # it looked for it in all of BasicSR
basicsr_blocks.MODULE = "basicsr.archs.rrdbnet_arch"
assert basicsr_blocks.rrdb().__name__ == "RRDB"
""",
    "a module of BasicSR, whose loader stays its own": """
import tim_plugin
import basicsr.archs.rrdbnet_arch, basicsr
assert type(basicsr.__loader__) is type(basicsr.archs.__loader__) is type(basicsr.__spec__.loader)
""",
    "first": "import tim_plugin; from basicsr.train import train_pipeline; import basicsr.data.degradations",
    "after torchvision": "import torch, torchvision.transforms.functional, cv2; import tim_plugin, basicsr",
    "after a failed import": """
try:
    import basicsr
except ImportError:
    pass
import tim_plugin
import basicsr
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY
assert 'RRDBNet' in ARCH_REGISTRY and 'RealESRGANDataset_basicsr' in DATASET_REGISTRY
""",
    "after basicsr": """
import importlib.util, os, sys, types
package = os.path.dirname(importlib.util.find_spec('tim_plugin').origin)
sys.path.append(os.path.join(package, '_vendor'))  # a user's own, where none is installed
from torchvision.transforms.functional import rgb_to_grayscale
shim = types.ModuleType('functional_tensor')
shim.rgb_to_grayscale = rgb_to_grayscale
sys.modules['torchvision.transforms.functional_tensor'] = shim  # a user's own fix
from basicsr.train import train_pipeline
import tim_plugin, importlib
importlib.reload(tim_plugin)
assert train_pipeline.__globals__['load_resume_state'] is tim_plugin.compat.load_resume_state
""",
}


@pytest.mark.parametrize("order", ORDERS)
def test_import_order(order):
    code = (
        ORDERS[order]
        + "\nfrom basicsr.utils.registry import MODEL_REGISTRY\nassert 'TIMModel' in MODEL_REGISTRY\nprint('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("fine"), done.stderr


SPAWNED = """
import multiprocessing
from tim_plugin.utils.networks import network_of

if __name__ == "__main__":
    section = {"type": "MappingNetwork", "style_dim": 4, "width": 8, "num_layers": 2, "num_blocks": 1, "channels": 4}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(type(pool.apply(network_of, (section,))).__name__)
"""


def test_a_spawned_worker_has_the_networks_registered(tmp_path):
    (tmp_path / "spawned.py").write_text(SPAWNED)
    done = subprocess.run([sys.executable, tmp_path / "spawned.py"], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "MappingNetwork", done.stderr


def imports_of(module):
    """Modules of this package and BasicSR that a module imports when it is imported."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = set()
    for node in ast.parse(path.read_text()).body:  # what stands in functions is imported later
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    known = {name for name in names if name.startswith("basicsr") or PACKAGE.parent.joinpath(*name.split(".")).is_dir()}
    return known | {name for name in names if PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py").is_file()}


def closure(module):
    found, waiting = set(), [module]
    while waiting:
        one = waiting.pop()
        if one not in found and one.startswith("tim_plugin."):
            waiting += imports_of(one)
        found.add(one)
    return found


def test_nothing_that_is_registered_meets_itself_half_imported():
    """What is needed for registering imports BasicSR only where its own import, or its folder's, does so beforehand."""
    needed = {name for name in closure("tim_plugin.register") if name.count(".") > 1}
    users = tuple(f"tim_plugin.{user}" for user in tim_plugin.USERS_OF_BASICSR)
    assert any(name.startswith("tim_plugin.utils.") for name in needed)
    assert all((PACKAGE / user).is_dir() for user in tim_plugin.USERS_OF_BASICSR)  # a module would meet itself
    for name in needed:
        if name.startswith("tim_plugin.") and not name.startswith(users):
            assert [one for one in closure(name) if one.startswith(("basicsr", *users))] == [], name


def test_every_fix_says_when_it_can_go():
    fixes = [
        function
        for name, function in inspect.getmembers(compat, inspect.isfunction)
        if name.startswith(("_provide", "_accept", "_fix"))
    ]
    assert len(fixes) == 10
    for function in fixes:
        source = " ".join(inspect.getsource(function).replace("#", " ").split())
        assert "Can go when" in source, function.__name__


def test_applying_twice_changes_nothing():
    getitem = PairedImageDataset.__getitem__
    compat.apply()
    assert PairedImageDataset.__getitem__ is getitem


def test_both_spellings_of_local_rank():
    argv = ["train.py", "--local-rank", "1", "--local-rank=2", "--local_rank=3", "-opt", "my--local-rank.yml"]
    compat._accept_local_rank_spelling(argv)
    assert argv == ["train.py", "--local_rank", "1", "--local_rank=2", "--local_rank=3", "-opt", "my--local-rank.yml"]


def test_loose_versions_without_distutils(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("distutils", "distutils.version"):
        monkeypatch.setitem(sys.modules, name, None)
    compat._provide_distutils_version()
    from distutils.version import LooseVersion

    assert LooseVersion("0.9.2") < LooseVersion("0.29.2+cu130")


def resume_options(folder, **path):
    return {"auto_resume": True, "path": {"training_states": str(folder), "models": str(folder), **path}}


def test_the_newest_state_is_taken_by_number_without_cuda(tmp_path):
    for iteration in (9, 10):
        torch.save({"iter": iteration, "epoch": 0, "optimizers": [], "schedulers": []}, tmp_path / f"{iteration}.state")
        torch.save({"params": {}}, tmp_path / f"net_g_{iteration}.pth")
    (tmp_path / "notes.state").write_text("not a state")
    opt = resume_options(tmp_path)
    assert compat.load_resume_state({**opt, "network_g": {}})["iter"] == 10
    assert opt["path"]["pretrain_network_g"].endswith("net_g_10.pth")


def test_nothing_to_resume_is_said(tmp_path, capsys):
    assert compat.load_resume_state(resume_options(tmp_path / "none")) is None
    assert "nothing to resume below" in capsys.readouterr().out


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "7.state").write_bytes(b"half")
    with pytest.raises(TimError, match="7.state cannot be read"):
        compat.load_resume_state(resume_options(tmp_path))


def test_basicsrs_paired_dataset_names_a_damaged_image(tmp_path):
    for folder in ("gt", "lq"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(b"no image")
    dataset = PairedImageDataset(
        {
            "dataroot_gt": str(tmp_path / "gt"),
            "dataroot_lq": str(tmp_path / "lq"),
            "scale": 16,
            "phase": "val",
            "io_backend": {"type": "disk"},
        }
    )
    with pytest.raises(TimError, match="lq/a.png"):
        dataset[0]


def test_workers_of_a_program_without_a_file_know_the_fixes(photos):
    """As in a notebook on Python 3.14, where workers do not have what the program has imported."""
    code = f"""
import multiprocessing
multiprocessing.set_start_method("forkserver")
import tim_plugin
from basicsr.data import build_dataset
from torch.utils.data import DataLoader
folders = dict(dataroot_gt={str(photos)!r}, dataroot_lq={str(photos)!r}, io_backend=dict(type="disk"))
dataset = build_dataset(dict(name="p", type="PairedImageDataset", phase="val", scale=1, **folders))
print(len(list(DataLoader(dataset, num_workers=1))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert done.stdout.split()[-1:] == ["6"], done.stderr
