"""What every search with torch shares: states and step functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor


class State(Protocol):
    """What a step function carries from step to step; row i belongs to sentence i.

    It may also have ``attention`` ``(batch, src_length)``, the weights of the step just taken, or None; and ``mask`` of
    the same shape, True at real positions of the source, or None where all are real.
    """

    def select(self: AnyState, rows: Tensor) -> AnyState: ...


BLOCK = 64  # log-probabilities per block; the blocks' maxima are compared first


AnyState = TypeVar("AnyState", bound=State)


# step(last_tokens, state) -> (log_probs, next_state): last_tokens is (n,), log_probs (n, vocabulary).
Step = Callable[[Tensor, AnyState], tuple[Tensor, AnyState]]


# choose(log_probs, rows, length) -> (chosen_log_probs, chosen_tokens): log_probs is (n, vocabulary), the others (n,).
# rows are batch indices, length the number of tokens generated so far.
Choose = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


class Trail:
    """The attention of each step, and where in its batch each row stood."""

    def __init__(self, num_rows: int) -> None:
        self.steps: list[Tensor] = []
        self.paths: list[list[int]] = [[] for _ in range(num_rows)]

    def add(self, state: State, rows: Tensor) -> None:
        """Keep the attention of the step just taken, whose batch was ``rows``."""
        attention = getattr(state, "attention", None)
        if attention is not None:
            self.steps.append(attention)
            for place, row in enumerate(rows.tolist()):
                self.paths[row].append(place)

    def matrices(self) -> list[Tensor | None]:
        """The attention of each row; None where the state had none."""
        return gather_attention(self.steps, self.paths)


def gather_attention(steps: Sequence[Tensor], paths: Sequence[Sequence[int]]) -> list[Tensor | None]:
    """Each path's attention ``(steps, src_length)``; None without attention.

    Args:
        paths: the row of the batch that each path stood at, step by step from the first.
    """
    if not steps or not paths:
        return [None] * len(paths)
    longest = max(len(path) for path in paths)
    places = torch.tensor([[*path, *[0] * (longest - len(path))] for path in paths], device=steps[0].device)
    seen = [weights.index_select(0, places[:, i]) for i, weights in enumerate(steps[:longest])]
    stacked = torch.stack(seen, 1).cpu()  # (paths, longest, src_length)
    return [rows[: len(path)].clone() for rows, path in zip(stacked, paths, strict=True)]


def _highest(log_probs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest of each row and their places, by ``topk``.

    On a CPU only the blocks with the highest maxima are searched: the highest must be in them.
    """
    size = log_probs.shape[1]
    blocks = size // BLOCK
    if log_probs.device.type != "cpu" or blocks < 4 * count:
        return log_probs.topk(count)
    maxima = log_probs[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK)).amax(2)
    first = maxima.topk(count).indices * BLOCK  # (n, count)
    inside = (first.unsqueeze(2) + torch.arange(BLOCK)).flatten(1)
    rest = torch.arange(blocks * BLOCK, size).expand(len(log_probs), -1)
    places = torch.cat([inside, rest], 1)
    top = log_probs.gather(1, places).topk(count)
    return top.values, places.gather(1, top.indices)


def likeliest(log_probs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest of each row and their tokens, on the CPU.

    The best come first, and of equal ones the lower token. Each result is ``(n, at most count)``.

    ``topk`` may take either of two equals, so the few rows with equals are sorted.
    """
    size = log_probs.shape[1]
    top, places = _highest(log_probs, min(count + 1, size))  # one more, to see whether the last has an equal outside
    values, tokens = top.cpu(), places.cpu()
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)
    rows = equal.any(1).nonzero().squeeze(1)
    if len(rows):
        ranked = log_probs[rows.to(log_probs.device)].sort(dim=1, descending=True, stable=True)
        values[rows] = ranked.values[:, : values.shape[1]].cpu()
        tokens[rows] = ranked.indices[:, : values.shape[1]].cpu()
    return values[:, :count], tokens[:, :count]
