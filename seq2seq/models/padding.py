"""Masks and reversal of padded rows by their true lengths."""

from __future__ import annotations

import torch
from torch import Tensor


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(batch, size), True at positions below each row's length."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def reverse_padded(rows: Tensor, lengths: Tensor) -> Tensor:
    """Each row's first ``length`` positions in reverse order, the others where they were.

    Shapes:
        rows ``(batch, size, ...)``, lengths ``(batch,)`` in [0, size]; returns the shape of rows.
    """
    position = torch.arange(rows.shape[1], device=rows.device)
    mirrored = lengths.to(rows.device).unsqueeze(1) - 1 - position  # (batch, size), negative past the length
    index = torch.where(mirrored >= 0, mirrored, position)
    return rows.gather(1, index.reshape(*index.shape, *[1] * (rows.dim() - 2)).expand_as(rows))
