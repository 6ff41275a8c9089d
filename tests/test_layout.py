"""The structure: which way imports point, where tasks are named, what is documented and typed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tim_plugin.degradations.tasks import TASKS
from tim_plugin.register import REGISTERED

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tim_plugin"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_vendor" not in path.parts)
LONGEST_FILE = 350
TASK_WORDS = ("super-resolution", "colouri", "coloriz", "decompress", "mnist", "scene")

# From the ground up: a folder imports only of itself and of those that stand before it.
ORDER = (
    "utils",
    "degradations",
    "options",
    "data",
    "imle",
    "losses",
    "archs",
    "inference",
    "metrics",
    "models",
    "api",
    "explorer",
    "cli",
    "integrations",
    "spandrel",
)
BRIDGES = ("integrations", "spandrel")  # to other projects' tools: nothing else imports those, or them
BRIDGED = {"huggingface_hub", "spandrel", "mmengine", "deepinv"}
# Modules that a command's start imports: neither they nor what they import at their top may load torch.
NO_TORCH = ("options.option_file", "options.checks", "options.data_checks", "options.sections", "options.schema")
NO_TORCH += (
    "options.plain_checks",
    "options.yaml_file",
    "utils.texts",
    "options.train_checks",
    "options.paired_checks",
    "options.metric_checks",
)
NO_TORCH += ("options.train_sections", "options.val_sections")
NO_TORCH += (
    "options.tower_spec",
    "options.unet_spec",
    "options.values",
    "utils.signatures",
    "utils.errors",
    "utils.plain_numbers",
    "utils.names",
)
NO_TORCH += ("inference.arguments", "utils.metric_names", "degradations.tasks")
SLOW = {"torch", "torchvision", "basicsr", "cv2", "numpy"}


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


def parts_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("tim_plugin.")}


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path) != "tim_plugin"], ids=module_of)
def test_imports_point_one_way(path):
    module, names = module_of(path), imported(path)
    part = module.split(".")[0]
    if part in ORDER:
        behind = set(ORDER[ORDER.index(part) + 1 :])
        assert parts_of(names) & (behind | {"register"}) == set()
    top = {name.split(".")[0] for name in names}
    assert not top & {"paper", "towers", "speed", "backbone", "demos", "tools"}
    if part not in BRIDGES:
        assert not top & BRIDGED and not parts_of(names) & set(BRIDGES)
    if part == "imle":
        assert not top & {"basicsr", "yaml", "logging", "lpips", "torchvision"}


@pytest.mark.parametrize("module", NO_TORCH)
def test_options_are_read_without_torch(module):
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
    tops = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    tops |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in tops} & SLOW == set()
    assert {name.removeprefix("tim_plugin.") for name in tops if name.startswith("tim_plugin.")} <= set(NO_TORCH)


@pytest.mark.parametrize("folder", ["archs", "imle", "models"])
def test_no_task_is_named_in(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        constants = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not constants & set(TASKS), path
        assert [word for word in TASK_WORDS if word in path.read_text().lower()] == [], path


def test_everything_in_the_list_is_registered():
    assert len({entry.__name__ for _, entry in REGISTERED}) == len(REGISTERED) == 26
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
