"""Read the phrasebook's tables of words, and name the row of a mistake."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines

FOLDER = Path(__file__).parent / "words"
SHIPPED = (
    "7d0b53e8a8aa556b377e5f97f9bc6807553d5ad780875a61b37d4c87ec39fb80"  # `_digest` of the tables as they are published
)
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One row of a table: the file, the row's number (the header is row 1) and the cells by column."""

    path: Path
    number: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def wrong(self, problem: str) -> UserError:
        return UserError(f"{self.path}, row {self.number}: {problem}.")

    def needed(self, column: str) -> str:
        """The text of a cell that must not be empty."""
        if not self.cells[column]:
            raise self.wrong(f"the {column} is empty; fill it in")
        return self.cells[column]

    def one_of(self, column: str, known: Collection[str]) -> str:
        """The text of a cell that must be one of the known words."""
        if self.cells[column] not in known:
            options = ", ".join(word or "nothing" for word in known)
            raise self.wrong(f'the {column} is "{self.cells[column]}"; choose from {options}')
        return self.cells[column]

    def several_of(self, column: str, known: Collection[str]) -> tuple[str, ...]:
        """The words of a cell between spaces; all must be known."""
        words = tuple(self.cells[column].split())
        for word in words:
            if word not in known:
                raise self.wrong(f'the {column} have "{word}"; choose from {", ".join(known)}')
        return words

    def flag(self, column: str) -> bool:
        """Whether a cell holds its column's name; the other choice is an empty cell."""
        return bool(self.one_of(column, ("", column)))


def read_table(
    name: str,
    columns: Sequence[str],
    entry: Callable[[Row], T],
    *,
    needed: Collection[str] = (),
    folder: Path | None = None,
) -> dict[str, T]:
    """The entries of a table, by the text in its first column, in the order of the rows.

    Args:
        columns: the names that the header must have.
        entry: makes an entry of a row, or raises a UserError.
        needed: entries that must be there, because the grammar names them.
        folder: where the table is, by default `FOLDER`.

    Raises:
        UserError: naming the file and the row, if a row is not as it must be or comes twice.
    """
    path = (folder or FOLDER) / f"{name}.tsv"
    header, *lines = ([cell.strip() for cell in line.split("\t")] for line in read_lines(path) or [""])
    if header != list(columns):
        raise UserError(f"{path}, row 1: the columns must be {', '.join(columns)}; got {', '.join(header)}.")
    entries: dict[str, T] = {}
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(columns):
            raise UserError(f"{path}, row {number}: there are {len(cells)} cells; write {len(columns)}, between tabs.")
        row = Row(path, number, dict(zip(columns, cells, strict=True)))
        key = row.needed(columns[0])
        if key in entries:
            raise row.wrong(f'"{key}" is there already; write each {columns[0]} once')
        entries[key] = entry(row)
    for key in needed:
        if key not in entries:
            raise UserError(f'{path} lacks "{key}", which the grammar needs; put its row back.')
    return entries


def edited_tables() -> dict[str, str]:
    """The digest of the tables if they are not as published; they make another dataset then."""
    digest = _digest()
    return {} if digest == SHIPPED else {"words": digest}


def _digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.tsv")):
        digest.update(f"{path.name}\n".encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()
