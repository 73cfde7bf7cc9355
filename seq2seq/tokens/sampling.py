"""Sample segmentations of a text, with the pieces and scores of a SentencePiece model.

SentencePiece can sample too, but not reproducibly: newer versions ignore the seed across processes, older ones ignore
it after the first draw. Here a sample is a function of its seed.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from typing import Any, NamedTuple

import sentencepiece

SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a space
_UNKNOWN_COST = 10.0  # log-probability penalty of an unknown character, relative to the rarest piece (SentencePiece's)
_MOST_WORDS = 2**16  # words whose tables are cached


class _Piece(NamedTuple):
    id: int
    score: float


class _Ends(NamedTuple):
    """The pieces that can end at one place of a word, with their probabilities there."""

    shares: list[float]  # cumulative
    starts: list[int]


# A merge of two pieces: minus its score, where both begin, and its number of characters. The smallest is made first.
_Pair = tuple[float, int, int, int]


class Sampler:
    """Sample segmentations of a BPE or a unigram model.

    Args:
        model: has the pieces.

    Raises:
        ValueError: for a model of characters or words, where a text has one segmentation.

    Sources:
        BPE: Provilkov et al. (2020), https://arxiv.org/abs/1910.13267; as in SentencePiece a pair that is skipped
        counts again once one of its neighbours has been merged with it.
        Unigram: Kudo (2018), https://arxiv.org/abs/1804.10959, with a lattice of all segmentations.
    """

    def __init__(self, model: sentencepiece.SentencePieceProcessor) -> None:
        if not _can("encode", model, enable_sampling=True, alpha=0.5, nbest_size=-1):
            raise ValueError("a text has one segmentation into characters or words; there is nothing to draw.")
        self._is_unigram = _can("nbest_encode", model, nbest_size=1)
        size = model.get_piece_size()
        self._unknown = model.unk_id()
        self._pieces = {
            model.id_to_piece(i): _Piece(i, model.get_score(i))
            for i in range(size)
            if not (model.is_unknown(i) or model.is_control(i) or model.is_byte(i) or model.is_unused(i))
        }
        self._bytes = [i for i in range(size) if model.is_byte(i)]  # by value; none without byte fallback
        self._longest = max(map(len, self._pieces), default=1)
        self._least = min((piece.score for piece in self._pieces.values()), default=0.0) - _UNKNOWN_COST
        self._cuts_words = not any(SPACE_MARK in piece[1:] for piece in self._pieces)
        self._pairs: dict[str, list[_Pair]] = {}
        self._lattices: dict[tuple[str, float], list[_Ends]] = {}

    def draw(self, text: str, amount: float, generator: random.Random) -> list[int]:
        """Sample a segmentation of ``text``, spaces spelled `SPACE_MARK`, and return its ids.

        Args:
            amount: the probability that BPE skips a merge, or the power to which the unigram model's probabilities are
                raised.
        """
        draw = self._walk if self._is_unigram else self._merge
        ids: list[int] = []
        for word in _words(text) if self._cuts_words else [text]:
            for piece in draw(word, amount, generator):
                known = self._pieces.get(piece)
                if known is not None:
                    ids.append(known.id)
                elif self._bytes:
                    ids += [self._bytes[value] for value in piece.encode()]
                elif not ids or ids[-1] != self._unknown:  # a run of unknown characters is one unknown
                    ids.append(self._unknown)
        return ids

    def _merge(self, word: str, skipped: float, generator: random.Random) -> list[str]:
        """Segment by BPE: merge the best pair again and again, and skip each with a probability."""
        if word not in self._pairs:
            _make_room(self._pairs)
            found = [self._pair(word[i], word[i + 1], i, i + 1) for i in range(len(word) - 1)]
            self._pairs[word] = sorted(pair for pair in found if pair is not None)
        heap = self._pairs[word].copy()
        pieces = list(word)  # a piece is stored at its first character, "" at the others
        before, after = list(range(-1, len(word) - 1)), list(range(1, len(word) + 1))
        while heap:
            _, left, right, size = heapq.heappop(heap)
            if not pieces[left] or not pieces[right] or len(pieces[left]) + len(pieces[right]) != size:
                continue  # one of its halves has been merged with another
            if generator.random() < skipped:
                continue
            pieces[left] += pieces[right]
            pieces[right] = ""
            after[left] = after[right]
            if after[left] < len(word):
                before[after[left]] = left
            for first, second in ((before[left], left), (left, after[left])):
                if first >= 0 and second < len(word):
                    pair = self._pair(pieces[first], pieces[second], first, second)
                    if pair is not None:
                        heapq.heappush(heap, pair)
        return [piece for piece in pieces if piece]

    def _pair(self, left: str, right: str, first: int, second: int) -> _Pair | None:
        piece = self._pieces.get(left + right)
        return None if piece is None else (-piece.score, first, second, len(left) + len(right))

    def _walk(self, word: str, power: float, generator: random.Random) -> list[str]:
        """Segment by the unigram model: sample from the end of the word back, piece by piece."""
        key = (word, power)
        if key not in self._lattices:
            _make_room(self._lattices)
            self._lattices[key] = self._lattice(word, power)
        lattice = self._lattices[key]
        pieces: list[str] = []
        end = len(word)
        while end:
            shares, starts = lattice[end]
            start = starts[min(bisect_right(shares, generator.random() * shares[-1]), len(starts) - 1)]
            pieces.append(word[start:end])
            end = start
        return pieces[::-1]

    def _lattice(self, word: str, power: float) -> list[_Ends]:
        """The pieces that can end at each place of a word, with the sums of the forward algorithm."""
        totals = [0.0]  # log of the summed probability of each place
        lattice = [_Ends([], [])]
        for end in range(1, len(word) + 1):
            starts, logs = [], []
            for start in range(max(0, end - self._longest), end):
                piece = self._pieces.get(word[start:end])
                if piece is not None or start == end - 1:
                    starts.append(start)
                    logs.append(totals[start] + power * (self._least if piece is None else piece.score))
            highest = max(logs)
            shares, total = [], 0.0
            for one in logs:
                total += math.exp(one - highest)
                shares.append(total)
            totals.append(highest + math.log(total))
            lattice.append(_Ends(shares, starts))
        return lattice


def _can(method: str, model: sentencepiece.SentencePieceProcessor, **options: object) -> bool:
    """Whether a model of this kind has a method."""
    try:
        getattr(model, method)("a", **options)
    except RuntimeError:
        return False
    return True


def _words(text: str) -> list[str]:
    """Cut a text before each space; no piece crosses one."""
    first, *others = text.split(SPACE_MARK)
    return [first, *(SPACE_MARK + word for word in others)] if first else [SPACE_MARK + word for word in others]


def _make_room(tables: dict[Any, Any]) -> None:
    if len(tables) >= _MOST_WORDS:
        tables.clear()
