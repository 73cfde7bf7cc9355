"""The interface of an encoder: its outputs, and their sizes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from seq2seq.config.schema import ModelConfig
from seq2seq.models.cells.base import Join, StepWeights


class Encoded(NamedTuple):
    """An encoder's outputs. Dimension 0 of every tensor is the batch."""

    final: tuple[Tensor, ...]  # (h,) or (h, c); each (batch, num_layers, state_size)
    memory: Tensor | None = None  # (batch, positions, memory_size), in source order
    mask: Tensor | None = None  # (batch, positions), True at real positions


class EncoderParts(NamedTuple):
    """A recurrent encoder taken apart, so that it can be computed with other products, or written as a graph."""

    embedding: nn.Embedding
    layers: list[list[StepWeights]]  # by layer and direction
    joins: list[Join]  # what stands after each layer; empty for nothing
    num_states: int  # tensors in a state
    bounded: bool  # whether outputs are known to lie in [-1, 1]
    reverse: bool  # whether it reads the source backwards
    end_symbol: bool  # whether every source ends with `</s>`, which keeps its place
    keep_memory: bool  # whether `Encoded.memory` is wanted


class Reading(NamedTuple):
    """The order in which an encoder reads a source, one position in each step."""

    embedding: nn.Module  # its outputs (batch, positions, width) are read step by step
    reverse: bool  # whether it reads the source backwards
    end_symbol: bool  # whether every source ends with `</s>`, which keeps its place
    bidirectional: bool


class Encoder(Protocol):
    """A module that turns a batch of sources into `Encoded`."""

    cell: str | None  # whose states Encoded.final are; None for an encoder without cells
    num_layers: int  # of Encoded.final
    state_size: int  # width of Encoded.final
    memory_size: int  # width of Encoded.memory
    state_bounded: bool  # whether h of Encoded.final is known to lie in [-1, 1]
    memory_bounded: bool  # whether Encoded.memory is

    def parts(self) -> EncoderParts | None:
        """The encoder taken apart, for 8-bit products and for the export; None if there is only the module."""

    def reading(self) -> Reading | None:
        """The order of its steps, for probes; None for an encoder that does not go from position to position."""

    def __call__(self, src: Tensor, src_lengths: Tensor) -> Encoded: ...


class EncoderKind(Protocol):
    """How an encoder is built: an entry of `seq2seq.models.encoders.ENCODERS`, most often its class."""

    reads: str  # what a source must give: see `seq2seq.data.sources.base.Source.gives`

    def inputs(self, config: ModelConfig, src_size: int) -> nn.Module:
        """Build the first layer, which turns what a source gives into vectors.

        With ``model.tie=all`` the target's embeddings take its place.

        Args:
            src_size: see `seq2seq.data.sources.base.Source.input_size`.
        """

    def from_config(self, config: ModelConfig, inputs: nn.Module) -> Encoder:
        """Build the encoder that a config describes around its first layer."""
