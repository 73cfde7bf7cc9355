"""Search for an output, given a step function: a model's, an ensemble's, or a Markov chain's in a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor


class State(Protocol):
    """What a step function carries from step to step; row i belongs to sentence i."""

    def select(self: AnyState, rows: Tensor) -> AnyState: ...


AnyState = TypeVar("AnyState", bound=State)
# From last tokens (n,) and state to log-probabilities (n, vocabulary) and the next state.
Step = Callable[[Tensor, AnyState], tuple[Tensor, AnyState]]


class Hypothesis(NamedTuple):
    """An output: its tokens without the end symbol, and the sum of its log-probabilities, that of the end symbol
    included.
    """

    tokens: list[int]
    score: float


@torch.no_grad()
def greedy(
    step: Step[AnyState],
    state: AnyState,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    device: torch.device | str = "cpu",
) -> list[Hypothesis]:
    """The most probable token at each step, until ``eos`` or a row's own maximum length.

    A row's output depends on that row alone. Finished rows leave the batch.

    Args:
        step: from last tokens and state to log-probabilities and the next state.
        state: its rows are the sentences.
        eos: the end symbol; None for outputs of exactly the maximum length.
        max_lengths: most tokens of each row, each at least 1.
    """
    limits = torch.tensor(list(max_lengths), dtype=torch.long, device=device)
    tokens: list[list[int]] = [[] for _ in max_lengths]
    scores = [0.0] * len(tokens)
    rows = torch.arange(len(tokens), device=device)
    last = torch.full((len(tokens),), bos, dtype=torch.long, device=device)
    length = 0
    while len(rows):
        log_probs, state = step(last, state)
        best, last = log_probs.max(-1)
        length += 1
        ended = last == eos if eos is not None else torch.zeros_like(last, dtype=torch.bool)
        for row, token, score, end in zip(rows.tolist(), last.tolist(), best.tolist(), ended.tolist(), strict=True):
            scores[row] += score
            if not end:
                tokens[row].append(token)
        going = (~ended & (limits > length)).nonzero().squeeze(1)
        if len(going) < len(rows):
            rows, last, limits, state = rows[going], last[going], limits[going], state.select(going)
    return [Hypothesis(row, score) for row, score in zip(tokens, scores, strict=True)]
