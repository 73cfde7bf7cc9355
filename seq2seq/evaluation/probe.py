"""Measure the inside of a trained model in three ways, to compare reverse and peeky.

Gradient reach shows which source tokens influence the first target words. Peeky reliance shows how much the summary
adds at each step. Accuracy by position shows where in a sentence the model is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from seq2seq import metrics
from seq2seq.data.batches import Batch, LengthBatchSampler, collate
from seq2seq.errors import UserError
from seq2seq.evaluation.gradient_reach import gradient_reach
from seq2seq.evaluation.target_positions import by_target_position
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.results.probe import Probe
from seq2seq.tokens.bounded import refuse_endless
from seq2seq.translate.translator import Translator

BATCH_TOKENS = 4096  # most tokens in a batch, whose activations a gradient needs all at once


def probe(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    steps: int = 3,
    max_positions: int = 30,
) -> Probe:
    """Measure how a model uses its sources, teacher-forced and without dropout; the model is left as it was.

    Pairs with a blank side are left out, and those whose source is longer than ``decode.max_source``. Padding is never
    counted. The figures do not depend on the batches.

    Args:
        steps: target steps, from the first on, whose gradients are followed.
        max_positions: positions with a figure of their own; those beyond count only in ``overall``.

    Returns:
        The measurements; see `seq2seq.results.probe`.

    Raises:
        UserError: if the two are not line-aligned, nothing is left to probe, an argument is out of range, or the memory
            does not suffice for a batch.
    """
    for name, value in (("steps", steps), ("max_positions", max_positions)):
        if value < 1:
            raise UserError(f"{name}={value} is out of range; it must be at least 1.")
    metrics.check_aligned(sources, references)
    with _left_as_it_was(translator.model):
        batches = _batches(translator, sources, references)
        reach = gradient_reach(translator, batches, steps, max_positions)
        reliance, accuracy = by_target_position(translator, batches, max_positions)
    return Probe(
        num_sentences=sum(len(batch.rows) for batch in batches),
        gradient_reach=reach,
        peeky_reliance=reliance,
        accuracy_by_position=accuracy,
    )


def _batches(translator: Translator, sources: Sequence[str], references: Sequence[str]) -> list[Batch]:
    """The pairs to probe, sentences of similar length together."""
    filled = [(src, ref) for src, ref in zip(sources, references, strict=True) if src.strip() and ref.strip()]
    limit = translator.decode.max_source
    refuse_endless((ref for _, ref in filled), "reference")
    source = translator.source
    src = source.bounded([one for one, _ in filled], limit)
    tgt = translator.tokenizers.tgt.encode([ref for _, ref in filled])
    kept = [(s.item, t) for s, t in zip(src, tgt, strict=True) if s.is_whole and source.size(s.item) <= limit]
    if not kept:
        raise UserError(
            f"there is nothing to probe: each of the {len(sources)} pairs has a blank side or a source of more than "
            f"{limit} tokens; name a file with other sentences."
        )
    end_symbol = not translator.model.fixed_length
    lengths = np.array([(source.size(s) + end_symbol, len(t) + end_symbol) for s, t in kept])
    batch_tokens = min(BATCH_TOKENS, translator.decode.batch_tokens)
    sampler = LengthBatchSampler(lengths, batch_tokens=batch_tokens, shuffle=False)
    options: dict[str, Any] = {"end_symbol": end_symbol, "layout": source}
    return [
        collate([kept[i][0] for i in rows], [kept[i][1] for i in rows], rows.tolist(), **options)
        for rows in sampler.batches()
    ]


@contextmanager
def _left_as_it_was(model: Seq2Seq) -> Iterator[None]:
    """Put the model in evaluation mode with gradients for the block, and restore its mode afterwards.

    cuDNN does not compute gradients in evaluation mode, so torch's own kernels are used.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
