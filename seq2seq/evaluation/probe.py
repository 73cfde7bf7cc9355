"""Measure the inside of a trained model in three ways, to compare reverse and peeky.

Gradient reach shows which source tokens influence the first target words. Peeky reliance shows how much the summary
adds at each step. Accuracy by position shows where in a sentence the model is right.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from seq2seq import metrics
from seq2seq.data.batches import Batch, LengthBatchSampler, collate, enough_memory
from seq2seq.errors import UserError
from seq2seq.models.encoders.base import Reading
from seq2seq.models.padding import length_mask, reverse_padded
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import PAD
from seq2seq.tokens.bounded import refuse_endless
from seq2seq.translate.translator import Translator

log = logging.getLogger(__name__)

BATCH_TOKENS = 4096  # most tokens in a batch, whose activations a gradient needs all at once
DIGITS = 6  # significant ones of every figure
FEWEST_POINTS = 3  # of a sentence that a decay is fitted to


def probe(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    steps: int = 3,
    max_positions: int = 30,
) -> dict[str, Any]:
    """Measure how a model uses its sources, teacher-forced and without dropout; the model is left as it was.

    Pairs with a blank side are left out, and those whose source is longer than ``decode.max_source``. Padding is never
    counted. The figures do not depend on the batches.

    Args:
        steps: target steps, from the first on, whose gradients are followed.
        max_positions: positions with a figure of their own; those beyond count only in ``overall``.

    Returns:
        Plain values for JSON; in every list item i is position i + 1 (or distance i), ``count`` is what its means are
        over, and None stands where there is no figure.

        - ``num_sentences``: pairs that were probed.
        - ``gradient_reach``: empty for an encoder that does not read step by step (`Encoder.reading`), else for each
          step t a dictionary of ``step`` and the following, where the norm at a source token is the L2 norm of the
          gradient of log p(y_t | y_<t, x) by its embedded vector.

          - ``by_position``, in source order even where the encoder reverses, without the end symbol, which has
            another position in each sentence: lists ``norm``, ``share`` (of the sum of norms of its sentence; 0 to 1,
            so that models compare) and ``count`` (of sentences).
          - ``end_symbol``: its own ``norm`` and ``share``; None in a model without one.
          - ``by_distance``, in encoder steps from reading a token to the end of reading, or to the nearer end where
            there are two directions: lists ``norm``, ``log_norm`` (mean of the natural logarithm) and ``count``; again
            without the end symbol, so that nothing is at distance 0 of one direction with an end symbol.
          - ``decay_per_step``: the factor of the norm for each step of distance; see `_Decay`.
        - ``peeky_reliance``: None for a model without peeky, else ``overall`` and, as lists over target positions,
          ``by_position``: ``total_variation`` (0 to 1), ``kl`` (nats), ``argmax_changed`` (share) and ``count``; see
          `_withheld`. An end symbol is a target token like others.
        - ``accuracy_by_position``: ``overall`` and ``by_position`` likewise: ``accuracy`` (share of tokens that the
          model holds most likely), ``nll`` (nats) and ``count``.

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
        reach = _gradient_reach(translator, batches, steps, max_positions)
        reliance, accuracy = _by_target_position(translator, batches, max_positions)
    return {
        "num_sentences": sum(len(batch.rows) for batch in batches),
        "gradient_reach": reach,
        "peeky_reliance": reliance,
        "accuracy_by_position": accuracy,
    }


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


def _enough_memory(batch: Batch) -> AbstractContextManager[None]:
    remedy = "leave out the longest pairs"
    return enough_memory(batch.shape, remedy, single=remedy)


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


class _Means:
    """Means of values by position, from 0 to below ``size``, and over all positions; summed in float64."""

    def __init__(self, size: int) -> None:
        self.sums, self.counts = np.zeros(size), np.zeros(size, dtype=np.int64)
        self.sum, self.count = 0.0, 0

    def add(self, positions: Tensor, values: Tensor) -> None:
        """Values ``(n,)`` and where each belongs ``(n,)``."""
        at, summands = positions.cpu().numpy(), values.cpu().double().numpy()
        self.sum += float(summands.sum())
        self.count += len(summands)
        inside = at < len(self.sums)
        self.sums += np.bincount(at[inside], summands[inside], minlength=len(self.sums))
        self.counts += np.bincount(at[inside], minlength=len(self.counts))

    def overall(self) -> float | None:
        """The mean of all values."""
        return _rounded(self.sum / self.count) if self.count else None

    def by_position(self) -> list[float | None]:
        """The mean at each position; None where nothing was added."""
        return [_rounded(total / count) if count else None for total, count in zip(self.sums, self.counts, strict=True)]


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _table(columns: dict[str, _Means]) -> dict[str, Any]:
    """The means by position, up to the last that any sentence has, and the counts of the first column."""
    counts = next(iter(columns.values())).counts
    size = int(counts.nonzero()[0].max(initial=-1)) + 1
    means = {name: column.by_position()[:size] for name, column in columns.items()}
    return {**means, "count": counts[:size].tolist()}


