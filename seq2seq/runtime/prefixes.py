"""Outputs whose beginning, or whole, is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def prefix_table(prefixes: Sequence[Sequence[int]]) -> np.ndarray:
    """Prefixes as a table ``(batch, longest)``, -1 past the end of each."""
    longest = max(map(len, prefixes), default=0)
    table = np.full((len(prefixes), longest), -1, np.int64)
    for row, prefix in zip(table, prefixes, strict=True):
        row[: len(prefix)] = prefix
    return table


def force(log_probs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Log-probabilities ``(n, vocabulary)`` in which nothing but the forced token is possible, where there is one.

    Args:
        tokens: ``(n,)``, the forced ones; -1 where the choice is free.

    Raises:
        ValueError: if the probability of one is 0.
    """
    (rows,) = (tokens >= 0).nonzero()
    if not len(rows):
        return log_probs
    values = log_probs[rows, tokens[rows]]
    if np.isneginf(values).any():
        raise ValueError(f"a prefix holds a token of probability 0: {tokens[rows][np.isneginf(values)][0]}.")
    forced = log_probs.copy()
    forced[rows] = -np.inf
    forced[rows, tokens[rows]] = values
    return forced
