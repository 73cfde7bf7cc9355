"""From the encoder's final state to the decoder's first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.config.schema import Stack


class Bridge(nn.Module):
    """Makes the decoder's first hidden state out of the encoder's final one.

    Args:
        kind: ``copy`` takes it as it is. ``dense`` puts all its layers through a linear layer and tanh, for each of h
            and c (c from h where the encoder has none). ``hidden_only`` copies h and starts an LSTM's c at 0, as the
            book does. ``zero`` hands over nothing, which leaves a decoder without attention blind: a control.
        encoder_shape: (cell, layers, width) of the final state, directions side by side.
        decoder: the stack whose state is made.
    """

    def __init__(self, kind: str, encoder_shape: tuple[str, int, int], decoder: Stack) -> None:
        super().__init__()
        self.kind = kind
        self.num_states = 2 if decoder.cell == "lstm" else 1
        self.num_layers, self.hidden_size = decoder.num_layers, decoder.hidden_size
        if kind == "dense":
            _, layers, width = encoder_shape
            sizes = (layers * width, decoder.num_layers * decoder.hidden_size)
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
