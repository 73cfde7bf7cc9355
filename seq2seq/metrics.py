"""Scores of hypotheses against unchanged references, each with its signature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.utils import SACREBLEU_DIR

from seq2seq.errors import UserError

ASIAN = ("zh", "ja-mecab", "ko-mecab", "char")  # tokenizers of BLEU with which TER tokenises too
FLORES200 = "models/flores200sacrebleuspm"  # below sacreBLEU's own folder
EXTRAS = {"ja-mecab": ("MeCab with its IPA dictionary", "ja"), "ko-mecab": ("MeCab for Korean", "ko")}


class Score(NamedTuple):
    """A score, and the signature that says how it was computed."""

    value: float
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, tokenizer: str = "13a") -> Score:
    """Corpus BLEU, detokenised and cased, with sacreBLEU's defaults (Papineni et al. 2002; Post 2018).

    Args:
        tokenizer: sacreBLEU's, as in `scorer`. Scores with different ones cannot be compared: papers that give
            tokenised scores use "none", on text that is tokenised.

    Raises:
        UserError: as `scorer`.
    """
    return _score(scorer(tokenizer), hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF2 (Popović 2015)."""
    return _score(CHRF(), hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[str], *, tokenizer: str = "13a") -> Score:
    """Corpus translation edit rate; lower is better (Snover et al. 2006).

    Args:
        tokenizer: that of BLEU. For those in `ASIAN`, Tercom's own tokenizer cuts the text into words, and into Asian
            characters, instead of splitting it at spaces only.
    """
    asian = tokenizer in ASIAN
    return _score(TER(normalized=asian, asian_support=asian), hypotheses, references)


@lru_cache
def scorer(tokenizer: str) -> BLEU:
    """BLEU with one of sacreBLEU's tokenizers: a name in `config.METRIC_TOKENIZERS`.

    Nothing is downloaded: sacreBLEU does not verify the model of ``flores200``.

    Raises:
        UserError: if the tokenizer needs a missing package or model.
    """
    if tokenizer == "flores200" and not (Path(SACREBLEU_DIR) / FLORES200).is_file():
        raise UserError(
            f"metrics.tokenizer=flores200 needs its SentencePiece model, which is not in {SACREBLEU_DIR}; fetch it, "
            "with python -c 'from sacrebleu import BLEU; BLEU(tokenize=\"flores200\")', or use metrics.tokenizer=char."
        )
    try:
        # By force, since sacreBLEU warns of what looks tokenised; `detect` does so instead.
        return BLEU(tokenize=tokenizer, force=True)
    except (RuntimeError, AssertionError, ImportError, OSError) as error:
        if tokenizer not in EXTRAS:
            reason = " ".join(str(error).split())
            raise UserError(f"metrics.tokenizer={tokenizer} cannot be used: {reason}; use another.") from None
        what, extra = EXTRAS[tokenizer]
        raise UserError(
            f"metrics.tokenizer={tokenizer} needs {what}, which is not installed; pip install 'sacrebleu[{extra}]', or "
            "use metrics.tokenizer=char."
        ) from None


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Percentage of hypotheses that equal their reference, ignoring spaces at the ends."""
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
