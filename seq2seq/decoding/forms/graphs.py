"""CUDA graphs of a decoder's step: recorded once for each shape and launched as a whole.

A short step costs a GPU more to launch than to compute. A graph works on tensors that stay in place. So a step's
arguments are copied to where its graph reads them, and its results are copied from there. Rows are rounded up to a
power of two, and source lengths to a multiple of `LENGTHS`. This keeps the shapes few while finished sentences leave
the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seq2seq.models.decoder import DecoderState

LENGTHS = 16
POSITIONS = 2**14  # rows times source tokens up to which a step is recorded; a larger one has enough to compute

Outputs = tuple[Tensor, DecoderState]
DecoderStep = Callable[[Tensor, DecoderState], Outputs]
# record(work) -> (outputs, replay); replay() recomputes `outputs` in place.
Record = Callable[[Callable[[], Outputs]], tuple[Outputs, Callable[[], None]]]


def cuda_graph(work: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], None]]:
    """Record work on the current GPU; a few rounds beforehand let libraries choose their kernels."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = work()
    return outputs, graph.replay


class StepGraphs:
    """Wraps a step function so that it runs as CUDA graphs.

    Args:
        step: `RNNDecoder.step` of a network in evaluation mode, whose weights stay where they are.
        record: `cuda_graph`.
    """

    def __init__(self, step: DecoderStep, record: Record) -> None:
        self.step = step
        self.record = record
        self.recorded: dict[tuple[int, int], _Recorded] = {}  # by rows and source length

    def __call__(self, last: Tensor, state: DecoderState) -> Outputs:
        rows = 1 << (len(last) - 1).bit_length()
        src_length = 0 if state.mask is None else -(-state.mask.shape[1] // LENGTHS) * LENGTHS
        if rows * max(1, src_length) > POSITIONS:
            return self.step(last, state)
        key = rows, src_length
        if key not in self.recorded:
            self.recorded[key] = _Recorded(self.step, self.record, last, state, *key)
        return self.recorded[key](last, state)


class _Recorded:
    """The step for one number of rows and one source length."""

    def __init__(
        self, step: DecoderStep, record: Record, last: Tensor, state: DecoderState, rows: int, src_length: int
    ) -> None:
        def of_rows(tensor: Tensor) -> Tensor:
            return tensor.new_zeros(rows, *tensor.shape[1:])

        def of_source(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.new_zeros(rows, src_length, *tensor.shape[2:])

        self.last = of_rows(last)
        self.state = DecoderState(
            tuple(of_rows(one) for one in state.hidden),
            None if state.context is None else of_rows(state.context),
            of_source(state.memory),
            of_source(state.mask),
            of_source(state.keys),
        )
        self.copied: list[Tensor | None] = [None] * len(_read(self.state))  # the tensors last copied
        with torch.cuda.device_of(self.last):  # not always the first GPU
            self.outputs, self.replay = record(lambda: step(self.last, self.state))

    def __call__(self, last: Tensor, state: DecoderState) -> Outputs:
        rows = len(last)
        self.last[:rows] = last
        given = _read(state)
        for place, (own, one) in enumerate(zip(_read(self.state), given, strict=True)):
            if self.copied[place] is not one:  # else it is the same tensor as a step ago
                if one is state.mask:
                    own.zero_()
                own[tuple(slice(size) for size in one.shape)] = one
        self.copied = [*given]
        self.replay()
        log_probs, after = self.outputs
        attention = after.attention
        if attention is not None and state.mask is not None:
            attention = attention[:rows, : state.mask.shape[1]].clone()
        hidden = tuple(one[:rows].clone() for one in after.hidden)
        return log_probs[:rows].clone(), state._replace(hidden=hidden, attention=attention)


def _read(state: DecoderState) -> list[Tensor]:
    """The tensors of a state that a step reads."""
    rest = (state.context, state.memory, state.mask, state.keys)
    return [*state.hidden, *(one for one in rest if one is not None)]
