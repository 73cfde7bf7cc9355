"""Scores from sums of statistics over sentences, so that they can be resampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.chrf import CHRF

from seq2seq.metrics import check_aligned, scorer

Array = npt.NDArray[np.float64]


class Metric(NamedTuple):
    """A corpus metric as a function of sums over sentences.

    Attributes:
        statistics: hypotheses (of a perplexity: costs) and references to an array ``(sentences, k)``.
        score: sums of statistics ``(..., k)`` to scores ``(...)`` between 0 and ``highest``.
        highest: the bound of the score; infinite without one, and then without a pseudo-count.
    """

    statistics: Callable[[Sequence[Any], Sequence[str]], Array]
    score: Callable[[Array], Array]
    highest: float = 100.0


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
    """Whether a hypothesis equals its reference, ignoring spaces at the ends, and 1: ``(sentences, 2)``."""
    check_aligned(hypotheses, references)
    return np.array([(hyp.strip() == ref.strip(), 1) for hyp, ref in zip(hypotheses, references, strict=True)], float)


def exact_match_score(sums: Array) -> Array:
    """Percentage of equal sentences from sums ``(..., 2)``."""
    return 100 * sums[..., 0] / sums[..., 1]


def perplexity_statistics(line_nll: Sequence[float], lines: Sequence[str]) -> Array:
    """Each line's negative log-likelihood in nats, and its words plus one for its end: ``(lines, 2)``."""
    return np.array([(nll, len(line.split()) + 1) for nll, line in zip(line_nll, lines, strict=True)], float)


def perplexity_score(sums: Array) -> Array:
    """Perplexity per word from sums ``(..., 2)``, bounded so that its fourth power is finite."""
    return np.exp(np.minimum(sums[..., 0] / sums[..., 1], 150.0))


METRICS = {
    "bleu": Metric(bleu_statistics, bleu_score),
    "chrf": Metric(chrf_statistics, chrf_score),
    "exact_match": Metric(exact_match_statistics, exact_match_score),
}


PERPLEXITY = {"word_perplexity": Metric(perplexity_statistics, perplexity_score, math.inf)}  # of language models
ALL = METRICS | PERPLEXITY  # by the names in `seq2seq.config.tasks.TaskFacts.metrics`
