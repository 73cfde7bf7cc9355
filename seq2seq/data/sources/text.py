"""Text as a source: ids of pieces, in flat files that are mapped into memory, with an end symbol in each batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.data.arrays import Ragged, TokenArray, encode_side
from seq2seq.data.sources.base import Bounded, Source
from seq2seq.tokens import bounded
from seq2seq.tokens.base import EOS, PAD, Tokenizer


class Ids:
    """Token ids as a `Layout`. ``end_symbol`` puts ``</s>`` after each row of a batch."""

    def __init__(self, *, end_symbol: bool = True) -> None:
        self.end_symbol = end_symbol

    def size(self, item: Sequence[int]) -> int:
        """The number of ids."""
        return len(item)

    def collate(self, items: Ragged | Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Padded rows ``(batch, length)`` and their lengths."""
        rows = items if isinstance(items, Ragged) else Ragged.of(items)
        return torch.from_numpy(padded(rows, end_symbol=self.end_symbol)), torch.from_numpy(
            rows.lengths + self.end_symbol
        )

    def content(self, item: Sequence[int]) -> bytes:
        """The ids in 64 bits each."""
        return np.array(item, dtype="<u8").tobytes()


class TextSource(Ids, Source):
    """Sentences, one on each line.

    The tokenizer is its whole state. A checkpoint keeps it beside the target's.

    Example:
        >>> source = TextSource({}, tokenizer)  # doctest: +SKIP
        >>> src, src_lengths = source.collate(source.encode(["Good morning!", "The dog sleeps."]))  # doctest: +SKIP
    """

    gives = "ids"
    is_text = True

    def __init__(self, state: Mapping[str, Any], tokenizer: Tokenizer, *, end_symbol: bool = True) -> None:
        super().__init__(end_symbol=end_symbol)
        self.tokenizer = tokenizer
        self.input_size = len(tokenizer)

    def state(self) -> dict[str, Any]:
        """Nothing besides the tokenizer."""
        return {}

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """The ids of each line, without bos and eos."""
        return self.tokenizer.encode(lines)

    def rows(self, folder: Path, split: str) -> TokenArray:
        """The ids of a split, mapped from a file beside the text."""
        return encode_side(folder, split, "src", self.tokenizer)

    def drawn(self, items: Ragged, amount: float, seed: int) -> Ragged:
        """Draw a new segmentation of sentences: subword sampling."""
        texts = self.tokenizer.decode(items.lists())
        return Ragged.of(self.tokenizer.encode(texts, sampling=amount, seed=seed))

    def bounded(self, lines: Sequence[str], limit: int) -> list[Bounded]:
        """Encode lines, of far too long ones only the beginning; see `seq2seq.tokens.bounded.encode`."""
        return [Bounded(*one) for one in bounded.encode(self.tokenizer, lines, limit)]

    def pieces(self, item: Sequence[int]) -> list[str]:
        """The pieces, with the end symbol where there is one."""
        return self.tokenizer.pieces([*item, *([EOS] if self.end_symbol else [])])


def padded(rows: Ragged, *, end_symbol: bool) -> np.ndarray:
    """Rows of ids as one array ``(rows, longest)``, filled up with pad."""
    lengths = rows.lengths
    filled = np.full((len(lengths), lengths.max() + end_symbol), PAD, dtype=np.int64)
    filled[np.arange(filled.shape[1]) < lengths[:, None]] = rows.ids
    if end_symbol:
        filled[np.arange(len(lengths)), lengths] = EOS
    return filled
