"""Matrix products as nodes, in float32."""

from __future__ import annotations

import functools
from typing import Protocol

from torch import Tensor

from seq2seq.export.graph import Graph
from seq2seq.models.cells.nodes import NodeProduct


class Products(Protocol):
    """How matrices are stored and multiplied."""

    def linear(self, weight: Tensor, bias: Tensor | None, *, name: str, fine: bool = False) -> NodeProduct:
        """Store a matrix ``(outputs, inputs)``, and return ``product(x, onto=None)`` for x ``(rows, inputs)``.

        Args:
            fine: whether translations depend on the product so much that its inputs should be rounded less.
        """

    def lookup(self, table: Tensor, tokens: str, *, name: str) -> str:
        """Rows of a table, in the shape of the tokens."""

    def within(self, body: Graph) -> Products:
        """The same in the body of a node."""


class FloatProducts:
    """Matrices in float32."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def linear(self, weight: Tensor, bias: Tensor | None, *, name: str, fine: bool = False) -> NodeProduct:
        added = None if bias is None else self.graph.weight(bias, f"{name}_bias")
        return functools.partial(self._product, self.graph.weight(weight, name), added)

    def _product(self, weight: str, bias: str | None, x: str, onto: str | None = None) -> str:
        added = onto or bias
        return self.graph.add("Gemm", x, weight, *([added] if added else []), transB=1)

    def lookup(self, table: Tensor, tokens: str, *, name: str) -> str:
        return self.graph.add("Gather", self.graph.weight(table, name), tokens)

    def within(self, body: Graph) -> FloatProducts:
        return FloatProducts(body)
