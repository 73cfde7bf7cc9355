"""Of a line that is far too long only a beginning is read, and the ids that are kept are those of the whole line."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError
from seq2seq.tokens import bounded
from seq2seq.tokens.base import UNK
from seq2seq.tokens.bounded import MARGIN, MOST, PER_TOKEN, encode
from seq2seq.tokens.load import load
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from tests.conftest import ROOT
from tests.translate.test_translator import translator

PAGES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
SENTENCES = [line for page in PAGES for line in page.split("\n") if line.strip()]
LONG = " ".join(SENTENCES)
KINDS: dict[str, dict[str, Any]] = {
    "unigram": {"type": "unigram", "vocab_size": 800, "byte_fallback": True},
    "unigram without bytes": {"type": "unigram", "vocab_size": 800},
    "bpe": {"type": "bpe", "vocab_size": 800, "byte_fallback": True},
    "lower case": {"type": "bpe", "vocab_size": 800, "lowercase": True},
    "char": {"type": "char", "vocab_size": 0},
    "word": {"type": "word", "vocab_size": 1000},
    "ptb": {"type": "ptb", "vocab_size": 1000},
}


@functools.cache
def tokenizer(kind: str) -> Pieces:
    settings = KINDS[kind]
    return load(train(SENTENCES[:600], **settings), lowercase=settings.get("lowercase", False))


class Counting(Pieces):
    """Counts the characters that are encoded."""

    characters = 0

    def encode(self, lines: Sequence[str], **options: Any) -> list[list[int]]:
        self.characters += sum(map(len, lines))
        return super().encode(lines, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [LONG, LONG.replace(" ", ""), LONG.replace(". ", ".  "), LONG.upper()])
def test_the_ids_that_are_kept_are_those_of_the_whole_line(kind: str, text: str) -> None:
    own, rng = tokenizer(kind), random.Random(1)
    (whole,) = own.encode([text])
    for limit in (1, 7, 200, 2000, *(rng.randrange(1, 3000) for _ in range(4))):
        (found,) = encode(own, [text], limit)
        assert found.ids[:limit] == whole[:limit]
        assert text.startswith(found.line)
        assert found.is_whole == (found.line == text)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_near_the_bound_have_the_same_ids_and_count_as_cut_when_they_are(kind: str) -> None:
    own, limit = tokenizer(kind), 20
    bound = limit * PER_TOKEN + MARGIN
    lines = [LONG[:n] for n in (0, 1, limit, bound - 1, bound, bound + 1, bound + MARGIN, 3 * bound)]
    for line, whole, found in zip(lines, own.encode(lines), encode(own, lines, limit), strict=True):
        assert found.ids[:limit] == whole[:limit]
        assert (not found.is_whole or len(found.ids) > limit) == (len(whole) > limit)
        assert len(line) > bound or found.is_whole


def test_little_more_is_read_than_what_is_kept() -> None:
    own = Counting(train(SENTENCES[:600], type="unigram", vocab_size=800, byte_fallback=True))
    (found,) = encode(own, [LONG * 50], 100)
    assert len(found.ids) > 100
    assert own.characters < 100 * PER_TOKEN + 2 * MARGIN
    assert own.characters == len(found.line)


def test_a_line_of_unknown_characters_ends_somewhere() -> None:
    """They are one id, however many they are."""
    own = Counting(train(["abc"], type="char", vocab_size=0))
    line = "a" + "x" * 3 * MOST + "b"
    (found,) = encode(own, [line], 9)
    assert found.ids[1:] == [UNK]
    assert not found.is_whole
    assert own.characters < 5 * MOST
    short = "a" + "x" * 50_000 + "b"  # but far below that it is read to its end
    assert encode(own, [short], 9)[0].ids == own.encode([short])[0]


def test_a_newline_is_found_wherever_it_is() -> None:
    with pytest.raises(ValueError, match="a line holds a newline"):
        encode(tokenizer("char"), ["a" * 20_000 + "\n"], 3)


def test_a_long_line_is_translated_as_its_beginning(caplog: pytest.LogCaptureFixture) -> None:
    one = translator(decode=DecodeConfig(max_source=9, max_extra=4))
    long = "the dog sings " * 100_000
    found = one.translate(["a dog", long])
    assert found == one.translate(["a dog", "the dog s"])
    assert found.num_cut == 1
    assert "tokens is cut to its first 9: the dog sings" in caplog.text
    assert "a line of more than" in caplog.text


def test_an_endless_prefix_or_reference_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST", 10)
    one = translator()
    with pytest.raises(UserError, match=r"the prefix 'a dog and on'\.\.\. has 12 characters, and at most 10 are read"):
        one.translate(["a"], prefixes=["a dog and on"])
    with pytest.raises(UserError, match=r"the reference 'a dog and on'\.\.\. has 12 characters"):
        one.score(["a"], ["a dog and on"])
    with pytest.raises(UserError, match=r"the reference 'a dog and on'\.\.\. has 12 characters"):
        one.nll(["a"], ["a dog and on"])
