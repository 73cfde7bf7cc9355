"""Means of values by position, as the probes take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from torch import Tensor

from seq2seq.data.batches import Batch, enough_memory
from seq2seq.results.probe import Column

DIGITS = 6  # significant ones of every figure


class Means:
    """Means of values by position, from 0 to below ``size``, and over all positions; summed in float64."""

    def __init__(self, size: int) -> None:
        self.sums, self.counts = np.zeros(size), np.zeros(size, dtype=np.int64)
        self.sum, self.count = 0.0, 0

    def add(self, positions: Tensor, values: Tensor) -> None:
        """Values ``(n,)`` and where each belongs ``(n,)``."""
        at, summands = positions.cpu().numpy(), values.cpu().double().numpy()
        self.sum += float(summands.sum())
        self.count += len(summands)
        inside = at < len(self.sums)
        self.sums += np.bincount(at[inside], summands[inside], minlength=len(self.sums))
        self.counts += np.bincount(at[inside], minlength=len(self.counts))

    def overall(self) -> float | None:
        """The mean of all values."""
        return rounded(self.sum / self.count) if self.count else None

    def by_position(self) -> Column:
        """The mean at each position; None where nothing was added."""
        each = zip(self.sums, self.counts, strict=True)
        return tuple(rounded(total / count) if count else None for total, count in each)


def rounded(value: float) -> float | None:
    """Round to the digits that are kept; None for a number that is not finite."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def table(columns: Mapping[str, Means]) -> dict[str, Any]:
    """Return the means by position, up to the last that any sentence has, and the counts of the first column."""
    counts = next(iter(columns.values())).counts
    size = int(counts.nonzero()[0].max(initial=-1)) + 1
    means = {name: column.by_position()[:size] for name, column in columns.items()}
    return {**means, "count": tuple(counts[:size].tolist())}


def enough_for(batch: Batch) -> AbstractContextManager[None]:
    """Name the batch if memory does not suffice for it; see `enough_memory`."""
    remedy = "leave out the longest pairs"
    return enough_memory(batch.shape, remedy, single=remedy)
