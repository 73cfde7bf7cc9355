"""Compute all figures of a report from its runs."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2seq.config.tasks import FIGURES, TASKS, TaskFacts
from seq2seq.report.arms import Arm, Factor, Run, Sweep, short, shown
from seq2seq.report.contrast import Contrast, contrast, holm, metrics_with, resample
from seq2seq.report.metrics import METRICS, Metric
from seq2seq.report.paired import PAIRED, PairedResult, paired_tests

Array = npt.NDArray[np.float64]

NEAR_BEST = 0.9  # of the best validation score: the time until then is compared
NUM_BINS = 6  # of source length
FEW = 0.05  # positions that fewer of the sentences have are not shown
NUM_EXAMPLES = 5
NUM_SAMPLES = 3


class Mean(NamedTuple):
    """Mean and standard deviation over seeds; the latter (with n - 1) is None for one seed."""

    mean: float
    sd: float | None


class Row(NamedTuple):
    """An arm's figures. ``to_near_best``: seconds, or None if a seed did not get there."""

    arm: Arm
    figures: dict[str, Mean | None]
    parameters: int
    to_near_best: Mean | None


class Comparison(NamedTuple):
    """A contrast between arms. ``p`` is adjusted for all comparisons of its metric."""

    kind: str  # "difference" (to the baseline), "control", "within", "interaction" or "three-way"
    title: str
    weights: dict[str, float]
    contrast: Contrast
    p: float | None


class Paired(NamedTuple):
    """A run against the baseline's run with the same seed, tested on the sentences only."""

    arm: str
    seed: int
    tests: tuple[PairedResult, ...]


class Grid(NamedTuple):
    """Two factors with two values each; all other settings but ``held`` are the baseline's.

    ``arms[i][j]`` has value i of the first factor and value j of the second.
    """

    factors: tuple[Factor, Factor]
    arms: tuple[tuple[Arm, Arm], tuple[Arm, Arm]]
    held: Factor | None = None  # a third one, with the baseline's value and the one that all four arms have


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


class Analysis(NamedTuple):
    """The contents of a report."""

    sweep: Sweep
    metric: str  # that the runs were trained for, and that the plots show
    unit: str  # "character" or "word": what lengths and positions are counted in
    rows: tuple[Row, ...]
    comparisons: dict[str, tuple[Comparison, ...]]  # by metric
    paired: tuple[Paired, ...]
    baseline: str
    uncompared: tuple[str, ...]  # runs whose test set is another one than most have
    scored_otherwise: tuple[str, ...]  # runs with another tokenizer of BLEU than most of the others have
    grids: tuple[Grid, ...]
    by_length: tuple[Bin, ...]
    by_position: dict[str, tuple[float, ...]]  # arm: percent of wrong units at each target position
    examples: tuple[Example, ...]
    samples: dict[str, tuple[str, ...]]  # by arm: lines that the language model of its first seed made up

    @property
    def facts(self) -> TaskFacts:
        """What is known of the task that the runs were trained for."""
        return _facts(self.sweep)


def analyse(sweep: Sweep) -> Analysis:
    """Work everything out. Nothing depends on anything but the runs; all draws have fixed seeds."""
    metric = _main_metric(sweep)
    comparable, uncompared = _same_test_set(sweep.arms)
    comparable, scored_otherwise = _most_common(comparable, _bleu_tokenizer)
    sweep = _without_other_bleu(sweep, _bleu_tokenizer(comparable[0].runs[0]))
    tokenizer = comparable[0].runs[0].config.metrics.tokenizer
    known = metrics_with(tokenizer)
    metrics = {name: known[name] for name in _facts(sweep).metrics}
    statistics_of = {name: _statistics(comparable, metrics[name]) for name in metrics}
    grids = _grids(sweep, comparable)
    questions = _questions(comparable, grids)
    unit = _unit(comparable[0].runs[0].references)
    return Analysis(
        sweep=sweep,
        metric=metric,
        unit=unit,
        rows=_rows(sweep, comparable, metric),
        comparisons={name: _compare(metrics[name], statistics_of[name], questions) for name in metrics},
        paired=_paired(comparable, metric, tokenizer) if metric in PAIRED else (),
        baseline=comparable[0].name,
        uncompared=tuple(uncompared),
        scored_otherwise=tuple(scored_otherwise),
        grids=grids,
        by_length=_by_length(comparable, statistics_of[metric], metrics[metric], unit),
        by_position={arm.name: _by_position(arm.runs, unit) for arm in comparable if arm.runs[0].hypotheses},
        examples=_examples(comparable, statistics_of["chrf"]) if "chrf" in metrics else (),
        samples={arm.name: tuple(arm.runs[0].samples[:NUM_SAMPLES]) for arm in sweep.arms if arm.runs[0].samples},
    )


