"""Confidence intervals for comparisons of arms, over test sentences and seeds.

An arm is a setting trained with several seeds; all runs of all arms translate the same test sentences. Seen through
its sentences' influence on the score, run r of arm a on sentence i is a table with two crossed random factors::

    y[a, r, i] = mean[a] + seed[a, r] + sentence[a, i] + noise[a, r, i]

A contrast is a sum of arms' means over R[a] seeds and N sentences with weights w[a] that add up to 0. It varies by::

    sum_a w[a]^2 var(seed[a]) / R[a]  +  var(sum_a w[a] sentence[a]) / N  +  sum_a w[a]^2 var(noise[a]) / (R[a] N)

The hierarchical bootstrap draws seeds within each arm, and sentences once for all runs, since all translate the same
ones (paired resampling, Koehn 2004). No exact bootstrap of two crossed factors exists (McCullagh 2000); taken as it
is, this one is wrong twice where seeds are few. Drawing R seeds from R shrinks their variance by (R-1)/R, a half at 2
seeds, and each factor's variance already holds the noise, so the noise is counted two or three times (Owen 2007).
Hence the variance is put together from its parts, as for clusters in two directions (Cameron, Gelbach and Miller
2011)::

    V = S + max(0, T - E)
    S   variance over resampled sentences, the seeds as they are:    sentence + noise
    T   sum_a w[a]^2 s^2[a] / R[a], s^2 with R-1 in its divisor:     seed + noise
    E   the part of S in which runs of one arm differ:                noise

T equals the variance from resampling the seeds, times R/(R-1), and needs no samples. S and E are quadratic forms of
the covariance matrix of all runs' scores over resampled sentences. All contrasts of a metric share this matrix.

T is estimated from a few runs, so quantiles of the normal distribution or of the bootstrap are far too narrow. The
interval is Student's, with Satterthwaite's degrees of freedom: V^2 / (sum_a T[a]^2 / (R[a]-1) + S^2 / (N-1)). No
variance is pooled over arms, because the variance of an arm is smaller near 0 or 100 %.

S has a pseudo-count for each arm: one sentence of the N, w[a]^2 (100/N)^2. For a difference of exact matches this adds
one sentence on which only the first arm is right and one on which only the second is, as Bonett and Price (2012) do
for matched pairs. It keeps S above 0 if no variance was observed, as with 0 % against 100 %. Otherwise it is
negligible.

Sources:
    Koehn (2004), Statistical significance tests for machine translation evaluation, EMNLP.
    Clark, Dyer, Lavie and Smith (2011), Better hypothesis testing for statistical machine translation, ACL: on seeds.
    Efron and Tibshirani (1993), An introduction to the bootstrap.
    McCullagh (2000), Resampling and exchangeable arrays, Bernoulli 6(2).
    Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1(2).
    Cameron, Gelbach and Miller (2011), Robust inference with multiway clustering, J. of Business and Econ. Stat. 29(2).
    Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics Bulletin 2(6).
    Bonett and Price (2012), Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data, J. of Educational and Behavioral Stat. 37(4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from seq2seq.errors import UserError
from seq2seq.report.metrics import ALL, Array, Metric, bleu_score, bleu_statistics

REPLICATES_AT_ONCE = 250  # whose counts of sentences are in memory: 5 MB at 2,500 sentences
ROUNDING = 1e-9  # points, or squared points; smaller numbers are rounding errors


class Resampled(NamedTuple):
    """All runs' scores on one test set, and their covariance over its sentences.

    Attributes:
        scores: each arm's corpus scores ``(seeds,)``.
        covariance: of the runs' scores over bootstrap samples of the sentences, in squared points ``(runs, runs)``. The
            runs stand arm by arm, in the order of ``scores``.
        num_sentences: in the test set.
        highest: score of the metric.
    """

    scores: dict[str, Array]
    covariance: Array
    num_sentences: int
    highest: float = 100.0


class Contrast(NamedTuple):
    """A weighted sum of arms' mean scores, in points, with its uncertainty.

    Attributes:
        estimate: the sum.
        low, high: the confidence interval, cut to the range that the metric allows.
        p: two-sided, of the hypothesis that the sum is 0 over all seeds and sentences; None where an arm has one seed.
        standard_error: of the estimate; its square is the sum of the next two's.
        seed_error: what other seeds would change beyond what other sentences would; None where an arm has one seed.
        sentence_error: what other test sentences would change.
        df: degrees of freedom of the t distribution.
        num_seeds: of each arm with a weight.
        num_sentences: in the test set.
    """

    estimate: float
    low: float
    high: float
    p: float | None
    standard_error: float
    seed_error: float | None
    sentence_error: float
    df: float
    num_seeds: dict[str, int]
    num_sentences: int


def metrics_with(tokenizer: str) -> dict[str, Metric]:
    """``ALL``, with BLEU by one of sacreBLEU's tokenizers; see `metrics.scorer`."""
    return {**ALL, "bleu": Metric(partial(bleu_statistics, tokenizer=tokenizer), bleu_score)}


