"""The structure: which way imports point, where tasks are named, what is documented and typed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tim_plugin.register import REGISTERED
from tim_plugin.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tim_plugin"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 350
TASK_WORDS = ("super-resolution", "colouri", "coloriz", "decompress", "mnist", "scene")

# What a file or folder of the package may import of the package.
BASE = {"errors", "seeds", "constants", "disk_tensors", "strips", "resize", "color", "images", "contact_sheet"}
BASE |= {"digits", "_version"}
MAY_IMPORT = {
    "errors": set(),
    "seeds": set(),
    "resize": {"strips"},
    "constants": set(),
    "color": {"constants"},
    "images": {"errors"},
    "digits": {"errors", "resize"},
    "contact_sheet": set(),
    "disk_tensors": {"errors"},
    "strips": {"disk_tensors"},
    "png_rows": {"images", "resize", "strips"},
    "sample_arguments": {"errors"},
    "sample_record": {"errors", "images"},
    "checkpoints": {"errors"},
    "bundled": {"errors", "images"},
    "option_values": {"errors"},
    "search_options": {"errors", "option_values"},
    "options": {"errors", "option_values", "search_options"},
    "option_sections": {"errors", "option_values"},
    "dataset_checks": {"errors", "options", "option_values", "option_sections"},
    "train_options": {"errors", "options", "option_values"},
    "option_checks": {"errors", "options", "option_sections", "dataset_checks", "train_options"},
    "degradations": BASE - {"seeds", "contact_sheet", "_version"} | {"checkpoints", "degradations"},
    "tasks": {"errors", "degradations"},
    "degradation_checks": {"errors", "options", "option_sections", "degradations", "tasks"},
    "imle": {"errors", "seeds", "bundled", "disk_tensors", "imle"},
    "archs": {
        "errors",
        "disk_tensors",
        "options",
        "option_values",
        "color",
        "resize",
        "degradations",
        "archs",
        "imle.latents",
        "imle.conditions",
    },
    "losses": {"errors", "imle"},
    "metrics": {"errors", "imle", "metrics", "options", "option_values", "option_sections"},
    "scoring": BASE
    | {"scoring", "checkpoints", "data", "degradations", "evaluation", "imle", "inference", "metrics", "option_file"}
    | {"tasks"},
    "data": BASE | {"data", "tasks", "degradations", "options", "imle.conditions", "imle.distance"},
    "evaluation": BASE | {"data", "degradations", "imle", "metrics", "options"},
    "outputs": BASE | {"evaluation"},
    "models": BASE
    | {"checkpoints", "data", "degradations", "degradation_checks", "evaluation", "imle", "metrics"}
    | {"models", "option_checks", "options", "outputs", "train_options", "archs.levels"},
}
NO_TORCH = (
    "options",
    "search_options",
    "train_options",
    "option_values",
    "option_sections",
    "dataset_checks",
    "option_checks",
    "errors",
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {
                f"{node.module}.{alias.name}" if node.module == "tim_plugin" else node.module for alias in node.names
            }
    return names


def allowed(name: str, rules: set[str]) -> bool:
    return any(name == rule or name.startswith(f"{rule}.") for rule in rules)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_one_way(path):
    module = module_of(path)
    rules = MAY_IMPORT.get(module, MAY_IMPORT.get(module.split(".")[0]))
    ours = {name.removeprefix("tim_plugin.") for name in imported(path) if name.startswith("tim_plugin.")}
    if rules is not None:
        assert [name for name in ours if not allowed(name, rules)] == []
    top = {name.split(".")[0] for name in imported(path)}
    if module in NO_TORCH:
        assert "torch" not in top
    if module.split(".")[0] == "imle":
        assert not top & {"basicsr", "yaml", "logging"}
    if module.split(".")[0] not in ("register", "__init__"):
        assert not any(name.startswith("models") for name in ours if module.split(".")[0] != "models")


@pytest.mark.parametrize("folder", ["archs", "imle", "models"])
def test_no_task_is_named_in(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        constants = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not constants & set(TASKS), path
        assert [word for word in TASK_WORDS if word in path.read_text().lower()] == [], path


def test_everything_in_the_list_is_registered():
    assert len({entry.__name__ for _, entry in REGISTERED}) == len(REGISTERED) == 21
    for registry, entry in REGISTERED:
        assert registry.get(entry.__name__) is entry


def public_functions(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (
                (f"{node.name}.{item.name}", item)
                for item in node.body
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
            )
    yield from (
        (node.name, node) for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    )


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_public_functions_are_documented_and_typed(path):
    for name, node in public_functions(ast.parse(path.read_text())):
        assert ast.get_docstring(node), name
        assert node.returns is not None, name
        arguments = [*node.args.args, *node.args.kwonlyargs]
        untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert untyped == [], name


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "tools").glob("*.py"))], ids=lambda path: path.name)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
