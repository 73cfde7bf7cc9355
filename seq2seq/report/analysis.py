"""Everything that a report says, worked out from the runs: plain figures, before one is drawn or put in words."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2seq.report.arms import Arm, Factor, Run, Sweep, shown
from seq2seq.report.significance import METRICS, Contrast, PairedResult, contrast, holm, paired_tests, resample

Array = npt.NDArray[np.float64]

TITLES = {"bleu": "BLEU", "chrf": "chrF", "exact_match": "exact match"}
NEAR_BEST = 0.9  # of the best validation score: the time until then is compared
NUM_BINS = 6  # of source length
FEW = 0.05  # positions that fewer of the sentences have are not shown
NUM_EXAMPLES = 5


class Mean(NamedTuple):
    """Mean over the seeds, and the standard deviation of a sample (with n - 1); None for a single one."""

    mean: float
    sd: float | None


class Row(NamedTuple):
    """An arm's figures. ``to_near_best``: seconds, or None where a seed did not get there."""

    arm: Arm
    figures: dict[str, Mean]
    parameters: int
    to_near_best: Mean | None


class Comparison(NamedTuple):
    """A question, and what the runs answer. ``p`` is adjusted for all comparisons of its metric."""

    kind: str  # "difference", "interaction" or "control"
    title: str
    weights: dict[str, float]
    contrast: Contrast
    p: float | None


class Paired(NamedTuple):
    """A run against the baseline's run with the same seed, tested on the sentences alone."""

    arm: str
    seed: int
    tests: tuple[PairedResult, ...]


class Grid(NamedTuple):
    """Two factors with two values each, all else as in the baseline: ``arms[i][j]`` has value i of the first one."""

    factors: tuple[Factor, Factor]
    arms: tuple[tuple[Arm, Arm], tuple[Arm, Arm]]


class Bin(NamedTuple):
    """Sentences whose source has from ``low`` to ``high`` units, and each arm's mean score on them."""

    low: int
    high: int
    num_sentences: int
    scores: dict[str, float]


class Example(NamedTuple):
    """A test sentence and what each arm's first seed makes of it."""

    source: str
    reference: str
    outputs: tuple[tuple[str, str, bool], ...]  # arm, translation, whether it is the reference


class Analysis(NamedTuple):
    """The contents of a report."""

    sweep: Sweep
    metric: str  # that the runs were trained for, and that the plots show
    unit: str  # "character" or "word": what lengths and positions are counted in
    rows: tuple[Row, ...]
    comparisons: dict[str, tuple[Comparison, ...]]  # by metric
    paired: tuple[Paired, ...]
    uncompared: tuple[str, ...]  # arms whose test set is another one
    grids: tuple[Grid, ...]
    by_length: tuple[Bin, ...]
    by_position: dict[str, tuple[float, ...]]  # arm: percent of wrong units at each target position
    examples: tuple[Example, ...]

    @property
    def num_seeds(self) -> int:
        """The fewest that an arm has."""
        return min(len(arm.runs) for arm in self.sweep.arms)


def analyse(sweep: Sweep) -> Analysis:
    """Work everything out. Nothing depends on anything but the runs; all draws have fixed seeds."""
    metric = _main_metric(sweep)
    comparable, uncompared = _same_test_set(sweep.arms)
    statistics_of = {name: _statistics(comparable, name) for name in METRICS}
    grids = _grids(sweep, comparable)
    questions = _questions(sweep, comparable, grids)
    unit = _unit(comparable[0].runs[0].references)
    return Analysis(
        sweep=sweep,
        metric=metric,
        unit=unit,
        rows=_rows(sweep.arms, metric),
        comparisons={name: _compare(name, statistics_of[name], questions) for name in METRICS},
        paired=_paired(comparable, metric),
        uncompared=tuple(arm.name for arm in uncompared),
        grids=grids,
        by_length=_by_length(comparable, statistics_of[metric], metric, unit),
        by_position={arm.name: _by_position(arm.runs, unit) for arm in comparable},
        examples=_examples(comparable, statistics_of["chrf"]),
    )


def _main_metric(sweep: Sweep) -> str:
    monitor = sweep.arms[0].runs[0].config.trainer.monitor
    return monitor if monitor in METRICS else "bleu"


