"""``tim explore`` as a command: what it needs, and mistakes on its command line."""

from __future__ import annotations

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
    assert said(capsys) == "error: tim explore needs gradio: pip install 'tim_plugin[explore]'\n"


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
