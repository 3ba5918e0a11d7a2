"""Frozen values whose fields are checked against their annotations, however they are made.

The standard library alone: a server reads its manifest before it can do anything, and importing a validation library
for these few fields took 60 ms, a fifth of the time from `serve` to the first answered keystroke.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence, Sized
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, Protocol, Self, Union, get_args, get_origin, get_type_hints


class NotAccepted(ValueError):
    """A value that does not fit; the message names the field by its path and says what fits."""

    def __init__(self, fault: str, *path: str) -> None:
        self.fault, self.path = fault, path
        super().__init__(f"{'.'.join(path) or 'the document'}: {fault}")

    def inside(self, name: str) -> NotAccepted:
        """The same, one level further out."""
        return NotAccepted(self.fault, name, *self.path)


class Rule(Protocol):
    """Stands in an `Annotated`; says what is wrong with a value of the right type, or None."""

    def fault(self, value: Any) -> str | None:
        """One clause that follows the field's name."""


@dataclass(frozen=True, slots=True)
class Between:
    """A number within bounds."""

    low: float
    high: float = float("inf")

    def fault(self, value: Any) -> str | None:
        """Says which bounds."""
        return None if self.low <= value <= self.high else f"{value} is not from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Matching:
    """A text of at most `most` characters that a regular expression matches as a whole."""

    pattern: str
    most: int = 1024

    def fault(self, value: Any) -> str | None:
        """Says which expression."""
        fits = len(value) <= self.most and re.fullmatch(self.pattern, value)
        return None if fits else f"{value!r:.100} is not at most {self.most} of {self.pattern}"


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """At least one element."""

    def fault(self, value: Sized) -> str | None:
        """Says so."""
        return None if len(value) else "is empty, but at least one is needed"


class Checked:
    """Base of frozen dataclasses. Making one raises NotAccepted; whole numbers are taken where floats are wanted."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, annotation in _annotations(type(self)).items():
            object.__setattr__(self, name, _at(name, annotation, getattr(self, name)))

    @classmethod
    def model_validate(cls, document: object) -> Self:
        """The value that a JSON object says. Raises NotAccepted, also for names that are not fields."""
        made: Self = _checked(cls, document)
        return made

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The same but for these fields."""
        return type(self)(**{name: getattr(self, name) for name in _annotations(type(self))} | dict(update))

    def as_document(self) -> dict[str, Any]:
        """What `model_validate` takes, fit for JSON."""
        return {name: _plain(getattr(self, name)) for name in _annotations(type(self))}


_known: dict[type[Any], Mapping[str, Any]] = {}


def _annotations(cls: type[Any]) -> Mapping[str, Any]:
    """The fields of a dataclass with their annotations, evaluated once."""
    if cls not in _known:
        hints = get_type_hints(cls, include_extras=True)
        _known[cls] = {one.name: hints[one.name] for one in fields(cls)}
    return _known[cls]


def _at(name: str, annotation: Any, value: object) -> Any:
    try:
        return _checked(annotation, value)
    except NotAccepted as error:
        raise error.inside(name) from None


def _checked(annotation: Any, value: object) -> Any:
    """The value as the annotation wants it. Raises NotAccepted."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _by_rules(arguments[1:], _checked(arguments[0], value))
    if origin is Literal:
        return value if value in arguments else _refuse(value, f"one of {', '.join(map(repr, arguments))}")
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value)
    if origin is tuple:
        return tuple(_at(str(index), arguments[0], one) for index, one in enumerate(_list(value)))
    if origin is dict:
        return {_at("key", arguments[0], key): _at(str(key), arguments[1], one) for key, one in _object(value).items()}
    if isinstance(annotation, type) and issubclass(annotation, Checked):
        return value if isinstance(value, annotation) else _made(annotation, _object(value))
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool))
    return value if fits else _refuse(value, f"of the type {getattr(annotation, '__name__', 'null')}")


def _by_rules(rules: tuple[Rule, ...], value: Any) -> Any:
    for rule in rules:
        if fault := rule.fault(value):
            raise NotAccepted(fault)
    return value


def _one_of(choices: tuple[Any, ...], value: object) -> Any:
    if value is None and types.NoneType in choices:
        return None
    for choice in choices:
        if type(value) is choice:
            return value
    kinds = [choice for choice in choices if choice is not types.NoneType]
    if len(kinds) == 1:
        return _checked(kinds[0], value)
    return _refuse(value, f"one of the types {', '.join(kind.__name__ for kind in kinds)}")


def _list(value: object) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    raise NotAccepted(f"{value!r:.100} is not a list")


def _object(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise NotAccepted(f"{value!r:.100} is not an object")


def _made(cls: type[Any], document: Mapping[str, Any]) -> Any:
    annotations = _annotations(cls)
    for name in document:
        if name not in annotations:
            raise NotAccepted("there is no such field", str(name))
    for one in fields(cls):
        if one.name not in document and one.default is MISSING and one.default_factory is MISSING:
            raise NotAccepted("is missing", one.name)
    return cls(**document)


def _refuse(value: object, wanted: str) -> Any:
    raise NotAccepted(f"{value!r:.100} is not {wanted}")


def _plain(value: Any) -> Any:
    if isinstance(value, Checked):
        return value.as_document()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
