"""The bridge: the encoder's final state becomes the decoder's first state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.config.rules import refuse_bridge
from seq2seq.models.decoder import RNNDecoder
from seq2seq.models.encoders.base import Encoder


class Bridge(nn.Module):
    """Computes the decoder's first hidden state from the encoder's final one.

    Only the sizes of ``encoder`` and ``decoder`` are read; neither becomes a part of the bridge.

    Args:
        kind: ``auto`` is copy where cell, layers and width agree, else dense. ``copy`` uses the state unchanged.
            ``dense`` passes all its layers through a linear layer and tanh, for each of h and c (c from h where the
            encoder has none). ``hidden_only`` copies h and sets an LSTM's c to 0, as the book does. ``zero`` sets all
            to 0, a control: a decoder without attention then sees no source.

    Raises:
        UserError: if ``copy`` or ``hidden_only`` meets an encoder of another shape.
    """

    def __init__(self, kind: str, encoder: Encoder, decoder: RNNDecoder) -> None:
        super().__init__()
        there = encoder.cell, encoder.num_layers, encoder.state_size
        here = decoder.cell, decoder.num_layers, decoder.hidden_size
        refuse_bridge(kind, there, here)
        if kind == "auto":
            kind = "copy" if there == here else "dense"
        self.kind = kind
        self.bounded = kind in ("dense", "zero") or encoder.state_bounded  # whether h is known to lie in [-1, 1]
        self.num_states = decoder.num_states
        self.num_layers, self.hidden_size = decoder.num_layers, decoder.hidden_size
        if kind == "dense":
            sizes = (encoder.num_layers * encoder.state_size, decoder.num_layers * decoder.hidden_size)
            self.dense = nn.ModuleList(nn.Linear(*sizes) for _ in range(self.num_states))

    def forward(self, final: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Each of final ``(batch, encoder layers, width)``; each of the result ``(batch, decoder layers, hidden)``."""
        h = final[0]
        if self.kind == "copy":
            return final
        if self.kind == "dense":
            sources = (h, final[-1])[: self.num_states]
            shape = (self.num_layers, self.hidden_size)
            return tuple(
                torch.tanh(dense(source.flatten(1))).unflatten(1, shape)
                for dense, source in zip(self.dense, sources, strict=True)
            )
        zeros = h.new_zeros(h.shape[0], self.num_layers, self.hidden_size)
        return (h if self.kind == "hidden_only" else zeros, zeros)[: self.num_states]
