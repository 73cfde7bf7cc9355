"""Load a tokenizer from the bytes in a checkpoint, and compare two."""

from __future__ import annotations

from seq2seq.tokens.pieces import Tokenizer
from seq2seq.tokens.words import WORDS_MARK, Words


def load(proto: bytes, *, lowercase: bool = False, normalization: str = "none") -> Tokenizer:
    """The tokenizer that `train` returned in bytes.

    Raises:
        UserError: as `Tokenizer` and `Words`.
    """
    kind = Words if proto.startswith(WORDS_MARK) else Tokenizer
    return kind(proto, lowercase=lowercase, normalization=normalization)


def same_pieces(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers give the same ids to every text."""
    return _identity(one) == _identity(other)


def _identity(tokenizer: Tokenizer) -> tuple[bytes, bool, str]:
    return tokenizer.proto, tokenizer.lowercase, tokenizer.normalization
