"""Batches of similar length, for every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from seq2seq.config.schema import DecodeConfig
from seq2seq.data import memory
from seq2seq.data.memory import Shape
from seq2seq.decoding.base import Request

Found = TypeVar("Found")


def by_length(
    order: Sequence[int], lengths: Sequence[int], batch_tokens: int, *, width: int = 1
) -> Iterator[list[int]]:
    """Cut rows into batches of at most ``batch_tokens`` tokens, padding included; a longer row is a batch by itself.

    Args:
        order: the rows, sorted by length.
        lengths: tokens of each row.
        width: how often a batch holds each row, for a beam.
    """
    batch: list[int] = []
    widest = 0
    for row in order:
        widest = max(widest, lengths[row])
        if batch and (len(batch) + 1) * widest * width > batch_tokens:
            yield batch
            batch, widest = [], lengths[row]
        batch.append(row)
    if batch:
        yield batch


def enough_memory(shape: Shape, decode: DecodeConfig, width: int = 1) -> AbstractContextManager[None]:
    """Name the settings that make a batch smaller, where there is not enough memory for it."""
    beam = f", or decode.beam_size smaller than {decode.beam_size}" if width > 1 else ""
    return memory.enough_memory(
        shape,
        f"make decode.batch_tokens smaller than {decode.batch_tokens}{beam}",
        single=f"make decode.max_source smaller than {decode.max_source}{beam}",
    )


def in_batches(
    requests: Sequence[Request],
    lengths: Sequence[int],
    work: Callable[[list[Request]], list[Found]],
    decode: DecodeConfig,
    *,
    width: int = 1,
) -> list[Found]:
    """Return the result of ``work`` for each request, computed in batches of similar length.

    Args:
        lengths: tokens of each request.
        width: hypotheses of each request in a batch.
    """
    found: dict[int, Found] = {}
    order = sorted(range(len(requests)), key=lambda i: lengths[i])
    for rows in by_length(order, lengths, decode.batch_tokens, width=width):
        batch = [requests[i] for i in rows]
        shape = Shape(len(rows), max(lengths[i] for i in rows), max(one.limit for one in batch))
        with enough_memory(shape, decode, width):
            found.update(zip(rows, work(batch), strict=True))
    return [found[i] for i in range(len(requests))]
