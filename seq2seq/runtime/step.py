"""What every search in NumPy shares: states, step functions, and the highest of many log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

GROUP = 32  # log-probabilities of which the highest is looked at first
TINY = np.finfo(np.float32).tiny


class State(Protocol):
    """What a step function carries from step to step; row i belongs to sentence i.

    It may also have ``attention`` ``(batch, src_length)``, the weights of the step just taken, or None; and ``mask`` of
    the same shape, True at real positions of the source, or None where all are real.
    """

    def select(self: AnyState, rows: np.ndarray) -> AnyState:
        """Return the state of these rows of the batch, in this order."""


AnyState = TypeVar("AnyState", bound=State)


# From last tokens (n,) and state to log-probabilities (n, vocabulary) and the next state.
Step = Callable[[np.ndarray, AnyState], tuple[np.ndarray, AnyState]]


# From log-probabilities (n, vocabulary), the rows (n,) that they are of, and the number of tokens that these have, to
# the log-probabilities and the tokens that are chosen, each (n,).
Choose = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def gather_attention(steps: Sequence[np.ndarray], paths: Sequence[Sequence[int]]) -> list[Any]:
    """Each path's attention ``(steps, src_length)``, from that of the batches ``(n, src_length)``; None if there is
    none.

    Args:
        paths: the row of the batch that each path stood at, step by step from the first.
    """
    if not steps:
        return [None] * len(paths)
    return [np.stack([steps[i][row] for i, row in enumerate(path)]) for path in paths]


def likeliest(log_probs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` highest of each row and their tokens, best first, lower tokens first among equals; each
    ``(n, at most count)``.

    Only the groups with the highest maxima are searched, which hold the highest. Rows with equals are sorted.
    """
    count = min(count, log_probs.shape[1])
    if log_probs.shape[1] // GROUP < 4 * (count + 1):
        tokens = np.argsort(-log_probs, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(log_probs, tokens, 1), tokens
    values, tokens = _highest(log_probs, count + 1)  # one more, to see whether the last has an equal outside
    equal = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -np.inf)).any(1)
    for row in equal.nonzero()[0]:
        tokens[row] = np.argsort(-log_probs[row], kind="stable")[: count + 1]
        values[row] = log_probs[row, tokens[row]]
    return values[:, :count], tokens[:, :count]


def _highest(log_probs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` highest of each row, best first, and their places."""
    rows, size = log_probs.shape
    groups = size // GROUP
    # The members of a group stand apart, so that a maximum of whole rows is taken, which is several times faster.
    maxima = log_probs[:, : groups * GROUP].reshape(rows, GROUP, groups).max(1)
    first = np.argpartition(maxima, groups - count, 1)[:, groups - count :]  # (n, count)
    inside = (first[:, :, None] + np.arange(GROUP) * groups).reshape(rows, -1)
    rest = np.broadcast_to(np.arange(groups * GROUP, size), (rows, size - groups * GROUP))
    places = np.concatenate([inside, rest], 1)
    values = np.take_along_axis(log_probs, places, 1)
    top = np.argpartition(values, values.shape[1] - count, 1)[:, values.shape[1] - count :]
    values = np.take_along_axis(values, top, 1)
    order = np.argsort(-values, 1)
    return np.take_along_axis(values, order, 1), np.take_along_axis(np.take_along_axis(places, top, 1), order, 1)
