"""Special ids, and what a word is."""

from __future__ import annotations

import re
import unicodedata

from seq2seq.config.choices import NORMALIZATIONS
from seq2seq.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3


UNK_SURFACE = "\N{REPLACEMENT CHARACTER}"


SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")  # by id


WORD = re.compile(r"[^ \t\n\v\f\r]+")  # what stands between blanks, of which U+00A0 is none


def refuse_newline(line: str) -> None:
    """Raise a ValueError if a line holds a newline."""
    if "\n" in line:
        raise ValueError(f"a line holds a newline: {line[:40]!r}; split the text into lines first.")


def words(line: str) -> list[str]:
    """What stands between blanks."""
    return WORD.findall(line)


def in_form(line: str, form: str) -> str:
    """A line in a Unicode form: nfc or nfkc. Text that is in it already, as ASCII is, comes back as it is."""
    name = form.upper()
    if line.isascii() or unicodedata.is_normalized(name, line):  # type: ignore[arg-type]
        return line
    return unicodedata.normalize(name, line)  # type: ignore[arg-type]


def normalized(line: str, *, lowercase: bool, normalization: str) -> str:
    """A line as a tokenizer is trained on it and encodes it: in a Unicode form (none, nfc, nfkc), and lower-cased."""
    if normalization != "none":
        line = in_form(line, normalization)
    if not lowercase:
        return line
    line = line.lower()  # which can undo the form
    return line if normalization == "none" else in_form(line, normalization)


def known_form(normalization: object) -> str:
    if not isinstance(normalization, str) or normalization not in NORMALIZATIONS:
        raise UserError(
            f"the tokenizer's normalization must be one of {', '.join(NORMALIZATIONS)}; got {normalization!r:.40}."
        )
    return normalization
