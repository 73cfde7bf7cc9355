"""Check lines of text from a Python caller, and make them a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set, Sized
from typing import Any


def as_lines(lines: Any, name: str = "lines") -> list[str]:
    """Return the lines as a list of plain strings; one string is one line.

    A list, a tuple, and a one-dimensional array or Series of NumPy or pandas are taken.

    Args:
        name: of the argument, for messages.

    Raises:
        TypeError: for something else, or an item that is not a string.
    """
    if isinstance(lines, str):
        return [str(lines)]
    wanted = f"{name} must be a string or a list of strings"
    if isinstance(lines, Iterator):
        raise TypeError(f"{wanted}; got {_kind(lines)}, which can be read only once. Give list({name}).")
    is_list = isinstance(lines, Iterable) and isinstance(lines, Sized) and getattr(lines, "ndim", 1) == 1
    if not is_list or isinstance(lines, (bytes, bytearray, memoryview, Mapping, Set)):
        raise TypeError(f"{wanted}; got {_kind(lines)}.")
    return [_checked(line, f"{name}[{i}]") for i, line in enumerate(lines)]


def checked(lines: Iterable[Any], name: str = "lines") -> Iterator[str]:
    """Check the lines of an iterable one by one; one string is one line.

    Raises:
        TypeError: for something else than lines, or when an item is not a string.
    """
    if not isinstance(lines, Iterable):
        raise TypeError(f"{name} must be a string or strings; got {_kind(lines)}.")
    if isinstance(lines, Sized):  # other iterables, such as files, can be read only once
        lines = as_lines(lines, name)
    return (_checked(line, f"{name}[{i}]") for i, line in enumerate(lines))


def as_lines_for(lines: Any, others: Any, names: tuple[str, str] = ("lines", "prefixes")) -> list[str]:
    """Return lines that match ``lines`` one by one, as a string or a list.

    Raises:
        TypeError: if one of them is a string and the other is not; and as `as_lines`.
        ValueError: if their numbers differ.
    """
    first, second = names
    if isinstance(lines, str) != isinstance(others, str):
        one, other = (first, second) if isinstance(lines, str) else (second, first)
        raise TypeError(f"{one} is one string and {other} is not; give two strings or two lists.")
    found, needed = as_lines(others, second), len(as_lines(lines, first))
    if len(found) != needed:
        raise ValueError(
            f"{second} must have one string for each of {first}, {needed}, which may be empty; got {len(found)}."
        )
    return found


def _checked(line: Any, name: str) -> str:
    if isinstance(line, str):
        return str(line)  # also of a subclass, such as NumPy's
    remedy = "Decode it" if isinstance(line, bytes) else "Replace it, for example by ''"
    shown = repr(line) if isinstance(line, float) else _kind(line)
    raise TypeError(f"{name} must be a string; got {shown}. {remedy}.")


def _kind(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