# Gradient reach


class _Places(NamedTuple):
    """Where the tokens of a batch are; each ``(batch, src_length)``, in reading order."""

    position: Tensor  # in the source, from 0 on
    distance: Tensor  # encoder steps to the end of reading; with two directions, to the nearer end
    word: Tensor  # True but at padding and at the end symbol
    end: Tensor  # True at the end symbol, where there is one


def _places(reading: Reading, lengths: Tensor, size: int) -> _Places:
    read_at = torch.arange(size).expand(len(lengths), size)
    turned = lengths - 1 if reading.end_symbol else lengths
    to_end = lengths.unsqueeze(1) - 1 - read_at
    return _Places(
        position=reverse_padded(read_at, turned) if reading.reverse else read_at,
        distance=torch.minimum(read_at, to_end) if reading.bidirectional else to_end,
        word=length_mask(turned, size),
        end=length_mask(lengths, size) & ~length_mask(turned, size),
    )


class _Reach:
    """The gradients of one target step, summed up."""

    def __init__(self, size: int) -> None:
        self.by_position = {"norm": _Means(size), "share": _Means(size)}
        self.by_distance = {"norm": _Means(size), "log_norm": _Means(size)}
        self.end_symbol = {"norm": _Means(size), "share": _Means(size)}
        self.decay = _Decay()

    def add(self, norms: Tensor, places: _Places, has_step: Tensor) -> None:
        """Norms ``(batch, src_length)`` in reading order, of the sentences ``(batch,)`` that have this step."""
        shares = norms / norms.sum(dim=1, keepdim=True)
        for columns, kind in ((self.by_position, places.word), (self.end_symbol, places.end)):
            counted = kind & has_step.unsqueeze(1)
            columns["norm"].add(places.position[counted], norms[counted])
            counted &= shares.isfinite()  # a model that is blind to its source has nothing to share out
            columns["share"].add(places.position[counted], shares[counted])
        counted = places.word & has_step.unsqueeze(1)
        self.by_distance["norm"].add(places.distance[counted], norms[counted])
        counted &= norms > 0
        self.by_distance["log_norm"].add(places.distance[counted], norms[counted].log())
        self.decay.add(places.distance, norms, counted)

    def figures(self, step: int) -> dict[str, Any]:
        """One entry of ``gradient_reach``."""
        return {
            "step": step,
            "by_position": _table(self.by_position),
            "end_symbol": {name: column.overall() for name, column in self.end_symbol.items()},
            "by_distance": _table(self.by_distance),
            "decay_per_step": self.decay.factor(),
        }


class _Decay:
    """exp(slope) of log norm against distance by least squares, with one slope for all sentences and a level for each.

    A gradient that goes back through a plain RNN is multiplied by a Jacobian matrix at each step, so that its norm is
    about exponential in the distance (Pascanu et al. 2013, https://arxiv.org/abs/1211.5063); below 1 it vanishes.
    Without levels of their own the longest sentences, the only ones at the largest distances, would bend the line.

    It sums up a curve and need not describe it: gates make it no straight line, and near tokens differ from far ones
    in more than their distance. Norms of exactly 0 have no logarithm and are left out, which makes a gradient that
    vanishes below the smallest number look better than it is. The end symbol is not in it: being the same token in
    every sentence, it need not lie on the words' curve.
    """

    def __init__(self) -> None:
        self.covariance = self.variance = 0.0

    def add(self, distances: Tensor, norms: Tensor, counted: Tensor) -> None:
        """Each ``(batch, src_length)``; sentences with fewer than three counted tokens are left out."""
        number = counted.sum(dim=1, keepdim=True)
        counted = counted & (number >= FEWEST_POINTS)
        mean = (distances * counted).sum(dim=1, keepdim=True) / number.clamp_min(1)
        centred = (distances - mean).double() * counted
        self.covariance += float((centred * norms.where(counted, 1.0).log()).sum())
        self.variance += float(centred.square().sum())

    def factor(self) -> float | None:
        """Of the norm for each step; None where no sentence is long enough."""
        return _rounded(math.exp(self.covariance / self.variance)) if self.variance else None


