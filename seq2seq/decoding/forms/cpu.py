"""The CPU form: a trained network prepared for fast decoding on a CPU.

Its numbers equal the network's up to rounding. All parts that depend on neither the last token nor the state are
computed in advance: the first layer's part of the gates for each token of the vocabulary, the summary's part for each
sentence, the attention's keys. What remains are matrix products, the output layer's being the largest, and a few
elementwise operations in place. Hypotheses of one sentence share its memory, which stays in place while they change
rows.

With ``int8`` the matrices are 8-bit integers with a scale for each output. Inputs are 16-bit integers, in two parts of
8 bits, with a scale for each row. 8-bit inputs would be twice as fast and about as accurate, but not reproducible. The
last bits of a sum depend on the shape of the batch, so a number near the boundary between two of 255 steps may fall on
either side, and the recurrence carries the difference on. Between two of 65,000 steps it matters no more than the last
bits themselves. So a line's translation stays independent of its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.decoding.forms.cell import Cell
from seq2seq.decoding.forms.int8 import Int8Encoder
from seq2seq.decoding.forms.products import Build, FloatLinear, build_float, build_int8, require_int8
from seq2seq.decoding.forms.state import Columns, CpuState, PerSentence
from seq2seq.models.decoder import StepParts
from seq2seq.models.seq2seq import Seq2Seq

TABLE_BYTES = 1 << 28  # largest table of the first layer; a larger one is replaced by a product at each step


class CpuForm:
    """A network's CPU form. It copies the weights: after further training, make another one.

    Args:
        model: in evaluation mode, in float32, on the CPU; see `is_known`.
        int8: whether matrices are 8-bit integers.

    Raises:
        UserError: for ``int8`` where this build of torch has no such products.
    """

    takes_columns = True

    def __init__(self, model: Seq2Seq, *, int8: bool = False) -> None:
        assert is_known(model)
        if int8:
            require_int8()
        build = build_int8 if int8 else build_float
        self.model = model
        parts = model.decoder.step_parts()
        self.peek_output = parts.peek_output
        starts_bounded = model.bridge.bounded
        bounded = parts.stack_bounded and (starts_bounded or not parts.keeps_state)
        self.cells = [
            Cell(
                weights,
                build,
                bounded_input=i > 0 and bounded,
                bounded_state=parts.stack_bounded and starts_bounded,
            )
            for i, weights in enumerate(parts.cells)
        ]
        self.inputs = [None, *(cell.inputs() for cell in self.cells[1:])]
        with torch.no_grad():
            self._prepare_first(parts, build)
            self._prepare_attention(parts, build, bounded)
            self._prepare_output(parts, build, bounded)
        encoder = model.encoder.parts() if int8 else None
        self.encoder = model.encoder if encoder is None or encoder.joins else Int8Encoder(encoder, build)

    def _prepare_first(self, parts: StepParts, build: Build) -> None:
        """The first layer's inputs, as a table for all tokens unless it is too large."""
        embedding, first = parts.embedding, self.cells[0]
        own, peeked = first.weight.split([embedding.shape[1], first.weight.shape[1] - embedding.shape[1]], 1)
        self.peek = FloatLinear(peeked) if parts.peek_input else None
        self.table = self.lookup = None
        if embedding.shape[0] * own.shape[0] * embedding.element_size() <= TABLE_BYTES:
            self.table = F.linear(embedding, own, first.bias)
        else:
            self.embedding, self.lookup = embedding, build(own, first.bias, bounded=False)

    def _prepare_attention(self, parts: StepParts, build: Build, bounded: bool) -> None:
        self.attention, self.key, self.attend = parts.attention, None, None
        if parts.attention is None or parts.attend is None:
            return
        memory_bounded = self.model.encoder.memory_bounded
        if parts.attention.key_weight is not None:
            self.key = build(parts.attention.key_weight.detach(), None, bounded=memory_bounded)
        self.attend = build(parts.attend, None, bounded=memory_bounded and bounded)

    def _prepare_output(self, parts: StepParts, build: Build, bounded: bool) -> None:
        bounded |= parts.attention is not None  # attention ends with a tanh
        # The summary is the top layer of the first state.
        bounded &= self.model.bridge.bounded or not parts.peek_output
        self.narrow = None if parts.narrow is None else build(parts.narrow, None, bounded=bounded)
        self.output = build(parts.output, parts.output_bias, bounded=bounded and self.narrow is None)

    @torch.no_grad()
    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Callable[[Tensor, CpuState], tuple[Tensor, CpuState]], CpuState]:
        """Encode sources; see `Form.start`."""
        state = self._encode(src, src_lengths)
        if columns is not None:
            log_allowed = columns.allowed.float().log()
            state = state._replace(per_sentence=state.per_sentence._replace(log_allowed=log_allowed))
        output = self.output if columns is None else self.output.outputs(columns.tokens)

        def step(last: Tensor, state: CpuState) -> tuple[Tensor, CpuState]:
            seen, state = self._features(last if columns is None else columns.tokens[last], state)
            logits = output(seen)
            if state.per_sentence.log_allowed is not None:
                logits += state.per_sentence.log_allowed[state.sentence]
            return logits.log_softmax(-1) if normalise else logits, state

        return step, state

    def _encode(self, src: Tensor, src_lengths: Tensor) -> CpuState:
        encoded = self.encoder(src, src_lengths)
        hidden, per_sentence = self.model.bridge(encoded.final), PerSentence()
        if self.attention is not None:
            if encoded.memory is None or encoded.mask is None:
                raise ValueError("a decoder with attention needs the encoder's outputs; got none.")
            memory = encoded.memory
            keys = memory if self.key is None else self.key(memory.flatten(0, 1)).unflatten(0, memory.shape[:2])
            per_sentence = PerSentence(memory, encoded.mask, keys)
        summary = hidden[0][:, -1]
        return CpuState(
            tuple(tuple(one[:, i].contiguous() for one in hidden) for i in range(len(self.cells))),
            per_sentence,
            torch.arange(len(src)),
            context=summary if self.peek_output else None,
            peek=None if self.peek is None else self.peek(summary.contiguous()),
        )

    def _features(self, last: Tensor, state: CpuState) -> tuple[Tensor, CpuState]:
        """The output layer's input, and the next state."""
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

    def _look_back(self, outputs: Tensor, state: CpuState) -> tuple[Tensor, Tensor]:
        """Attention's context ``(batch, memory)`` and its weights ``(batch, src_length)``.

        Rows of one sentence are queries to one memory.
        """
        source, grid = state.per_sentence, state.grid
        assert self.attention is not None
        queries = grid.spread(outputs, source.size)
        context, weights = self.attention(queries, source.keys, source.memory, source.mask)
        return grid.collect(context), grid.collect(weights)


def is_known(model: Seq2Seq) -> bool:
    """Whether a network has a CPU form; see `why_not`."""
    return why_not(model) is None


def why_not(model: Seq2Seq) -> str | None:
    """Why a network has no CPU form; None if it has one."""
    if not all(one.device.type == "cpu" and one.dtype == torch.float32 for one in model.parameters()):
        return "it is not in float32 on a CPU"
    if not model.decoder.has_parts:
        return "its decoder, or the cell of that, does not offer its step in parts"
    return None
