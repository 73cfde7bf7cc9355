"""A random sample of a stream of unknown length."""

from __future__ import annotations

import random
from collections.abc import Iterable

SEED = 1984


def sample(lines: Iterable[str], size: int) -> list[str]:
    """Sample ``size`` lines in one pass, in their order; all lines if there are fewer.

    Each line is equally likely. The sample is a function of the lines and the size, and only the sample is in memory.

    Source:
        Algorithm R, Vitter (1985), "Random sampling with a reservoir", https://doi.org/10.1145/3147.3165.
    """
    generator = random.Random(SEED)
    kept: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        if number < size:
            kept.append((number, line))
        elif (place := generator.randrange(number + 1)) < size:
            kept[place] = number, line
    return [line for _, line in sorted(kept)]
