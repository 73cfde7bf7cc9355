"""An ONNX graph that is being written: nodes, weights, inputs and outputs, all known by their names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from seq2seq import __version__

OPSET = 17  # the first with LayerNormalization; onnxruntime 1.18 reads newer ones too
MICROSOFT = "com.microsoft"  # operators that only onnxruntime has
IR = 8
FLOAT, INT32, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL

Array = np.ndarray | torch.Tensor


class Graph:
    """Collects the parts of a graph, and is the `Nodes` that cells write into.

    Names of values are numbers in the order of writing, so equal networks give equal bytes.

    Args:
        name: what the graph computes, for people who look into the file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._known: dict[str, str] = {}  # names of weights by their contents
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._names: dict[str, str] = {}  # of values that are outputs
        self._count = 0
        self.domains: set[str] = set()  # of operators that are not ONNX's own
        self.root = self  # the graph that stores the weights

    def body(self, name: str) -> Graph:
        """Begin the body of a `Scan` node; its weights are stored in this graph."""
        body = Graph(name)
        body.root, body._weights, body._known = self.root, self._weights, self._known
        return body

    def input(self, name: str, kind: int, *shape: int | str) -> str:
        """Declare an input; words in the shape are sizes that differ from call to call."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, kind: int, *shape: int | str) -> None:
        """Declare an output of this name, which is a value of the graph."""
        given = value in self._weights or any(value == one.name for one in self._inputs)
        if given or value in self._names:  # it has a name that stays
            self._nodes.append(helper.make_node("Identity", [value], [name]))
        else:
            self._names[value] = name
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, values: Array, name: str) -> str:
        """Store numbers, and return their name. Equal numbers are stored once."""
        array = np.asarray(values.detach().numpy() if isinstance(values, torch.Tensor) else values, order="C")
        facts = f"{array.dtype} {array.shape} ".encode()
        key = hashlib.sha256(facts + array.tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = name = f"{name}_{len(self._weights)}"
            self._weights[name] = numpy_helper.from_array(array, name)
        return self._known[key]

    def option(self, name: str, *values: int) -> str:
        """Declare an input of integers that may be left out; it is then ``values``."""
        self._weights[name] = numpy_helper.from_array(np.array(values, np.int64), name)
        return self.input(name, INT64, len(values))

    def ints(self, *values: int) -> str:
        """Store integers, such as the axes of a node."""
        return self.weight(np.array(values, np.int64), "ints")

    def number(self, value: int) -> str:
        """Store one integer, without a dimension."""
        return self.weight(np.array(value, np.int64), "int")

    def floats(self, *values: float) -> str:
        """Store numbers in float32."""
        return self.weight(np.array(values, np.float32), "floats")

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(self, operator: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs, and return their names."""
        self._count += 1
        prefix = "" if self.root is self else f"{self.name}_"  # a body sees the names outside it
        outputs = [f"{prefix}{operator}_{self._count}" + (f"_{i}" if count > 1 else "") for i in range(count)]
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        self.root.domains |= {attributes["domain"]} if "domain" in attributes else set()
        return outputs

    def split(self, value: str, count: int) -> list[str]:
        return self.add_many("Split", count, value, axis=1) if count > 1 else [value]

    def reshape(self, value: str, *shape: int) -> str:
        """Give a value another shape; 0 keeps a size, -1 takes the remaining size."""
        return self.add("Reshape", value, self.ints(*shape))

    def transpose(self, value: str, *order: int) -> str:
        """Exchange axes."""
        return self.add("Transpose", value, perm=list(order))

    def concat(self, values: Sequence[str], axis: int = 1) -> str:
        """Join values along an axis."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=axis)

    def part(self) -> Any:
        """The graph as an attribute of a node, without its weights."""
        return helper.make_graph(self._named_nodes(), self.name, self._inputs, self._outputs)

    def model(self) -> bytes:
        """The whole graph, checked, in the bytes of an ONNX file."""
        weights = list(self._weights.values())
        graph = helper.make_graph(self._named_nodes(), self.name, self._inputs, self._outputs, weights)
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(one, 1) for one in sorted(self.root.domains))]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR, producer_name="seq2seq", producer_version=__version__
        )
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)

    def _named_nodes(self) -> list[Any]:
        """The nodes, in which outputs have their names. A node that copies each of them would cost time."""
        for node in self._nodes:
            for values in (node.input, node.output):
                values[:] = [self._names.get(value, value) for value in values]
        return self._nodes