def _facts(sweep: Sweep) -> TaskFacts:
    return TASKS[sweep.arms[0].runs[0].config.task]


def _main_metric(sweep: Sweep) -> str:
    """The main metric: the one that training monitored.

    If that was the loss, it is the task's first metric that is not 0 everywhere. For language models it is the
    perplexity per word, which does not depend on the tokenizer.
    """
    metrics, monitor = _facts(sweep).metrics, sweep.arms[0].runs[0].config.trainer.monitor
    if monitor in metrics:
        return monitor
    results = [run.result for arm in sweep.arms for run in arm.runs]
    return next((name for name in metrics if any(result[name] for result in results)), metrics[0])


def _same_test_set(arms: Sequence[Arm]) -> tuple[list[Arm], list[str]]:
    """The arms, with only the runs scored on the most common test sentences, and the names of the other runs.

    Spaces at the ends of sentences are ignored.
    """

    def lines(run: Run) -> tuple[str, ...]:
        return tuple(line.strip() for line in (*run.sources, *run.references))

    return _most_common(arms, lines)


def _bleu_tokenizer(run: Run) -> str:
    """As the signature has it, with its version; that of sacreBLEU itself does not count."""
    parts = str(run.result.get("bleu_signature", "")).split("|")
    return next((part for part in parts if part.startswith("tok:")), "")


def _without_other_bleu(sweep: Sweep, tokenizer: str) -> Sweep:
    """The sweep without the validation BLEU of runs with another tokenizer."""

    def kept(run: Run) -> Run:
        if _bleu_tokenizer(run) == tokenizer:
            return run
        curve = [{name: value for name, value in row.items() if name != "valid/bleu"} for row in run.curve]
        return run._replace(curve=curve)

    return sweep._replace(arms=tuple(arm._replace(runs=tuple(map(kept, arm.runs))) for arm in sweep.arms))


def _most_common(arms: Sequence[Arm], trait: Callable[[Run], Hashable]) -> tuple[list[Arm], list[str]]:
    """The arms, with only the runs that have the most common trait, and the names of the others."""
    counts = Counter(trait(run) for arm in arms for run in arm.runs)
    wanted = counts.most_common(1)[0][0]  # ties: the first
    same, others = [], []
    for arm in arms:
        kept = tuple(run for run in arm.runs if trait(run) == wanted)
        others += [f"{arm.name}, seed {run.seed}" for run in arm.runs if run not in kept]
        if kept:
            same.append(arm._replace(runs=kept))
    return same, others


def _statistics(arms: Sequence[Arm], metric: Metric) -> dict[str, Array]:
    def measured(run: Run) -> Array:
        return metric.statistics(run.line_nll if run.line_nll else run.hypotheses, run.references)

    return {arm.name: np.stack([measured(run) for run in arm.runs]) for arm in arms}


def _mean(values: Sequence[float | None]) -> Mean | None:
    """Mean and standard deviation; None where a value is missing."""
    known = [value for value in values if value is not None]
    if not known or any(value is None or math.isnan(value) for value in values):
        return None
    finite = all(map(math.isfinite, known))
    return Mean(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 and finite else None)


