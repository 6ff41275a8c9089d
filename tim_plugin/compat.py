"""Compatibility fixes that let BasicSR 1.4.2 run with current torch, torchvision and Python; all are in this file.

``import tim_plugin`` loads neither torch nor BasicSR. It calls :func:`on_first_use`, so that the first import of
``basicsr``, wherever it happens, is fixed and followed by the registration of this package's networks, models and
datasets. Each fix replaces an attribute of one of BasicSR's modules, so that it also reaches code that was imported
earlier; it does nothing where it is not needed, and its comment says when it can be removed. Nothing of BasicSR is
copied or edited.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import multiprocessing
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from tim_plugin.utils.basicsr_blocks import put_back, put_in_packages
from tim_plugin.utils.errors import TimError

BASICSR = "basicsr"
VENDORED = Path(__file__).parent / "_vendor"


def apply() -> None:
    """Make ``import basicsr`` work and fix what training and testing use of it; a second call changes nothing."""
    _before_import()
    _after_import()


def on_first_use(users: Sequence[str], register: Callable[[], None]) -> None:
    """Fix BasicSR and call ``register`` when BasicSR is first imported; at once, if it has been.

    Args:
        users: Packages of ours whose modules import BasicSR. The first import of one of them imports BasicSR before any
            of its modules runs, so that ``register`` never meets a module that is half imported.
        register: Called after each import of BasicSR that runs its code; a second call must change nothing.
    """
    _provide_basicsr()
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _FirstUse)]  # of a reload
    sys.meta_path.insert(0, _FirstUse(users, register))
    if BASICSR in sys.modules:
        apply()
        register()


class _FirstUse:
    """A finder that leaves the search to the others, and runs something around the first import of some packages."""

    def __init__(self, users: Sequence[str], register: Callable[[], None]) -> None:
        self.users, self.register = frozenset(users), register

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != BASICSR and name not in self.users:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target)) is not None), None)
        if spec is not None and spec.loader is not None:
            around = (_before_import, self._after_import) if name == BASICSR else (_import_basicsr,)
            spec.loader = _Around(spec.loader, *around)
        return spec

    def _after_import(self) -> None:
        _after_import()
        self.register()


class _Around(Loader):
    """Loads as another loader does, which the module then has; calls ``before`` and ``after``."""

    def __init__(
        self, loader: Loader, before: Callable[[], object], after: Callable[[], object] = lambda: None
    ) -> None:
        self.loader, self.before, self.after = loader, before, after

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.before()
        self.loader.exec_module(module)
        self.after()


def _import_basicsr() -> None:
    importlib.import_module(BASICSR)


def before_blocks() -> None:
    """Provide what the files of BasicSR import that :mod:`tim_plugin.utils.basicsr_blocks` runs alone."""
    _provide_distutils_version()


def _before_import() -> None:
    """Provide what BasicSR's own imports need."""
    put_back()
    _provide_functional_tensor()
    _provide_scipy_filters()
    _provide_distutils_version()
    _accept_local_rank_spelling(sys.argv)


def _after_import() -> None:
    """Fix what is wrong in BasicSR, once it is imported."""
    put_in_packages()
    _fix_resume()
    _fix_file_client()
    _fix_prefetch()
    _fix_time_left()
    _fix_imports_of_workers()


def _provide_basicsr() -> None:
    # BasicSR is published as source only, which does not build from Python 3.13 on (its setup.py reads locals() after
    # exec) and elsewhere wants torch for it. setup.py lays unmodified BasicSR beside this file; at the end of sys.path
    # it is found only where no other is. Can go when BasicSR publishes a wheel.
    if str(VENDORED) not in sys.path and VENDORED.is_dir():
        sys.path.append(str(VENDORED))


def _provide_functional_tensor() -> None:
    # basicsr.data.degradations imports torchvision.transforms.functional_tensor, which torchvision 0.17 removed.
    # Can go when BasicSR imports rgb_to_grayscale from torchvision.transforms.functional.
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name, "rgb_to_grayscale for BasicSR, provided by tim_plugin.compat")
    module.rgb_to_grayscale = rgb_to_grayscale
    sys.modules[name] = module


def _provide_scipy_filters() -> None:
    # basicsr.metrics.niqe imports scipy.ndimage.filters, which SciPy 2 removes. Can go when BasicSR imports convolve
    # from scipy.ndimage.
    name = "scipy.ndimage.filters"
    if importlib.util.find_spec(name) is not None:
        return
    import scipy.ndimage

    sys.modules[name] = scipy.ndimage.filters = scipy.ndimage


def _provide_distutils_version() -> None:
    # basicsr.archs.arch_util imports distutils.version.LooseVersion; Python 3.12 has distutils only through setuptools.
    # Can go when BasicSR compares versions with packaging.
    if importlib.util.find_spec("distutils") is not None:
        return
    from packaging.version import Version

    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    module.LooseVersion = Version
    package.version = module
    sys.modules["distutils"], sys.modules["distutils.version"] = package, module


