"""The graph of the decoder's step: from last tokens and a state to log-probabilities and the next state."""

from __future__ import annotations

import math

from seq2seq.export.graph import BOOL, FLOAT, INT64, Graph
from seq2seq.export.layers import join, peeked
from seq2seq.export.parts import NetworkParts
from seq2seq.export.products import Products
from seq2seq.models.attention import Attention

ALL = 2**31 - 1  # rows


def write_step(graph: Graph, network: NetworkParts, products: Products) -> None:
    """Write the decoder's step. Its rows are hypotheses; the memory's are sentences.

    The products must be those of ``graph``.
    """
    writer = _StepWriter(graph, network, products)
    seen = writer.stack()
    if network.step.attention is not None:
        seen = writer.look_back(network.step.attention, seen)
    writer.predict(seen)


class _StepWriter:
    """Writes a step's parts, in the order in which they are computed."""

    def __init__(self, graph: Graph, network: NetworkParts, products: Products) -> None:
        self.graph, self.network, self.products, self.step = graph, network, products, network.step

    def stack(self) -> str:
        """The top layer's h, ``(rows, width)``. The next state is an output."""
        graph, width = self.graph, self.network.width
        x, gates = "", self._first_gates()
        for number, cell in enumerate(self.step.cells):
            names = [f"state_{one}_layer_{number}" for one in range(self.network.num_states)]
            state = tuple(graph.input(name, FLOAT, "rows", width) for name in names)
            if number:
                inputs = self.products.linear(cell.inputs, cell.bias, name=f"inputs_{number}", fine=True)
                gates = inputs(x)
            assert cell.onnx is not None
            recurrent = self.products.linear(cell.recurrent, cell.recurrent_bias, name=f"recurrent_{number}", fine=True)
            state = cell.onnx.step(graph, recurrent, gates, state)
            for name, value in zip(names, state, strict=True):
                graph.output(f"next_{name}", value, FLOAT, "rows", width)
            x = join(graph, self.step.joins[number], x, state[0]) if self.step.joins else state[0]
        return x

    def _first_gates(self) -> str:
        """The first layer's gates, from the last token and the summary."""
        graph, weight = self.graph, peeked(self.step)[0]
        last = graph.input("last", INT64, "rows")
        embedded = self.products.lookup(self.step.embedding, last, name="embedding")
        inputs = self.products.linear(weight, self.step.cells[0].bias, name="inputs_0", fine=True)
        if not self.step.peek_input:
            return inputs(embedded)
        return graph.add("Add", inputs(embedded), graph.input("peek", FLOAT, "rows", len(weight)))

    def look_back(self, attention: Attention, seen: str) -> str:
        """The attentional output, ``(rows, width)``. The weights are an output.

        Rows of one sentence are queries to one memory: ``places`` holds the row at each place of a grid with a line for
        each sentence, and ``rows`` each row's place, counted line by line.
        """
        graph, size = self.graph, self.network.memory_size
        assert self.step.attend is not None
        memory = graph.input("memory", FLOAT, "sentences", "length", size)
        weights = self._weights(attention, seen)
        rows = graph.input("rows", INT64, "rows")
        graph.output("attention", graph.add("Gather", self._lines(weights), rows), FLOAT, "rows", "length")
        found = graph.reshape(graph.add("MatMul", weights, memory), -1, size)
        attended = self.products.linear(self.step.attend, None, name="attend", fine=True)
        return graph.add("Tanh", attended(graph.concat([graph.add("Gather", found, rows), seen])))

    def _weights(self, attention: Attention, seen: str) -> str:
        """The weights of each place of the grid, ``(sentences, places, length)``."""
        graph = self.graph
        keys = graph.input("keys", FLOAT, "sentences", "length", self.network.width)
        mask = graph.input("mask", BOOL, "sentences", "length")
        places = graph.input("places", INT64, "sentences", "places")
        if attention.kind == "additive":
            query = attention.query
            seen = self.products.linear(query.weight, query.bias, name="query", fine=True)(seen)
        queries = graph.add("Gather", seen, places)
        if attention.kind == "additive":
            scores = self._additive(attention, queries, keys)
        else:
            scores = graph.add("MatMul", queries, graph.transpose(keys, 0, 2, 1))
        real = graph.add("Unsqueeze", mask, graph.ints(1))
        return graph.add("Softmax", graph.add("Where", real, scores, graph.floats(-math.inf)), axis=-1)

    def _lines(self, grid: str) -> str:
        """``(sentences, places, length)`` to ``(sentences * places, length)``; a length may be 0."""
        shape = self.graph.add("Slice", self.graph.add("Shape", grid), self.graph.ints(2), self.graph.ints(3))
        return self.graph.add("Reshape", grid, self.graph.concat([self.graph.ints(-1), shape], axis=0))

    def _additive(self, attention: Attention, queries: str, keys: str) -> str:
        """Scores of additive attention, ``(sentences, places, length)``."""
        graph = self.graph
        queries, keys = (graph.add("Unsqueeze", one, graph.ints(axis)) for one, axis in ((queries, 2), (keys, 1)))
        together = graph.add("Tanh", graph.add("Add", queries, keys))
        score = graph.weight(attention.score.detach().reshape(-1, 1), "score")
        return graph.add("Squeeze", graph.add("MatMul", together, score), graph.ints(3))

    def predict(self, seen: str) -> None:
        """Logits and log-probabilities, ``(rows, vocabulary)``.

        onnxruntime computes all outputs, wanted or not. ``scored`` says of how many rows, from the
        first, the log-probabilities are wanted: a search that only takes the likeliest token sets it to 0.
        """
        graph, step = self.graph, self.step
        if step.peek_output:
            seen = graph.concat([seen, graph.input("context", FLOAT, "rows", self.network.width)])
        if step.narrow is not None:
            seen = self.products.linear(step.narrow, None, name="narrow", fine=True)(seen)
        logits = self.products.linear(step.output, step.output_bias, name="output")(seen)
        graph.output("logits", logits, FLOAT, "rows", len(step.output))
        wanted = graph.add("Slice", logits, graph.ints(0), graph.option("scored", ALL), graph.ints(0))
        graph.output("log_probs", graph.add("LogSoftmax", wanted, axis=-1), FLOAT, "scored_rows", len(step.output))
