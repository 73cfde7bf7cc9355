"""Break scores down by length and position, and choose sentences to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seq2seq.report.arms import Arm, Run
from seq2seq.report.metrics import METRICS, Array, Metric

NUM_BINS = 6  # of source length
SHOWN_SHARE = 0.05  # positions that fewer of the sentences have are not shown
NUM_EXAMPLES = 5


class Bin(NamedTuple):
    """Test sentences of similar length, and each arm's mean score on them.

    The length, from ``low`` to ``high`` units, is that of the source, or of the sentence where there are no sources.
    """

    low: int
    high: int
    num_sentences: int
    scores: dict[str, float]


class Example(NamedTuple):
    """A test sentence and what each arm's first seed makes of it."""

    source: str
    reference: str
    outputs: tuple[tuple[str, str, bool], ...]  # arm, translation, whether it is the reference


def unit_of(references: Sequence[str]) -> str:
    """The unit of length: characters if most lines are single words, else words."""
    words = sum(len(line.split()) for line in references)
    return "character" if words < 1.5 * len(references) else "word"


def units(line: str, unit: str) -> list[str]:
    """A line's characters or words."""
    return list(line.strip()) if unit == "character" else line.split()


def by_length(arms: Sequence[Arm], stats: dict[str, Array], metric: Metric, unit: str) -> tuple[Bin, ...]:
    first = arms[0].runs[0]
    lengths = np.array([len(units(line, unit)) for line in first.sources or first.references])
    bins = []
    for low, high in _bounds(lengths):
        inside = (lengths >= low) & (lengths <= high)
        scores = {name: float(metric.score(one[:, inside].sum(axis=1)).mean()) for name, one in stats.items()}
        bins.append(Bin(low, high, int(inside.sum()), scores))
    return tuple(bins)


def _bounds(lengths: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of length with about equally many sentences each; each length is in exactly one."""
    values, counts = np.unique(lengths, return_counts=True)
    share = len(lengths) / min(NUM_BINS, len(values))
    bounds: list[tuple[int, int]] = []
    low, held = int(values[0]), 0
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        held += count
        if held >= share * 0.75 or value == values[-1]:
            bounds.append((low, value))
            low, held = value + 1, 0
    return bounds


def by_position(found: Sequence[Run], unit: str) -> tuple[float, ...]:
    """Percent of wrong units at each position of the references."""
    wrong: dict[int, int] = {}
    total: dict[int, int] = {}
    for run in found:
        for hypothesis, reference in zip(run.hypotheses, run.references, strict=True):
            said = units(hypothesis, unit)
            for i, wanted in enumerate(units(reference, unit)):
                total[i] = total.get(i, 0) + 1
                wrong[i] = wrong.get(i, 0) + (i >= len(said) or said[i] != wanted)
    most = SHOWN_SHARE * sum(len(run.references) for run in found)
    return tuple(100 * wrong[i] / total[i] for i in sorted(total) if total[i] >= most)


def examples_of(arms: Sequence[Arm], stats: dict[str, Array]) -> tuple[Example, ...]:
    """The sentences on which the arms' mean chrF differs most."""
    if len(arms) < 2:
        return ()
    scores = np.stack([METRICS["chrf"].score(one).mean(axis=0) for one in stats.values()])  # (arms, sentences)
    spread = scores.std(axis=0)
    chosen = [i for i in np.argsort(-spread, kind="stable")[:NUM_EXAMPLES].tolist() if spread[i] > 0]
    first = [arm.runs[0] for arm in arms]
    examples = []
    for i in chosen:
        reference = first[0].references[i].strip()
        outputs = [
            (arm.name, run.hypotheses[i].strip(), run.hypotheses[i].strip() == reference)
            for arm, run in zip(arms, first, strict=True)
        ]
        examples.append(Example(first[0].sources[i].strip(), reference, tuple(outputs)))
    return tuple(examples)
