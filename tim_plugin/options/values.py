"""One section of an option file: its keys as a dataclass, and the checks of keys and values; no torch."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, wraps
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tim_plugin.utils.errors import TimError, did_you_mean
from tim_plugin.utils.signatures import NEEDED, Option

Built = TypeVar("Built", bound="Section")
Class = TypeVar("Class", bound=type)
OTHERS = ("pretrain_network_", "param_key_", "strict_load_", "network_")  # of other networks, and no typos


def option(default: Any, sentence: str, **limits: Any) -> Any:
    """Return a dataclass's field for an option of ours; ``limits`` are further attributes of :class:`Option`."""
    return field(default=default, metadata={"sentence": sentence, **limits})


def basicsr(sentence: str, **limits: Any) -> Any:
    """Return a dataclass's field for an option of BasicSR's own; left out, or ``~``, BasicSR's default stands."""
    return option(None, sentence, basicsr=True, **limits)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of an option file; a subclass's fields are its keys, whose values are checked when it is built.

    Attributes:
        place: What the section is called in errors; empty where a class stands for several sections.
        needed: Keys that must be given.
        needed_in_training: Keys that must be given for training too.
        is_shared: Whether other code has keys in it too: a key is then refused only if it is nearly one of ours.
        filled_in: Keys that BasicSR itself adds.
        removed: Keys that an earlier version had, and why they went.

    Raises:
        TimError: A value is of another type, or outside what it may be.
    """

    place: ClassVar[str] = ""
    needed: ClassVar[tuple[str, ...]] = ()
    needed_in_training: ClassVar[tuple[str, ...]] = ()
    is_shared: ClassVar[bool] = False
    filled_in: ClassVar[tuple[str, ...]] = ()
    removed: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for name, key in self.keys().items():
            object.__setattr__(self, name, check_value(f"{self.place}: {name}", key, getattr(self, name)))

    @classmethod
    @cache
    def keys(cls) -> Mapping[str, Option]:
        """Return the keys by name."""
        hints = get_type_hints(cls)
        return {
            item.name: Option(
                item.name, hints[item.name], NEEDED if item.default is MISSING else item.default, **item.metadata
            )
            for item in fields(cls)
        }

    @classmethod
    def more_keys(cls) -> Mapping[str, Option]:
        """Return keys by name that are no fields, because they stand elsewhere."""
        return {}

    @classmethod
    def from_options(cls: type[Built], options: Mapping[str, Any] | None) -> Built:
        """Pick its keys out of a section that has others too."""
        return cls(**{key: value for key, value in (options or {}).items() if key in cls.keys()})


def build_spec(section: type[Built], options: Mapping[str, Any] | None) -> Built:
    """Turn a section of an option file into its dataclass.

    Args:
        section: A dataclass of :mod:`tim_plugin.options.schema`.
        options: The section as read from YAML; None stands for an empty one.

    Raises:
        TimError: The section is no mapping, a key is unknown, or a value is wrong.
    """
    options = as_section(section.place, options)
    _refuse_unknown(section.place, section, options)
    return section(**options)


def takes_options_of(section: type[Section]) -> Callable[[Class], Class]:
    """Let a class whose constructor takes a section be built from the section's keys, as BasicSR builds networks.

    The class then has the keys as keyword arguments, in its signature and in its docstring; an unknown one is a
    TimError that names the nearest.
    """

    def changed(cls: Class) -> Class:
        construct = cls.__init__

        @wraps(construct)
        def build(self: Any, **options: Any) -> None:
            construct(self, build_spec(section, options))

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(section).parameters.values()
        build.__signature__ = inspect.Signature([own, *parameters], return_annotation=None)
        cls.__init__ = build
        arguments = (f"    {key.name}: {key.sentence}" for key in section.keys().values())
        cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Args:", *arguments])
        return cls

    return changed


def check_section(place: str, section: type[Section], options: Any, training: bool = False) -> None:
    """Check the keys and the values of a section.

    Raises:
        TimError: A key is missing or unknown, or a value is wrong.
    """
    options, keys = as_section(place, options), {**section.keys(), **section.more_keys()}
    require(place, options, section.needed + (section.needed_in_training if training else ()))
    _refuse_unknown(place, section, options)
    known = {name: value for name, value in options.items() if name in keys}
    if section.place:
        section(**known)  # with what its keys are to each other
        return
    for name, value in known.items():
        check_value(join(place, name), keys[name], value, training)


def _refuse_unknown(place: str, section: type[Section], options: Mapping[str, Any]) -> None:
    for name in options:
        if name in section.removed:
            raise TimError(f"{join(place, name)} is no option any more: {section.removed[name]}")
    valid = {*section.keys(), *section.more_keys(), *section.filled_in}
    (refuse_near_misses if section.is_shared else check_keys)(place, options, valid)


def check_value(where: str, key: Option, value: Any, training: bool = False) -> Any:
    """Return the value of a key as its type has it (a list as a tuple, YAML's false as ``off``).

    Raises:
        TimError: It is of another type, or outside what it may be.
    """
    kinds = kinds_of(key.type)
    if value is None and type(None) in kinds:
        return None
    if key.by_type:
        _check_by_type(where, key, value, training)
        return value
    try:
        return _of_a_kind(where, key, kinds, value, training)
    except TimError as error:
        if isinstance(value, str) or not key.wanted:
            raise
        raise TimError(f"{where} {value!r} must be {key.wanted}") from error


def _check_by_type(where: str, key: Option, value: Any, training: bool) -> None:
    require(where, as_section(where, value), ("type",))
    refuse_misspelling(f"{where}: type", value["type"], key.by_type)
    section = key.by_type.get(value["type"])
    if section is not None:
        own = "type" in section.keys()
        check_section(where, section, {k: v for k, v in value.items() if own or k != "type"}, training)


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """Return the parts of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _of_a_kind(where: str, key: Option, kinds: tuple[Any, ...], value: Any, training: bool) -> Any:
    sequences = [kind for kind in kinds if get_origin(kind) is tuple]
    if sequences and isinstance(value, (list, tuple)):
        items = get_args(sequences[0])
        if items[-1] is not Ellipsis and len(value) != len(items):
            raise TimError(f"{where} has {len(value)} entries, {len(items)} are needed")
        return tuple(_of_a_kind(where, key, items[:1], item, training) for item in value)
    kind = next((kind for kind in kinds if kind is not type(None) and kind not in sequences), None)
    if inspect.isclass(kind) and issubclass(kind, Section):
        check_section(where, kind, value, training)
    elif get_origin(kind) is Literal:
        value = "off" if value is False and "off" in get_args(kind) else value  # YAML 1.1 reads a bare off as false
        require_choice(where, value, get_args(kind))
    elif kind is bool:
        require_bool(where, value)
    elif kind in (int, float) and str not in kinds:
        require_number(where, value, kind, key.least)
        if key.above is not None and value <= key.above:
            raise TimError(f"{where} must be more than {key.above:g}, not {value}")
    elif get_origin(kind) is Mapping or kind is Mapping:
        as_section(where, value)
    elif kind is None:
        raise TimError(f"{where} must be a list, not {value!r}")
    return value


def join(section: str, key: str) -> str:
    """Return how a key is called in errors."""
    return f"{section}: {key}" if section else key


def as_section(place: str, value: Any) -> Mapping[str, Any]:
    """Return a section, empty where it is None; raise TimError for what is no section."""
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise TimError(f"{place}: must be a section with keys, not {value!r}")
    return value


def section_of(opt: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return a section, empty where it is absent, by a path such as ``train: optim_g``."""
    for key in path.split(": "):
        opt = as_section(path, opt.get(key) or {})
    return opt


def require(section: str, options: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Raise TimError for the first key that is absent or empty; a misspelling of it is pointed out."""
    for key in keys:
        if options.get(key) is None:
            near = difflib.get_close_matches(key, [str(name) for name in options if name not in keys], n=1, cutoff=0.75)
            raise TimError(
                f"{join(section, key)} is missing" + (f"; is '{near[0]}' a misspelling of it?" if near else "")
            )


def check_keys(section: str, options: Mapping[str, Any], valid: set[str]) -> None:
    """Raise TimError for the first key that is not in ``valid``, with the nearest valid one."""
    for key in options:
        if key not in valid:
            raise TimError(f"{section}: unknown key '{key}': {did_you_mean(str(key), valid)}")


def refuse_near_misses(section: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Raise TimError for a key that is nearly a known one: a typo; what is far from all belongs to somebody else."""
    for key in options:
        near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.8)
        # pretrain_network_d beside pretrain_network_g is another network, not a typo
        if key not in known and near and not str(key).startswith(OTHERS):
            raise TimError(f"unknown key '{join(section, str(key))}': did you mean '{near[0]}'?")


def refuse_misspelling(name: str, value: Any, known: Collection[str]) -> None:
    """Raise TimError for a value that is nearly a known one; other plugins' names are left to their registries."""
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.8)
    if value not in known and near:
        raise TimError(f"{name} {value!r} is not known: did you mean '{near[0]}'?")


def per_level(name: str, value: Any, num_levels: int) -> tuple[Any, ...]:
    """Return one entry a level, coarse to fine; a single value stands for all levels.

    Raises:
        TimError: There is not one a level.
    """
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * num_levels
    if len(values) != num_levels:
        raise TimError(f"{name} has {len(values)} entries for {num_levels} levels: give one number or {num_levels}")
    return values


def require_number(name: str, value: Any, kind: type, minimum: float | None = None) -> None:
    """Raise TimError for what is no number of this kind (int or float), or less than ``minimum``."""
    if isinstance(value, str):
        raise TimError(f"{name} is the text {value!r}, a number is needed: {number_hint(value)}")
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise TimError(f"{name} must be {'a whole number' if kind is int else 'a number'}, not {value!r}")
    if minimum is not None and value < minimum:
        raise TimError(f"{name} must be at least {minimum}, not {value}")


def number_hint(text: str) -> str:
    """Say how a number that YAML took for text has to be written."""
    try:
        number = float(text)
    except ValueError:
        return "write it without quotes"
    return f"YAML reads it as text without a decimal point; write !!float {text} (or {number!r})"


def require_bool(name: str, value: Any) -> None:
    """Raise TimError for what is neither true nor false."""
    if not isinstance(value, bool):
        raise TimError(f"{name} must be true or false, not {value!r}")


def require_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise TimError for what is none of the choices; the nearest is offered."""
    if value not in choices:
        raise TimError(f"{name} {value!r} is not known: {did_you_mean(str(value), choices)}")
