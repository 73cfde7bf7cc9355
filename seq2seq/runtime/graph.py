"""Read what an ONNX file asks for, without running it, and refuse what a translator has no use for.

The file is a protocol buffer; https://github.com/onnx/onnx/blob/main/onnx/onnx.proto has the field numbers. Weights are
skipped, not read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.errors import UserError

MOST_FIELDS = 200_000  # of a file, weights not counted one by one
DEEPEST = 8
DOMAINS = ("", "ai.onnx", "com.microsoft")
KINDS = {1: "float32", 7: "int64", 9: "bool"}  # of numbers, by ONNX's codes

# The parts that are looked into: of a message, by field number, the message there.
PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "attribute of a scan": {5: "tensor", 6: "body", 10: "tensor"},
    "body": {1: "node of a body", 5: "tensor"},
    "node of a body": {5: "attribute"},
}
LOOP = "Scan"  # the only operator with a graph inside; it ends with its input
# What is refused where it comes, and why.
REFUSED: dict[tuple[str, int], str] = {
    ("model", 20): "it has a part for training",
    ("model", 25): "it defines functions",
    ("graph", 15): "it has sparse weights",
    ("node", 8): "it overloads an operator",
    ("attribute", 6): "it has a graph inside a graph",
    ("attribute", 11): "it has a graph inside a graph",
    ("attribute", 22): "it has sparse weights",
    ("attribute", 23): "it has sparse weights",
    ("tensor", 13): "its weights are in another file",
    ("tensor", 14): "its weights are in another file",
}


class Port(NamedTuple):
    """An input or output: the kind of its numbers, and its dimensions, None where any size goes."""

    kind: str
    shape: tuple[int | None, ...]


class Graph(NamedTuple):
    """What a graph takes and returns."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]


class _Unfit(Exception):
    """Why a file is refused."""


def read_graph(path: Path) -> Graph:
    """Read the inputs and outputs of a file.

    Raises:
        UserError: if it is not an ONNX model, or has functions, graphs inside graphs, operators of other libraries, or
            weights in another file.
    """
    found = Graph({}, {})
    try:
        with open(path, "rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last view of it
        _walk(memoryview(data), "model", found, _Budget(), 0)
    except (_Unfit, ValueError, IndexError) as error:
        problem = error if isinstance(error, _Unfit) else "it is not an ONNX model"
        raise UserError(f"{path} is refused: {problem}; export the model again.") from None
    return found


class _Budget:
    """How many fields may still be read."""

    def __init__(self) -> None:
        self.left = MOST_FIELDS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _Unfit(f"it has more than {MOST_FIELDS} parts")


def _walk(data: memoryview, message: str, found: Graph, budget: _Budget, depth: int) -> None:
    """Look into a message, and collect its inputs and outputs."""
    if depth > DEEPEST:
        raise _Unfit("it is nested too deeply")
    kind, parts = message.split(" of ")[0], PARTS.get(message, {})
    if message == "node" and _operator(data, budget) == LOOP:
        parts = {5: "attribute of a scan"}
    for number, value in _fields(data, budget):
        reason = REFUSED.get(("graph" if kind == "body" else kind, number))
        if reason and number not in parts and not (number == 14 and value == 0):  # weights that say that they are here
            raise _Unfit(reason)
        if kind == "node" and number == 7 and _text(value) not in DOMAINS:
            raise _Unfit(f"it needs operators of {_text(value)[:40]!r}")
        part = parts.get(number)
        if part in ("input", "output"):
            name, port = _port(_view(value), budget)
            (found.inputs if part == "input" else found.outputs)[name] = port
        elif part is not None:
            _walk(_view(value), part, found, budget, depth + 1)


def _operator(data: memoryview, budget: _Budget) -> str:
    """The operator of a node; its fields may come in any order."""
    names = [_text(value) for number, value in _fields(data, budget) if number == 4]
    if len(names) != 1:
        raise _Unfit("a node does not name one operator")
    return names[0]


def _view(value: Any) -> memoryview:
    """A field that must hold bytes."""
    if not isinstance(value, memoryview):
        raise ValueError("a number in place of bytes")
    return value


def _text(value: Any) -> str:
    return bytes(_view(value)).decode()


def _fields(data: memoryview, budget: _Budget) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message: an integer, or a view of bytes.

    Raises:
        ValueError, IndexError: if it is not a message.
    """
    place, end = 0, len(data)
    while place < end:
        budget.spend()
        tag, place = _varint(data, place)
        kind, size = tag & 7, 0
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(kind)
        if place + size > end:
            raise ValueError("cut short")
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """An integer, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("an integer of more than 64 bits")


def _port(data: memoryview, budget: _Budget) -> tuple[str, Port]:
    """The name of an input or output, and what goes through it."""
    name, kind, shape = "", 0, ()
    for number, value in _fields(data, budget):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for number_of_type, tensor in _fields(_view(value), budget):
                if number_of_type == 1:
                    kind, shape = _tensor_type(_view(tensor), budget)
    return name, Port(KINDS.get(kind, f"kind {kind}"), shape)


def _tensor_type(data: memoryview, budget: _Budget) -> tuple[int, Any]:
    kind, shape = 0, []
    for number, value in _fields(data, budget):
        if number == 1:
            kind = value
        elif number == 2:
            for number_of_dim, dim in _fields(_view(value), budget):
                sizes = [size for field, size in _fields(_view(dim), budget) if field == 1]
                if number_of_dim == 1:
                    shape.append(sizes[0] if sizes and isinstance(sizes[0], int) else None)
    return kind, tuple(shape)
