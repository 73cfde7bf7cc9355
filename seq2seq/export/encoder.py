"""The encoder's graph: one pass over the sources, to all that a decoder's first step needs."""

from __future__ import annotations

from torch import nn

from seq2seq.export.graph import BOOL, FLOAT, INT64, Graph
from seq2seq.export.layers import join, peeked
from seq2seq.export.parts import NetworkParts
from seq2seq.export.products import FloatProducts, Products
from seq2seq.export.recurrence import Fused, Stepwise

States = list[list[str]]  # of each state, its layers, each (sentences, width)


def write_encoder(graph: Graph, network: NetworkParts, products: Products) -> None:
    """Write the encoder, the bridge, the attention's keys, and what the decoder is shown of the summary.

    The products must be those of ``graph``.
    """
    assert network.encoder is not None
    src = graph.input("src", INT64, "sentences", "length")
    lengths = graph.input("lengths", INT64, "sentences")
    writer = _EncoderWriter(graph, network, products)
    outputs, final = writer.read(graph.transpose(src, 1, 0), lengths)
    states = writer.bridge(final, src)
    for number, layers in enumerate(states):
        for layer, value in enumerate(layers):
            graph.output(f"state_{number}_layer_{layer}", value, FLOAT, "sentences", network.width)
    writer.show_summary(states[0][-1])
    if network.step.attention is not None:
        writer.remember(graph.transpose(outputs, 1, 0, 2), src, lengths)


class _EncoderWriter:
    """Writes an encoder's parts. Sequences are ``(length, sentences, width)``, as ONNX's operators take them."""

    def __init__(self, graph: Graph, network: NetworkParts, products: Products) -> None:
        assert network.encoder is not None
        self.graph, self.network, self.products, self.parts = graph, network, products, network.encoder

    def read(self, tokens: str, lengths: str) -> tuple[str, States]:
        """Outputs in source order, and the last states."""
        parts = self.parts
        turned = self.graph.add("Sub", lengths, self.graph.ints(1)) if parts.end_symbol else lengths
        if parts.reverse:
            tokens = self._reversed(tokens, turned)
        x = self.products.lookup(parts.embedding.weight, tokens, name="src_embedding")
        layers, finals = self._layers(lengths), []
        for number, ways in enumerate(parts.layers):
            y, *final = layers.layer(x, ways, name=f"encoder_{number}")
            x = join(self.graph, parts.joins[number], x, y) if parts.joins else y
            finals.append(final)
        if parts.reverse and parts.keep_memory:
            x = self._reversed(x, turned)
        return x, [list(state) for state in zip(*finals, strict=True)]

    def _layers(self, lengths: str) -> Fused | Stepwise:
        num_states = self.parts.num_states
        onnx = self.parts.layers[0][0].onnx
        assert onnx is not None
        if onnx.operator is not None and isinstance(self.products, FloatProducts):
            return Fused(self.graph, lengths, num_states)
        return Stepwise(self.graph, self.products, lengths, num_states)

    def _reversed(self, sequences: str, lengths: str) -> str:
        return self.graph.add("ReverseSequence", sequences, lengths, time_axis=0, batch_axis=1)

    def bridge(self, final: States, src: str) -> States:
        """The decoder's first states, as `Bridge` computes them."""
        graph, bridge = self.graph, self.network.bridge
        assert bridge is not None
        if bridge.kind == "copy":
            return final
        if bridge.kind == "dense":
            sources = [graph.concat(layers) for layers in (final[0], final[-1])[: self.network.num_states]]
            return [self._dense(one, dense) for one, dense in zip(sources, bridge.dense, strict=True)]
        sentences = graph.add("Slice", graph.add("Shape", src), graph.ints(0), graph.ints(1))
        shape = graph.concat([sentences, graph.ints(self.network.width)], axis=0)
        zeros = [graph.add("Expand", graph.floats(0.0), shape)] * bridge.num_layers
        return [final[0] if bridge.kind == "hidden_only" else zeros, zeros][: self.network.num_states]

    def _dense(self, source: str, dense: nn.Module) -> list[str]:
        assert isinstance(dense, nn.Linear)
        product = self.products.linear(dense.weight, dense.bias, name="bridge")
        return self.graph.split(self.graph.add("Tanh", product(source)), len(self.network.step.cells))

    def show_summary(self, summary: str) -> None:
        """What a peeky decoder is shown: the summary's part of the first layer's gates, and the summary."""
        step = self.network.step
        if step.peek_input:
            weight = peeked(step)[1]
            product = self.products.linear(weight, None, name="peek")
            self.graph.output("peek", product(summary), FLOAT, "sentences", len(weight))
        if step.peek_output:
            self.graph.output("context", summary, FLOAT, "sentences", self.network.width)

    def remember(self, memory: str, src: str, lengths: str) -> None:
        """What attention needs: outputs at all positions, their keys, and which positions are real."""
        graph, attention, size = self.graph, self.network.step.attention, self.network.memory_size
        assert attention is not None
        keys, weight = memory, attention.key_weight
        if weight is not None:
            product = self.products.linear(weight, None, name="keys")
            shape = graph.concat([graph.add("Shape", src), graph.ints(len(weight))], axis=0)
            keys = graph.add("Reshape", product(graph.reshape(memory, -1, size)), shape)
        graph.output("memory", memory, FLOAT, "sentences", "length", size)
        graph.output("keys", keys, FLOAT, "sentences", "length", self.network.width)
        length = graph.add("Gather", graph.add("Shape", src), graph.number(1))
        positions = graph.add("Range", graph.number(0), length, graph.number(1))
        mask = graph.add("Less", positions, graph.add("Unsqueeze", lengths, graph.ints(1)))
        graph.output("mask", mask, BOOL, "sentences", "length")
