"""Shortlists: likely target pieces of a source, learnt from training pairs.

A sentence may use the likeliest translations of its own source pieces, and the most frequent pieces of all. So a
sentence's shortlist depends only on that sentence. A batch computes the union of its shortlists, and masks for each
sentence the pieces that are not on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.forms.state import Columns
from seq2seq.tokens.base import BOS, EOS, UNK

FREQUENT = 1000  # target pieces that every sentence may use
ROUND = 256  # columns of a batch are a multiple of this
ITERATIONS = 5
MOST_LINKS = 10_000_000  # pairs of a source and a target token to learn from; a larger corpus is sampled


class Shortlist(NamedTuple):
    """Plain tensors, as a checkpoint holds them."""

    best: Tensor  # (source vocabulary, count), int32: target pieces, the likeliest first; -1 where there are no more
    frequent: Tensor  # (FREQUENT,), int32
    vocab: Tensor  # (), int32: pieces in the target vocabulary

    def fits(self, src_vocab: int, tgt_vocab: int) -> bool:
        """Whether these can be tables of two vocabularies of such sizes."""
        if [one.dim() for one in self] != [2, 1, 0] or len(self.best) != src_vocab or int(self.vocab) != tgt_vocab:
            return False
        inside = [((one >= low) & (one < tgt_vocab)).all() for one, low in ((self.best, -1), (self.frequent, 0))]
        return all(map(bool, inside))

    def columns(self, src: Sequence[Sequence[int]], also: Sequence[Sequence[int]]) -> Columns:
        """The pieces that a batch may choose from.

        Args:
            src: ids of each sentence. also: target pieces of each that it needs, for example of a prefix.
        """
        common = torch.cat([torch.tensor([BOS, EOS, UNK]), self.frequent])
        own = [
            torch.cat([self.best[list(row)].flatten(), torch.tensor(more, dtype=torch.int32)])
            for row, more in zip(src, also, strict=True)
        ]
        rows = torch.arange(len(own)).repeat_interleave(torch.tensor([len(one) for one in own]))
        pieces = torch.cat(own)
        rows, pieces = rows[pieces >= 0], pieces[pieces >= 0]
        tokens, places = self._filled(torch.cat([pieces, common]))
        allowed = torch.zeros(len(own), len(tokens), dtype=torch.bool)
        allowed[rows, places[: len(pieces)]] = True
        allowed[:, places[len(pieces) :]] = True
        allowed[:, places[len(pieces)]] = False  # <s>, which only starts a search, is masked
        return Columns(tokens, allowed)

    def _filled(self, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """The sorted pieces, filled up to a round number, and the place of each.

        oneDNN takes time for each shape that it has not seen.
        """
        free = torch.ones(int(self.vocab), dtype=torch.bool)
        free[pieces] = False
        missing = -int((~free).sum()) % ROUND
        free[free.nonzero()[:missing]] = False
        tokens = (~free).nonzero().squeeze(1)
        return tokens, torch.searchsorted(tokens, pieces)


def learn(src: Any, tgt: Any, tokenizers: Tokenizers, *, count: int) -> Shortlist:
    """Learn the ``count`` likeliest translations of each source piece by IBM model 1.

    The target piece with the same spelling comes first.

    Expectation maximisation over p(target piece | source piece), from equal probabilities.

    Args:
        src, tgt: `seq2seq.data.arrays.TokenArray` of aligned rows.

    Source:
        Brown et al. (1993), https://aclanthology.org/J93-2003, section 4.1; as a shortlist: Jean et al. (2015),
        https://arxiv.org/abs/1412.2007.
    """
    sources, targets, places = links(src, tgt)
    num_tgt = len(tokenizers.tgt)
    pairs, pair = np.unique(sources * num_tgt + targets, return_inverse=True)
    of_source, of_target = pairs // num_tgt, pairs % num_tgt
    probs = translation_probs(of_source, pair, places)
    best = np.full((len(tokenizers.src), count + 1), -1, np.int32)
    counts = np.bincount(tgt.ids, minlength=num_tgt)
    frequent = np.argsort(-counts, kind="stable")[:FREQUENT]
    order = np.lexsort((of_target, -probs, of_source))
    order = order[~np.isin(of_target[order], frequent)]  # which need no place of their own
    of_source = of_source[order]
    first = np.searchsorted(of_source, of_source)  # where each source piece's pairs begin
    rank = np.arange(len(order)) - first
    kept = rank < count
    best[of_source[kept], rank[kept] + 1] = of_target[order][kept]
    spelled = {piece: i for i, piece in enumerate(tokenizers.tgt.pieces(range(num_tgt)))}
    same = [spelled.get(piece, -1) for piece in tokenizers.src.pieces(range(len(tokenizers.src)))]
    best[:, 0] = same
    return Shortlist(
        torch.from_numpy(best), torch.from_numpy(frequent.astype(np.int32)), torch.tensor(num_tgt, dtype=torch.int32)
    )


def links(src: Any, tgt: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair every source token with every target token of its sentence.

    Returns both pieces, and the number of the target token.

    Of a corpus with more than `MOST_LINKS` every n-th pair is taken.
    """
    each = src.lengths() * tgt.lengths()
    step = max(1, -(-int(each.sum()) // MOST_LINKS))
    sources, targets, places, num_places = [], [], [], 0
    for row in range(0, len(each), step):
        s, t = src[row], tgt[row]
        sources.append(np.tile(s, len(t)))
        targets.append(np.repeat(t, len(s)))
        places.append(np.repeat(np.arange(num_places, num_places + len(t)), len(s)))
        num_places += len(t)
    return tuple(np.concatenate([np.zeros(0, np.int64), *ones]).astype(np.int64) for ones in (sources, targets, places))  # type: ignore[return-value]


def translation_probs(of_source: np.ndarray, pair: np.ndarray, places: np.ndarray) -> np.ndarray:
    """p(target piece | source piece) of each pair of pieces.

    Args:
        of_source: the source piece of each pair of pieces.
        pair: which pair of pieces each link is. places: which target token it explains.
    """
    probs = np.ones(len(of_source))
    for _ in range(ITERATIONS):
        share = probs[pair]
        share /= np.bincount(places, share)[places]
        counts = np.bincount(pair, share, minlength=len(of_source))
        probs = counts / np.bincount(of_source, counts)[of_source]
    return probs
