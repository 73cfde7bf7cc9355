"""The plain recurrent cell (Elman 1990): h' = tanh(W x + U h + b)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seq2seq.models.cells.base import Product, State, StepWeights, TorchStack
from seq2seq.models.cells.nodes import NodeProduct, Nodes, OnnxCell


class RNN(TorchStack, nn.RNN):  # type: ignore[misc]  # `forward` differs on purpose
    """`torch.nn.RNN` as a stack."""

    keeps_state = False
    bounded = state_bounded = True

    def run(self, x: Any, hidden: Any) -> tuple[Any, Any]:
        return nn.RNN.forward(self, x, hidden)

    def taken_apart(self, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor) -> StepWeights:
        return StepWeights(w_ih, b_ih + b_hh, w_hh, None, _step, ONNX)


def _step(recurrent: Product, gates: Tensor, state: State) -> State:
    return (recurrent(state[0], gates).tanh_(),)


def _nodes(nodes: Nodes, recurrent: NodeProduct, gates: str, state: tuple[str, ...]) -> tuple[str, ...]:
    return (nodes.add("Tanh", recurrent(state[0], gates)),)


ONNX = OnnxCell(_nodes, "RNN")