def _same_test_set(arms: Sequence[Arm]) -> tuple[list[Arm], list[Arm]]:
    """The arms that were scored on the baseline's sentences, spaces at the ends apart, and the others."""

    def lines(run: Run) -> list[str]:
        return [line.strip() for line in (*run.sources, *run.references)]

    wanted = lines(arms[0].runs[0])
    same = [arm for arm in arms if all(lines(run) == wanted for run in arm.runs)]
    return same, [arm for arm in arms if arm not in same]


def _statistics(arms: Sequence[Arm], metric: str) -> dict[str, Array]:
    measure = METRICS[metric].statistics
    return {arm.name: np.stack([measure(run.hypotheses, run.references) for run in arm.runs]) for arm in arms}


def _mean(values: Iterable[float]) -> Mean:
    known = list(values)
    return Mean(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def _rows(arms: Sequence[Arm], metric: str) -> tuple[Row, ...]:
    column = f"valid/{metric}"
    best = max((statistics.fmean(_best(run, column) for run in arm.runs) for arm in arms), default=0.0)
    rows = []
    for arm in arms:
        results = [run.result for run in arm.runs]
        figures = {name: _mean(result[name] for result in results) for name in (*METRICS, "perplexity")}
        figures["tokens_per_second"] = _mean(result["train_tokens_per_second"] for result in results)
        figures["sentences_per_second"] = _mean(result["sentences_per_second"] for result in results)
        figures["train_seconds"] = _mean(result["train_seconds"] for result in results)
        figures["best"] = _mean(_best(run, column) for run in arm.runs)
        figures["last"] = _mean(run.curve[-1][column] if run.curve else 0.0 for run in arm.runs)
        reached = [_seconds_to(run, column, NEAR_BEST * best) for run in arm.runs]
        known = [seconds for seconds in reached if seconds is not None]
        to_near_best = _mean(known) if len(known) == len(reached) else None
        rows.append(Row(arm, figures, results[0]["parameters"], to_near_best))
    return tuple(rows)


def _best(run: Run, column: str) -> float:
    return max((row[column] for row in run.curve), default=0.0)


def _seconds_to(run: Run, column: str, target: float) -> float | None:
    return next((row["seconds"] for row in run.curve if row[column] >= target), None)


def _grids(sweep: Sweep, arms: Sequence[Arm]) -> tuple[Grid, ...]:
    """Every two factors' first two values, where all four arms are there and everything else is as in the baseline."""
    base = sweep.arms[0].values
    found = []
    for one, other in itertools.combinations(sweep.factors, 2):
        cells = [
            [sweep.arm(base | {one.key: first, other.key: second}) for second in other.values[:2]]
            for first in one.values[:2]
        ]
        four = [cell for row in cells for cell in row if cell is not None and cell in arms]
        if len(four) == 4:
            found.append(Grid((one, other), ((four[0], four[1]), (four[2], four[3]))))
    return tuple(found)


def _questions(sweep: Sweep, arms: Sequence[Arm], grids: Sequence[Grid]) -> list[tuple[str, str, dict[str, float]]]:
    """What is asked of the arms: (kind, title, weights)."""
    base = arms[0]
    asked = [("difference", f"{arm.name} − {base.name}", {arm.name: 1.0, base.name: -1.0}) for arm in arms[1:]]
    asked += [
        ("control", f"{arm.name} − {wide.name}", {arm.name: 1.0, wide.name: -1.0}) for arm, wide in _controls(arms)
    ]
    for grid in grids:
        (plain, second), (first, both) = grid.arms
        weights = {both.name: 1.0, first.name: -1.0, second.name: -1.0, plain.name: 1.0}
        one, other = (f"{factor.key.rpartition('.')[2]}" for factor in grid.factors)
        asked.append(("interaction", f"{one} × {other}", weights))
    return asked


def _controls(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Each arm with peeky beside the one without it that was widened to as many parameters."""
    pairs = []
    for arm, wide in itertools.product(arms, arms):
        if not wide.values.get("model.match_peeky") or arm.values.get("model.peeky") in (None, "none"):
            continue
        different = {key for key in arm.values if arm.values[key] != wide.values[key]}
        if different == {"model.peeky", "model.match_peeky"}:
            pairs.append((arm, wide))
    return pairs


def _compare(
    metric: str, stats: dict[str, Array], questions: Sequence[tuple[str, str, dict[str, float]]]
) -> tuple[Comparison, ...]:
    if not questions or next(iter(stats.values())).shape[1] < 2:
        return ()
    resampled = resample(METRICS[metric], stats)
    if not any(scores.any() for scores in resampled.scores.values()):
        return ()  # BLEU of lines with fewer than four words is 0 everywhere
    contrasts = [contrast(resampled, weights) for _, _, weights in questions]
    adjusted = holm([one.p for one in contrasts])
    return tuple(
        Comparison(kind, title, weights, one, p)
        for (kind, title, weights), one, p in zip(questions, contrasts, adjusted, strict=True)
    )


def _paired(arms: Sequence[Arm], metric: str) -> tuple[Paired, ...]:
    """The tests of sacreBLEU's command (and McNemar's of exact match), seed by seed."""
    base = {run.seed: run for run in arms[0].runs}
    found = []
    for arm in arms[1:]:
        for run in arm.runs:
            if run.seed in base:
                other = base[run.seed]
                tests = paired_tests(other.hypotheses, run.hypotheses, run.references, metrics=[metric])
                found.append(Paired(arm.name, run.seed, tuple(tests)))
    return tuple(found)


def _unit(references: Sequence[str]) -> str:
    """Lines that are mostly single words are counted in characters."""
    words = sum(len(line.split()) for line in references)
    return "character" if words < 1.5 * len(references) else "word"


def units(line: str, unit: str) -> list[str]:
    """A line's characters or words."""
    return list(line.strip()) if unit == "character" else line.split()


def _by_length(arms: Sequence[Arm], stats: dict[str, Array], metric: str, unit: str) -> tuple[Bin, ...]:
    lengths = np.array([len(units(line, unit)) for line in arms[0].runs[0].sources])
    bins = []
    for low, high in _bounds(lengths):
        inside = (lengths >= low) & (lengths <= high)
        scores = {name: float(METRICS[metric].score(one[:, inside].sum(axis=1)).mean()) for name, one in stats.items()}
        bins.append(Bin(low, high, int(inside.sum()), scores))
    return tuple(bins)


def _bounds(lengths: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of length that hold about equally many sentences each; a length is in one of them alone."""
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


def _by_position(found: Sequence[Run], unit: str) -> tuple[float, ...]:
    """Percent of the references' units at each position that the translation does not have there."""
    wrong: dict[int, int] = {}
    total: dict[int, int] = {}
    for run in found:
        for hypothesis, reference in zip(run.hypotheses, run.references, strict=True):
            said = units(hypothesis, unit)
            for i, wanted in enumerate(units(reference, unit)):
                total[i] = total.get(i, 0) + 1
                wrong[i] = wrong.get(i, 0) + (i >= len(said) or said[i] != wanted)
    most = FEW * sum(len(run.references) for run in found)
    return tuple(100 * wrong[i] / total[i] for i in sorted(total) if total[i] >= most)


def _examples(arms: Sequence[Arm], stats: dict[str, Array]) -> tuple[Example, ...]:
    """The sentences on which the arms' mean chrF differs most."""
    if len(arms) < 2:
        return ()
    scores = np.stack([METRICS["chrf"].score(one).mean(axis=0) for one in stats.values()])  # (arms, sentences)
    spread = scores.std(axis=0)
    chosen = np.argsort(-spread, kind="stable")[:NUM_EXAMPLES]
    first = [arm.runs[0] for arm in arms]
    examples = []
    for i in chosen.tolist():
        reference = first[0].references[i].strip()
        outputs = [
            (arm.name, run.hypotheses[i].strip(), run.hypotheses[i].strip() == reference)
            for arm, run in zip(arms, first, strict=True)
        ]
        examples.append(Example(first[0].sources[i].strip(), reference, tuple(outputs)))
    return tuple(examples)


def describe_factors(sweep: Sweep) -> list[tuple[str, str, str]]:
    """(key, values, keys that change with it) of each factor."""
    return [
        (factor.key, ", ".join(shown(value) for value in factor.values), ", ".join(factor.others))
        for factor in sweep.factors
    ]


def probes(arm: Arm) -> list[dict[str, Any]]:
    """What the arm's probed runs hold."""
    return [run.probe for run in arm.runs if run.probe]
