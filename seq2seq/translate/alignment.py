"""Word alignments from attention over pieces.

Words are separated by blanks (space, tab, vertical tab, form feed; not U+00A0). A piece usually belongs to one word. It
belongs to several if it is an unknown that covers several words, and to none if it is a blank or ``</s>``.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.tokens.base import WORD
from seq2seq.tokens.sampling import SPACE_MARK

Link = tuple[int, int]  # a word of the source and one of the target, from 0

_SPELLED_WORDS = re.compile(WORD.pattern.encode())
_MARK = SPACE_MARK.encode()


def words_of_pieces(spelled: Sequence[bytes]) -> list[range]:
    """The words that each piece has a part of, by their numbers.

    Args:
        spelled: as `Tokenizer.spell` has the pieces of a text.
    """
    line = b"".join(spelled).replace(_MARK, b" " * len(_MARK))
    spans = [match.span() for match in _SPELLED_WORDS.finditer(line)]
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    found, place = [], 0
    for piece in spelled:
        start, place = place, place + len(piece)
        found.append(range(bisect.bisect_right(ends, start), bisect.bisect_left(starts, place)))
    return found


def align(attention: Tensor, src_words: Sequence[range], tgt_words: Sequence[range]) -> list[Link]:
    """One source word for each target word: the one that has most of the attention, summed over the pieces of both; of
    equals the first. A word without pieces, and one whose pieces looked at no word, has none.

    Args:
        attention: ``(target pieces, source pieces)``; rows or columns past the words' (for ``</s>``) do not count.
        src_words, tgt_words: of `words_of_pieces`.

    Returns:
        Links in the order of the target words.
    """
    src, tgt = _membership(src_words), _membership(tgt_words)
    weights = attention[: len(tgt), : len(src)].double()
    summed = tgt.T @ weights @ src  # (target words, source words)
    if not summed.shape[1]:
        return []
    best = summed.max(1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [(i, j) for j, (i, weight) in enumerate(pairs) if weight > 0]


def _membership(pieces: Sequence[range]) -> Tensor:
    """A matrix (pieces, words), 1 if a piece belongs to a word."""
    num_words = max((own.stop for own in pieces if own), default=0)
    table = torch.zeros(len(pieces), num_words, dtype=torch.double)
    for i, own in enumerate(pieces):
        table[i, own.start : own.stop] = 1
    return table


def most_attended(weights: Tensor, src_words: Sequence[range]) -> range:
    """The source word that has most of a step's attention, summed over its pieces; words that share a piece are one.

    Args:
        weights: ``(source pieces,)``; those past the words' do not count.

    Returns:
        The numbers of the words: empty if there are none.
    """
    groups: list[tuple[range, float]] = []
    for own, weight in zip(src_words, weights.tolist(), strict=False):
        if own and groups and own.start < groups[-1][0].stop:
            before, total = groups[-1]
            groups[-1] = (range(before.start, max(before.stop, own.stop)), total + weight)
        elif own:
            groups.append((own, weight))
    return max(groups, key=lambda group: group[1], default=(range(0), 0.0))[0]


def pharaoh(links: Sequence[Link]) -> str:
    """Links as a line of the Pharaoh format, ``0-0 2-1 1-2``: source and target, from 0."""
    return " ".join(f"{i}-{j}" for i, j in links)
