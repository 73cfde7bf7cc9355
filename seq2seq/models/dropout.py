"""Dropout of single units, of the same units at all positions, of whole words and of recurrent weights."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seq2seq.config.schema import ModelConfig
from seq2seq.models.cells.base import Stack
from seq2seq.tokens.base import EOS, UNK

Sequences = TypeVar("Sequences", Tensor, PackedSequence)


def build_dropout(probability: float, *, locked: bool) -> nn.Module:
    """Build dropout that samples units for each position, or (locked) once for all positions of a sentence."""
    return LockedDropout(probability) if locked else Dropout(probability)


class Dropout(nn.Dropout):
    """torch's dropout, but faster on a CPU.

    Random numbers are most of its cost there. 16 random bits decide on a unit, so the probability is rounded to a
    multiple of 2^-16.

    Source:
        Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting".
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        draws = torch.empty(input.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None)
        dropped = min(round(self.p * 2**16), 2**16 - 1)  # of 2^16 equally likely numbers
        kept = draws.view(torch.int16)[: input.numel()].view(input.shape) >= dropped - 2**15
        return input * kept.to(input.dtype).mul_(1 / (1 - dropped / 2**16))


class LockedDropout(nn.Module):
    """Drops the same units at all positions of a sentence; also called variational dropout.

    Shapes:
        inputs ``(batch, length, width)``, or packed; returns the like.

    Source:
        Gal and Ghahramani (2016), https://arxiv.org/abs/1512.05287.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, inputs: Sequences) -> Sequences:
        if not self.training or not self.p:
            return inputs
        if isinstance(inputs, PackedSequence):
            sizes = inputs.batch_sizes  # of each position: the sentences that reach it, which are the first ones
            rows = torch.arange(int(sizes[0])).expand(len(sizes), -1)
            rows = rows[rows < sizes.unsqueeze(1)].to(inputs.data.device)  # the sentence of each packed vector
            kept = F.dropout(inputs.data.new_ones(int(sizes[0]), inputs.data.shape[1]), self.p)
            return inputs._replace(data=inputs.data * kept[rows])
        return inputs * F.dropout(inputs.new_ones(inputs.shape[0], 1, inputs.shape[2]), self.p)


class WordDropout(nn.Module):
    """Looks up embeddings and, in training, hides whole tokens.

    A hidden token's embedding is zero, and the others are scaled by 1 / (1 - p); or it is read as ``<unk>``. Pad,
    ``<unk>``, ``<s>`` and ``</s>`` are never hidden.

    Args:
        p: probability in [0, 1), for each token independently.
        kind: "zero" or "unk".

    Shapes:
        tokens ``(batch, length)``; returns ``(batch, length, embedding)``.

    Source:
        Sennrich and Zhang (2019), https://arxiv.org/abs/1905.11901; Gal and Ghahramani (2016).
    """

    def __init__(self, p: float = 0.0, kind: str = "zero") -> None:
        super().__init__()
        self.p = p
        self.kind = kind

    def forward(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        if not self.training or not self.p:
            return embedding(tokens)
        words = tokens > EOS
        hidden = words & (torch.rand(tokens.shape, device=tokens.device) < self.p)
        if self.kind == "unk":
            return embedding(tokens.masked_fill(hidden, UNK))
        embedded: Tensor = embedding(tokens)
        factor = torch.where(words, 1 / (1 - self.p), 1.0).masked_fill(hidden, 0.0)
        return embedded * factor.unsqueeze(-1).to(embedded.dtype)


class Lookup(nn.Module):
    """Looks up embeddings; in training, hides whole tokens first and then drops single units.

    Args:
        words: hides tokens; None leaves it out.
        units: dropout of units, single or locked; None leaves it out.

    Shapes:
        tokens ``(batch, length)``; returns ``(batch, length, embedding)``.
    """

    def __init__(self, words: WordDropout | None = None, units: nn.Module | None = None) -> None:
        super().__init__()
        self.words = words or WordDropout()
        self.units = units or nn.Identity()

    def forward(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        looked_up: Tensor = self.units(self.words(embedding, tokens))
        return looked_up


def build_lookup(config: ModelConfig, word_dropout: float) -> Lookup:
    """Build the look-up of one side; ``word_dropout`` is the probability that a token is hidden."""
    words = WordDropout(word_dropout, config.word_dropout_kind)
    return Lookup(words, build_dropout(config.embedding_dropout, locked=config.locked_dropout))


def drop_weights(
    stack: Stack, p: float, x: Tensor, lengths: Tensor | None = None, state: tuple[Tensor, ...] = ()
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Call a recurrent stack; in training, with single weights of its recurrent matrices dropped.

    They are dropped for the whole call, so that it stays one fused call.

    Source:
        "DropConnect": Wan et al. (2013); on recurrent matrices, Merity et al. (2018), https://arxiv.org/abs/1708.02182.
    """
    called: tuple[Tensor, tuple[Tensor, ...]]
    if not stack.training or not p:
        called = stack(x, lengths, state)
    else:
        dropped = {name: F.dropout(weights, p) for name, weights in stack.recurrent_weights().items()}
        called = torch.func.functional_call(stack, dropped, (x, lengths, state))
    return called
