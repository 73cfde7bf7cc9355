"""A vocabulary of whole words between spaces."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.errors import UserError
from seq2seq.tokens.base import BOS, EOS, PAD, SPECIAL, UNK, known_form, refuse_newline, words
from seq2seq.tokens.pieces import Tokenizer

WORDS_MARK = b"seq2seq words 1\n"  # what a serialised `Words` begins with


class Words(Tokenizer):
    """A list of words between spaces, as the Penn Treebank benchmark has its text: an ``<unk>`` in it is the unknown
    word, and every other word that is not in the list is taken for one too. Nothing is spelled out, so
    ``decode(encode(text))`` has single spaces between words and ``<unk>`` for what is not known.

    Args:
        proto: as `train` with type ptb returns it: a first line that says what it is, then the words, one a line, the
            first of which has id 4.
        lowercase, normalization: as for `Tokenizer`.

    Raises:
        UserError: if ``proto`` is no list of words, or if the normalisation is not known.
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
            raise UserError(f"the tokenizer is no list of words ({len(proto)} bytes); train it again.")

    @property
    def spaces_begin_words(self) -> bool:
        return True

    @property
    def can_sample(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._words)

    def encode(self, lines: Sequence[str], *, sampling: float = 0.0, seed: int | None = None) -> list[list[int]]:
        """Ids of each line's words; there is nothing to sample."""
        escaped = (self._escape(line) for line in lines)
        return [[self._ids.get(word, UNK) for word in words(line)] for line in escaped]

    def decode(self, ids: Sequence[Sequence[int]], unknowns: Sequence[Sequence[str]] | None = None) -> list[str]:
        """The words of each row between single spaces; one that is not known is ``<unk>``, or the next of the row's
        ``unknowns``.
        """
        given = unknowns or [()] * len(ids)
        rows = zip(ids, given, strict=True)
        return [self._composed(b"".join(self.spell(row, own)).decode("utf-8")) for row, own in rows]

    def unknowns(self, line: str) -> list[str]:
        """The words of a line that are not known, in their order."""
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

    def _escape(self, line: str) -> str:
        refuse_newline(line)
        return self.normalized(line).encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no UTF-8 form
