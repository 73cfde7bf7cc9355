"""Compute all figures of a report from its runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seq2seq.config.tasks import FIGURES, TASKS, TaskFacts
from seq2seq.report.arms import Arm, Run, Sweep, shown
from seq2seq.report.breakdown import Bin, Example, by_length, by_position, examples_of, unit_of
from seq2seq.report.comparable import bleu_tokenizer, most_common, same_test_set, without_other_bleu
from seq2seq.report.contrast import Contrast, contrast, holm, metrics_with, resample
from seq2seq.report.metrics import Array, Metric
from seq2seq.report.paired import PAIRED, PairedResult, paired_tests
from seq2seq.report.questions import Grid, Question, grids_of, questions_of
from seq2seq.results.probe import Probe

NEAR_BEST = 0.9  # of the best validation score: the time until then is compared
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


class Analysis(NamedTuple):
    """The contents of a report."""

    sweep: Sweep
    metric: str  # monitored in training, and shown in the plots
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
    """Compute everything. The result depends only on the runs; all seeds are fixed."""
    metric = _main_metric(sweep)
    comparable, uncompared = same_test_set(sweep.arms)
    comparable, scored_otherwise = most_common(comparable, bleu_tokenizer)
    sweep = without_other_bleu(sweep, bleu_tokenizer(comparable[0].runs[0]))
    tokenizer = comparable[0].runs[0].config.metrics.tokenizer
    known = metrics_with(tokenizer)
    metrics = {name: known[name] for name in _facts(sweep).metrics}
    statistics_of = {name: _statistics(comparable, metrics[name]) for name in metrics}
    grids = grids_of(sweep, comparable)
    questions = questions_of(comparable, grids)
    unit = unit_of(comparable[0].runs[0].references)
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
        by_length=by_length(comparable, statistics_of[metric], metrics[metric], unit),
        by_position={arm.name: by_position(arm.runs, unit) for arm in comparable if arm.runs[0].hypotheses},
        examples=examples_of(comparable, statistics_of["chrf"]) if "chrf" in metrics else (),
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
    return next((name for name in metrics if any(result.figure(name) for result in results)), metrics[0])


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
        results = [run.result.plain() for run in arm.runs]
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


def _compare(metric: Metric, stats: dict[str, Array], questions: Sequence[Question]) -> tuple[Comparison, ...]:
    if not questions or next(iter(stats.values())).shape[1] < 2:
        return ()
    resampled = resample(metric, stats)
    if not any(scores.any() for scores in resampled.scores.values()):
        return ()  # BLEU of lines with fewer than four words is 0 everywhere
    contrasts = [contrast(resampled, one.weights) for one in questions]
    adjusted = holm([one.p for one in contrasts])
    return tuple(Comparison(*question, one, p) for question, one, p in zip(questions, contrasts, adjusted, strict=True))


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


def describe_factors(sweep: Sweep) -> list[tuple[str, str, str]]:
    """(key, values, keys that change with it) of each factor."""
    return [
        (factor.key, ", ".join(shown(value) for value in factor.values), ", ".join(factor.others))
        for factor in sweep.factors
    ]


def probes(arm: Arm) -> list[Probe]:
    """The probes of an arm's runs."""
    return [run.probe for run in arm.runs if run.probe]
