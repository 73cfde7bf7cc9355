"""How sure a comparison of arms is: the chance of which sentences were tested and of which seeds were trained.

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
    E   the part of S in which runs of one arm go their own ways:    noise

T is what resampling of the seeds would give, times R/(R-1); it needs no draws. S and E are quadratic forms of one
matrix, the covariance of all runs' scores over resampled sentences, which all contrasts of a metric share.

T stands on a handful of runs, so that quantiles of the normal or of the bootstrap itself are far too narrow. The
interval is Student's, with Satterthwaite's degrees of freedom: V^2 / (sum_a T[a]^2 / (R[a]-1) + S^2 / (N-1)). No
variance is pooled over arms, which differ in it as they near 0 or 100 %.

S has a pseudo-count: in each arm one sentence of the N is taken to have gone either way, w[a]^2 (100/N)^2. For a
difference of exact matches this is one more sentence on which only the first arm was right and one on which only the
second was, as Bonett and Price (2012) add for matched pairs. It is what is left where no variance was seen, 0 %
against 100 %, and vanishes among other differences.

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

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result
from scipy import stats

from seq2seq.errors import UserError
from seq2seq.metrics import check_aligned, scorer

Array = npt.NDArray[np.float64]

CHUNK = 250  # replicates whose counts of sentences are held at once: 5 MB at 2,500 sentences
ROUNDING = 1e-9  # points, or squared points; what is smaller is the floating point's
SACREBLEU_TESTS = {"bootstrap": "bs", "randomization": "ar"}


class Metric(NamedTuple):
    """A corpus metric as a function of sums over sentences, so that a resampled score needs no text.

    Attributes:
        statistics: hypotheses (of a perplexity: costs) and references to an array ``(sentences, k)``.
        score: sums of statistics ``(..., k)`` to scores ``(...)`` between 0 and ``highest``.
        highest: infinite where nothing bounds a score; then there is no pseudo-count either.
    """

    statistics: Callable[[Sequence[Any], Sequence[str]], Array]
    score: Callable[[Array], Array]
    highest: float = 100.0


class Resampled(NamedTuple):
    """All runs' scores on one test set, and how they go up and down together with its sentences.

    Attributes:
        scores: each arm's corpus scores ``(seeds,)``. covariance: of the runs' scores over bootstrap samples of the
        sentences, in squared points ``(runs, runs)``; the
            runs stand arm by arm, in the order of ``scores``.
        num_sentences: in the test set.
        highest: score of the metric.
    """

    scores: dict[str, Array]
    covariance: Array
    num_sentences: int
    highest: float = 100.0


class Contrast(NamedTuple):
    """A weighted sum of arms' mean scores, in points, and how sure it is.

    Attributes:
        estimate: the sum. low, high: the confidence interval, cut to what the metric's range allows. p:
        two-sided, of the hypothesis that the sum is 0 over all seeds and sentences; None where an arm has one seed.
        standard_error: of the estimate; its square is the sum of the next two's. seed_error: what other seeds would
        change beyond what other sentences would; None where an arm has one seed. sentence_error: what other test
        sentences would change. df: degrees of freedom of the t distribution. num_seeds: of each arm with a weight.
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

    @property
    def sentences_only(self) -> bool:
        """Whether the interval knows nothing of the seeds' chance, because an arm has a single run."""
        return self.seed_error is None


class PairedResult(NamedTuple):
    """One test of one run against another: these two runs, on other sentences; it knows nothing of other seeds.

    Attributes:
        metric: "bleu", "chrf" or "exact_match".
        test: "bootstrap", "randomization" or "mcnemar".
        difference: the system's score less the baseline's, in points.
        p: see :func:`paired_tests`.
        signature: what sacreBLEU says of its metric and test, or the like.
    """

    metric: str
    test: str
    difference: float
    p: float
    signature: str


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str], *, tokenizer: str = "13a") -> Array:
    """Lengths of hypothesis and reference, matching n-grams and n-grams of orders 1 to 4: ``(sentences, 10)``."""
    check_aligned(hypotheses, references)
    return np.array(scorer(tokenizer)._extract_corpus_statistics(hypotheses, [references]), dtype=np.float64)