def resample(
    metric: Metric, statistics: Mapping[str, Array], *, num_replicates: int = 2000, seed: int = 1
) -> Resampled:
    """Score all runs on the test set and on the same bootstrap samples of it.

    The covariance is multiplied by N/(N-1), for drawing N sentences from N.

    Args:
        metric: one of ``ALL``.
        statistics: of each arm ``(seeds, sentences, k)``; sentences in the same order everywhere.
        num_replicates: bootstrap samples; the standard error's own is 1.6 % of it at 2,000.
        seed: of the draws. The same seed and number of sentences give the same samples for every metric.

    Raises:
        UserError: if the arms do not share their sentences, or there is only one.
    """
    num_sentences = _check_statistics(statistics)
    runs = np.concatenate(list(statistics.values()))  # (runs, sentences, k)
    table = np.ascontiguousarray(runs.transpose(1, 0, 2)).reshape(num_sentences, -1)  # (sentences, runs * k)
    rng = np.random.default_rng(seed)
    replicates = []
    for start in range(0, num_replicates, REPLICATES_AT_ONCE):
        size = min(REPLICATES_AT_ONCE, num_replicates - start)
        sums = _draw_counts(rng, num_sentences, size) @ table  # (chunk, runs * k)
        replicates.append(metric.score(sums.reshape(size, *runs.shape[::2])))
    covariance = np.atleast_2d(np.cov(np.concatenate(replicates), rowvar=False)) * num_sentences / (num_sentences - 1)
    scores = {arm: metric.score(of_arm.sum(axis=1)) for arm, of_arm in statistics.items()}
    return Resampled(scores, covariance, num_sentences, metric.highest)


