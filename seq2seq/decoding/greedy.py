"""Greedy search, with any step function.

Also scores given outputs by teacher forcing; see `forced`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.decoding.prefixes import force, prefix_table
from seq2seq.decoding.step import AnyState, Choose, Hypothesis, Step, Trail


@torch.no_grad()
def greedy(
    step: Step[AnyState],
    state: AnyState,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    device: torch.device | str = "cpu",
    prefixes: Sequence[Sequence[int]] | None = None,
    keep_attention: bool = False,
) -> list[Hypothesis]:
    """The most probable token at each step, until ``eos`` or a row's own maximum length.

    A row's output depends only on that row. Finished rows leave the batch.

    Args:
        step: from last tokens and state to log-probabilities and the next state.
        state: its rows are the sentences.
        eos: the end symbol; None for outputs of exactly the maximum length.
        max_lengths: most tokens of each row, each at least 1.
        prefixes: tokens that the outputs begin with, a list for each row; part of the output and of its score.
        keep_attention: return the attention of each step, where the state has it.

    Raises:
        ValueError: for prefixes that no output can have; see `prefix_table` and `force`.
    """
    table = prefix_table(prefixes, max_lengths, eos, device)
    return follow(
        step,
        state,
        lambda log_probs, rows, length: log_probs.max(-1),  # of equal ones, the first
        bos=bos,
        eos=eos,
        max_lengths=max_lengths,
        table=table,
        keep_attention=keep_attention,
    )


@torch.no_grad()
def forced(
    step: Step[AnyState],
    state: AnyState,
    outputs: Sequence[Sequence[int]],
    *,
    bos: int,
    eos: int | None,
    device: torch.device | str = "cpu",
    keep_attention: bool = False,
) -> list[Hypothesis]:
    """Score given outputs by teacher forcing, as a search would score them.

    Args:
        outputs: tokens without the end symbol, one list for each row.
        step, state, bos, eos, device, keep_attention: as for `greedy`.

    Raises:
        ValueError: for an output that is empty and has no end symbol; the scores would be of something else.
    """
    end = [] if eos is None else [eos]
    whole = [[*tokens, *end] for tokens in outputs]
    if not all(whole):
        raise ValueError("an output without an end symbol has one token at least; got an empty one.")
    lengths = [len(tokens) for tokens in whole]
    given = prefix_table(whole, lengths, None, device)

    def take(log_probs: Tensor, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
        tokens = given[rows, length]
        return log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1), tokens

    free = given[:, :0]
    options = {"bos": bos, "eos": eos, "max_lengths": lengths, "table": free, "keep_attention": keep_attention}
    return follow(step, state, take, **options)  # type: ignore[arg-type]


def follow(
    step: Step[AnyState],
    state: AnyState,
    choose: Choose,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    table: Tensor,
    keep_attention: bool,
) -> list[Hypothesis]:
    """Follow one path for each row; ``choose`` gives its next token, unless ``table`` does."""
    limits = torch.tensor(list(max_lengths), dtype=torch.long, device=table.device)
    tokens: list[list[int]] = [[] for _ in max_lengths]
    scores = [0.0] * len(tokens)
    trail = Trail(len(tokens)) if keep_attention else None
    rows = torch.arange(len(tokens), device=table.device)
    last = torch.full_like(rows, bos)
    length = 0
    while len(rows):
        log_probs, state = step(last, state)
        if length < table.shape[1]:
            log_probs = force(log_probs, table[rows, length], rows)
        best, last = choose(log_probs, rows, length)
        length += 1
        ended = last == eos if eos is not None else torch.zeros_like(last, dtype=torch.bool)
        for row, token, score, end in zip(rows.tolist(), last.tolist(), best.tolist(), ended.tolist(), strict=True):
            scores[row] += score
            if not end:
                tokens[row].append(token)
        if trail is not None:
            trail.add(state, rows)
        going = (~ended & (limits > length)).nonzero().squeeze(1)
        if len(going) < len(rows):
            rows, last, limits, state = rows[going], last[going], limits[going], state.select(going)
    kept = trail.matrices() if trail is not None else [None] * len(tokens)
    return [Hypothesis(row, score, None, seen) for row, score, seen in zip(tokens, scores, kept, strict=True)]
