"""Measure where in the target a model is right, and how much peeky adds at each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from seq2seq.data.batches import Batch
from seq2seq.evaluation.means import Means, enough_for, table
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.results.probe import (
    Accuracy,
    AccuracyByPosition,
    AccuracyOverall,
    PeekyReliance,
    RelianceByPosition,
    RelianceOverall,
)
from seq2seq.tokens.base import PAD
from seq2seq.translate.translator import Translator


@torch.no_grad()
def by_target_position(
    translator: Translator, batches: Sequence[Batch], max_positions: int
) -> tuple[PeekyReliance | None, Accuracy]:
    """Measure ``peeky_reliance`` and ``accuracy_by_position`` in one pass of single decoder steps."""
    model = translator.model
    is_peeky = model.decoder.peek_input or model.decoder.peek_output
    average = _average_summary(translator, batches) if is_peeky else None
    accuracy = {name: Means(max_positions) for name in ("accuracy", "nll")}
    reliance = {name: Means(max_positions) for name in ("total_variation", "kl", "argmax_changed")}
    for batch in batches:
        with enough_for(batch):
            for t, real, right, moved in _steps(model, batch.to(translator.engine.device), average):
                position = torch.full((int(real.sum()),), t)
                for columns, values in ((accuracy, right), (reliance, moved)):
                    for name, value in values.items():
                        columns[name].add(position, value[real])
    found = Accuracy(overall=AccuracyOverall(**_overall(accuracy)), by_position=AccuracyByPosition(**table(accuracy)))
    if not is_peeky:
        return None, found
    overall, by_position = RelianceOverall(**_overall(reliance)), RelianceByPosition(**table(reliance))
    return PeekyReliance(overall=overall, by_position=by_position), found


def _overall(columns: Mapping[str, Means]) -> dict[str, Any]:
    """The means over all positions, and the count of the first column."""
    overall: dict[str, Any] = {name: column.overall() for name, column in columns.items()}
    return overall | {"count": next(iter(columns.values())).count}


def _average_summary(translator: Translator, batches: Sequence[Batch]) -> Tensor:
    """The mean over all probed sentences of the summary that the decoder is shown, ``(hidden,)``."""
    contexts = []
    for batch in batches:
        with enough_for(batch):
            state = translator.model.encode(batch.src.to(translator.engine.device), batch.src_lengths)
        contexts.append(cast(Tensor, state.context))
    return torch.cat(contexts).cpu().double().mean(dim=0).to(contexts[0])


def _steps(
    model: Seq2Seq, batch: Batch, average: Tensor | None
) -> Iterator[tuple[int, Tensor, dict[str, Tensor], dict[str, Tensor]]]:
    """For each target position: the position, where it is real, how right the model is there, and how far it is moved
    by the average summary (nothing without one); tensors ``(batch,)``.
    """
    state = model.encode(batch.src, batch.src_lengths)
    for t, (last, target) in enumerate(zip(batch.tgt_in.T, batch.tgt_out.T, strict=True)):
        log_probs, after = model.decoder.step(last, state)  # (batch, vocabulary)
        right = {
            "accuracy": log_probs.argmax(dim=-1) == target,
            "nll": -log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1),
        }
        moved = {}
        if average is not None:
            without, _ = model.decoder.step(last, state._replace(context=average.expand(len(last), -1)))
            moved = _withheld(log_probs, without)
        yield t, target != PAD, right, moved
        state = after


def _withheld(log_probs: Tensor, without: Tensor) -> dict[str, Tensor]:
    """Measure how far withholding the summary at one step moves that step's distribution.

    The decoder takes the step from its true state, once with the sentence's summary and once with the average one. The
    average removes the difference between this sentence and others, and keeps what they share. Zeros would be a summary
    that the decoder never saw in training, and its reaction to that would count as reliance. The state's own memory of
    the source is not withheld; at the first step that is the whole summary.

    Args:
        log_probs, without: ``(batch, vocabulary)`` with the sentence's and with the average summary, p and q below.

    Returns:
        Each ``(batch,)``: total variation, half the sum of |p - q|; KL(p || q) in nats; whether the argmax differs.
    """
    probs = log_probs.exp()
    return {
        "total_variation": (probs - without.exp()).abs().sum(dim=-1) / 2,
        "kl": (probs * (log_probs - without)).sum(dim=-1).clamp_min(0),  # rounding may leave a hair below 0
        "argmax_changed": log_probs.argmax(dim=-1) != without.argmax(dim=-1),
    }
