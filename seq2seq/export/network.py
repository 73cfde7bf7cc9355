"""A network as the files of an exported folder."""

from __future__ import annotations

from seq2seq.export.encoder import write_encoder
from seq2seq.export.graph import Graph
from seq2seq.export.int8 import Int8Products
from seq2seq.export.parts import Network, take_apart
from seq2seq.export.products import FloatProducts, Products
from seq2seq.export.step import write_step

ENCODER, STEP = "encoder.onnx", "step.onnx"


def graphs(network: Network, *, int8: bool = False) -> dict[str, bytes]:
    """Write a network as ONNX files, by their names; a language model has no encoder.

    Raises:
        UserError: for a network with a part that has no form in ONNX; see `take_apart`.

    Example:
        >>> from seq2seq.config.schema import ModelConfig
        >>> from seq2seq.models.build import build_seq2seq
        >>> network = build_seq2seq(ModelConfig(hidden_size=8, embedding_size=8), src_vocab=9, tgt_vocab=9)
        >>> sorted(graphs(network))
        ['encoder.onnx', 'step.onnx']
    """
    parts = take_apart(network)
    writers = {STEP: write_step} if parts.encoder is None else {ENCODER: write_encoder, STEP: write_step}
    files = {}
    for name, write in writers.items():
        graph = Graph(name.removesuffix(".onnx"))
        write(graph, parts, products(graph, int8=int8))
        files[name] = graph.model()
    return files


def products(graph: Graph, *, int8: bool) -> Products:
    """How a graph's matrices are stored and multiplied."""
    return Int8Products(graph) if int8 else FloatProducts(graph)
