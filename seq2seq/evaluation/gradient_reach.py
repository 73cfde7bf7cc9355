"""Measure which source tokens the first target words depend on, by gradients."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.data.batches import Batch
from seq2seq.evaluation.means import Means, enough_for, rounded, table
from seq2seq.models.encoders.base import Reading
from seq2seq.models.padding import length_mask, reverse_padded
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.results.probe import EndSymbolReach, GradientReach, ReachByDistance, ReachByPosition
from seq2seq.tokens.base import PAD
from seq2seq.translate.translator import Translator

log = logging.getLogger(__name__)

FEWEST_POINTS = 3  # of a sentence that a decay is fitted to


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
        self.by_position = {"norm": Means(size), "share": Means(size)}
        self.by_distance = {"norm": Means(size), "log_norm": Means(size)}
        self.end_symbol = {"norm": Means(size), "share": Means(size)}
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

    def figures(self, step: int) -> GradientReach:
        """The figures of one target step."""
        return GradientReach(
            step=step,
            by_position=ReachByPosition(**table(self.by_position)),
            end_symbol=EndSymbolReach(**{name: column.overall() for name, column in self.end_symbol.items()}),
            by_distance=ReachByDistance(**table(self.by_distance)),
            decay_per_step=self.decay.factor(),
        )


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
        return rounded(math.exp(self.covariance / self.variance)) if self.variance else None


def gradient_reach(
    translator: Translator, batches: Sequence[Batch], steps: int, max_positions: int
) -> tuple[GradientReach, ...]:
    """Follow the gradients of the first target steps to the source tokens.

    Empty for an encoder that does not read step by step (`Encoder.reading`).
    """
    reading = translator.model.encoder.reading()
    if reading is None:
        log.warning(
            "the encoder (%s) does not read from position to position, so it has no states whose gradient could be "
            "followed; gradient_reach is left empty",
            type(translator.model.encoder).__name__,
        )
        return ()
    reaches = [_Reach(max_positions) for _ in range(steps)]
    for batch in batches:
        places = _places(reading, batch.src_lengths, batch.src.shape[1])
        with enough_for(batch):
            norms = _gradient_norms(translator.model, reading, batch.to(translator.engine.device), steps)
            for reach, of_step, target in zip(reaches, norms, batch.tgt_out.T, strict=False):  # a batch may have fewer
                reach.add(of_step, places, target != PAD)
    return tuple(reach.figures(t) for t, reach in enumerate(reaches, start=1))


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
