"""What a command does before torch is loaded, and when Ctrl-C (to all of its processes) or SIGTERM ends it."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tim_plugin.cli.main import main
from tim_plugin.cli.run import INTERRUPTED, run
from tim_plugin.cli.sample import GOES_ON
from tim_plugin.cli.start import WAITING, starting
from tim_plugin.cli.told import STAYS
from tim_plugin.utils.processes import Interrupted

ROOT = Path(__file__).resolve().parents[2]
UNTIL_TORCH = """
import os, runpy, sys
from pathlib import Path

class Found(BaseException):
    pass

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise Found(os.environ.get("GOMP_SPINCOUNT"))

sys.meta_path.insert(0, Finder())
for file in list(sys.argv[1:]):
    os.environ.pop("GOMP_SPINCOUNT", None)
    os.environ.pop("KMP_BLOCKTIME", None)
    sys.path.insert(0, str(Path(file).parent))
    listing = {"__main__": ["sample", "--list-models"], "sample": ["--list-models"], "evaluate": ["--pred", "a"]}
    listing["prepare_data"] = ["sr4x", "--help"]
    sys.argv[1:] = listing.get(Path(file).stem, ["my.yml"])
    try:
        runpy.run_path(file, run_name="__main__")
    except Found as found:
        print(Path(file).name, *found.args)
"""


def started(*command, cwd, until):
    """Start a command in a group of its own and wait for a file that it writes."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not until() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


@pytest.fixture
def no_policy(monkeypatch):
    for name in WAITING:
        monkeypatch.setenv(name, "")  # so that what starting() sets is taken back
        monkeypatch.delenv(name)


def test_threads_spin_for_a_short_time_unless_the_user_says_otherwise(no_policy, monkeypatch):
    with starting():
        assert int(os.environ["GOMP_SPINCOUNT"]) < 10_000 and os.environ["KMP_BLOCKTIME"] == "1"
    for name, value in (("GOMP_SPINCOUNT", "20000"), ("OMP_WAIT_POLICY", "active")):
        for one in WAITING:
            monkeypatch.delenv(one, raising=False)
        monkeypatch.setenv(name, value)
        with starting():
            assert {one: os.environ[one] for one in WAITING if one in os.environ} == {name: value}


def test_every_command_and_tool_says_so_before_torch_is_loaded(no_policy):
    tools = sorted(path for path in (ROOT / "tools").glob("*.py") if "tim_plugin" in path.read_text())
    files = [ROOT / "tim_plugin" / "__main__.py", *tools]
    done = subprocess.run(
        [sys.executable, "-c", UNTIL_TORCH, *files], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.stdout.splitlines() == [f"{file.name} 5000" for file in files], done.stderr[-3000:]


def test_ctrl_c_is_quiet_while_torch_is_loaded():
    code = "import os\nfrom tim_plugin.cli.start import starting\nwith starting():\n    os.kill(os.getpid(), 2)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
    with starting():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("act", "status", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGINT), 130, INTERRUPTED),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, INTERRUPTED),
        (
            lambda: (_ for _ in ()).throw(Interrupted(signal.SIGTERM, "at iteration 3")),
            143,
            "interrupted at iteration 3",
        ),
    ],
)
def test_exit_statuses(capsys, act, status, said):
    with pytest.raises(SystemExit) as left:
        run(act)
    assert left.value.code == status and capsys.readouterr().err == f"error: {said}\n"


@pytest.mark.parametrize(
    ("stop", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted on the way: {}"),
        (Interrupted(signal.SIGTERM), 143, "interrupted on the way: {}"),
        (
            OSError(errno.ENOSPC, "No space left", "a.png"),
            1,
            "a.png: cannot be written or read: No space left: make room; {}",
        ),
    ],
)
def test_sampling_that_is_stopped_says_which_command_goes_on(capsys, monkeypatch, stop, status, said):
    def stopped(*_):
        raise stop

    monkeypatch.setattr("tim_plugin.inference.files.sample_files", stopped)
    for more, goes_on in (([], GOES_ON), (["--skip-existing"], STAYS)):
        with pytest.raises(SystemExit) as left:
            main(["-i", "a.png", "-m", "sr4x-small", *more], command="sample")
        expected = said.format(goes_on) if status == 1 or not more else INTERRUPTED
        assert left.value.code == status and capsys.readouterr().err == f"error: {expected}\n"


