"""Scores of hypotheses against untouched references, each with the signature that says how it was computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seq2seq.errors import UserError


class Score(NamedTuple):
    """A number and how it came about."""

    value: float
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, tokenized: bool = False) -> Score:
    """Corpus BLEU, detokenised and cased, with sacreBLEU's defaults (Papineni et al. 2002; Post 2018).

    Args:
        tokenized: the lines are tokenised already, and are compared as they stand, as papers do that give tokenised
            scores; never to be put beside a detokenised one.
    """
    # By force, since sacreBLEU warns of what looks tokenised.
    return _score(BLEU(tokenize="none" if tokenized else None, force=True), hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF2 (Popović 2015)."""
    return _score(CHRF(), hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus translation edit rate; lower is better (Snover et al. 2006)."""
    return _score(TER(), hypotheses, references)


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Percentage of hypotheses that equal their reference, spaces at the ends apart."""
    check_aligned(hypotheses, references)
    equal = sum(hyp.strip() == ref.strip() for hyp, ref in zip(hypotheses, references, strict=True))
    return 100 * equal / len(references)


def perplexity(nll: float, num_tokens: int) -> float:
    """exp of the mean negative log-likelihood in nats, infinite where that overflows."""
    mean = nll / num_tokens
    return math.exp(mean) if mean < 700 else math.inf


def check_aligned(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Refuse lists that cannot be line for line translations of each other.

    Raises:
        UserError: if the lists are empty or not of one length.
    """
    if len(hypotheses) != len(references):
        raise UserError(
            f"there are {len(hypotheses)} hypotheses but {len(references)} references; the two must be line-aligned."
        )
    if not references:
        raise UserError("there is nothing to score: both hypotheses and references are empty.")


def _score(metric: BLEU | CHRF | TER, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    check_aligned(hypotheses, references)
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(value, str(metric.get_signature()))
