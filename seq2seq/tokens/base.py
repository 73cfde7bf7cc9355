"""The `Tokenizer` protocol, special ids, and how text is normalised."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Protocol

from seq2seq.config.choices import NORMALIZATIONS
from seq2seq.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")  # by id
UNK_SURFACE = "\N{REPLACEMENT CHARACTER}"
WORD = re.compile(r"[^ \t\n\v\f\r]+")  # text between blanks; U+00A0 is not a blank


class Tokenizer(Protocol):
    """Text to ids and back. Ids 0 to 3 are pad, unk, bos and eos.

    Attributes:
        proto: the serialised tokenizer, as `tokens.train.train` returns it and a checkpoint stores it.
        lowercase: whether text is lower-cased before encoding.
        normalization: Unicode form that text is brought to before encoding: none, nfc, nfkc.
    """

    proto: bytes
    lowercase: bool
    normalization: str

    def __len__(self) -> int:
        """Return the size of the vocabulary, special ids included."""

    @property
    def spaces_begin_words(self) -> bool:
        """Whether a space is part of the word after it, and not a token of its own."""

    @property
    def can_sample(self) -> bool:
        """Whether a text has several segmentations to draw from."""

    @property
    def longest_piece(self) -> int:
        """The most characters of a piece."""

    def encode(self, lines: Sequence[str], *, sampling: float = 0.0, seed: int | None = None) -> list[list[int]]:
        """Return the ids of each line, without bos and eos; a blank line has none.

        Args:
            sampling: how much to sample the segmentation; 0 takes the best.
            seed: makes the sample of this call a function of it.

        Raises:
            ValueError: if a line holds a newline; with ``sampling``, of a model of characters.
        """

    def decode(self, ids: Sequence[Sequence[int]], unknowns: Sequence[Sequence[str]] | None = None) -> list[str]:
        """Return the detokenised text of each row of ids, on one line.

        A newline or carriage return that a model emits becomes a space.

        Args:
            unknowns: the texts of the unknowns of each row, in order. By default, and where a row has more, each is the
                tokenizer's mark for unknowns (U+FFFD or ``<unk>``).
        """

    def unknowns(self, line: str) -> list[str]:
        """Return the texts of a line's unknowns, in the order of its ids."""

    def spell(self, ids: Sequence[int], unknowns: Sequence[str] = ()) -> list[bytes]:
        """Return the bytes that each id stands for.

        Joined, they are the words of the text between spaces, which may be spelled as `SPACE_MARK`.

        Args:
            unknowns: as for `decode`, of this one row.
        """

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces behind ids, for people to look at."""

    def normalized(self, line: str, *, keep_case: bool = False) -> str:
        """Return a line in the tokenizer's Unicode form, and lower-cased if it lower-cases.

        Args:
            keep_case: change only the Unicode form.
        """


def refuse_newline(line: str) -> None:
    """Raise a ValueError if a line holds a newline."""
    if "\n" in line:
        raise ValueError(f"a line holds a newline: {line[:40]!r}; split the text into lines first.")


def words(line: str) -> list[str]:
    """Return the words of a line, which stand between blanks."""
    return WORD.findall(line)


def in_form(line: str, form: str) -> str:
    """Return a line in a Unicode form: nfc or nfkc."""
    name = form.upper()
    if line.isascii() or unicodedata.is_normalized(name, line):  # type: ignore[arg-type]
        return line
    return unicodedata.normalize(name, line)  # type: ignore[arg-type]


def normalized(line: str, *, lowercase: bool, normalization: str) -> str:
    """Return a line in a Unicode form (none, nfc, nfkc), lower-cased if asked."""
    if normalization != "none":
        line = in_form(line, normalization)
    if not lowercase:
        return line
    line = line.lower()  # this can undo the form
    return line if normalization == "none" else in_form(line, normalization)


def known_form(normalization: object) -> str:
    if not isinstance(normalization, str) or normalization not in NORMALIZATIONS:
        raise UserError(
            f"the tokenizer's normalization must be one of {', '.join(NORMALIZATIONS)}; got {normalization!r:.40}."
        )
    return normalization