def _draw_counts(rng: np.random.Generator, num_sentences: int, size: int) -> Array:
    """Counts of each sentence in each sample ``(size, sentences)``; faster than numpy's multinomial."""
    drawn = rng.integers(num_sentences, size=(size, num_sentences)) + num_sentences * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def contrast(runs: Resampled, weights: Mapping[str, float], *, confidence: float = 0.95) -> Contrast:
    """Estimate a weighted sum of arms' mean scores, with its uncertainty.

    With one seed in an arm the variance over seeds is unknown: the interval covers only the sentences, and p is None.
    Arms whose runs are all alike give 0, the interval [0, 0] and p = 1.

    Args:
        runs: of one metric.
        weights: by arm, adding up to 0: ``{"both": 1, "baseline": -1}`` for a difference, ``{"both": 1, "reverse": -1,
            "peeky": -1, "baseline": 1}`` for an interaction. Other arms weigh 0.
        confidence: of the interval.

    Raises:
        UserError: if an arm is unknown, all weights are 0, or they do not add up to 0.
    """
    weights = {arm: float(weight) for arm, weight in weights.items() if weight != 0}
    _check_weights(runs, weights)
    num_seeds = {arm: len(runs.scores[arm]) for arm in weights}
    known = min(num_seeds.values()) > 1
    alike = _all_alike(runs, weights)
    estimate = 0.0 if alike else float(sum(weight * runs.scores[arm].mean() for arm, weight in weights.items()))
    variance = _Variance(0.0, 0.0, runs.num_sentences - 1.0) if alike else _variance(runs, weights)
    error = math.sqrt(variance.seeds + variance.sentences)
    reach = float(stats.t.ppf((1 + confidence) / 2, variance.df)) * error
    p = 1.0 if alike else float(2 * stats.t.sf(abs(estimate) / error, variance.df))
    limit = runs.highest / 2 * sum(abs(weight) for weight in weights.values())
    return Contrast(
        estimate=estimate,
        low=max(-limit, estimate - reach),
        high=min(limit, estimate + reach),
        p=p if known else None,
        standard_error=error,
        seed_error=math.sqrt(variance.seeds) if known else None,
        sentence_error=math.sqrt(variance.sentences),
        df=variance.df,
        num_seeds=num_seeds,
        num_sentences=runs.num_sentences,
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values adjusted for their number (Holm 1979).

    Claiming those below alpha makes any false claim with probability at most alpha. None stays None and is not counted.
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted


class _Variance(NamedTuple):
    """The variance of a contrast in squared points, with its parts."""

    seeds: float
    sentences: float
    df: float


def _variance(runs: Resampled, weights: Mapping[str, float]) -> _Variance:
    num_seeds = {arm: len(runs.scores[arm]) for arm in weights}
    squares = sum(weight**2 for weight in weights.values())
    pseudo_count = 0.0 if math.isinf(runs.highest) else (runs.highest / runs.num_sentences) ** 2
    sentences = _sentence_variance(runs, weights) + squares * pseudo_count
    if min(num_seeds.values()) == 1:
        return _Variance(0.0, sentences, runs.num_sentences - 1.0)
    per_arm = {arm: w**2 * float(runs.scores[arm].var(ddof=1)) / num_seeds[arm] for arm, w in weights.items()}
    noise = sum(w**2 * _noise_variance(runs, arm) / num_seeds[arm] for arm, w in weights.items())
    seeds = max(0.0, sum(per_arm.values()) - noise)
    uncertainty = sum(per_arm[arm] ** 2 / (num_seeds[arm] - 1) for arm in weights)
    uncertainty += sentences**2 / (runs.num_sentences - 1)
    return _Variance(seeds, sentences, (seeds + sentences) ** 2 / uncertainty)


def _sentence_variance(runs: Resampled, weights: Mapping[str, float]) -> float:
    """Variance of the contrast over resampled sentences, the seeds as they are."""
    of_runs = [np.full(len(scores), weights.get(arm, 0.0) / len(scores)) for arm, scores in runs.scores.items()]
    vector = np.concatenate(of_runs)  # (runs,)
    return max(0.0, float(vector @ runs.covariance @ vector))


def _noise_variance(runs: Resampled, arm: str) -> float:
    """The variance over sentences of one run around its arm's mean."""
    block = _arm_covariance(runs, arm)
    return max(0.0, float(np.trace(block) - block.mean() * len(block))) / (len(block) - 1)


def _arm_covariance(runs: Resampled, arm: str) -> Array:
    names = list(runs.scores)
    start = sum(len(runs.scores[name]) for name in names[: names.index(arm)])
    own = slice(start, start + len(runs.scores[arm]))
    return runs.covariance[own, own]  # (seeds, seeds)


def _all_alike(runs: Resampled, weights: Mapping[str, float]) -> bool:
    """Whether no run differs from another, on the test set or on any resampled one."""
    scores = np.concatenate([runs.scores[arm] for arm in weights])
    within = sum(_noise_variance(runs, arm) for arm in weights if len(runs.scores[arm]) > 1)
    return float(np.ptp(scores)) < ROUNDING and within + _sentence_variance(runs, weights) < ROUNDING


def _check_statistics(statistics: Mapping[str, Array]) -> int:
    shapes = {arm: of_arm.shape for arm, of_arm in statistics.items()}
    if not shapes or any(len(shape) != 3 or 0 in shape for shape in shapes.values()):
        raise UserError(f"every arm needs statistics (seeds, sentences, k), none of them 0; got {shapes}.")
    if len({shape[1:] for shape in shapes.values()}) > 1:
        raise UserError(f"all arms must be scored on the same sentences with one metric; got {shapes}.")
    num_sentences = next(iter(shapes.values()))[1]
    if num_sentences < 2:
        raise UserError("one sentence tells nothing of others; a test set needs at least 2.")
    return num_sentences


def _check_weights(runs: Resampled, weights: Mapping[str, float]) -> None:
    if unknown := [arm for arm in weights if arm not in runs.scores]:
        raise UserError(f"unknown arms {', '.join(unknown)}; known are {', '.join(runs.scores)}.")
    if not weights or abs(sum(weights.values())) > ROUNDING:
        raise UserError(f"a contrast's weights must add up to 0 and not all be 0; got {dict(weights)}.")
