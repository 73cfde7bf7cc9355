"""Detect the script and the Unicode form of text, and whether it is tokenised already.

Each function decides by the majority of the lines, and looks only at the first `MOST_LINES`.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from seq2seq.tokens.base import UNK, Tokenizer, in_form

log = logging.getLogger(__name__)

MOST_LINES = 10_000
WORTH_SAYING = 0.01  # share of lines in another Unicode form that is worth a warning
KANA = 0.05  # share of kana among Han and kana from which on a text is Japanese

_BLOCKS = (  # first and last character of each block of a script that is written without spaces between words
    (0x0E00, 0x0E7F, "Thai"),
    (0x0E80, 0x0EFF, "Lao"),
    (0x1000, 0x109F, "Burmese"),
    (0x1780, 0x17FF, "Khmer"),
    (0x19E0, 0x19FF, "Khmer"),
    (0x3005, 0x3007, "Han"),
    (0x3041, 0x30FF, "kana"),
    (0x31F0, 0x31FF, "kana"),
    (0x3400, 0x4DBF, "Han"),
    (0x4E00, 0x9FFF, "Han"),
    (0xA9E0, 0xA9FF, "Burmese"),
    (0xAA60, 0xAA7F, "Burmese"),
    (0xF900, 0xFAFF, "Han"),
    (0xFF66, 0xFF9F, "kana"),
    (0x1AFF0, 0x1B16F, "kana"),
    (0x20000, 0x323AF, "Han"),
)
_STARTS = [first for first, _, _ in _BLOCKS]
_FINAL = (" .", " ?", " !", " 。")  # how a tokenised sentence ends
_BPE, _SENTENCEPIECE = "@@ ", "\N{LOWER ONE EIGHTH BLOCK}"


def script(lines: Iterable[str]) -> str | None:
    """The script of most letters, if it is written without spaces between words; otherwise None.

    Such scripts are Chinese, Japanese, Thai, Lao, Khmer and Burmese.
    """
    counts: Counter[str] = Counter()
    num_others = 0
    for line in itertools.islice(lines, MOST_LINES):
        for char, count in Counter(line).items():
            if name := _script_of(char):
                counts[name] += count
            elif char.isalpha():
                num_others += count
    han, kana = counts.pop("Han", 0), counts.pop("kana", 0)
    counts["Japanese" if kana > KANA * (han + kana) else "Chinese"] = han + kana
    most = max(sorted(counts), key=counts.__getitem__)  # ties are broken by name
    return most if counts.total() > num_others else None


def _script_of(char: str) -> str:
    """The script of a character in `_BLOCKS`, else ""."""
    code = ord(char)
    block = bisect.bisect_right(_STARTS, code) - 1
    return _BLOCKS[block][2] if block >= 0 and code <= _BLOCKS[block][1] else ""


def tokenization(lines: Iterable[str]) -> str | None:
    """Describe the sign of an earlier tokenisation in most lines; None without one."""
    kept = [line.rstrip() for line in itertools.islice(lines, MOST_LINES) if line.strip()]
    signs = {
        'end in " ."': sum(line.endswith(_FINAL) for line in kept),
        'hold "@@ "': sum(_BPE in line for line in kept),
        "hold U+2581": sum(_SENTENCEPIECE in line for line in kept),
    }
    return next((sign for sign, count in signs.items() if 2 * count > len(kept)), None)


def form(lines: Iterable[str]) -> str | None:
    """The Unicode form of a text, "nfc" or "nfd"; None if it cannot be told.

    It is "nfd" if more lines have accents as combining marks than as part of the letter.
    """
    composed = decomposed = 0
    for line in itertools.islice(lines, MOST_LINES):
        if not line.isascii():
            is_nfc, is_nfd = (unicodedata.is_normalized(name, line) for name in ("NFC", "NFD"))
            composed += is_nfc and not is_nfd
            decomposed += is_nfd and not is_nfc
    return None if composed == decomposed else "nfd" if decomposed > composed else "nfc"


def num_in_other_form(lines: Iterable[str], normalization: str) -> tuple[int, int]:
    """Count the lines that are not in a Unicode form (nfc, nfkc), and all lines."""
    count = total = 0
    for line in itertools.islice(lines, MOST_LINES):
        total += 1
        count += in_form(line, normalization) != line
    return count, total


class FormWatch:
    """Warn once if the first input lines are in another Unicode form than the training text.

    A tokenizer that normalises treats all forms alike, and is not watched.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._num_left = 100 if tokenizer.normalization == "none" else 0

    def look(self, lines: Iterable[str]) -> None:
        """Look at more lines until enough were seen; ASCII lines do not count."""
        num_left = self._num_left  # read once: threads may share a watch
        if not num_left:
            return
        seen = list(itertools.islice((line for line in lines if not line.isascii()), num_left))
        self._num_left = num_left - len(seen)
        better = self._better(seen)
        if better is not None:
            self._num_left = 0
            log.warning(
                "the input is in another Unicode form than the text that this model was trained on, and falls into "
                "many small or unknown pieces; convert it, for example with uconv -x %s, or train with "
                "tokenizer.normalization=nfc.",
                better,
            )

    def _better(self, lines: Sequence[str]) -> str | None:
        """The form in which lines take clearly fewer pieces; an unknown counts as several."""
        cost = self._cost(lines)
        for name in ("nfc", "nfd"):
            other = [in_form(line, name) for line in lines]
            if other != lines and self._cost(other) < 0.9 * cost:
                return name
        return None

    def _cost(self, lines: Sequence[str]) -> int:
        return sum(len(row) + 3 * row.count(UNK) for row in self._tokenizer.encode(lines))
