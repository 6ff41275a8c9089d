"""Two commands at once do not write to one folder, whichever command it is."""

from __future__ import annotations

import os
import socket

import pytest
import torch

import tim_plugin as tim
from tim_plugin.cli.main import main
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.folder_lock import locked
from tim_plugin.utils.images import write_png

COMMANDS = {  # arguments, what they write, and whether its lock lies beside it
    "sample": ("-i in.png --model sr4x-small -n 1 -o out", "out", False),
    "prepare sr4x": ("-i {photos} --size 32 --workers 1 -o out", "out", False),
    "prepare layouts": (
        "-i {photos} --labels {labels} --palette indices --num-classes 12 --workers 1 -o out",
        "out",
        True,
    ),
    "prepare mnist_pca": ("-i sklearn:digits/test --basis sklearn:digits/train --workers 1 -o out", "out", False),
    "evaluate": ("--pred {photos} --gt {photos} --pattern {{name}} --metrics psnr -o out", "out", True),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_in_use_is_refused_and_left_as_it_is(command, tmp_path, photos, label_maps, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "in.png", torch.rand(3, 4, 4))
    arguments, written, beside = COMMANDS[command]
    given = [*command.split(), *arguments.format(photos=photos, labels=label_maps).split()]
    with locked(written, "another", beside=beside):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as left:
            main(given)
        assert sorted(tmp_path.rglob("*")) == before
    assert left.value.code == 2
    message = f"error: -o out: is in use by process {os.getpid()} on {socket.gethostname()}: let it end, or write"
    assert capsys.readouterr().err.startswith(message)
    main(given)
    assert (tmp_path / written).exists() and not list(tmp_path.rglob("*.lock"))


def test_saved_samples_too(tmp_path):
    samples = tim.load("sr4x-small", device="cpu").sample(torch.rand(3, 4, 4), n=1)
    with locked(tmp_path / "out", "another"), pytest.raises(TimError, match="out: is in use by process"):
        samples.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
