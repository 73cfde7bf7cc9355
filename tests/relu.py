"""A cell whose outputs have no bound, as a cell from elsewhere may be: the plain recurrent cell with ReLU."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seq2seq.config import schema
from seq2seq.models.cells.base import Product, State, StepWeights, TorchStack


class ReLU(TorchStack, nn.RNN):  # type: ignore[misc]  # `forward` differs on purpose
    """`torch.nn.RNN` with ReLU as a stack."""

    keeps_state = False

    def __init__(self, settings: schema.Stack, input_size: int, *, dropout: float, bidirectional: bool) -> None:
        super().__init__(settings, input_size, dropout=dropout, bidirectional=bidirectional)
        self.mode = "RNN_RELU"

    def run(self, x: Any, hidden: Any) -> tuple[Any, Any]:
        return nn.RNN.forward(self, x, hidden)

    def taken_apart(self, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor) -> StepWeights:
        return StepWeights(w_ih, b_ih + b_hh, w_hh, None, _step)


def _step(recurrent: Product, gates: Tensor, state: State) -> State:
    return (recurrent(state[0], gates).relu_(),)
