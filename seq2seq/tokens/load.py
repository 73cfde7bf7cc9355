"""Load a tokenizer from the bytes in a checkpoint, and compare two."""

from __future__ import annotations

from seq2seq.tokens.base import Tokenizer
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.words import WORDS_MARK, Words


def load(proto: bytes, *, lowercase: bool = False, normalization: str = "none") -> Tokenizer:
    """Make the tokenizer that `train` returned in bytes.

    Raises:
        UserError: as `Pieces` and `Words`.
    """
    if proto.startswith(WORDS_MARK):
        return Words(proto, lowercase=lowercase, normalization=normalization)
    return Pieces(proto, lowercase=lowercase, normalization=normalization)


def same_pieces(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers give every text the same ids."""
    return _identity(one) == _identity(other)


def _identity(tokenizer: Tokenizer) -> tuple[bytes, bool, str]:
    return tokenizer.proto, tokenizer.lowercase, tokenizer.normalization
