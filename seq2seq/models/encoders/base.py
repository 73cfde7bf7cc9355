"""What a decoder needs to know of an encoder: its outputs, and their sizes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Encoded(NamedTuple):
    """An encoder's outputs. Dimension 0 of every tensor is the batch."""

    final: tuple[Tensor, ...]  # (h,) or (h, c); each (batch, num_layers, state_size)
    memory: Tensor | None = None  # (batch, positions, memory_size), in source order
    mask: Tensor | None = None  # (batch, positions), True at real positions


class Encoder(Protocol):
    """A module that turns a batch of sources into `Encoded`."""

    num_layers: int  # of Encoded.final
    state_size: int  # width of Encoded.final
    memory_size: int  # width of Encoded.memory
    state_bounded: bool  # whether h of Encoded.final is known to lie in [-1, 1]
    memory_bounded: bool  # whether Encoded.memory is

    def __call__(self, src: Tensor, src_lengths: Tensor) -> Encoded: ...
