"""Encode only as much of a long line as the kept tokens need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from seq2seq.errors import UserError
from seq2seq.tokens.base import Tokenizer, refuse_newline

PER_TOKEN = 16  # characters read for each kept token, or the length of the longest piece
MARGIN = 4096  # characters searched for the end of a word
MOST = 1 << 20  # most characters read of a line, a prefix or a reference

_END_OF_WORD = re.compile("(?<! ) ")


class Encoded(NamedTuple):
    """A line, or the beginning of a very long one, with its ids."""

    line: str
    ids: list[int]
    is_whole: bool


def encode(tokenizer: Tokenizer, lines: Sequence[str], limit: int) -> list[Encoded]:
    """Encode lines; at most ``limit`` ids of each are kept by the caller.

    The first ``limit`` ids equal those of the whole line. A line is read only as far as needed, to the end of a word,
    and no piece crosses words. There are two exceptions. In a line without a space within `MARGIN` characters, pieces
    may differ near the cut, after the kept ids. A line with fewer than ``limit`` ids in `MOST` characters ends there:
    a run of unknown characters is one id.

    Raises:
        ValueError: if a line holds a newline.
    """
    found: dict[int, Encoded] = {}
    for i, line in enumerate(lines):
        if len(line) > limit * PER_TOKEN + MARGIN:
            refuse_newline(line)
            found[i] = _beginning(tokenizer, line, limit)
    others = [i for i in range(len(lines)) if i not in found]
    ids = tokenizer.encode([lines[i] for i in others])
    found.update((i, Encoded(lines[i], own, True)) for i, own in zip(others, ids, strict=True))
    return [found[i] for i in range(len(lines))]


def _beginning(tokenizer: Tokenizer, line: str, limit: int) -> Encoded:
    size = limit * max(PER_TOKEN, tokenizer.longest_piece) + 1
    while True:
        head = _to_the_end_of_a_word(line, size)
        (ids,) = tokenizer.encode([head])
        if len(ids) > limit or len(head) == len(line) or size >= MOST:
            return Encoded(head, ids, len(head) == len(line))
        size *= 2


def _to_the_end_of_a_word(line: str, size: int) -> str:
    """The first ``size`` characters of a line, or up to `MARGIN` more."""
    end = _END_OF_WORD.search(line, size, size + MARGIN)
    return line[: end.start() if end else size + MARGIN]


def refuse_endless(lines: Iterable[str], what: str) -> None:
    """Refuse lines that are not cut and would take too long.

    Raises:
        UserError: if one has more than `MOST` characters.
    """
    for line in lines:
        if len(line) > MOST:
            raise UserError(
                f"the {what} {line[:40]!r}... has {len(line)} characters, and at most {MOST} are read; shorten it."
            )
