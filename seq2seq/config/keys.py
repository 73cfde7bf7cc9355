"""Declare a key: default, meaning, allowed values and special treatment."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from seq2seq.config.checks import one_of, span, within


class When(NamedTuple):
    """The condition for a key to have an effect, as text and as a test."""

    text: str
    holds: Callable[[Any], bool]


def only(name: str, *values: str) -> When:
    """The condition that another key has one of these values."""
    read = operator.attrgetter(name)
    return When(f"{name}={' or '.join(values)}", lambda config: read(config) in values)


class Facts(NamedTuple):
    """The declaration of a key, except type and default."""

    meaning: str
    low: float | None = None  # the smallest value; None for a key that is not a bounded number
    high: float = float("inf")
    above: bool = False  # whether ``low`` itself is refused
    below: bool = False  # whether ``high`` itself is refused
    choices: tuple[str, ...] = ()
    applies: When | None = None  # None: always
    incidental: bool = False  # may differ between two commands that mean the same run
    compared: bool = True  # whether a report compares runs by it
    path: bool = False  # a file or folder
    search: str = ""  # of decode: the only search that reads it

    def check(self, name: str, value: Any) -> None:
        """Check one value.

        Raises:
            UserError: for one that is out of range, or not among the choices.
        """
        if value is None:
            return
        if self.choices:
            for one in value if isinstance(value, list) else [value]:
                one_of(name, one, self.choices)
        if self.low is not None:
            within(name, value, self.low, self.high, above=self.above, below=self.below)

    @property
    def allowed(self) -> str:
        """The allowed values, for the documentation; empty if any value of its type is allowed."""
        if self.choices:
            return ", ".join(self.choices)
        return "" if self.low is None else span(self.low, self.high, above=self.above, below=self.below)


def key(default: Any, meaning: str, **facts: Any) -> Any:
    """Declare a dataclass field with its default and its `Facts`."""
    metadata = {"facts": Facts(meaning, **facts)}
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type) -> Any:
    """Declare a dataclass field that holds keys of its own."""
    return dataclasses.field(default_factory=cls)


def facts_of(one: dataclasses.Field[Any]) -> Facts | None:
    """The `Facts` of a key; None for a section."""
    return one.metadata.get("facts")


def fields_below(cls: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Facts]]:
    """All keys of a config class, in order, named as on the command line."""
    fields: list[Any] = list(dataclasses.fields(cls))
    for one in fields:
        facts = facts_of(one)
        if facts is None:
            yield from fields_below(one.default_factory, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, one, facts


def default_of(one: dataclasses.Field[Any]) -> Any:
    """The default of a key."""
    made: Any = one.default_factory
    return one.default if one.default is not dataclasses.MISSING else made()


def check_keys(values: Any, prefix: str = "") -> None:
    """Check every value of a section, and of the sections in it.

    Raises:
        UserError: for the first value that is out of range, or not among its choices.
    """
    for name, _, facts in fields_below(type(values)):
        facts.check(prefix + name, operator.attrgetter(name)(values))


def written(value: Any) -> str:
    """A value as written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
