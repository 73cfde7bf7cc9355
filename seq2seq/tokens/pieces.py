"""Text to ids and back, by SentencePiece, without losing a character.

Source: Kudo and Richardson (2018), https://arxiv.org/abs/1808.06226.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import sentencepiece

from seq2seq.errors import UserError
from seq2seq.tokens.base import BOS, EOS, PAD, UNK, UNK_SURFACE, in_form, known_form, normalized, refuse_newline
from seq2seq.tokens.sampling import SPACE_MARK, Sampler

# SentencePiece writes a space as U+2581, so that character itself must not reach it. It is spelled with an escape: a
# private-use character and a digit; the private-use character is spelled so too, which makes the spelling reversible.
_ESCAPE = "\uf8fe"
_ESCAPES = {_ESCAPE: _ESCAPE + "0", SPACE_MARK: _ESCAPE + "1"}
_UNKNOWN = _ESCAPE + "2"  # stands for an unknown while pieces are joined; no text has this spelling
_UNESCAPE = re.compile(_ESCAPE + "[012]")


class Pieces:
    """A trained SentencePiece model, as a `Tokenizer`.

    No id is ever built from text: ``</s>`` in a sentence is four ordinary characters. With byte fallback, or on text
    made of characters it was trained on, ``decode(encode(text)) == text`` for every text without a newline, a carriage
    return and NUL (lower-cased, if ``lowercase``, and in the Unicode form ``normalization``).

    Args:
        proto: a serialised SentencePiece model, as `train` returns and a checkpoint stores.
        lowercase: lower-case text before encoding.
        normalization: Unicode form that text is brought to before encoding: none, nfc, nfkc.

    Raises:
        UserError: if ``proto`` is not a SentencePiece model, or one with other special ids, or if the normalisation is
            not known.
    """

    def __init__(self, proto: bytes, *, lowercase: bool = False, normalization: str = "none") -> None:
        self.proto = proto
        self.lowercase = lowercase
        self.normalization = known_form(normalization)
        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=proto)
            first = model.encode("a", out_type=str)[0]
            strange = model.encode("\U0010fffd", out_type=str)[0]
            every = list(range(model.get_piece_size()))
            model.id_to_piece(every)  # each must be UTF-8,
            model.decode(every)  # and so must their texts
        except Exception as error:  # a forged model makes SentencePiece raise nearly anything
            raise UserError(
                f"the tokenizer is not a SentencePiece model ({len(proto)} bytes); train it again."
            ) from error
        self._model = model
        self._sampler: Sampler | None = None  # made on first use
        self._has_prefix = first.startswith(SPACE_MARK) or first == "<0xE2>"  # a space before every line
        # Whether an unknown is a whole word with the space before it, as in a word model, or characters of one.
        self._unknown_is_word = strange.startswith(SPACE_MARK + "\U0010fffd")
        special = (self._model.pad_id(), self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        if special != (PAD, UNK, BOS, EOS):
            raise UserError(f"the tokenizer's ids of pad, unk, bos, eos must be {(PAD, UNK, BOS, EOS)}; got {special}.")

    @property
    def spaces_begin_words(self) -> bool:
        return self._has_prefix

    @property
    def can_sample(self) -> bool:
        try:
            self.encode(["a"], sampling=0.5)
        except ValueError:  # of a character or word model
            return False
        return True

    def __len__(self) -> int:
        return int(self._model.get_piece_size())

    @cached_property
    def longest_piece(self) -> int:
        return max(map(len, self.pieces(range(len(self)))))

    def encode(self, lines: Sequence[str], *, sampling: float = 0.0, seed: int | None = None) -> list[list[int]]:
        """Ids of each line. Sampling draws a segmentation instead of taking the best.

        ``sampling`` is alpha of the unigram model (Kudo 2018, https://arxiv.org/abs/1804.10959), or the probability
        that BPE skips a merge (Provilkov et al. 2020, https://arxiv.org/abs/1910.13267).
        """
        escaped = [self._escape(line) for line in lines]
        if not sampling:
            return self._use("encode", escaped, num_threads=1)
        if self._sampler is None:
            self._sampler = Sampler(self._model)
        generator = random.Random(seed)
        prefix = SPACE_MARK if self._has_prefix else ""
        return [
            self._sampler.draw(prefix + line.replace(" ", SPACE_MARK), sampling, generator) if line else []
            for line in escaped
        ]

    def decode(self, ids: Sequence[Sequence[int]], unknowns: Sequence[Sequence[str]] | None = None) -> list[str]:
        texts = self._use("decode", [list(row) for row in ids], num_threads=1)
        outputs = [self._unescape(text, row) for text, row in zip(texts, ids, strict=True)]
        for i, row in enumerate(ids):
            if UNK in row:
                outputs[i] = self._decode_with_unknowns(row, unknowns[i] if unknowns else ())
        return outputs

    def _decode_with_unknowns(self, row: Sequence[int], unknowns: Sequence[str]) -> str:
        pieces = self.pieces(row)
        for i, one in enumerate(row):
            if one == UNK:
                pieces[i] = self._space_before_unknown(i) + _UNKNOWN
        return self._unescape(self._use("decode", pieces), row, unknowns)

    def _space_before_unknown(self, place: int) -> str:
        return " " if self._unknown_is_word and place else ""

    def unknowns(self, line: str) -> list[str]:
        """Texts of a line's unknowns, in order. SentencePiece makes one unknown of adjacent ones."""
        escaped = self._escape(line)
        pieces = zip(self._use("encode", escaped), self._use("encode", escaped, out_type=str), strict=True)
        texts = [self._unescape(piece, ()) for one, piece in pieces if one == UNK]
        return [text.removeprefix(" ") for text in texts] if self._unknown_is_word else texts

    def spell(self, ids: Sequence[int], unknowns: Sequence[str] = ()) -> list[bytes]:
        left = iter(unknowns)
        spelled = []
        for i, (one, piece) in enumerate(zip(ids, self.pieces(ids), strict=True)):
            if one == UNK:
                text = self._space_before_unknown(i) + escaped(next(left, UNK_SURFACE))
                spelled.append(text.encode())
            elif self._model.is_byte(int(one)):
                spelled.append(bytes([int(piece[3:5], 16)]))  # "<0xE2>"
            else:
                spelled.append(b"" if self._model.is_control(int(one)) else piece.encode())
        return spelled

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return list(self._use("id_to_piece", [int(i) for i in ids]))

    def _use(self, method: str, *arguments: object, **options: object) -> Any:
        """Call SentencePiece; its errors become a UserError, since the model may be forged."""
        try:
            return getattr(self._model, method)(*arguments, **options)
        except (RuntimeError, UnicodeError) as error:
            raise UserError(f"the tokenizer fails on this text: {error}; train it again.") from error

    def _escape(self, line: str) -> str:
        refuse_newline(line)
        return escaped(self.normalized(line))

    def normalized(self, line: str, *, keep_case: bool = False) -> str:
        return normalized(line, lowercase=self.lowercase and not keep_case, normalization=self.normalization)

    def _unescape(self, text: str, ids: Sequence[int], unknowns: Sequence[str] = ()) -> str:
        # Where the space mark is in no vocabulary it comes back as bytes: spaces, and before them the prefix, which
        # SentencePiece takes away only where it is a piece.
        if self._has_prefix and len(ids) and self._model.is_byte(int(ids[0])):
            text = text.removeprefix(SPACE_MARK)
        text = text.replace(SPACE_MARK, " ")
        spelled = {_ESCAPES[_ESCAPE]: _ESCAPE, _ESCAPES[SPACE_MARK]: SPACE_MARK}
        left = iter(unknowns)
        text = _UNESCAPE.sub(lambda match: spelled.get(match[0]) or next(left, UNK_SURFACE), text)
        return self._composed(text.replace("\n", " ").replace("\r", " "))

    def _composed(self, text: str) -> str:
        """Bring decoded text to the tokenizer's Unicode form: a combining mark may be a piece of its own.

        NFC is enough for nfkc too, since the pieces are in that form, and it changes no space.
        """
        return text if self.normalization == "none" else in_form(text, "nfc")


def escaped(line: str) -> str:
    """Spell a line as SentencePiece gets it, in training and later."""
    if _ESCAPE in line or SPACE_MARK in line:
        line = "".join(_ESCAPES.get(char, char) for char in line)
    # A lone surrogate (from a lenient decoder) has no UTF-8 form.
    return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8")
