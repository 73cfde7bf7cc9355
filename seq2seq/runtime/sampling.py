"""Sampling in NumPy; `seq2seq.decoding.sampling` explains it and draws the same with torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2seq.decoding.base import Hypothesis
from seq2seq.decoding.draws import numbers
from seq2seq.decoding.settings import SamplingSettings
from seq2seq.runtime.greedy import follow, highest
from seq2seq.runtime.step import AnyState, Step, likeliest

FEW = 64  # tokens, which most often reach top_p; sorting the whole vocabulary takes long


def sample(
    step: Step[AnyState], state: AnyState, *, seeds: Sequence[int], settings: SamplingSettings, **options: Any
) -> list[Hypothesis]:
    """Draw one output for each row; the arguments are those of `seq2seq.decoding.sampling.sample`.

    The random numbers are the same as there, so that draws differ only where rounding moves a border past one.
    """
    drawn = numbers(seeds, options["max_lengths"])  # (batch, longest)

    def choose(log_probs: np.ndarray, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        if settings.temperature == 0:
            return highest(log_probs, rows, length)
        tokens = _draw(log_probs, drawn[rows, length], settings)
        return log_probs[np.arange(len(rows)), tokens], tokens

    return follow(step, state, choose, **options)


def _draw(log_probs: np.ndarray, chosen: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """Where each chosen number ``(n,)`` falls in the cumulative distribution over the tokens that are kept."""
    wide = log_probs.astype(np.float64)
    wide[:, list(settings.barred)] = -np.inf
    tempered = log_softmax((wide - wide.max(1, keepdims=True)) / settings.temperature)
    total = (np.exp(tempered) * _kept(tempered, settings)).cumsum(1)  # (n, vocabulary)
    return (total <= chosen[:, None] * total[:, -1:]).sum(1)


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities along the last dimension, in the type of the values."""
    below = values - values.max(-1, keepdims=True)
    return below - np.log(np.exp(below).sum(-1, keepdims=True))


def _kept(log_probs: np.ndarray, settings: SamplingSettings) -> np.ndarray | float:
    """The tokens that may be drawn, 1 or 0, ``(n, vocabulary)``."""
    if settings.top_k == 0 and settings.top_p == 1:
        return 1.0
    values, tokens = likeliest(log_probs, settings.top_k or FEW)
    if settings.top_k == 0 and (np.exp(values).sum(1) < settings.top_p).any():
        values, tokens = likeliest(log_probs, log_probs.shape[1])
    kept = np.zeros_like(log_probs)
    np.put_along_axis(kept, tokens, _smallest_set(values, settings.top_p), 1)
    return kept


def _smallest_set(log_probs: np.ndarray, top_p: float) -> np.ndarray:
    """Of sorted log-probabilities ``(n, count)`` those needed to reach ``top_p``, 1 or 0."""
    if top_p == 1:
        return np.ones_like(log_probs)
    probs = np.exp(log_probs)
    above = np.concatenate([np.zeros_like(probs[:, :1]), probs.cumsum(1)[:, :-1]], 1)  # of all that are likelier
    return (above < top_p).astype(log_probs.dtype)
