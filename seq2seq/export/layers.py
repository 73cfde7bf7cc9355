"""Parts that encoder and decoder share: joins between layers, and the summary's part of the first one."""

from __future__ import annotations

from torch import Tensor

from seq2seq.export.graph import Graph
from seq2seq.models.cells.base import Join
from seq2seq.models.decoder import StepParts


def join(graph: Graph, between: Join, x: str, y: str) -> str:
    """A layer's outputs y as the next one reads them: norm(x + y)."""
    if between.residual:
        y = graph.add("Add", x, y)
    norm = between.norm
    if norm is None:
        return y
    weights = graph.weight(norm.weight, "norm"), graph.weight(norm.bias, "norm_bias")
    return graph.add("LayerNormalization", y, *weights, axis=-1, epsilon=norm.eps)


def peeked(step: StepParts) -> tuple[Tensor, Tensor]:
    """The first layer's matrix in two: the embedding's part, and the summary's, which may have no columns."""
    width = step.embedding.shape[1]
    return step.cells[0].inputs[:, :width], step.cells[0].inputs[:, width:]
