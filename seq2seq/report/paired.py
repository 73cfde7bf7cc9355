"""Paired tests of two systems on the same sentences."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result
from scipy import stats

from seq2seq.errors import UserError
from seq2seq.metrics import check_aligned, scorer
from seq2seq.report.metrics import exact_match_statistics

PAIRED = ("bleu", "chrf", "exact_match")  # the metrics that have such tests
SACREBLEU_TESTS = {"bootstrap": "bs", "randomization": "ar"}


class PairedResult(NamedTuple):
    """One test of two runs. It covers other sentences, but not other seeds.

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


def paired_tests(
    baseline: Sequence[str],
    system: Sequence[str],
    references: Sequence[str],
    *,
    metrics: Sequence[str] = PAIRED,
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
    and of runs that differ only by chance it puts about one pair in ten below 0.05. Double it to compare.

    Args:
        baseline, system, references: line-aligned.
        metrics: names in ``PAIRED``.
        num_samples: bootstrap samples and random exchanges; no p is below 1 / (num_samples + 1).
        seed: positive; goes into sacreBLEU's signature. ``SACREBLEU_SEED`` is not heeded.
        tokenizer: of BLEU.

    Raises:
        UserError: if the lists do not match, a metric is unknown, or the seed is not positive.
    """
    check_aligned(baseline, references)
    check_aligned(system, references)
    if unknown := [name for name in metrics if name not in PAIRED]:
        raise UserError(f"unknown metrics {', '.join(unknown)}; known are {', '.join(PAIRED)}.")
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
    """Give sacreBLEU its seed, which it reads only from the environment, and silence its log."""
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
