"""Step functions without a network, and slow searches over them in plain Python to compare the fast ones with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.decoding.settings import BeamSettings

A, B, END, START = 0, 1, 2, 3
CHAIN = torch.tensor(  # from a, b, end, start to a, b, end
    [[0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.7, 0.2, 0.1]]
)


class Nothing(NamedTuple):
    """The state of a chain: how many rows are still there."""

    rows: Tensor

    def select(self, rows: Tensor) -> Nothing:
        return Nothing(self.rows[rows])


def nothing(num_rows: int) -> Nothing:
    return Nothing(torch.arange(num_rows))


def chain_step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
    assert len(last) == len(state.rows)
    return CHAIN[last].log(), state


class History(NamedTuple):
    """A number that all tokens so far went into, with made-up attention."""

    key: Tensor  # (n,); at first, which sentence it is
    mask: Tensor  # (n, src_length)
    attention: Tensor | None = None

    def select(self, rows: Tensor) -> History:
        return History(self.key[rows], self.mask[rows], None if self.attention is None else self.attention[rows])


def history(keys: Sequence[int], src_length: int = 3) -> History:
    """Sentences whose sources have 1 to 3 positions."""
    keys_ = torch.tensor(list(keys), dtype=torch.long)
    return History(keys_, torch.arange(src_length) <= (keys_ % 3).unsqueeze(1))


def _mix(numbers: Tensor) -> Tensor:
    """Scramble numbers below 2**31."""
    for factor in (0x2C1B3C6D, 0x297A2D39):
        numbers = ((numbers ^ (numbers >> 15)) * factor) & 0x7FFFFFFF
    return numbers ^ (numbers >> 15)


LOGS = torch.arange(1000).log()  # one table, so that a row's numbers are the same in every batch


def history_step(last: Tensor, state: History, vocab: int = 4) -> tuple[Tensor, History]:
    """Every history has a distribution of its own, with ratios of small numbers, so some are 0 and many are equal."""
    key = _mix(state.key * 31 + last + 1)
    weights = _mix(key.unsqueeze(1) * vocab + torch.arange(vocab)) % 7
    weights[:, -1] += weights.sum(1) == 0
    seen = (_mix(key.unsqueeze(1) * 5 + 1 + torch.arange(state.mask.shape[1])) % 4 + 0.25) * state.mask
    log_probs = LOGS[weights] - LOGS[weights.sum(1, keepdim=True)]
    return log_probs, History(key, state.mask, seen / seen.sum(1, keepdim=True))


class Path(NamedTuple):
    """A finished sequence of one sentence."""

    tokens: list[int]  # without the end symbol
    score: float
    normalised: float


def rank(score: float, length: int, settings: BeamSettings, attention: Tensor | None) -> float:
    """Equation 14 of Wu et al. (2016); attention ``(length, real source positions)``."""
    normalised = score / ((5 + length) / 6) ** settings.length_penalty
    if settings.coverage_penalty and attention is not None:
        normalised += settings.coverage_penalty * sum(math.log(min(x, 1)) for x in attention.sum(0).tolist())
    return normalised


def sequences(state: History, bos: int, eos: int | None, limit: int, settings: BeamSettings) -> Iterator[Path]:
    """Every sequence of one sentence that has a probability."""

    def grow(tokens: list[int], score: float, state: History, seen: list[Tensor]) -> Iterator[Path]:
        if tokens and (tokens[-1] == eos or len(tokens) == limit):
            output = tokens[:-1] if tokens[-1] == eos else tokens
            yield Path(output, score, rank(score, len(tokens), settings, torch.stack(seen)))
            return
        log_probs, state = history_step(torch.tensor([tokens[-1] if tokens else bos]), state)
        assert state.attention is not None
        for token, log_prob in enumerate(log_probs[0].tolist()):
            if log_prob > -math.inf:
                yield from grow([*tokens, token], score + log_prob, state, [*seen, state.attention[0][state.mask[0]]])

    return grow([], 0.0, state, [])


def plain_beam(state: History, bos: int, eos: int | None, limit: int, settings: BeamSettings) -> list[Path]:
    """Beam search of one sentence, with lists, to the last step."""
    opened: list[tuple[float, list[int], History, list[Tensor]]] = [(0.0, [], state, [])]
    finished: list[Path] = []
    for length in range(1, limit + 1):
        candidates = []
        for parent, (score, tokens, before, seen) in enumerate(opened):
            log_probs, after = history_step(torch.tensor([tokens[-1] if tokens else bos]), before)
            assert after.attention is not None
            seen_now = [*seen, after.attention[0][after.mask[0]]]
            for token, log_prob in enumerate(log_probs[0].tolist()):
                if log_prob > -math.inf:
                    candidates.append((-score - log_prob, parent, token, tokens, after, seen_now))
        candidates.sort(key=lambda one: one[:3])
        opened, room = [], settings.size - len(finished)
        for negative, _, token, tokens, after, seen in candidates[:room]:
            if token == eos or length == limit:
                output = tokens if token == eos else [*tokens, token]
                finished.append(Path(output, -negative, rank(-negative, length, settings, torch.stack(seen))))
            else:
                opened.append((-negative, [*tokens, token], after, seen))
    return sorted(finished, key=lambda one: -one.normalised)[: settings.num_best]
