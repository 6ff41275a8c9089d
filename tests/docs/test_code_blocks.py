"""What README and guide show runs: each Python block, each command's flags, each file that is named, each link."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import runpy
import sys

import pytest

from tests.docs.pages import DOCS, ROOT, blocks, commands, pages
from tim_plugin.cli.main import main
from tim_plugin.inference.engines import is_installed
from tim_plugin.options.option_file import read_option_file, set_option
from tim_plugin.utils.checkpoints import plain, require_same_network
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.networks import network_of
from tim_plugin.utils.tensor_files import shapes_of

PAGES = pages()
WITH_PYTHON = [path for path in PAGES if blocks(path.read_text(), "python")]
BRIDGES = {"huggingface_hub": "from_pretrained", "spandrel": "spandrel", "mmengine": "mmengine", "deepinv": "deepinv"}
WITH_COMMANDS = [path for path in PAGES if commands(path.read_text())]


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", WITH_PYTHON, ids=name_of)
def test_python_blocks_run(path, inputs, monkeypatch):
    """A page's blocks, one after the other in one namespace, in a folder with the inputs that they name."""
    monkeypatch.chdir(inputs)
    if "tower.onnx" in path.read_text():
        if not is_installed("onnxruntime"):
            pytest.skip("onnxruntime and onnx are not installed")
        main(["sr16x-small", "-o", "tower.onnx", "--with-projection"], "export")
    for package, sign in BRIDGES.items():
        if sign in "\n".join(blocks(path.read_text(), "python")):
            pytest.importorskip(package, reason=f"{package} is not installed")
    before = set(inputs.iterdir())
    namespace = {"__name__": "a_page_of_the_guide"}
    for number, block in enumerate(blocks(path.read_text(), "python")):
        exec(compile(block, f"{path.name}, Python block {number}", "exec"), namespace)
    assert len(namespace) > 2  # each page's code leaves names behind
    if "contact_sheet().save" in path.read_text():
        assert set(inputs.iterdir()) - before and (inputs / "sheet.png").stat().st_size > 0


@functools.cache
def help_of(program, command=""):
    """What a program prints for --help, run in this process, so that torch is imported once."""
    argv, printed = [program, *([command] if command else []), "--help"], io.StringIO()
    arguments, sys.argv = sys.argv, argv
    try:
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stopped:
            if program == "tim":
                runpy.run_module("tim_plugin", run_name="__main__")
            else:
                runpy.run_path(str(ROOT / program), run_name="__main__")
    finally:
        sys.argv = arguments
    assert stopped.value.code in (0, None), printed.getvalue()
    return printed.getvalue()


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name_of)
def test_commands_have_the_flags_that_are_shown(path):
    for program, *words in commands(path.read_text()):
        command = words[0] if words and re.fullmatch("[a-z]+", words[0]) and program == "tim" else ""
        flags = [word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)]
        printed = help_of(program, command)
        assert command in printed
        for flag in flags:
            if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", printed):
                assert words and flag in help_of(program, words[0]), f"{program} {words[0]}: no {flag}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_are_named_exist(path):
    """Option files, tools and modules in a page's text and commands; a name with a capital stands for the reader's."""
    found = re.findall(r"(?<![\w/.-])((?:tim_plugin|tools|options|tests|docs)/[\w/.-]*\w)(\W)", path.read_text())
    named = [name for name, after in found if after not in "*{" and not re.search(r"/[A-Z]{3}|_build", name)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_point_at_pages_and_headings_that_exist(path):
    text = re.sub(r"`[^`\n]*`", "", path.read_text())
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, heading = address.partition("#")
        if target.startswith(("http", "mailto")):
            continue
        file = (path.parent / target).resolve() if target else path
        if "auto_gallery" in file.parts:
            example = DOCS / "gallery" / f"{file.stem}.py"
            assert file.stem == "index" or example.is_file(), address
        elif "api" not in file.parts:
            assert file.is_file(), address
            assert not heading or heading in anchors(file.read_text()), address


def anchors(text):
    """The anchors of a page's headings, as MyST and code forges make them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150 and len(text.encode()) <= 12 * 1024
    assert text.count("![") == 2  # samples, and the page of tim explore


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_code_blocks_end(path):
    assert len(re.findall("^```", path.read_text(), re.MULTILINE)) % 2 == 0


def networks_that_are_tested():
    """The words of each command that tests a training's checkpoint, by the name of the training."""
    found = {}
    for program, *words in (command for page in PAGES for command in commands(page.read_text())):
        trained = [word for word in words if word.startswith("path:pretrain_network_g=experiments/")]
        if program == "tools/test.py" and trained:
            found[trained[0].split("/")[1]] = words
    return found


WITHOUT_TEST_FILE = sorted(
    path for path in (ROOT / "options").glob("train_tim_*.yml") if not path.with_name(f"test{path.name[5:]}").exists()
)


@pytest.mark.parametrize("path", WITHOUT_TEST_FILE, ids=name_of)
def test_what_was_trained_is_tested_with_its_own_network(path):
    """The guide says how, where an option file for training has none for testing beside it."""
    trained = read_option_file(path)
    words = networks_that_are_tested()[trained["name"]]
    opt = read_option_file(ROOT / words[words.index("-opt") + 1])
    for entry in words[words.index("--force_yml") + 1 :]:
        set_option(opt, entry)
    checkpoint = {"network_g": plain(trained["network_g"])}
    ours, theirs = (network_of(plain(one["network_g"]), without_weights=True) for one in (opt, trained))
    assert shapes_of(ours.state_dict()) == shapes_of(theirs.state_dict())
    assert require_same_network(ours, checkpoint, "net.pth") == []
    with pytest.raises(TimError):
        require_same_network(ours, {"network_g": checkpoint["network_g"] | {"feature_scale": 0.5}}, "net.pth")
