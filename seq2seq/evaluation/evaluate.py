"""Compute all figures of a translator on a test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from seq2seq import metrics
from seq2seq.config.schema import DecodeConfig
from seq2seq.models.build import num_parameters
from seq2seq.terminal import printable
from seq2seq.translate.translator import Translator


class Evaluation(NamedTuple):
    """Figures, ready for JSON, and the scored hypotheses."""

    figures: dict[str, Any]
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

    Figures: ``bleu``, ``chrf`` and ``ter``, each with its ``..._signature``; ``exact_match`` in percent; ``perplexity``
        per target token (the end symbol included) and ``num_tokens``, the number of those tokens; ``num_sentences``;
        ``parameters``, of all models of an ensemble together; decoding ``seconds`` and ``sentences_per_second``.

    Raises:
        UserError: if sources and references are not line-aligned, or as `metrics.scorer`.

    Example:
        >>> evaluate(translator, sources, references, beam=5).figures["bleu"]  # doctest: +SKIP
        91.3
    """
    translator = translator.with_options(options, **changes)
    metrics.check_aligned(sources, references)
    metrics.scorer(translator.metrics.tokenizer)  # which may have to be installed
    started = time.perf_counter()
    hypotheses = translator.translate(sources)
    seconds = time.perf_counter() - started
    figures: dict[str, Any] = {}
    tokenizer = translator.metrics.tokenizer
    for name, score in (
        ("bleu", metrics.bleu(hypotheses, references, tokenizer=tokenizer)),
        ("chrf", metrics.chrf(hypotheses, references)),
        ("ter", metrics.ter(hypotheses, references, tokenizer=tokenizer)),
    ):
        figures[name], figures[f"{name}_signature"] = score
    nll, num_tokens = translator.nll(sources, references, warn=False)  # of the same sources
    figures |= {
        "exact_match": metrics.exact_match(hypotheses, references),
        "perplexity": metrics.perplexity(nll, num_tokens),
        "num_tokens": num_tokens,
        "num_sentences": len(references),
        "parameters": sum(num_parameters(model) for model in translator.models),
        "seconds": round(seconds, 3),
        "sentences_per_second": round(len(references) / seconds, 1),
    }
    return Evaluation(figures, hypotheses)


def show_samples(sources: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]) -> str:
    """Source, reference and hypothesis of each sentence, below each other, for people to look at."""
    rows = (map(printable, texts) for texts in zip(sources, references, hypotheses, strict=True))
    return "\n\n".join(f"  source      {src}\n  reference   {ref}\n  hypothesis  {hyp}" for src, ref, hyp in rows)
