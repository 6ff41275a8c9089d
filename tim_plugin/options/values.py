"""One section of an option file: its keys as a dataclass, and the checks of keys and values; no torch."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, wraps
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tim_plugin.options.plain_checks import (
    as_section,
    check_keys,
    join,
    refuse_misspelling,
    refuse_near_misses,
    require,
    require_bool,
    require_choice,
    require_number,
    require_text,
    shown,
)
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.signatures import NEEDED, Option

Built = TypeVar("Built", bound="Section")
Class = TypeVar("Class", bound=type)


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
        filled_in: Keys that BasicSR itself adds.
        removed: Keys that an earlier version had, and why they went.

    Raises:
        TimError: A value is of another type, or outside what it may be.
    """

    place: ClassVar[str] = ""
    needed: ClassVar[tuple[str, ...]] = ()
    needed_in_training: ClassVar[tuple[str, ...]] = ()
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


def check_section(
    place: str, section: type[Section], options: Any, training: bool = False, *, is_shared: bool = False
) -> None:
    """Check the keys and the values of a section.

    Args:
        place: What it is called in errors.
        section: Its keys.
        options: What the file has.
        training: Whether what only training needs must be there.
        is_shared: Whether other code has keys in it and in those below it: where the section is not ours (has no
            :attr:`Section.place`), a key is then refused only if it is nearly one that is known.

    Raises:
        TimError: A key is missing or unknown, or a value is wrong.
    """
    options, keys = as_section(place, options), {**section.keys(), **section.more_keys()}
    require(place, options, section.needed + (section.needed_in_training if training else ()), section.filled_in)
    _refuse_unknown(place, section, options, is_shared)
    known = {name: value for name, value in options.items() if name in keys}
    if section.place:
        section(**known)  # with what its keys are to each other
        return
    for name, value in known.items():
        check_value(join(place, name), keys[name], value, training, is_shared)


def _refuse_unknown(place: str, section: type[Section], options: Mapping[str, Any], is_shared: bool = False) -> None:
    for name in options:
        if name in section.removed:
            raise TimError(f"{join(place, name)} is no option any more: {section.removed[name]}")
    valid = {*section.keys(), *section.more_keys()}
    if is_shared and not section.place:
        refuse_near_misses(place, options, valid | set(section.filled_in))
    else:
        check_keys(place, options, valid, section.filled_in)


def check_value(where: str, key: Option, value: Any, training: bool = False, is_shared: bool = False) -> Any:
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
        return _of_a_kind(where, key, kinds, value, training, is_shared)
    except TimError as error:
        if isinstance(value, str) or not key.wanted:
            raise
        raise TimError(f"{where} {shown(value)} must be {key.wanted}") from error


def _check_by_type(where: str, key: Option, value: Any, training: bool) -> None:
    require(where, as_section(where, value), ("type",))
    (require_choice if key.is_closed else refuse_misspelling)(f"{where}: type", value["type"], key.by_type)
    require_text(f"{where}: type", value["type"])
    section = key.by_type.get(value["type"])
    if section is not None:
        own = "type" in section.keys()
        check_section(where, section, {k: v for k, v in value.items() if own or k != "type"}, training)


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """Return the parts of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _of_a_kind(
    where: str, key: Option, kinds: tuple[Any, ...], value: Any, training: bool, is_shared: bool = False
) -> Any:
    sequences = [kind for kind in kinds if get_origin(kind) is tuple]
    if sequences and isinstance(value, (list, tuple)):
        items = get_args(sequences[0])
        if items[-1] is not Ellipsis and len(value) != len(items):
            raise TimError(f"{where} has {len(value)} entries, {len(items)} are needed")
        return tuple(_of_a_kind(where, key, items[:1], item, training) for item in value)
    single = [kind for kind in kinds if kind is not type(None) and kind not in sequences]
    if len(single) > 1:  # text, or something else
        single = [kind for kind in single if (kind is str or get_origin(kind) is Literal) == isinstance(value, str)]
    if not single:
        raise TimError(f"{where} must be a list, not {shown(value)}")
    kind = single[0]
    if inspect.isclass(kind) and issubclass(kind, Section):
        check_section(where, kind, value, training, is_shared=is_shared)
    elif get_origin(kind) is Literal:
        value = "off" if value is False and "off" in get_args(kind) else value  # YAML 1.1 reads a bare off as false
        require_choice(where, value, get_args(kind))
    elif kind is Mapping or get_origin(kind) is Mapping:
        as_section(where, value)
    else:
        _check_plain(where, key, kind, value)
    return value


def _check_plain(where: str, key: Option, kind: Any, value: Any) -> None:
    if kind is bool:
        require_bool(where, value)
    elif kind is str:
        require_text(where, value)
    elif kind in (int, float):
        require_number(where, value, kind, key.least)
        if key.above is not None and value <= key.above:
            raise TimError(f"{where} must be more than {key.above:g}, not {value}")
        if key.most is not None and value > key.most:
            raise TimError(f"{where} must be at most {key.most}, not {value}")
        if key.below is not None and value >= key.below:
            raise TimError(f"{where} must be less than {key.below:g}, not {value}")
        if key.whole and value != int(value):
            raise TimError(f"{where} must be a whole number, not {value}")
