"""JSON files that hold one object: written, read back, and turned into dataclasses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines
from seq2seq.files.writing import write_lines

Record = TypeVar("Record")


class Lacking(Exception):
    """Fields of a record that are missing, or that have another type."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def read_json(path: Path, remedy: str) -> dict[str, Any] | None:
    """Read a JSON object; None without a file.

    Args:
        remedy: what the user can do about a damaged file; the end of the message.

    Raises:
        UserError: if the file is not a JSON object.
    """
    if not path.is_file():
        return None
    try:
        values = json.loads("\n".join(read_lines(path)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}; {remedy}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no keys; {remedy}.")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write indented JSON; numbers that are not finite become null, since JSON does not have them."""
    known = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
    write_lines(path, json.dumps(known, indent=2).split("\n"))


def from_plain(cls: type[Record], values: Mapping[str, Any]) -> Record:
    """Build a dataclass of numbers, words, tuples and other such dataclasses from the values of a JSON file.

    A field with a default may be missing. Tuples of a dataclass with a field ``count`` are the columns of a table, and
    have one length. Values without a field are ignored.

    Raises:
        Lacking: if a field is missing, or has another type.
    """
    lacking: list[str] = []
    built = _fields(cls, values, "", lacking)
    if lacking:
        raise Lacking(list(dict.fromkeys(lacking)))
    return cls(**built)


def _fields(cls: Any, values: Mapping[str, Any], where: str, lacking: list[str]) -> dict[str, Any]:
    kinds, built = get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        if field.name in values:
            built[field.name] = _value(kinds[field.name], values[field.name], where + field.name, lacking)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            lacking.append(where + field.name)
    columns = [one for one in built.values() if isinstance(one, tuple)]
    if "count" in built and len(set(map(len, columns))) > 1:
        lacking.append(f"{where}count")
    return built


def _value(kind: Any, value: Any, where: str, lacking: list[str]) -> Any:
    """Convert one value to a type; what cannot be converted is added to ``lacking``."""
    inner = get_args(kind)
    if type(None) in inner:  # X | None
        return None if value is None else _value(inner[0], value, where, lacking)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        problems = len(lacking)
        built = _fields(kind, value, f"{where}.", lacking)
        return None if len(lacking) > problems else kind(**built)  # type: ignore[operator]
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_value(inner[0], one, where, lacking) for one in value)
    if type(value) is kind or (kind in (int, float) and type(value) in (int, float)):
        return value
    lacking.append(where)
    return None