def _accept_local_rank_spelling(argv: list[str]) -> None:
    # torch 2's launchers pass --local-rank, BasicSR's parser knows --local_rank only (BasicSR#626).
    # Can go when BasicSR's parse_options accepts both.
    for index, argument in enumerate(argv):
        if argument == "--local-rank" or argument.startswith("--local-rank="):
            argv[index] = argument.replace("--local-rank", "--local_rank", 1)


def _fix_resume() -> None:
    # load_resume_state asks CUDA for its current device, looks below the working directory instead of
    # path: experiments_root, and starts from 0 in silence. Can go when BasicSR's loads to the CPU and says what it did.
    import basicsr.train

    basicsr.train.load_resume_state = load_resume_state


def _fix_file_client() -> None:
    # A pair that does not match, a list's or an lmdb's missing entry, a damaged file: BasicSR fails with an assertion,
    # or inside numpy, without a name, perhaps after hours. Can go when BasicSR's datasets name what they cannot read.
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.data.single_image_dataset import SingleImageDataset

    from tim_plugin.data.basicsr_pairs import checking_pairs, naming_files

    for dataset in (PairedImageDataset, SingleImageDataset):
        if not hasattr(dataset.__getitem__, "__wrapped__"):
            dataset.__init__ = checking_pairs(dataset.__init__)
            dataset.__getitem__ = naming_files(dataset.__getitem__)


def _fix_prefetch() -> None:
    # prefetch_mode: cpu reads in a thread; an error ends the thread in silence and the training waits without end.
    # Can go when BasicSR's PrefetchGenerator hands its thread's errors on.
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    if hasattr(PrefetchGenerator.__init__, "__wrapped__"):
        return
    start, following = PrefetchGenerator.__init__, PrefetchGenerator.__next__

    @functools.wraps(start)
    def init(self: Any, generator: Any, num_prefetch_queue: int) -> None:
        start(self, _with_errors(generator), num_prefetch_queue)

    def next_item(self: Any) -> Any:
        item = following(self)
        if isinstance(item, Exception):
            raise item
        return item

    PrefetchGenerator.__init__, PrefetchGenerator.__next__ = init, next_item


def _fix_time_left() -> None:
    # MessageLogger counts one iteration too few: at the last one its line says 'eta: -1 day, 23:59:59'. Can go when
    # BasicSR multiplies by max_iters - current_iter.
    from basicsr.utils.logger import MessageLogger

    if hasattr(MessageLogger.__init__, "__wrapped__"):
        return
    start = MessageLogger.__init__

    @functools.wraps(start)
    def init(self: Any, *args: Any, **options: Any) -> None:
        start(self, *args, **options)
        self.max_iters += 1

    MessageLogger.__init__ = init


def _fix_imports_of_workers() -> None:
    # From Python 3.14 on, Linux starts workers from a process that has none of this one's imports. In a notebook or in
    # `python -c` a worker would import BasicSR's datasets without the fixes, and fail. Can go when BasicSR imports
    # without them.
    if sys.platform == "linux":
        multiprocessing.set_forkserver_preload(["__main__", __package__, BASICSR])


def _with_errors(items: Iterable[Any]) -> Iterator[Any]:
    """Yield the items; in place of one that cannot be read its error, and any other error as the last one."""
    items, going_on = iter(items), True
    while going_on:
        try:
            yield next(items)
        except StopIteration:
            return
        except Exception as error:
            going_on = isinstance(error, TimError)
            yield error


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Load the training state to resume from, in place of ``basicsr.train.load_resume_state``, with or without a GPU.

    With ``--auto_resume`` the newest intact ``N.state`` below ``path: training_states`` is taken
    (:mod:`tim_plugin.utils.training_states`); a message is printed when there is none. The state is read on the CPU
    with ``weights_only=True``; the optimizers move it to their device.

    Args:
        opt: All options of the run; ``path: resume_state`` and the networks' paths are set as BasicSR sets them.

    Returns:
        The state (``epoch``, ``iter``, ``optimizers``, ``schedulers`` and what the model added), or None for a run that
        starts at iteration 0.

    Raises:
        TimError: ``path: resume_state`` does not exist or cannot be read; with ``--auto_resume``: no state can.
    """
    from basicsr.utils import check_resume

    from tim_plugin.utils.checkpoints import read_state
    from tim_plugin.utils.training_states import newest_intact

    paths = opt["path"]
    if opt["auto_resume"]:
        ignored = paths.get("ignore_resume_networks") or ()
        networks = [key.replace("network", "net") for key in opt if key.startswith("network_") and key not in ignored]
        found = newest_intact(Path(paths["training_states"]), Path(paths["models"]), networks, opt.get("rank", 0) == 0)
        if found is None:
            print(
                f"--auto_resume: nothing to resume below {paths['training_states']}; starting at iteration 0.",
                flush=True,
            )
            return None
        path, state = found
    elif (path := paths.get("resume_state")) is None:
        return None
    else:
        state = read_state(path)
    opt["path"]["resume_state"] = str(path)
    check_resume(opt, state["iter"])
    return state
