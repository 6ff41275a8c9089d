"""``tim explore`` as a command: what it needs, and mistakes on its command line."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tim_plugin.cli.main import main


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(["explore", "--no-browser", *map(str, arguments)])
    assert left.value.code == 2
    return capsys.readouterr().err


def test_without_gradio_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert said(capsys, "--quiet") == "error: tim explore needs gradio: pip install 'tim_plugin[explore]'\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", 70000], "--port 70000: must be from 1 to 65535"),
        (["--max-megapixels", 0], "--max-megapixels 0.0: must be above 0"),
        (["a.png", "--from", "choice.json"], "--from says which image it is for"),
        (["no.png"], "no.png"),
        (["--from", "no.json"], "no.json"),
        (["--model", "sr5x"], "sr5x: is neither a file nor a tower of this package"),
    ],
)
def test_a_mistake_is_a_sentence(monkeypatch, capsys, tmp_path, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gradio", sys)  # it is not asked for anything before these are found
    assert sentence in said(capsys, *arguments)


def test_it_says_at_once_that_it_starts_unless_it_is_to_be_quiet(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for more, printed in (((), "tim explore: starting ...\n"), (("--quiet",), "")):
        with pytest.raises(SystemExit):
            main(["explore", *more])
        assert capsys.readouterr().out == printed


def test_it_ends_when_it_is_told_to_though_threads_still_compute(tower_file):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'tim_plugin[explore]'")
    program = """
import threading
from tim_plugin.cli.main import main
threading.Thread(target=threading.Event().wait).start()  # Python waits for it for ever
main()
"""
    command = [sys.executable, "-c", program, "explore", "--no-browser", "--model", str(tower_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert next(process.stdout) == "tim explore: starting ...\n"
            assert "http://127.0.0.1:" in next(process.stdout)
            process.terminate()
            assert process.wait(timeout=300) == 128 + signal.SIGTERM
        finally:
            process.kill()
