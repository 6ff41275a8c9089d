"""``docs/options.md`` and ``docs/options.schema.json``, generated: python -m tim_plugin.options.reference

The first is for people; by the second an editor completes, explains and checks an option file (each begins with a line
that names it).
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tim_plugin.degradations.table import DEGRADATIONS, degradation_options, network_options
from tim_plugin.degradations.tasks import TASKS
from tim_plugin.options.checks import RULES
from tim_plugin.options.plain_checks import join
from tim_plugin.options.sections import (
    DATASETS,
    LauncherSection,
    LoggerSection,
    OptionFile,
    PathSection,
    WandbSection,
)
from tim_plugin.options.train_sections import OptimizerSection, TrainSection
from tim_plugin.options.val_sections import METRICS, ValSection
from tim_plugin.options.values import Section, kinds_of
from tim_plugin.utils.signatures import NEEDED, Option
from tim_plugin.utils.writing import write_atomically

NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "anything"}
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
HEADER = """# Options

Every key of an option file, by section. This page is generated (`python -m tim_plugin.options.reference`) from the
dataclasses that the checks use, `tim_plugin/options/`; so is `options.schema.json`, by which an editor completes and
checks an option file that begins with `# yaml-language-server: $schema=` and its path.

Keys marked B are BasicSR's own, which its documentation explains further. A key in **bold** must be given, one with a
star for training only. A number may be written as `1e-4` (other programs that read the YAML, BasicSR's own among them,
may take that for text; `!!float 1e-4` is a number for all). With a `model_type` of ours a key that stands in no table
is an error; a project's own models, datasets, networks and losses have keys of their own. On the command line,
`--force_yml SECTION:KEY=VALUE` overrides a key.
"""
# Closed for our models only: others have keys of their own.
OPEN = (
    OptionFile,
    PathSection,
    TrainSection,
    ValSection,
    OptimizerSection,
    LoggerSection,
    WandbSection,
    LauncherSection,
)
HEAD = ("| Key | Type | Default | Meaning |", "|---|---|---|---|")


def write(folder: Path) -> None:
    """Write both files into a folder (``docs``)."""
    for name, text in texts().items():
        write_atomically(folder / name, text.encode())


def texts() -> dict[str, str]:
    """Return the text of each generated file by its name."""
    schema = json.dumps(json_schema(), indent=1, ensure_ascii=False)
    return {"options.md": markdown(), "options.schema.json": schema + "\n"}


# for people -----------------------------------------------------------------------------------------------------------


def markdown() -> str:
    """Return the reference: a table for each section."""
    parts = [_table(place, section) for place, section in _sections("", OptionFile)]
    return "\n".join([HEADER, *parts, *_degradations()])


def _sections(place: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """Yield a section and those below it, by what each is called."""
    yield place, section
    for name, key in section.keys().items():
        where = join(place, name)
        within = {"datasets": (DATASETS, ": PHASE"), "val: metrics": (METRICS, ": NAME")}
        known, each = within.get(where, (key.by_type, ""))
        for inner in dict.fromkeys(known.values()):  # several types may have one set of keys
            kinds = " or ".join(kind for kind, one in known.items() if one is inner)
            yield from _sections(f"{where}{each}, type {kinds}", inner)
        for kind in kinds_of(key.type):
            if _is_section(kind):
                yield from _sections(where, kind)


def _table(place: str, section: type[Section]) -> str:
    needed, in_training = set(section.needed), set(section.needed_in_training)
    marked = {name: f"**{name}**" if name in needed else f"{name}*" * (name in in_training) for name in section.keys()}
    rows = [_row(key, marked[name] or name) for name, key in section.keys().items()]
    return "\n".join([f"## {place or 'The file'}\n", f"{_sentence(section)}\n", *HEAD, *rows, ""])


def _degradations() -> Iterator[str]:
    yield (
        "## Options of the degradations\n\nA dataset of type DegradedImageDataset has those of its task's degradation; "
        "`network_g: degradation` has its own, but\nfor those marked D, which only say how an LQ is made of a GT.\n"
    )
    for kind in DEGRADATIONS:
        names = [f"`{name}`" for name, task in TASKS.items() if task.degradation == kind]
        options = degradation_options(kind)
        title = f"### {kind}\n\n" + (f"Of the tasks {', '.join(names)}. " if names else "")
        if not options:
            yield title + "It has no options.\n"
            continue
        shared = network_options(kind)
        names = [f"**{key.name}**" if key.default is NEEDED else key.name for key in options]
        rows = [_row(key, name, key not in shared) for key, name in zip(options, names, strict=True)]
        yield "\n".join([title.rstrip() + "\n", *HEAD, *rows, ""])


def _row(key: Option, name: str, is_dataset_only: bool = False) -> str:
    default = "" if key.basicsr or key.default in (None, NEEDED) else f"`{_yaml(key.default)}`"
    marks = " B" * key.basicsr + " D" * is_dataset_only
    meaning = key.sentence.replace("``", "`").replace("|", "\\|")
    return f"| {name}{marks} | {_words(key)} | {default} | {meaning} |"


def _words(key: Option) -> str:
    """Return a key's type and range in words."""
    words = [_of_type(kind) for kind in kinds_of(key.type) if kind is not type(None)]
    words = ["whole number" if key.whole and word == "number" else word for word in words]
    limits = {"at least": key.least, "more than": key.above, "at most": key.most, "less than": key.below}
    return " or ".join(words) + "".join(
        f", {name} {_short(value)}" for name, value in limits.items() if value is not None
    )


