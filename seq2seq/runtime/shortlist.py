"""The shortlist of an exported model; `seq2seq.decoding.shortlist` explains it and learns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seq2seq.runtime.network import Columns
from seq2seq.tokens.base import BOS, EOS, UNK


class Shortlist(NamedTuple):
    """Plain arrays of int32."""

    best: np.ndarray  # (source vocabulary, count): target pieces, the likeliest first; -1 where there are no more
    frequent: np.ndarray  # (pieces,) that every sentence may use

    def fits(self, src_vocab: int, tgt_vocab: int) -> bool:
        """Whether these can be tables of two vocabularies of such sizes."""
        if [one.ndim for one in self] != [2, 1] or len(self.best) != src_vocab:
            return False
        if any(one.dtype != np.int32 for one in self):
            return False
        inside = (((one >= low) & (one < tgt_vocab)).all() for one, low in ((self.best, -1), (self.frequent, 0)))
        return all(map(bool, inside))

    def columns(self, src: Sequence[Sequence[int]], also: Sequence[Sequence[int]]) -> Columns:
        """The pieces that a batch may choose from.

        Args:
            src: ids of each sentence. also: target pieces of each that it needs, for example of a prefix.
        """
        common = np.concatenate([[BOS, EOS, UNK], self.frequent])
        own = [
            np.concatenate([self.best[list(row)].ravel(), np.array(more, np.int64)]).astype(np.int64)
            for row, more in zip(src, also, strict=True)
        ]
        own = [pieces[pieces >= 0] for pieces in own]
        tokens = np.unique(np.concatenate([*own, common]))
        allowed = np.zeros((len(own), len(tokens)), bool)
        for row, pieces in zip(allowed, own, strict=True):
            row[np.searchsorted(tokens, pieces)] = True
        allowed[:, np.searchsorted(tokens, common)] = True
        allowed[:, np.searchsorted(tokens, BOS)] = False  # which only starts a search
        return Columns(tokens, allowed)
