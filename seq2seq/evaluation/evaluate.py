"""Compute all figures of a translator on a test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from seq2seq import metrics
from seq2seq.config.schema import DecodeConfig
from seq2seq.results.scores import TranslationScores
from seq2seq.terminal import printable
from seq2seq.translate.translator import Translator


class Evaluation(NamedTuple):
    """Scores, and the hypotheses that they are of."""

    scores: TranslationScores
    hypotheses: list[str]


def evaluate(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    options: DecodeConfig | None = None,
    **changes: Any,
) -> Evaluation:
    """Translate, and score against unchanged references.

    The perplexity is that of the references under teacher forcing. ``translator.metrics`` chooses the scores.

    Args:
        options, changes: decoding settings, as for `Translator.translate`.

    Raises:
        UserError: if sources and references are not line-aligned, or as `metrics.scorer`.

    Example:
        >>> evaluate(translator, sources, references, beam=5).scores.bleu  # doctest: +SKIP
        91.3
    """
    translator = translator.with_options(options, **changes)
    metrics.check_aligned(sources, references)
    metrics.scorer(translator.metrics.tokenizer)  # which may have to be installed
    started = time.perf_counter()
    hypotheses = translator.translate(sources)
    seconds = time.perf_counter() - started
    tokenizer = translator.metrics.tokenizer
    bleu = metrics.bleu(hypotheses, references, tokenizer=tokenizer)
    chrf = metrics.chrf(hypotheses, references)
    ter = metrics.ter(hypotheses, references, tokenizer=tokenizer)
    nll, num_tokens = translator.nll(sources, references, warn=False)  # of the same sources
    scores = TranslationScores(
        bleu=bleu.value,
        bleu_signature=bleu.signature,
        chrf=chrf.value,
        chrf_signature=chrf.signature,
        ter=ter.value,
        ter_signature=ter.signature,
        exact_match=metrics.exact_match(hypotheses, references),
        perplexity=metrics.perplexity(nll, num_tokens),
        num_tokens=num_tokens,
        num_sentences=len(references),
        parameters=translator.engine.parameters,
        seconds=round(seconds, 3),
        sentences_per_second=round(len(references) / seconds, 1),
    )
    return Evaluation(scores, hypotheses)


def show_samples(sources: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]) -> str:
    """Source, reference and hypothesis of each sentence, below each other, for people to look at."""
    rows = (map(printable, texts) for texts in zip(sources, references, hypotheses, strict=True))
    return "\n\n".join(f"  source      {src}\n  reference   {ref}\n  hypothesis  {hyp}" for src, ref, hyp in rows)
