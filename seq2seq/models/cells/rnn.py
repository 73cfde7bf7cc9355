"""The plain recurrent cell (Elman 1990): h' = tanh(W x + U h + b), or with ReLU for tanh."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

from seq2seq.config import schema
from seq2seq.models.cells.base import Product, State, StepWeights, TorchStack
from seq2seq.models.cells.nodes import NodeProduct, Nodes, OnnxCell


class RNN(TorchStack, nn.RNN):  # type: ignore[misc]  # `forward` differs on purpose
    """`torch.nn.RNN` as a stack."""

    keeps_state = False

    def __init__(self, settings: schema.Stack, input_size: int, *, dropout: float, bidirectional: bool) -> None:
        super().__init__(settings, input_size, dropout=dropout, bidirectional=bidirectional)
        self.bounded = self.state_bounded = settings.nonlinearity == "tanh"

    @staticmethod
    def options(settings: schema.Stack) -> dict[str, Any]:
        return {"nonlinearity": settings.nonlinearity}

    def run(self, x: Any, hidden: Any) -> tuple[Any, Any]:
        return nn.RNN.forward(self, x, hidden)

    def taken_apart(self, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor) -> StepWeights:
        step, onnx = (_tanh_step, TANH) if self.bounded else (_relu_step, RELU)
        return StepWeights(w_ih, b_ih + b_hh, w_hh, None, step, onnx)

    def describe(self) -> list[str]:
        return [*super().describe(), self.nonlinearity]


def _tanh_step(recurrent: Product, gates: Tensor, state: State) -> State:
    return (recurrent(state[0], gates).tanh_(),)


def _relu_step(recurrent: Product, gates: Tensor, state: State) -> State:
    return (recurrent(state[0], gates).relu_(),)


def _nodes(nodes: Nodes, recurrent: NodeProduct, gates: str, state: tuple[str, ...], *, squash: str) -> tuple[str, ...]:
    return (nodes.add(squash, recurrent(state[0], gates)),)


TANH, RELU = (OnnxCell(functools.partial(_nodes, squash=name), "RNN", activations=(name,)) for name in ("Tanh", "Relu"))
