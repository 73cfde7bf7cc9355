"""A trained network in the form in which a CPU decodes fastest: the same numbers, but for rounding.

Of the decoder's step, all that does not depend on the last token or the state is worked out beforehand: the first
layer's part of the gates for each token of the vocabulary, the summary's part for each sentence, the attention's keys.
What is left are matrix products, of which the output layer's is the largest, and a few elementwise operations in
place. Hypotheses of one sentence share its memory, and it stays where it is while they change places.

With ``int8`` the matrices are 8-bit integers with a scale for each output, and inputs are 16-bit ones, as two of 8 bits
each, with a scale for each row. An 8-bit input would be twice as fast and about as good, but not reproducible: the last
bits of a sum depend on the shape of the batch, a number near the boundary between two of 255 steps falls on either
side, and the recurrence carries that on. Between two of 65,000 steps it makes no more of a difference than the last
bits themselves, so that a line's translation stays independent of its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.decoding.forms.cell import KNOWN_STACKS, Cell, is_bounded
from seq2seq.decoding.forms.int8 import Int8Encoder
from seq2seq.decoding.forms.products import Build, Linear, build_float, build_int8, require_int8
from seq2seq.decoding.forms.state import Columns, InferenceState, Source
from seq2seq.models.decoder import RNNDecoder
from seq2seq.models.encoders.recurrent import RNNEncoder
from seq2seq.models.seq2seq import Seq2Seq

TABLE_BYTES = 1 << 28  # the most that the first layer's table may take; above it there is a product for each step

# What stands between the parts of a decoder or encoder is known here part by part; another one is another network.
KNOWN_DECODER = {"embedding", "rnn", "attention", "attend", "narrow", "output"}
KNOWN_ENCODER = {"embedding", "rnn"}
IDLE = {"dropout", "lookup", "memory_dropout"}  # in evaluation


class Inference:
    """A network's inference form. It holds copies: of a network that is trained on, make another.

    Args:
        model: in evaluation mode, in float32, on the CPU; see `is_known`.
        int8: whether matrices are 8-bit integers.

    Raises:
        UserError: for ``int8`` where this build of torch has no such products.
    """

    def __init__(self, model: Seq2Seq, *, int8: bool = False) -> None:
        decoder = model.decoder
        assert is_known(model)
        assert isinstance(decoder.rnn, KNOWN_STACKS)
        if int8:
            require_int8()
        build = build_int8 if int8 else build_float
        self.model = model
        stack = decoder.rnn
        # A ReLU encoder's state may be what the decoder's begins with. The gates of an LSTM bound the next one; a GRU
        # keeps a share of it.
        self._starts_bounded = _starts_bounded(model)
        self._bounded = is_bounded(stack) and (stack.mode != "GRU" or self._starts_bounded)
        bounded_state = is_bounded(stack) and self._starts_bounded
        self.cells = [
            Cell(stack, f"l{i}", build, bounded_input=i > 0 and self._bounded, bounded_state=bounded_state)
            for i in range(stack.num_layers)
        ]
        self.num_states = 2 if stack.mode == "LSTM" else 1
        self.inputs = [None, *(cell.inputs() for cell in self.cells[1:])]
        with torch.no_grad():
            self._prepare_first(build)
            self._prepare_output(build)
        self.encoder = Int8Encoder(model.encoder, build) if int8 and _knows_encoder(model.encoder) else None

    def _prepare_first(self, build: Build) -> None:
        """The first layer's inputs, as a table for all tokens if it is not too large."""
        embedding, first = self.model.decoder.embedding.weight.detach(), self.cells[0]
        own, peeked = first.weight.split([embedding.shape[1], first.weight.shape[1] - embedding.shape[1]], 1)
        self.peek = Linear(peeked) if self.model.decoder.peek_input else None
        self.table = self.lookup = None
        if embedding.shape[0] * own.shape[0] * embedding.element_size() <= TABLE_BYTES:
            self.table = F.linear(embedding, own, first.bias)
        else:
            self.embedding, self.lookup = embedding, build(own, first.bias, bounded=False)

    def _prepare_output(self, build: Build) -> None:
        decoder = self.model.decoder
        bounded = self._bounded or decoder.attention is not None  # attention ends with a tanh
        bounded &= self._starts_bounded or not decoder.peek_output  # the summary is what the state begins with
        self.key = self.attend = self.narrow = None
        if decoder.attention is not None:
            remembered = _knows_encoder(self.model.encoder) and is_bounded(self.model.encoder.rnn)
            if decoder.attention.kind != "dot":
                self.key = build(decoder.attention.key.weight.detach(), None, bounded=remembered)
            self.attend = build(decoder.attend.weight.detach(), None, bounded=remembered and self._bounded)
        if isinstance(decoder.narrow, nn.Linear):
            self.narrow = build(decoder.narrow.weight.detach(), None, bounded=bounded)
        self.output = build(
            decoder.output.weight.detach(), decoder.output.bias.detach(), bounded=bounded and self.narrow is None
        )

    @torch.no_grad()
    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Callable[[Tensor, InferenceState], tuple[Tensor, InferenceState]], InferenceState]:
        """A step function for a search and the state that it starts from.

        Args:
            src, src_lengths: as for `Seq2Seq.encode`.
            columns: what to choose from; log-probabilities are then of these alone, in their order, and so are tokens.
            normalise: whether the log-probabilities are wanted; else they may lack a constant for each row, which a
                choice of the highest does not need.
        """
        state = self._encode(src, src_lengths)
        if columns is not None:
            barred = torch.zeros(columns.allowed.shape).masked_fill_(~columns.allowed, -math.inf)
            state = state._replace(source=state.source._replace(barred=barred))
        output = self.output if columns is None else self.output.outputs(columns.tokens)

        def step(last: Tensor, state: InferenceState) -> tuple[Tensor, InferenceState]:
            seen, state = self._features(last if columns is None else columns.tokens[last], state)
            logits = output(seen)
            if state.source.barred is not None:
                logits += state.source.barred[state.sentence]
            return logits.log_softmax(-1) if normalise else logits, state

        return step, state

    def _encode(self, src: Tensor, src_lengths: Tensor) -> InferenceState:
        model = self.model
        encoded = model.encoder(src, src_lengths) if self.encoder is None else self.encoder(src, src_lengths)
        hidden, attention, source = model.bridge(encoded.final), model.decoder.attention, Source()
        if attention is not None:
            if encoded.memory is None or encoded.mask is None:
                raise ValueError("a decoder with attention needs the encoder's outputs; got none.")
            memory = encoded.memory
            keys = memory if self.key is None else self.key(memory.flatten(0, 1)).unflatten(0, memory.shape[:2])
            source = Source(memory, encoded.mask, keys)
        summary = hidden[0][:, -1]
        return InferenceState(
            tuple(tuple(one[:, i].contiguous() for one in hidden) for i in range(len(self.cells))),
            source,
            torch.arange(len(src)),
            context=summary if model.decoder.peek_output else None,
            peek=None if self.peek is None else self.peek(summary.contiguous()),
        )

    def _features(self, last: Tensor, state: InferenceState) -> tuple[Tensor, InferenceState]:
        """What the output layer reads, and the next state."""
        if self.table is not None:
            gates = self.table.index_select(0, last)
        else:
            assert self.lookup is not None
            gates = self.lookup(self.embedding.index_select(0, last))
        if state.peek is not None:
            gates += state.peek
        hidden = [self.cells[0].step(gates, state.hidden[0])]
        for cell, inputs, before in zip(self.cells[1:], self.inputs[1:], state.hidden[1:], strict=True):
            assert inputs is not None
            hidden.append(cell.step(inputs(hidden[-1][0]), before))
        seen = hidden[-1][0]
        state = state._replace(hidden=tuple(hidden))
        if self.attend is not None:
            found, weights = self._look_back(seen, state)
            seen, state = self.attend(torch.cat([found, seen], 1)).tanh_(), state._replace(attention=weights)
        if state.context is not None:
            seen = torch.cat([seen, state.context], 1)
        return (seen if self.narrow is None else self.narrow(seen)), state

    def _look_back(self, outputs: Tensor, state: InferenceState) -> tuple[Tensor, Tensor]:
        """What attention finds ``(batch, memory)`` and its weights ``(batch, src_length)``; rows of one sentence are
        queries to one memory.
        """
        attention, source = self.model.decoder.attention, state.source
        assert attention is not None
        assert source.memory is not None
        queries = outputs
        if state.places is not None:
            queries = outputs.new_zeros(len(source.memory) * state.width, outputs.shape[1])
            queries[state.places] = outputs
        queries = queries.view(len(source.memory), state.width, -1)
        found, weights = (one.flatten(0, 1) for one in attention(queries, source.keys, source.memory, source.mask))
        if state.places is not None:
            found, weights = found.index_select(0, state.places), weights.index_select(0, state.places)
        return found, weights


def is_known(model: Seq2Seq) -> bool:
    """Whether a network has an inference form: it is in float32 on a CPU, and there is nothing in its decoder that this
    module does not know.
    """
    decoder = model.decoder
    parts = {name for name, _ in decoder.named_children()} - IDLE
    plain = all(one.device.type == "cpu" and one.dtype == torch.float32 for one in model.parameters())
    return plain and type(decoder) is RNNDecoder and isinstance(decoder.rnn, KNOWN_STACKS) and parts <= KNOWN_DECODER


def _knows_encoder(encoder: object) -> TypeGuard[RNNEncoder]:
    if type(encoder) is not RNNEncoder or not isinstance(encoder.rnn, KNOWN_STACKS):
        return False
    return {name for name, _ in encoder.named_children()} - IDLE <= KNOWN_ENCODER


def _starts_bounded(model: Seq2Seq) -> bool:
    """Whether the states that the decoder begins with are all in [-1, 1], an LSTM's c aside."""
    if model.bridge.kind in ("dense", "zero"):  # which end with a tanh, and are nothing
        return True
    encoder = model.encoder
    if type(encoder) is not RNNEncoder:
        return False
    return all(is_bounded(part) for part in encoder.modules() if isinstance(part, nn.RNNBase))
