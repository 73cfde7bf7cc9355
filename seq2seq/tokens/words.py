"""A vocabulary of whole words between spaces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from seq2seq.errors import UserError
from seq2seq.tokens.base import BOS, EOS, PAD, SPECIAL, UNK, in_form, known_form, normalized, refuse_newline, words

WORDS_MARK = b"seq2seq words 1\n"  # how a serialised `Words` begins


class Words:
    """A list of words between spaces, as a `Tokenizer`, for text like the Penn Treebank benchmark's.

    An ``<unk>`` in the text is the unknown word, and so is every word that is not in the list. Nothing is spelled out:
    ``decode(encode(text))`` has single spaces between words, and ``<unk>`` for unknown ones.

    Args:
        proto: as `train` with type ptb returns it: the line `WORDS_MARK`, then the words, one a line. The first has
            id 4.
        lowercase, normalization: as for `Pieces`.

    Raises:
        UserError: if ``proto`` is not a list of words, or if the normalisation is not known.
    """

    def __init__(self, proto: bytes, *, lowercase: bool = False, normalization: str = "none") -> None:
        self.proto = proto
        self.lowercase = lowercase
        self.normalization = known_form(normalization)
        try:
            words = proto.removeprefix(WORDS_MARK).decode("utf-8").split("\n") if proto != WORDS_MARK else []
        except UnicodeDecodeError:
            words = [""]
        self._words = [*SPECIAL, *words]
        self._ids = {word: i for i, word in enumerate(words, start=len(SPECIAL))}
        if not proto.startswith(WORDS_MARK) or not all(words) or len(self._ids) < len(words):
            raise UserError(f"the tokenizer is not a list of words ({len(proto)} bytes); train it again.")

    @property
    def spaces_begin_words(self) -> bool:
        return True

    @property
    def can_sample(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._words)

    @cached_property
    def longest_piece(self) -> int:
        return max(map(len, self._words))

    def encode(self, lines: Sequence[str], *, sampling: float = 0.0, seed: int | None = None) -> list[list[int]]:
        """Ids of each line's words; there is nothing to sample."""
        escaped = (self._escape(line) for line in lines)
        return [[self._ids.get(word, UNK) for word in words(line)] for line in escaped]

    def decode(self, ids: Sequence[Sequence[int]], unknowns: Sequence[Sequence[str]] | None = None) -> list[str]:
        """The words of each row, joined by single spaces.

        An unknown one is the next of ``unknowns``, or ``<unk>``.
        """
        given = unknowns or [()] * len(ids)
        rows = zip(ids, given, strict=True)
        texts = (b"".join(self.spell(row, own)).decode("utf-8") for row, own in rows)
        return [text if self.normalization == "none" else in_form(text, "nfc") for text in texts]

    def unknowns(self, line: str) -> list[str]:
        """The unknown words of a line, in order."""
        return [word for word in words(self._escape(line)) if word not in self._ids]

    def spell(self, ids: Sequence[int], unknowns: Sequence[str] = ()) -> list[bytes]:
        """The bytes that each id stands for, a space before each word but the first."""
        left = iter(unknowns)
        spelled: list[bytes] = []
        for one in map(int, ids):
            word = "" if one in (PAD, BOS, EOS) else self._words[one]
            word = next(left, word) if one == UNK else word
            spelled.append((" " if word and any(spelled) else "").encode() + word.encode())
        return spelled

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._words[int(i)] for i in ids]

    def normalized(self, line: str, *, keep_case: bool = False) -> str:
        return normalized(line, lowercase=self.lowercase and not keep_case, normalization=self.normalization)

    def _escape(self, line: str) -> str:
        refuse_newline(line)
        return self.normalized(line).encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no UTF-8 form
