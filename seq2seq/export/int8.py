"""Matrix products as nodes, of 8-bit weights with a scale for each output, and 7-bit inputs.

Inputs are bytes from 1 to 127, of which 64 stands for 0. Processors without VNNI add up pairs of products of unsigned
and signed bytes in 16 bits. Two of 127 * 127 fit, while two of 255 * 127 do not and would be cut off. So sums of
integers are exact on every processor, in every order, and for every number of rows. Inputs that should be rounded less
are two such bytes, the second for the rest, with a product for each.

Hence a row's numbers do not depend on the other rows, however coarse inputs are: encoder and recurrence have no other
sums, and their elementwise operations see one row at a time. Only the attention has sums of
floating-point numbers. It comes after the recurrence, so their last bits are not carried on.
"""

from __future__ import annotations

import functools

import numpy as np
from torch import Tensor

from seq2seq.export.graph import FLOAT, MICROSOFT, Graph
from seq2seq.models.cells.nodes import NodeProduct

LEVELS = 127  # steps of a weight on each side of 0
STEPS, ZERO = 63, 64  # steps of an input on each side of 0, and the byte that stands for 0
TINY = float(np.finfo(np.float32).tiny)


class Int8Products:
    """Products of 8-bit matrices and 7-bit inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def within(self, body: Graph) -> Int8Products:
        return Int8Products(body)

    def lookup(self, table: Tensor, tokens: str, *, name: str) -> str:
        graph, (whole, scale) = self.graph, rounded(table)
        rows = graph.add("Gather", graph.weight(whole, name), tokens)
        scales = graph.add("Gather", graph.weight(scale[:, None], f"{name}_scale"), tokens)
        return graph.add("Mul", graph.add("Cast", rows, to=FLOAT), scales)

    def linear(self, weight: Tensor, bias: Tensor | None, *, name: str, fine: bool = False) -> NodeProduct:
        graph, (whole, scale) = self.graph, rounded(weight)
        matrix = graph.root.transpose(graph.weight(whole, name), 1, 0)  # once, when the graph is loaded
        added = None if bias is None else graph.weight(bias, f"{name}_bias")
        stored = (matrix, graph.weight(scale, f"{name}_scale"))
        return functools.partial(self._product, stored, added, fine)

    def _product(self, weight: tuple[str, str], bias: str | None, fine: bool, x: str, onto: str | None = None) -> str:
        """x is taken in steps of 1 / 63 of each row's largest number; ``fine`` adds the rest, in steps of 1 / 7938."""
        graph, step = self.graph, self._number(1 / STEPS)
        largest = graph.add("ReduceMax", graph.add("Abs", x), axes=[1], keepdims=1)
        largest = graph.add("Max", largest, graph.floats(TINY))
        share = graph.add("Div", x, largest)
        whole = graph.add("QuantizeLinear", share, step, self._zero())
        product = self._whole(whole, weight, step)
        if fine:
            small = self._number(1 / (2 * STEPS * STEPS))
            rest = graph.add("Sub", share, graph.add("DequantizeLinear", whole, step, self._zero()))
            rest = graph.add("QuantizeLinear", rest, small, self._zero())
            product = graph.add("Add", product, self._whole(rest, weight, small))
        product, added = graph.add("Mul", product, largest), onto or bias
        return graph.add("Add", product, added) if added else product

    def _whole(self, x: str, weight: tuple[str, str], step: str) -> str:
        matrix, scales = weight
        return self.graph.add("MatMulIntegerToFloat", x, matrix, step, scales, self._zero(), domain=MICROSOFT)

    def _zero(self) -> str:
        return self.graph.weight(np.array(ZERO, np.uint8), "zero")

    def _number(self, value: float) -> str:
        return self.graph.weight(np.array(value, np.float32), "step")


def rounded(weight: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A matrix ``(outputs, inputs)`` in whole numbers, and the scale of each output ``(outputs,)``."""
    values = weight.detach().numpy()
    scale = (np.maximum(np.abs(values).max(1), TINY) / LEVELS).astype(np.float32)
    return np.rint(values / scale[:, None]).astype(np.int8), scale
