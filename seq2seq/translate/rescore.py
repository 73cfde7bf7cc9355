"""Reorder n-best lists with a language model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seq2seq.decoding.fusion import check_weight
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_lines
from seq2seq.language_model import LanguageModel
from seq2seq.translate.outputs import SEPARATOR, parse_n_best


class Entry(NamedTuple):
    """A line of an n-best list."""

    number: int  # of the sentence
    text: str
    score: float

    def __str__(self) -> str:
        return SEPARATOR.join([str(self.number), self.text, f"{self.score:.6f}"])


def parse(lines: Iterable[str], name: str) -> list[Entry]:
    """The entries of lines ``number ||| text ||| score``; see `outputs.parse_n_best`.

    Args:
        name: of the file, for messages.

    Raises:
        UserError: for a line of another form, naming it, or a file without lines.
    """
    entries = []
    for position, line in enumerate(lines, start=1):
        try:
            entry = Entry(*parse_n_best(line))
        except UserError as error:
            raise UserError(f"{name}: line {position}: {error}") from None
        if math.isnan(entry.score):
            raise UserError(f"{name}: line {position} has a score that is not a number; leave it out.")
        entries.append(entry)
    if not entries:
        raise UserError(f"{name} is empty; it must hold one entry on each line.")
    return entries


def read_n_best(path: str | Path) -> list[Entry]:
    """The entries of a file; see `parse`."""
    return parse(iter_lines(path), str(path))


def rescore(entries: Sequence[Entry], language_model: LanguageModel, weight: float) -> list[Entry]:
    """Add ``weight`` times its log-probability to each entry's score, and sort.

    Entries of one sentence stand together, the best first, and of equal ones the earlier. Sentences are in the order of
    their numbers.

    Raises:
        UserError: for a weight out of range; see `fusion.check_weight`.
    """
    check_weight(weight)
    log_probs = language_model.log_probs([entry.text for entry in entries])
    scored = [
        entry._replace(score=entry.score + weight * log_prob)
        for entry, log_prob in zip(entries, log_probs, strict=True)
    ]
    return sorted(scored, key=lambda entry: (entry.number, -entry.score))
