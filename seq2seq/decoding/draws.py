"""The random numbers of sampling: a function of the seed, the source and the number of the draw."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import numpy as np

from seq2seq.decoding.base import Request


def seeds(requests: Sequence[Request], seed: int, draw: int) -> list[int]:
    """A seed for each request: a function of ``decode.seed``, the source and the number of the draw."""
    found = []
    for one in requests:
        stream = np.array([seed, draw, *one.src], dtype="<u8").tobytes()
        found.append(int.from_bytes(hashlib.sha256(stream).digest()[:8], "little"))
    return found


def numbers(seeds: Sequence[int], max_lengths: Sequence[int]) -> np.ndarray:
    """Uniform numbers in [0, 1), ``(batch, longest)``: in row i the first ones of seed i, as many as it may need."""
    longest = max(max_lengths, default=0)
    rows = []
    for seed, limit in zip(seeds, max_lengths, strict=True):
        generator = random.Random(seed)  # whose numbers are the same in every version of Python
        rows.append([generator.random() for _ in range(limit)] + [0.0] * (longest - limit))
    return np.array(rows, dtype=np.float64).reshape(len(rows), longest)