def _rows(sweep: Sweep, comparable: Sequence[Arm], metric: str) -> tuple[Row, ...]:
    """A row for each arm, over its comparable runs; without them over all, but no test figures."""
    scored = {arm.name: arm for arm in comparable}
    arms = [scored.get(arm.name, arm) for arm in sweep.arms]
    facts, lower = _facts(sweep), FIGURES[metric].lower
    names = dict.fromkeys((*facts.metrics, *(name for name, _ in (*facts.scores, *facts.arms))))
    column = f"valid/{metric}"
    bests = {arm.name: _mean([_best(run, column, lower=lower) for run in arm.runs]) for arm in arms}
    best = (min if lower else max)((one.mean for one in bests.values() if one is not None), default=0.0)
    rows = []
    for arm in arms:
        results = [run.result for run in arm.runs]
        known = [name for name in names if arm.name in scored or name.startswith("train_")]
        figures = dict.fromkeys(names) | {name: _mean([result.get(name) for result in results]) for name in known}
        for name in ("train_seconds", "train_tokens_per_second", facts.speed[0]):
            figures[name] = _mean([result.get(name) for result in results])
        figures["best"] = bests[arm.name]
        figures["last"] = _mean([run.curve[-1].get(column) if run.curve else None for run in arm.runs])
        near = best / NEAR_BEST if lower else NEAR_BEST * best
        reached = [_seconds_to(run, column, near, lower=lower) if best else None for run in arm.runs]
        rows.append(Row(arm, figures, results[0]["parameters"], _mean(reached)))
    return tuple(rows)


def _best(run: Run, column: str, *, lower: bool) -> float | None:
    known = (row[column] for row in run.curve if math.isfinite(row.get(column, math.nan)))
    return (min if lower else max)(known, default=None)


def _seconds_to(run: Run, column: str, target: float, *, lower: bool) -> float | None:
    sign = -1 if lower else 1
    return next((row.get("seconds") for row in run.curve if sign * row.get(column, math.nan) >= sign * target), None)


def _grids(sweep: Sweep, arms: Sequence[Arm]) -> tuple[Grid, ...]:
    """All grids of two factors, each with the baseline's value and another one, whose four arms exist.

    All other factors have the baseline's values. Then the same grids follow with another value of a later factor.
    """
    base = arms[0].values
    by_values = {tuple(map(str, arm.values.values())): arm for arm in arms}
    changed = [
        [factor._replace(values=(base[factor.key], value)) for value in factor.values if value != base[factor.key]]
        for factor in sweep.factors
    ]
    found = []
    for (_, ones), (place, others) in itertools.combinations(enumerate(changed), 2):
        later: list[Factor | None] = [None, *itertools.chain(*changed[place + 1 :])]
        for first, second, held in itertools.product(ones, others, later):
            values = base | ({held.key: held.values[1]} if held else {})
            four = [
                by_values.get(tuple(map(str, (values | {first.key: a, second.key: b}).values())))
                for a, b in itertools.product(first.values, second.values)
            ]
            plain, right, below, both = four
            if plain and right and below and both:
                found.append(Grid((first, second), ((plain, right), (below, both)), held))
    return tuple(found)


def _questions(arms: Sequence[Arm], grids: Sequence[Grid]) -> list[tuple[str, str, dict[str, float]]]:
    """The comparisons to make, without repeats: (kind, title, weights)."""
    base = arms[0]
    asked = [("difference", f"{arm.name} − {base.name}", {arm.name: 1.0, base.name: -1.0}) for arm in arms[1:]]
    within = [(arm, grid.arms[0][0]) for grid in grids if grid.held for arm in (*grid.arms[0][1:], *grid.arms[1])]
    for kind, pairs in (("control", _controls(arms)), ("within", within)):
        for arm, plain in pairs:
            weights = {arm.name: 1.0, plain.name: -1.0}
            known = [weights for _, _, weights in asked]
            if weights not in known and {name: -weight for name, weight in weights.items()} not in known:
                asked.append((kind, f"{arm.name} − {plain.name}", weights))
    for grid in grids:
        title = " × ".join(map(_change, grid.factors))
        asked.append(("interaction", title + (f" ({_change(grid.held)})" if grid.held else ""), _weights(grid)))
    for grid, alike in itertools.product(grids, grids):
        if grid.held and not alike.held and grid.factors == alike.factors:
            weights = _weights(grid) | {name: -weight for name, weight in _weights(alike).items()}
            asked.append(("three-way", " × ".join(map(_change, (*grid.factors, grid.held))), weights))
    return asked


