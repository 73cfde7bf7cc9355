"""The graph of the decoder's step: from last tokens and a state to log-probabilities and the next state."""

from __future__ import annotations

import math

import numpy as np

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
        graph, size, heads = self.graph, self.network.memory_size, attention.num_heads
        assert self.step.attend is not None
        memory = graph.input("memory", FLOAT, "sentences", "length", size)
        weights = self._weights(attention, seen)
        found = graph.add("MatMul", weights, self._heads(memory, size, heads))
        if heads > 1:
            found = graph.transpose(found, 0, 2, 1, 3)
            weights = graph.add("ReduceMean", weights, axes=[1], keepdims=0)
        rows = graph.input("rows", INT64, "rows")
        looked = graph.add("Gather", self._lines(weights), rows)
        graph.output("attention", looked, FLOAT, "rows", "length")
        context = graph.add("Gather", graph.reshape(found, -1, size), rows)
        attended = self.products.linear(self.step.attend, None, name="attend", fine=True)
        return graph.add("Tanh", attended(graph.concat([context, seen])))

    def _weights(self, attention: Attention, seen: str) -> str:
        """The weights of each place of the grid, ``(sentences, heads, places, length)``."""
        graph, heads = self.graph, attention.num_heads
        keys = graph.input("keys", FLOAT, "sentences", "length", self.network.width)
        mask = graph.input("mask", BOOL, "sentences", "length")
        places = graph.input("places", INT64, "sentences", "places")
        if attention.kind == "additive":
            query = attention.query
            seen = self.products.linear(query.weight, query.bias, name="query", fine=True)(seen)
        score = self._additive if attention.kind == "additive" else self._multiplied
        scores = score(attention, graph.add("Gather", seen, places), keys)
        real = graph.add("Unsqueeze", mask, graph.ints(1, 2) if heads > 1 else graph.ints(1))
        return graph.add("Softmax", graph.add("Where", real, scores, graph.floats(-math.inf)), axis=-1)

    def _lines(self, grid: str) -> str:
        """``(sentences, places, length)`` to ``(sentences * places, length)``; a length may be 0."""
        shape = self.graph.add("Slice", self.graph.add("Shape", grid), self.graph.ints(2), self.graph.ints(3))
        return self.graph.add("Reshape", grid, self.graph.concat([self.graph.ints(-1), shape], axis=0))

    def _heads(self, vectors: str, size: int, heads: int, *, last: bool = False) -> str:
        """``(sentences, positions, width)`` to ``(sentences, heads, positions, share)``; ``last`` exchanges the last
        two, and with one head there is no axis for it.
        """
        if heads == 1:
            return self.graph.transpose(vectors, 0, 2, 1) if last else vectors
        cut = self.graph.reshape(vectors, 0, 0, heads, size // heads)
        return self.graph.transpose(cut, *((0, 2, 3, 1) if last else (0, 2, 1, 3)))

    def _multiplied(self, attention: Attention, queries: str, keys: str) -> str:
        """Scores of dot and general attention, ``(sentences, heads, places, length)``."""
        width, heads = self.network.width, attention.num_heads
        if heads > 1:
            queries = self.graph.add("Mul", queries, self.graph.floats((width // heads) ** -0.5))
        queries, keys = self._heads(queries, width, heads), self._heads(keys, width, heads, last=True)
        return self.graph.add("MatMul", queries, keys)

    def _additive(self, attention: Attention, queries: str, keys: str) -> str:
        """Scores of additive attention, ``(sentences, heads, places, length)``."""
        graph, width, heads = self.graph, self.network.width, attention.num_heads
        together = graph.add(
            "Add", graph.add("Unsqueeze", queries, graph.ints(2)), graph.add("Unsqueeze", keys, graph.ints(1))
        )
        # A column for each head, which has its share of the score vector and zeros elsewhere.
        score = np.zeros((width, heads), np.float32)
        share = width // heads
        for head, own in enumerate(attention.score.detach().numpy()):
            score[head * share : (head + 1) * share, head] = own
        scores = graph.add("MatMul", graph.add("Tanh", together), graph.weight(score, "score"))
        if heads == 1:
            return graph.add("Squeeze", scores, graph.ints(3))
        return graph.transpose(scores, 0, 3, 1, 2)

    def predict(self, seen: str) -> None:
        """Logits and log-probabilities, ``(rows, vocabulary)``.

        onnxruntime computes all outputs, also those that nobody asks for. ``scored`` says of how many rows, from the
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
