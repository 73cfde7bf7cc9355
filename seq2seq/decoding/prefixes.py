"""Outputs whose beginning, or whole, is given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def prefix_table(
    prefixes: Sequence[Sequence[int]] | None,
    max_lengths: Sequence[int],
    eos: int | None,
    device: torch.device | str,
) -> Tensor:
    """Prefixes as a table ``(batch, longest)``, -1 past the end of each.

    Raises:
        ValueError: if their number is not that of the rows, or if one is longer than its row may become, or holds the
            end symbol or a negative number.
    """
    rows = [[] for _ in max_lengths] if prefixes is None else [list(prefix) for prefix in prefixes]
    if len(rows) != len(max_lengths):
        raise ValueError(f"each row needs one prefix, which may be empty; got {len(rows)} for {len(max_lengths)} rows.")
    for i, (prefix, limit) in enumerate(zip(rows, max_lengths, strict=True)):
        if len(prefix) > limit:
            raise ValueError(f"the prefix of row {i} has {len(prefix)} tokens, but its maximum length is {limit}.")
        if any(token < 0 for token in prefix):
            raise ValueError(f"the prefix of row {i} holds token {min(prefix)}; tokens are numbers from 0 up.")
        if eos in prefix:
            raise ValueError(f"the prefix of row {i} holds the end symbol, {eos}: nothing can follow it.")
    longest = max(map(len, rows), default=0)
    padded = [prefix + [-1] * (longest - len(prefix)) for prefix in rows]
    return torch.tensor(padded, dtype=torch.long, device=device).view(len(rows), longest)


def force(log_probs: Tensor, tokens: Tensor, rows: Tensor) -> Tensor:
    """Log-probabilities ``(n, vocabulary)`` in which nothing but the forced token is possible, where there is one.

    Args:
        tokens: ``(n,)``, the forced ones; -1 where the choice is free.
        rows: ``(n,)``, what to call the rows in an error.

    Raises:
        ValueError: if the model's vocabulary has no such token, or if its probability is 0.
    """
    others = torch.arange(log_probs.shape[1], device=tokens.device) != tokens.unsqueeze(1)  # (n, vocabulary)
    forced = log_probs.masked_fill(others & (tokens >= 0).unsqueeze(1), -torch.inf)
    impossible = (tokens >= 0) & forced.amax(1).isneginf()
    if impossible.any():
        raise ValueError(
            f"the prefix of row {rows[impossible][0]} holds token {tokens[impossible][0]}, which is impossible there: "
            f"it has probability 0 or is not among the {log_probs.shape[1]} of the vocabulary."
        )
    return forced