def _weights(grid: Grid) -> dict[str, float]:
    """Weights of an interaction: both - first - second + neither."""
    (plain, second), (first, both) = grid.arms
    return {both.name: 1.0, first.name: -1.0, second.name: -1.0, plain.name: 1.0}


def _change(factor: Factor) -> str:
    """Name a grid's change: "reverse", or "gru (not rnn)" if the plain value has a name too."""
    plain, value = factor.values
    name = short(factor.key, value) or f"{factor.key.rpartition('.')[2]}={shown(value)}"
    before = short(factor.key, plain)
    return f"{name} (not {before})" if before else name


def _controls(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Pairs of an arm with peeky and the one without it, widened to as many parameters."""
    pairs = []
    for arm, wide in itertools.product(arms, arms):
        if not wide.values.get("model.match_peeky") or arm.values.get("model.peeky") != "both":
            continue
        different = {key for key in arm.values if arm.values[key] != wide.values[key]}
        if different == {"model.peeky", "model.match_peeky"}:
            pairs.append((arm, wide))
    return pairs


def _compare(
    metric: Metric, stats: dict[str, Array], questions: Sequence[tuple[str, str, dict[str, float]]]
) -> tuple[Comparison, ...]:
    if not questions or next(iter(stats.values())).shape[1] < 2:
        return ()
    resampled = resample(metric, stats)
    if not any(scores.any() for scores in resampled.scores.values()):
        return ()  # BLEU of lines with fewer than four words is 0 everywhere
    contrasts = [contrast(resampled, weights) for _, _, weights in questions]
    adjusted = holm([one.p for one in contrasts])
    return tuple(
        Comparison(kind, title, weights, one, p)
        for (kind, title, weights), one, p in zip(questions, contrasts, adjusted, strict=True)
    )


def _paired(arms: Sequence[Arm], metric: str, tokenizer: str) -> tuple[Paired, ...]:
    """The tests of sacreBLEU's command (and McNemar's of exact match), seed by seed."""
    base = {run.seed: run for run in arms[0].runs}
    found = []
    for arm in arms[1:]:
        for run in arm.runs:
            if run.seed in base:
                other = base[run.seed]
                tests = paired_tests(
                    other.hypotheses, run.hypotheses, run.references, metrics=[metric], tokenizer=tokenizer
                )
                found.append(Paired(arm.name, run.seed, tuple(tests)))
    return tuple(found)


def _unit(references: Sequence[str]) -> str:
    """The unit of length: characters if most lines are single words, else words."""
    words = sum(len(line.split()) for line in references)
    return "character" if words < 1.5 * len(references) else "word"


def units(line: str, unit: str) -> list[str]:
    """A line's characters or words."""
    return list(line.strip()) if unit == "character" else line.split()


def _by_length(arms: Sequence[Arm], stats: dict[str, Array], metric: Metric, unit: str) -> tuple[Bin, ...]:
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


def _by_position(found: Sequence[Run], unit: str) -> tuple[float, ...]:
    """Percent of wrong units at each position of the references."""
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


def describe_factors(sweep: Sweep) -> list[tuple[str, str, str]]:
    """(key, values, keys that change with it) of each factor."""
    return [
        (factor.key, ", ".join(shown(value) for value in factor.values), ", ".join(factor.others))
        for factor in sweep.factors
    ]


def probes(arm: Arm) -> list[dict[str, Any]]:
    """The probes of an arm's runs."""
    return [run.probe for run in arm.runs if run.probe]
