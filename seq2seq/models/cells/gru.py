"""The gated recurrent unit (Cho et al. 2014), with the reset gate after the recurrent product as in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.models.cells.base import Product, State, StepWeights, TorchStack
from seq2seq.models.cells.nodes import NodeProduct, Nodes, OnnxCell


class GRU(TorchStack, nn.GRU):  # type: ignore[misc]  # `forward` differs on purpose
    """`torch.nn.GRU` as a stack. torch stacks the gates' weights as r z n."""

    bounded = state_bounded = True
    candidate = 2

    def run(self, x: Any, hidden: Any) -> tuple[Any, Any]:
        return nn.GRU.forward(self, x, hidden)

    def taken_apart(self, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor) -> StepWeights:
        # The reset gate stands between the two biases of n, so they cannot be added up.
        return StepWeights(w_ih, b_ih, w_hh, b_hh, _step, ONNX)


def _step(recurrent: Product, gates: Tensor, state: State) -> State:
    h = state[0]
    size = 2 * h.shape[1]
    product = recurrent(h)
    reset, update = gates[:, :size].add_(product[:, :size]).sigmoid_().chunk(2, 1)
    new = gates[:, size:].addcmul_(reset, product[:, size:]).tanh_()
    return (torch.lerp(new, h, update),)


def _nodes(nodes: Nodes, recurrent: NodeProduct, gates: str, state: tuple[str, ...]) -> tuple[str, ...]:
    (h,) = state
    reset, update, new = zip(nodes.split(gates, 3), nodes.split(recurrent(h), 3), strict=True)
    r = nodes.add("Sigmoid", nodes.add("Add", *reset))
    z = nodes.add("Sigmoid", nodes.add("Add", *update))
    n = nodes.add("Tanh", nodes.add("Add", new[0], nodes.add("Mul", r, new[1])))
    return (nodes.add("Add", n, nodes.add("Mul", z, nodes.add("Sub", h, n))),)


ONNX = OnnxCell(_nodes, "GRU", order=(1, 0, 2), attributes={"linear_before_reset": 1})  # ONNX's gates are z r h
