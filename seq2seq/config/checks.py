"""Check single values; messages name the key, the value and the allowed values."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

from seq2seq.errors import UserError


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{name}={plain(value)} is not known; choose from {', '.join(choices)}.")


def within(
    name: str, value: float, low: float, high: float = float("inf"), *, above: bool = False, below: bool = False
) -> None:
    """Refuse a value outside [low, high].

    ``above`` and ``below`` exclude the ends. NaN, infinity and integers of more than 64 bits are always refused.
    """
    large = isinstance(value, int) and abs(value) >= 2**63
    left = low < value if above else low <= value
    right = value < high if below or high == float("inf") else value <= high
    if left and right and not large:
        return
    shown = f"(an integer of {int(value).bit_length()} bits)" if large else f"{value:g}"
    wanted = span(low, high, above=above, below=below)
    raise UserError(f"{name}={shown} is out of range; it must be {wanted}.")


def span(low: float, high: float, *, above: bool = False, below: bool = False) -> str:
    """A range of numbers in words, or as an interval."""
    if high == float("inf"):
        return f"{'above' if above else 'at least'} {low:g}"
    return f"in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"


_BRIEF = reprlib.Repr()


_BRIEF.maxlevel, _BRIEF.maxlong = 4, 60


_BRIEF.maxstring = _BRIEF.maxother = 250  # longer ones are cut in the middle


def shown(value: object) -> str:
    """A value in a message, shortened if it is long."""
    try:
        said = " ".join(_BRIEF.repr(value).split())
    except ValueError:  # of an integer with too many digits
        return type(value).__name__
    return said if len(said) <= 200 else f"{said[:200]}..."


def plain(word: str) -> str:
    """Quote a word in a message if it could break the line or the terminal."""
    return word if word.isprintable() else shown(word)
