"""An encoder with 8-bit weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from seq2seq.decoding.forms.cell import Cell
from seq2seq.decoding.forms.products import Build
from seq2seq.models.encoders.base import Encoded, EncoderParts
from seq2seq.models.padding import length_mask, reverse_padded


class Int8Encoder:
    """A recurrent encoder with 8-bit matrices, one step of the recurrence at a time."""

    def __init__(self, parts: EncoderParts, build: Build) -> None:
        self.parts = parts
        bounded = parts.bounded
        self.layers = [
            [Cell(weights, build, bounded_input=i > 0 and bounded, bounded_state=bounded) for weights in directions]
            for i, directions in enumerate(parts.layers)
        ]
        self.inputs = [[cell.inputs() for cell in cells] for cells in self.layers]

    def __call__(self, src: Tensor, src_lengths: Tensor) -> Encoded:
        encoder = self.parts
        turned = src_lengths - 1 if encoder.end_symbol else src_lengths
        tokens = reverse_padded(src, turned) if encoder.reverse else src
        packed = pack_padded_sequence(tokens.unsqueeze(2), src_lengths.cpu(), batch_first=True, enforce_sorted=False)
        data = encoder.embedding(packed.data.squeeze(1))  # (tokens, embedding): all first ones, all second ones, ...
        sizes = packed.batch_sizes.tolist()
        mirrored = _mirrored(packed.batch_sizes)
        finals: list[list[Tensor]] = []
        for cells, inputs in zip(self.layers, self.inputs, strict=True):
            outputs = []
            states = []
            for way, (cell, make) in enumerate(zip(cells, inputs, strict=True)):
                read, state = self._run(cell, make(data[mirrored] if way else data), sizes)
                outputs.append(read[mirrored] if way else read)
                states.append(state)
            data = torch.cat(outputs, 1)
            finals.append([torch.cat(parts, 1) for parts in zip(*states, strict=True)])
        order = packed.unsorted_indices
        assert order is not None
        final = tuple(torch.stack(parts, 1)[order] for parts in zip(*finals, strict=True))
        if not encoder.keep_memory:
            return Encoded(final)
        memory = data.new_zeros(src.shape[1], len(src), data.shape[1])
        steps = torch.arange(len(sizes)).repeat_interleave(packed.batch_sizes)
        memory[steps, _ranks(packed.batch_sizes)] = data
        memory = memory.transpose(0, 1)[order]
        if encoder.reverse:
            memory = reverse_padded(memory, turned)
        return Encoded(final, memory, length_mask(src_lengths, src.shape[1]))

    def _run(self, cell: Cell, gates: Tensor, sizes: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute outputs at all positions, and each row's last state. ``sizes[i]`` rows reach position i."""
        state = tuple(gates.new_zeros(sizes[0], cell.size) for _ in range(self.parts.num_states))
        outputs = []
        for size, part in zip(sizes, gates.split(list(sizes)), strict=True):
            new = cell.step(part, tuple(one[:size] for one in state))
            outputs.append(new[0])
            if size == sizes[0]:
                state = new
            else:  # rows that have ended keep their state
                state = tuple(torch.cat([one, before[size:]]) for one, before in zip(new, state, strict=True))
        return torch.cat(outputs), state


def _ranks(sizes: Tensor) -> Tensor:
    """The row that each packed vector belongs to."""
    starts = sizes.cumsum(0) - sizes
    return torch.arange(int(sizes.sum())) - starts.repeat_interleave(sizes)


def _mirrored(sizes: Tensor) -> Tensor:
    """The order of packed vectors in which every row is read backwards."""
    ranks = _ranks(sizes)
    steps = torch.arange(len(sizes)).repeat_interleave(sizes)
    lengths = torch.bincount(ranks)
    starts = sizes.cumsum(0) - sizes
    return starts[lengths[ranks] - 1 - steps] + ranks
