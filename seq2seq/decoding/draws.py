"""The random numbers of sampling: a function of the seed, the source and the number of the draw."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import numpy as np


def seeds(contents: Sequence[bytes], seed: int, draw: int) -> list[int]:
    """A seed for each source: a function of ``decode.seed``, the source and the number of the draw.

    Args:
        contents: the sources as bytes; see `Layout.content`.
    """
    start = np.array([seed, draw], dtype="<u8").tobytes()
    return [int.from_bytes(hashlib.sha256(start + one).digest()[:8], "little") for one in contents]


def numbers(seeds: Sequence[int], max_lengths: Sequence[int]) -> np.ndarray:
    """Uniform numbers in [0, 1), ``(batch, longest)``: in row i the first ones of seed i, as many as it may need."""
    longest = max(max_lengths, default=0)
    rows = []
    for seed, limit in zip(seeds, max_lengths, strict=True):
        generator = random.Random(seed)  # whose numbers are the same in every version of Python
        rows.append([generator.random() for _ in range(limit)] + [0.0] * (longest - limit))
    return np.array(rows, dtype=np.float64).reshape(len(rows), longest)