def _short(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _of_type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if get_origin(items[0]) is Literal:
            return "list of such"
        return f"list of {NAMES[items[0]]}s" if items[-1] is Ellipsis else f"[{', '.join(NAMES[one] for one in items)}]"
    return NAMES.get(kind, "section")


def _is_section(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Section)


def _yaml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value).strip('"')


def _sentence(section: type[Section]) -> str:
    return (inspect.getdoc(section) or "").split("\n\nRaises:")[0].replace("\n", " ").replace("``", "`")


# for editors ----------------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 7) of an option file."""
    schema = _object(OptionFile, "")
    schema["properties"]["datasets"] = _each("datasets", OptionFile, DATASETS)
    schema["properties"]["val"]["properties"]["metrics"] = _each("metrics", ValSection, METRICS)
    ours = {"properties": {"model_type": {"enum": list(RULES)}}, "required": ["model_type"]}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "An option file of tim_plugin"}
    return {**head, **schema, "if": ours, "then": _closed(OptionFile)}


def _closed(section: type[Section]) -> dict[str, Any]:
    """Return what closes a section that others have keys in too, and those below it, to keys that are not known."""
    inner = {name: kind for name, key in section.keys().items() for kind in kinds_of(key.type) if kind in OPEN}
    closed: dict[str, Any] = {"propertyNames": {"enum": list(section.keys())}}
    return closed | ({"properties": {name: _closed(kind) for name, kind in inner.items()}} if inner else {})


def _each(name: str, section: type[Section], known: Mapping[str, type[Section]]) -> dict[str, Any]:
    """Return the schema of a section that holds sections with a ``type`` by names of the user's own."""
    variants = _by_type(known)
    return {"type": ["object", "null"], "description": section.keys()[name].sentence, "additionalProperties": variants}


def _object(section: type[Section], place: str) -> dict[str, Any]:
    """Return the schema of a section; only ours are closed to further keys."""
    keys = {**section.keys(), **section.more_keys()}
    schema = {"type": "object", "properties": {name: _property(key, join(place, name)) for name, key in keys.items()}}
    if section.needed:
        schema["required"] = list(section.needed)
    if section not in OPEN:
        schema["additionalProperties"] = False
    return schema


def _property(key: Option, place: str) -> dict[str, Any]:
    given = {} if key.basicsr or key.default in (None, NEEDED) else {"default": key.default}
    return {"description": key.sentence.replace("``", "`"), **given, **_values(key, place)}


def _values(key: Option, place: str) -> dict[str, Any]:
    """Return the schema of what a key may be."""
    if place == "network_g: degradation":
        return _degradation()
    if key.by_type:
        schema = _by_type(key.by_type)
        if key.is_closed:
            schema["properties"]["type"] = {"enum": list(key.by_type)}
        return schema
    if key.name == "task":
        return {"enum": list(TASKS)}
    kinds = [_kind(kind, key, place) for kind in kinds_of(key.type) if kind is not type(None)]
    if type(None) in kinds_of(key.type):  # inside of the schema, so that an editor says what is wrong below it
        kinds = [{**kind, **{k: _or_null(kind[k]) for k in ("type", "enum") if k in kind}} for kind in kinds]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _or_null(allowed: str | list[Any]) -> list[Any]:
    return [*allowed, None] if isinstance(allowed, list) else [allowed, "null"]


def _kind(kind: Any, key: Option, place: str) -> dict[str, Any]:
    if _is_section(kind):
        return _object(kind, place)
    if get_origin(kind) is Literal:
        choices = list(get_args(kind))
        return {"enum": [*choices, False] if "off" in choices else choices}  # a bare off is false in YAML 1.1
    if get_origin(kind) is tuple:
        items = get_args(kind)
        sizes = {} if items[-1] is Ellipsis else {"minItems": len(items), "maxItems": len(items)}
        return {"type": "array", "items": _kind(items[0], key, place), **sizes}
    schema = {"type": "integer" if key.whole and kind is float else JSON_TYPES.get(kind, "object")}
    if kind in (int, float):
        limits = {"minimum": key.least, "exclusiveMinimum": key.above, "maximum": key.most}
        limits["exclusiveMaximum"] = key.below
        schema |= {name: value for name, value in limits.items() if value is not None}
    return schema


def _by_type(known: Mapping[str, type[Section]]) -> dict[str, Any]:
    """Return the schema of a section whose ``type`` says which keys it has; of other types it may have any."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "examples": list(known)}},
        "allOf": [_if_type(kind, _object(section, section.place)) for kind, section in known.items()],
    }


def _if_type(kind: str, then: dict[str, Any]) -> dict[str, Any]:
    then["properties"] = {**then["properties"], "type": {"const": kind}}
    return {"if": {"properties": {"type": {"const": kind}}, "required": ["type"]}, "then": then}


def _degradation() -> dict[str, Any]:
    """Return the schema of ``network_g: degradation``: a name, a section, or nothing."""
    named = {"enum": [*DEGRADATIONS, None]}
    sections = []
    for kind in DEGRADATIONS:
        properties = {key.name: _property(key, "") for key in network_options(kind)}
        required = ["type", *(key.name for key in network_options(kind) if key.default is NEEDED)]
        section = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        sections.append(_if_type(kind, section)["then"])
    return {"anyOf": [named, *sections]}


if __name__ == "__main__":
    write(Path(*sys.argv[1:2] or ["docs"]))
