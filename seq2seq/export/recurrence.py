"""A layer of a recurrent encoder in one or two directions, over whole padded sequences.

Sequences are ``(length, sentences, width)``, as ONNX's operators take them. Every sentence is read to its true length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.export.graph import BOOL, FLOAT, INT32, Graph
from seq2seq.export.products import Products
from seq2seq.models.cells.base import StepWeights
from seq2seq.models.cells.nodes import OnnxCell


class Fused:
    """Layers by ONNX's own operators, in float32.

    Args:
        lengths: int64 ``(sentences,)``. num_states: tensors in a state.
    """

    def __init__(self, graph: Graph, lengths: str, num_states: int) -> None:
        self.graph, self.num_states = graph, num_states
        self.lengths = graph.add("Cast", lengths, to=INT32)

    def layer(self, x: str, ways: list[StepWeights], *, name: str) -> list[str]:
        """Outputs and last states of a layer, its directions side by side."""
        graph, cell, size = self.graph, ways[0].onnx, ways[0].recurrent.shape[1]
        assert cell is not None and cell.operator is not None
        weights = (
            graph.weight(_stacked([one.inputs for one in ways], cell), f"{name}_inputs"),
            graph.weight(_stacked([one.recurrent for one in ways], cell), f"{name}_recurrent"),
            graph.weight(torch.cat([_stacked(both, cell) for both in _biases(ways)], 1), f"{name}_bias"),
        )
        y, *states = graph.add_many(
            cell.operator,
            1 + self.num_states,
            *(x, *weights, self.lengths),
            hidden_size=size,
            direction="bidirectional" if len(ways) > 1 else "forward",
            **cell.attributes,
        )
        y = graph.reshape(graph.transpose(y, 0, 2, 1, 3), 0, 0, len(ways) * size)  # from (length, directions, ...)
        return [y, *(graph.reshape(graph.transpose(one, 1, 0, 2), 0, len(ways) * size) for one in states)]


def _stacked(parts: Sequence[Tensor], cell: OnnxCell) -> Tensor:
    """Each direction's part ``(gates, ...)``, its blocks in ONNX's order, as ``(directions, gates, ...)``."""
    blocks = [part.detach().chunk(len(cell.order)) for part in parts]
    return torch.stack([torch.cat([own[i] for i in cell.order]) for own in blocks])


def _biases(ways: Sequence[StepWeights]) -> list[list[Tensor]]:
    """Of each direction, the biases of the inputs and those of the state."""
    second = [torch.zeros_like(one.bias) if one.recurrent_bias is None else one.recurrent_bias for one in ways]
    return [[one.bias for one in ways], second]


class Stepwise:
    """Layers step by step, for any products: a `Scan` node for each direction, whose body is the cell's step.

    Args:
        products: those of the graph.
        lengths: int64 ``(sentences,)``. num_states: tensors in a state.
    """

    def __init__(self, graph: Graph, products: Products, lengths: str, num_states: int) -> None:
        self.graph, self.products, self.num_states = graph, products, num_states
        self.lengths = lengths

    def layer(self, x: str, ways: list[StepWeights], *, name: str) -> list[str]:
        """Outputs and last states of a layer, its directions side by side."""
        shape = self.graph.add("Shape", x)
        flat = self.graph.reshape(x, -1, ways[0].inputs.shape[1])
        found = [
            self._direction(flat, shape, cell, backwards=way > 0, name=f"{name}_{way}") for way, cell in enumerate(ways)
        ]
        return [self.graph.concat(parts, axis=2 - (place > 0)) for place, parts in enumerate(zip(*found, strict=True))]

    def _direction(self, x: str, shape: str, cell: StepWeights, *, backwards: bool, name: str) -> list[str]:
        """Outputs ``(length, sentences, hidden)`` and last states ``(sentences, hidden)``."""
        graph, (num_gates, size) = self.graph, cell.recurrent.shape
        inputs = self.products.linear(cell.inputs, cell.bias, name=f"{name}_inputs")
        steps = graph.concat([graph.add("Slice", shape, graph.ints(0), graph.ints(2)), graph.ints(num_gates)], axis=0)
        gates = graph.add("Reshape", inputs(x), steps)
        sentences = graph.add("Slice", shape, graph.ints(1), graph.ints(2))
        zeros = graph.add("Expand", graph.floats(0.0), graph.concat([sentences, graph.ints(size)], axis=0))
        *states, y = graph.add_many(
            "Scan",
            self.num_states + 1,
            *([zeros] * self.num_states + [gates, self._real(shape)]),
            body=self._body(cell, name).part(),
            num_scan_inputs=2,
            scan_input_directions=[int(backwards)] * 2,
            scan_output_directions=[int(backwards)],
        )
        return [y, *states]

    def _real(self, shape: str) -> str:
        """Which positions are real, ``(length, sentences, 1)``."""
        graph = self.graph
        length = graph.add("Gather", shape, graph.number(0))
        positions = graph.add("Range", graph.number(0), length, graph.number(1))
        real = graph.add("Less", graph.add("Unsqueeze", positions, graph.ints(1)), self.lengths)
        return graph.add("Unsqueeze", real, graph.ints(2))

    def _body(self, cell: StepWeights, name: str) -> Graph:
        """One step of all sentences; those that have ended, or have not begun, keep their state."""
        assert cell.onnx is not None
        body, (num_gates, size) = self.graph.body(name), cell.recurrent.shape
        before = tuple(body.input(f"{name}_state_{one}", FLOAT, "sentences", size) for one in range(self.num_states))
        gates = body.input(f"{name}_gates", FLOAT, "sentences", num_gates)
        real = body.input(f"{name}_real", BOOL, "sentences", 1)
        recurrent = self.products.within(body).linear(cell.recurrent, cell.recurrent_bias, name=f"{name}_recurrent")
        after = cell.onnx.step(body, recurrent, gates, before)
        kept = [body.add("Where", real, new, old) for new, old in zip(after, before, strict=True)]
        for number, value in enumerate([*kept, kept[0]]):
            body.output(f"{name}_next_{number}", value, FLOAT, "sentences", size)
        return body
