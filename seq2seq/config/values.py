"""From plain dictionaries (YAML, checkpoints) to config dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from seq2seq.config.checks import plain, shown
from seq2seq.config.removed import without_removed
from seq2seq.config.schema import _refuse_objects, _refuse_unwritable
from seq2seq.errors import UserError

Section = TypeVar("Section")


def unknown_key(name: str, allowed: Sequence[str], section: str) -> UserError:
    """The error for an unknown key, with a suggestion and all known keys."""
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]}?" if close else ""
    where = plain(f"{section}.{name}" if section else name)
    return UserError(f"{where} is not a key.{hint} {section or 'The config'} has: {', '.join(allowed)}.")


def from_dict(cls: type[Section], values: Mapping[str, Any], section: str = "") -> Section:
    """Build a config dataclass from plain values; an unknown key is refused by name.

    A key that older versions had may say what this one does anyway (`seq2seq.config.removed`).

    Raises:
        UserError: for a stray key, one that asks for what is gone, a section that is not a mapping, a value of another
            type or out of range.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    built: dict[str, Any] = {}
    for name, value in without_removed(values, section).items():
        if name not in fields:
            raise unknown_key(name if isinstance(name, str) else shown(name), list(fields), section)
        where = f"{section}.{name}" if section else name
        built[name] = _convert(fields[name], value, where)
    return cls(**built)


def _convert(spec: dataclasses.Field[Any], value: Any, where: str) -> Any:
    default = spec.default_factory() if spec.default_factory is not dataclasses.MISSING else spec.default
    if dataclasses.is_dataclass(default):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a section of keys; got {shown(value)}.")
        return from_dict(type(default), value, where)
    accepted = _accepted_types(str(spec.type))
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UserError(f"{where} must be of type {spec.type}; got an integer of {value.bit_length()} bits.")
    if isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool)):
        return _checked_inside(value, where)
    raise UserError(f"{where} must be of type {spec.type}; got {shown(value)}.")


def _checked_inside(value: Any, where: str) -> Any:
    """A key's value of the right type, after a check of its characters or its items."""
    if isinstance(value, str):
        _refuse_unwritable(value, where)
    elif isinstance(value, list):
        for one in value:
            if not isinstance(one, str):
                raise UserError(f"{where} must be a list of words; got {shown(one)} in it.")
            _refuse_unwritable(one, where)
    elif isinstance(value, dict):
        _refuse_objects(value, where, set())
    return value


def _accepted_types(annotation: str) -> tuple[type, ...]:
    """Python types that a plain value (from YAML or a checkpoint) may have for a field annotated so."""
    table: dict[str, tuple[type, ...]] = {
        "bool": (bool,),
        "int": (int,),
        "float": (float, int),
        "str": (str,),
        "list[str]": (list,),
        "dict[str, Any]": (dict,),
        "None": (type(None),),
    }
    return tuple(python for part in annotation.split(" | ") for python in table[part])
