"""Checks of single values, with messages that name the key, the value and what is allowed."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

from seq2seq.errors import UserError


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{name}={plain(value)} is not known; choose from {', '.join(choices)}.")


def within(name: str, value: float, low: float, high: float = float("inf"), *, below: bool = False) -> None:
    """Refuse a value outside [low, high], or outside [low, high) with ``below``; NaN is outside of everything, as are
    integers that no machine word holds.
    """
    large = isinstance(value, int) and abs(value) >= 2**63
    if not large and (low <= value < high or (value == high and not below and high != float("inf"))):
        return
    span = f"at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g}{')' if below else ']'}"
    shown = f"(an integer of {int(value).bit_length()} bits)" if large else f"{value:g}"
    raise UserError(f"{name}={shown} is out of range; it must be {span}.")


_BRIEF = reprlib.Repr()


_BRIEF.maxlevel, _BRIEF.maxlong = 4, 60


_BRIEF.maxstring = _BRIEF.maxother = 250  # longer ones are cut in the middle


def shown(value: object) -> str:
    """A value in a message, however long it is and however often it holds the same list."""
    try:
        said = " ".join(_BRIEF.repr(value).split())
    except ValueError:  # of an integer with too many digits
        return type(value).__name__
    return said if len(said) <= 200 else f"{said[:200]}..."


def plain(word: str) -> str:
    """A word in a message, as it is unless it would break the line or the terminal."""
    return word if word.isprintable() else shown(word)
