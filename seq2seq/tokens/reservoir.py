"""A random sample of a stream of unknown length."""

from __future__ import annotations

import random
from collections.abc import Iterable

SEED = 1984


def sample(lines: Iterable[str], size: int) -> list[str]:
    """Draw ``size`` lines in one pass, each equally likely, and return them in their order; all where there are fewer.

    The sample is a function of the lines and the size. Memory is that of the sample.

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