def bleu_score(sums: Array) -> Array:
    """BLEU from sums ``(..., 10)``: all four orders count, and the k-th without a match counts 2^-k (Post 2018)."""
    length, ref_length, matches, totals = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    none = matches == 0
    smoothed = np.where(none, 0.5 ** np.cumsum(none, axis=-1), matches)
    log_precisions = np.log(smoothed / np.maximum(totals, 1)).mean(axis=-1)
    log_brevity = np.minimum(0, 1 - ref_length / np.maximum(length, 1))
    defined = (totals > 0).all(axis=-1) & (matches > 0).any(axis=-1)
    return np.where(defined, 100 * np.exp(log_precisions + log_brevity), 0.0)


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """Character n-grams of the hypothesis, of the reference and in both, for orders 1 to 6: ``(sentences, 18)``."""
    check_aligned(hypotheses, references)
    return np.array(CHRF()._extract_corpus_statistics(hypotheses, [references]), dtype=np.float64)


def chrf_score(sums: Array) -> Array:
    """chrF2 from sums ``(..., 18)``: precision and recall are means over the orders that both sides have."""
    triples = sums.reshape(*sums.shape[:-1], CHRF.CHAR_ORDER, 3)
    hyp, ref, match = triples[..., 0], triples[..., 1], triples[..., 2]
    has = (hyp > 0) & (ref > 0)
    orders = np.maximum(has.sum(axis=-1), 1)
    precision = np.where(has, match / np.maximum(hyp, 1), 0).sum(axis=-1) / orders
    recall = np.where(has, match / np.maximum(ref, 1), 0).sum(axis=-1) / orders
    denominator = CHRF.BETA**2 * precision + recall
    return 100 * (1 + CHRF.BETA**2) * precision * recall / np.where(denominator > 0, denominator, 1)


def exact_match_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """Whether a hypothesis equals its reference, spaces at the ends apart, and 1: ``(sentences, 2)``."""
    check_aligned(hypotheses, references)
    return np.array([(hyp.strip() == ref.strip(), 1) for hyp, ref in zip(hypotheses, references, strict=True)], float)


def exact_match_score(sums: Array) -> Array:
    """Percentage of equal sentences from sums ``(..., 2)``."""
    return 100 * sums[..., 0] / sums[..., 1]


def perplexity_statistics(line_nll: Sequence[float], lines: Sequence[str]) -> Array:
    """What each line costs in nats, and its words, the end of the line being one: ``(lines, 2)``."""
    return np.array([(nll, len(line.split()) + 1) for nll, line in zip(line_nll, lines, strict=True)], float)


def perplexity_score(sums: Array) -> Array:
    """Perplexity per word from sums ``(..., 2)``; of a network that has burst, a number whose fourth power there is."""
    return np.exp(np.minimum(sums[..., 0] / sums[..., 1], 150.0))


METRICS = {
    "bleu": Metric(bleu_statistics, bleu_score),
    "chrf": Metric(chrf_statistics, chrf_score),
    "exact_match": Metric(exact_match_statistics, exact_match_score),
}


def metrics_with(tokenizer: str) -> dict[str, Metric]:
    """``METRICS``, with BLEU by one of sacreBLEU's tokenizers; see `metrics.scorer`."""
    return {**METRICS, "bleu": Metric(partial(bleu_statistics, tokenizer=tokenizer), bleu_score)}


PERPLEXITY = {"word_perplexity": Metric(perplexity_statistics, perplexity_score, math.inf)}  # of language models


def resample(
    metric: Metric, statistics: Mapping[str, Array], *, num_replicates: int = 2000, seed: int = 1
) -> Resampled:
    """Score all runs on the test set and on bootstrap samples of its sentences, the same ones for every run.

    The covariance is multiplied by N/(N-1), for drawing N sentences from N.

    Args:
        metric: one of ``METRICS``.
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
    for start in range(0, num_replicates, CHUNK):
        size = min(CHUNK, num_replicates - start)
        sums = _draw_counts(rng, num_sentences, size) @ table  # (chunk, runs * k)
        replicates.append(metric.score(sums.reshape(size, *runs.shape[::2])))
    covariance = np.atleast_2d(np.cov(np.concatenate(replicates), rowvar=False)) * num_sentences / (num_sentences - 1)
    scores = {arm: metric.score(of_arm.sum(axis=1)) for arm, of_arm in statistics.items()}
    return Resampled(scores, covariance, num_sentences, metric.highest)


def _draw_counts(rng: np.random.Generator, num_sentences: int, size: int) -> Array:
    """How often each sentence is in each sample ``(size, sentences)``; numpy's multinomial takes ten times as long."""
    drawn = rng.integers(num_sentences, size=(size, num_sentences)) + num_sentences * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def contrast(runs: Resampled, weights: Mapping[str, float], *, confidence: float = 0.95) -> Contrast:
    """Estimate a weighted sum of arms' mean scores with both sources of chance; the module says how.

    With one seed in an arm nothing is known of the seeds' chance: the interval is that of the sentences alone, and
    there is no p. Arms whose runs are all alike give 0, the interval [0, 0] and p = 1.

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
    """P values adjusted for their number, so that claiming those below alpha makes any false claim with probability
    alpha at most (Holm 1979). None stays None and is not counted.
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted


def paired_tests(
    baseline: Sequence[str],
    system: Sequence[str],
    references: Sequence[str],
    *,
    metrics: Sequence[str] = tuple(METRICS),
    num_samples: int = 1000,
    seed: int = 12345,
    tokenizer: str = "13a",
) -> list[PairedResult]:
    """Test one run against another on the same sentences, as others would with sacreBLEU's command.

    BLEU and chrF get sacreBLEU's paired bootstrap (Koehn 2004) and paired approximate randomization (Riezler and
    Maxwell 2005); exact match gets McNemar's exact test (1947), which is what the latter tends to with all 2^N
    exchanges.

    The p values differ in meaning. Randomization's is two-sided: how often exchanging the two runs' translations,
    sentence by sentence at random, makes a difference larger than the one seen. McNemar's is two-sided too. The
    bootstrap's counts the samples in which the absolute difference exceeds its mean over samples by more than the
    difference seen. Wherever there is a difference to speak of, that is one tail of two: its p is half of the others',
    and of runs that differ by chance alone it puts about one pair in ten below 0.05. Double it to compare.

    Args:
        baseline, system, references: line-aligned.
        metrics: names in ``METRICS``.
        num_samples: bootstrap samples and random exchanges; no p is below 1 / (num_samples + 1).
        seed: positive; goes into sacreBLEU's signature. ``SACREBLEU_SEED`` is not heeded.
        tokenizer: of BLEU.

    Raises:
        UserError: if the lists do not match, a metric is unknown, or the seed is not positive.
    """
    check_aligned(baseline, references)
    check_aligned(system, references)
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UserError(f"unknown metrics {', '.join(unknown)}; known are {', '.join(METRICS)}.")
    if seed < 1:
        raise UserError(f"seed must be positive, since sacreBLEU takes 0 for none; got {seed}.")
    results = []
    for name in metrics:
        if name == "exact_match":
            results.append(_mcnemar(baseline, system, references))
        else:
            scored_by = scorer(tokenizer) if name == "bleu" else CHRF()
            sizes = {"num_samples": num_samples, "seed": seed}
            for test in SACREBLEU_TESTS:
                results.append(_sacrebleu_test(name, scored_by, test, baseline, system, references, **sizes))
    return results


def _sacrebleu_test(
    metric: str,
    scored_by: BLEU | CHRF,
    test: str,
    baseline: Sequence[str],
    system: Sequence[str],
    references: Sequence[str],
    *,
    num_samples: int,
    seed: int,
) -> PairedResult:
    systems: list[tuple[str, Sequence[str]]] = [("baseline", list(baseline)), ("system", list(system))]
    with _quiet_sacrebleu(seed):
        pair = PairedTest(systems, {metric: scored_by}, [list(references)], SACREBLEU_TESTS[test], num_samples)
        signatures, results = pair()
    (name,) = signatures
    before, after = cast(list[Result], results[name])
    assert after.p_value is not None
    return PairedResult(metric, test, after.score - before.score, after.p_value, str(signatures[name]))


@contextmanager
def _quiet_sacrebleu(seed: int) -> Iterator[None]:
    """SacreBLEU takes its seed from the environment alone and tells the log what it does."""
    logger, found = logging.getLogger("sacrebleu"), os.environ.get("SACREBLEU_SEED")
    disabled, logger.disabled = logger.disabled, True
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        logger.disabled = disabled
        if found is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = found


def _mcnemar(baseline: Sequence[str], system: Sequence[str], references: Sequence[str]) -> PairedResult:
    before, after = (exact_match_statistics(hypotheses, references)[:, 0] for hypotheses in (baseline, system))
    won, lost = int((after > before).sum()), int((after < before).sum())
    p = float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0
    difference = 100 * (won - lost) / len(references)
    return PairedResult("exact_match", "mcnemar", difference, p, f"exact|sides:2|won:{won}|lost:{lost}")


class _Variance(NamedTuple):
    """Of a contrast, in squared points: ``max(0, T - E)`` and ``S`` of the module's formula, and degrees of freedom."""

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
    """Variance over resampled sentences of one run of an arm around the mean of its runs: of seeds with sentences."""
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