def _gradient_reach(
    translator: Translator, batches: Sequence[Batch], steps: int, max_positions: int
) -> list[dict[str, Any]]:
    reading = translator.model.encoder.reading()
    if reading is None:
        log.warning(
            "the encoder (%s) does not read from position to position, so it has no states whose gradient could be "
            "followed; gradient_reach is left empty",
            type(translator.model.encoder).__name__,
        )
        return []
    reaches = [_Reach(max_positions) for _ in range(steps)]
    for batch in batches:
        places = _places(reading, batch.src_lengths, batch.src.shape[1])
        with _enough_memory(batch):
            norms = _gradient_norms(translator.model, reading, batch.to(translator.device), steps)
            for reach, of_step, target in zip(reaches, norms, batch.tgt_out.T, strict=False):  # a batch may have fewer
                reach.add(of_step, places, target != PAD)
    return [reach.figures(t) for t, reach in enumerate(reaches, start=1)]


def _gradient_norms(model: Seq2Seq, reading: Reading, batch: Batch, steps: int) -> Iterator[Tensor]:
    """For each step that the batch has, the norms at its source tokens, ``(batch, src_length)`` in reading order."""
    with _embedded_by(reading.embedding) as embedded_once:
        state = model.encode(batch.src, batch.src_lengths)
    (embedded,) = embedded_once  # (batch, src_length, embedding)
    logits, _ = model.decoder(batch.tgt_in[:, :steps], state)
    targets = batch.tgt_out[:, :steps]
    log_probs = logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (batch, steps)
    # Sentences do not touch each other, so the gradient of a sum over the batch is that of each. The 0 is for a bridge
    # that hands over nothing: no path leads to the source then, and a gradient of 0 is the right answer.
    sums = (log_probs * (targets != PAD)).sum(dim=0) + 0 * embedded.sum()
    for of_step in sums:
        (gradient,) = torch.autograd.grad(of_step, embedded, retain_graph=True)
        yield gradient.cpu().double().norm(dim=-1)  # a vanished gradient's squares would be 0 in float32


@contextmanager
def _embedded_by(embedding: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the embedding's outputs during the block, as leaves for a gradient.

    The gradient is taken of the vectors, not of the table: a token that occurs twice has one at each place.
    """
    leaves: list[Tensor] = []

    def cut_here(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    handle = embedding.register_forward_hook(cut_here)
    try:
        yield leaves
    finally:
        handle.remove()


# Target positions


@torch.no_grad()
def _by_target_position(
    translator: Translator, batches: Sequence[Batch], max_positions: int
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """``peeky_reliance`` and ``accuracy_by_position``, in one pass of single decoder steps."""
    model = translator.model
    is_peeky = model.decoder.peek_input or model.decoder.peek_output
    average = _average_summary(translator, batches) if is_peeky else None
    accuracy = {name: _Means(max_positions) for name in ("accuracy", "nll")}
    reliance = {name: _Means(max_positions) for name in ("total_variation", "kl", "argmax_changed")}
    for batch in batches:
        with _enough_memory(batch):
            for t, real, right, moved in _steps(model, batch.to(translator.device), average):
                position = torch.full((int(real.sum()),), t)
                for columns, values in ((accuracy, right), (reliance, moved)):
                    for name, value in values.items():
                        columns[name].add(position, value[real])
    return (_summed_up(reliance) if is_peeky else None), _summed_up(accuracy)


def _summed_up(columns: dict[str, _Means]) -> dict[str, Any]:
    overall: dict[str, Any] = {name: column.overall() for name, column in columns.items()}
    overall["count"] = next(iter(columns.values())).count
    return {"overall": overall, "by_position": _table(columns)}


def _average_summary(translator: Translator, batches: Sequence[Batch]) -> Tensor:
    """The mean over all probed sentences of the summary that the decoder is shown, ``(hidden,)``."""
    contexts = []
    for batch in batches:
        with _enough_memory(batch):
            state = translator.model.encode(batch.src.to(translator.device), batch.src_lengths)
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
