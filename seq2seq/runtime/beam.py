"""Beam search in NumPy; `seq2seq.decoding.beam` explains it and finds the same with torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seq2seq.decoding.base import Hypothesis
from seq2seq.decoding.settings import BeamSettings
from seq2seq.runtime.prefixes import force, prefix_table
from seq2seq.runtime.step import TINY, AnyState, State, Step, gather_attention, likeliest


def beam(
    step: Step[AnyState],
    state: AnyState,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    settings: BeamSettings,
    prefixes: Sequence[Sequence[int]],
    keep_attention: bool = False,
) -> list[list[Hypothesis]]:
    """The best hypotheses of each row, best first; the arguments are those of `seq2seq.decoding.beam.beam`.

    Of equal scores, the one that ended earlier stands first, then the one whose parent does, then the lower token.

    Raises:
        ValueError: if coverage is to count and the state has no attention.
    """
    table, finished = prefix_table(prefixes), _Finished(max_lengths, eos, settings)
    opened = _Open.first(len(max_lengths), bos)
    coverage: np.ndarray | float = 0.0  # (n, src_length): the attention that each source position has had
    steps: list[np.ndarray] = []
    for length in range(max(max_lengths, default=0)):
        log_probs, state = step(opened.tokens[:, -1], state)
        if length < table.shape[1]:
            log_probs = force(log_probs, table[opened.sentence, length])
        attention: np.ndarray | None = getattr(state, "attention", None)
        if keep_attention and attention is not None:
            steps.append(attention)
        coverage = covered(coverage, attention) if settings.coverage_penalty else coverage
        grown = _grow(opened, *likeliest(log_probs, settings.size), size=settings.size)
        opened, parents = finished.take(grown, opened, _penalty(coverage, state))
        if not len(parents):
            break
        if not np.array_equal(parents, np.arange(len(log_probs))):
            state = state.select(parents)
            coverage = coverage[parents] if isinstance(coverage, np.ndarray) else coverage
    return finished.best(steps)


class _Open(NamedTuple):
    """The n open hypotheses, in the order of their sentences and then from the best."""

    sentence: np.ndarray  # (n,)
    score: np.ndarray  # (n,), float64
    tokens: np.ndarray  # (n, 1 + length), bos first
    path: np.ndarray  # (n, length): where its ancestors stood in the batch of each step

    @staticmethod
    def first(num_sentences: int, bos: int) -> _Open:
        """The empty hypothesis of each sentence."""
        tokens, path = np.full((num_sentences, 1), bos), np.zeros((num_sentences, 0), np.int64)
        return _Open(np.arange(num_sentences), np.zeros(num_sentences), tokens, path)

    def extend(self, parents: np.ndarray, tokens: np.ndarray, score: np.ndarray) -> _Open:
        """Children ``(m,)`` of the hypotheses at ``parents``."""
        path = np.concatenate([self.path[parents], parents[:, None]], 1)
        return _Open(self.sentence[parents], score, np.concatenate([self.tokens[parents], tokens[:, None]], 1), path)


class _Grown(NamedTuple):
    """The best continuations of each sentence with open hypotheses, best first."""

    sentence: np.ndarray  # (m,)
    score: np.ndarray  # (m, width), -inf where there are no more
    parent: np.ndarray  # (m, width), into the open ones
    token: np.ndarray  # (m, width)


def _grow(opened: _Open, values: np.ndarray, tokens: np.ndarray, *, size: int) -> _Grown:
    """The ``size`` best of each sentence's continuations, given the likeliest of each hypothesis ``(n, count)``."""
    (first,) = np.diff(opened.sentence, prepend=-1).nonzero()  # (m,): where each sentence's open ones begin
    group = np.repeat(np.arange(len(first)), np.diff(first, append=len(opened.sentence)))
    place = np.arange(len(group)) - first[group]
    count = values.shape[1]
    scores = np.full((len(first), int(place.max()) + 1, count), -np.inf)
    scores[group, place] = opened.score[:, None] + values
    flat = scores.reshape(len(first), -1)
    index = np.argsort(-flat, axis=1, kind="stable")[:, :size]  # by score, then by parent, then by token
    parent = np.minimum(first[:, None] + index // count, len(group) - 1)  # past it there are only gaps
    ranked = np.take_along_axis(flat, index, 1)
    return _Grown(opened.sentence[first], ranked, parent, tokens[parent, index % count])


def covered(coverage: np.ndarray | float, attention: np.ndarray | None) -> np.ndarray:
    """Coverage with the attention of one more step.

    Raises:
        ValueError: if there is no attention.
    """
    if attention is None:
        raise ValueError("coverage_penalty needs a model with attention; the state of this one has none.")
    return coverage + attention


def coverage_of(attention: np.ndarray | None) -> float:
    """The coverage of a finished hypothesis, from its attention ``(length, real source positions)``."""
    received = covered(0.0, attention).sum(0).clip(TINY, 1)
    return float(np.log(received).astype(np.float64).sum())


def _penalty(coverage: np.ndarray | float, state: State) -> np.ndarray | float:
    """The sum over real source positions of log(min(coverage, 1)), ``(n,)``."""
    if not isinstance(coverage, np.ndarray):
        return 0.0
    mask: np.ndarray | None = getattr(state, "mask", None)
    logs = np.log(coverage.clip(TINY, 1))  # tiny: nothing seen is bad, and still finite
    return (logs if mask is None else np.where(mask, logs, 0)).astype(np.float64).sum(1)


class _Ended(NamedTuple):
    hypothesis: Hypothesis
    normalised: float
    path: list[int]


class _Finished:
    """Finished hypotheses, and the check which open ones can still matter."""

    def __init__(self, max_lengths: Sequence[int], eos: int | None, settings: BeamSettings) -> None:
        self.eos = -1 if eos is None else eos
        self.settings = settings
        self.limits = np.array(max_lengths, np.int64)
        self.room = np.full_like(self.limits, settings.size)
        self.found: list[list[_Ended]] = [[] for _ in max_lengths]
        lengths = range(max(max_lengths, default=0) + 1)
        # What the log-probability of so many steps is divided by.
        self.divisors = np.array([((5 + length) / 6) ** settings.length_penalty for length in lengths])
        # (sentences, num_best): what the best that have ended rank at
        self.bests = np.full((len(self.found), settings.num_best), -np.inf)

    def take(self, grown: _Grown, opened: _Open, coverage: np.ndarray | float) -> tuple[_Open, np.ndarray]:
        """Take what has ended out of what has grown; returns the rest, and its rows in the batch of this step."""
        room, limits = self.room[grown.sentence][:, None], self.limits[grown.sentence][:, None]
        length = opened.tokens.shape[1]  # bos stands for the new token
        kept = (grown.score > -np.inf) & (np.arange(grown.score.shape[1]) < room)
        ended = kept & ((grown.token == self.eos) | (limits <= length))
        if ended.any():
            penalty = coverage[grown.parent] if isinstance(coverage, np.ndarray) else coverage
            normalised = grown.score / self.divisors[length] + self.settings.coverage_penalty * penalty
            self._record(grown, opened, ended, normalised)
        can_win = grown.score / self.divisors[limits] > self.bests[grown.sentence, -1:]
        going = kept & ~ended
        going &= (going & can_win).any(1, keepdims=True)
        parents = grown.parent[going]
        return opened.extend(parents, grown.token[going], grown.score[going]), parents

    def _record(self, grown: _Grown, opened: _Open, ended: np.ndarray, normalised: np.ndarray) -> None:
        ranks = np.concatenate([self.bests[grown.sentence], np.where(ended, normalised, -np.inf)], 1)
        self.bests[grown.sentence] = -np.sort(-ranks, axis=1)[:, : self.settings.num_best]
        self.room[grown.sentence] -= ended.sum(1)
        children = opened.extend(grown.parent[ended], grown.token[ended], grown.score[ended])
        columns = zip(*(column.tolist() for column in (*children, normalised[ended])), strict=True)
        for sentence, score, (_, *tokens), path, rank in columns:
            output = tokens[:-1] if tokens[-1] == self.eos else tokens
            self.found[sentence].append(_Ended(Hypothesis(output, score, rank), rank, path))

    def best(self, steps: Sequence[np.ndarray]) -> list[list[Hypothesis]]:
        """Each sentence's best, with the attention that ``steps`` hold."""
        chosen = [
            sorted(ended, key=lambda one: -one.normalised)[: self.settings.num_best]  # stable: the earlier first
            for ended in self.found
        ]
        seen = iter(gather_attention(steps, [one.path for ended in chosen for one in ended]))
        return [[one.hypothesis._replace(attention=next(seen)) for one in ended] for ended in chosen]
