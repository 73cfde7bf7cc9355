"""Padded and packed sequences: packing by length, and functions of single vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def pack(x: Any, lengths: Tensor | None) -> Any:
    """Pack rows ``(batch, length, width)`` by their lengths; rows without padding stay as they are."""
    if lengths is None or isinstance(x, PackedSequence):
        return x
    lengths = lengths.cpu()
    if lengths.amin() == x.shape[1]:
        return x
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def unpack(y: Any, like: Any) -> Any:
    """Undo `pack`: rows of the padded length of ``like``, with zeros as padding."""
    if not isinstance(y, PackedSequence) or isinstance(like, PackedSequence):
        return y
    return pad_packed_sequence(y, batch_first=True, total_length=like.shape[1])[0]


def elementwise(function: Callable[..., Tensor], *sequences: Any) -> Any:
    """Apply a function of vectors to padded or packed sequences."""
    first = sequences[0]
    if isinstance(first, PackedSequence):
        return first._replace(data=function(*(one.data for one in sequences)))
    return function(*sequences)
