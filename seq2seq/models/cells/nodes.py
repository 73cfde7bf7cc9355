"""How a cell writes its step as nodes of an ONNX graph; `seq2seq.export` puts the graph together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol


class Nodes(Protocol):
    """A graph that is being written. Values are known by their names.

    Source:
        The operators: https://onnx.ai/onnx/operators/.
    """

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and return the output's name."""

    def split(self, value: str, count: int) -> list[str]:
        """Cut a value ``(rows, width)`` into ``count`` equal parts of its width."""


# product(x, onto=None) -> x @ weight.T + bias, or onto + x @ weight.T, as `Product` of seq2seq.models.cells.base.
NodeProduct = Callable[..., str]


class OnnxCell(NamedTuple):
    """A cell in the words of ONNX.

    ``step(nodes, recurrent, gates, state) -> state`` writes what `StepWeights.step` computes. That is enough. An
    operator that reads whole sequences is faster in float32.

    Example:
        The plain cell of Elman (1990), h' = tanh(gates + U h):

        >>> def step(nodes, recurrent, gates, state):
        ...     return (nodes.add("Tanh", recurrent(state[0], gates)),)
        >>> elman = OnnxCell(step)
    """

    step: Callable[[Nodes, NodeProduct, str, tuple[str, ...]], tuple[str, ...]]
    operator: str | None = None  # ONNX's operator for whole sequences: RNN, GRU or LSTM
    order: tuple[int, ...] = (0,)  # which of our blocks of gates is each of the operator's
    attributes: Mapping[str, int] = {}  # others of the operator