@pytest.fixture
def training(tmp_path, option_file):
    """Start a long training in a group of processes and return it and its folder once it has saved a state.

    Workers load its data and a process searches ahead, all of which get what is sent to the group.
    """

    def long(opt):
        del opt["val"], opt["datasets"]["val"]
        opt["datasets"]["train"] |= {"num_worker_per_gpu": 2, "dataset_enlarge_ratio": 10}
        opt["imle"]["search_ahead"] = True
        opt["path"]["experiments_root"] = str(tmp_path / "elsewhere" / "experiments")
        opt["train"]["total_iter"] = 10_000
        opt["logger"] |= {"save_checkpoint_freq": 2, "use_tb_logger": True}

    option_file(long, "my options.yml")
    folder = tmp_path / "elsewhere" / "experiments" / "tiny"
    process = started(
        ROOT / "tools" / "train.py", "-opt", "my options.yml",
        cwd=tmp_path, until=(folder / "training_states" / "2.state").is_file,
    )  # fmt: skip
    return process, folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_saves_and_names_the_command_that_goes_on(tmp_path, training, capsys, number):
    process, folder = training
    os.killpg(process.pid, number)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number and "Traceback" not in printed, printed
    assert printed.count("error: ") == 1 and is_empty(process.pid)
    at, state, command = re.search(
        r"error: interrupted at iteration (\d+), .* saved: (.*)\. Go on with: (.*)\n", printed
    ).groups()
    assert Path(state) == folder / "training_states" / f"{at}.state" and Path(state).is_file()

    interpreter, tool, *arguments = shlex.split(command)
    assert (interpreter, tool) == (sys.executable, str(ROOT / "tools" / "train.py"))
    assert arguments == ["-opt", "my options.yml", "--auto_resume"]
    before = Path.cwd()
    try:
        os.chdir(tmp_path)
        main([*arguments, "--force_yml", f"train:total_iter={int(at) + 1}"], command="train")
    finally:
        os.chdir(before)
    said = capsys.readouterr()
    assert f"Resuming training from epoch: {(int(at) - 1) // 30}, iter: {at}" in said.err and "eta: 0:00:00" in said.err
    board = tmp_path / "elsewhere" / "tb_logger" / "tiny"
    assert any(board.iterdir()) and not (tmp_path / "tb_logger").exists()
    for path in (folder / "models" / "net_g_latest.pth", folder / "training_states", board, *folder.glob("*.log")):
        assert str(path) in said.out or path.suffix == ".log"


def test_a_run_that_is_killed_leaves_no_process_behind(training):
    process, _ = training
    process.kill()
    process.communicate(timeout=60)  # what others write to as well, so that it waits for them
    assert is_empty(process.pid)


def is_empty(group):
    """Tell whether a group of processes ends soon: loaders look every five seconds whether their parent is there."""
    for _ in range(1000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_prepare_and_its_workers_is_one_line(tmp_path, photos, number):
    (tmp_path / "in").mkdir()
    one = shutil.copy(next(photos.iterdir()), tmp_path / "one.png")
    for index in range(1000):
        os.link(one, tmp_path / "in" / f"{index}.png")
    made = tmp_path / "out" / "gt"
    command = ("-m", "tim_plugin", "prepare", "sr16x", "-i", "in", "-o", "out", "--size", 64, "--workers", 3)
    process = started(*command, cwd=tmp_path, until=lambda: made.is_dir() and any(made.iterdir()))
    os.killpg(process.pid, number)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number and printed == f"error: {INTERRUPTED}\n", printed
