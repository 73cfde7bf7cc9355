"""Greedy search in NumPy, with any step function, and given outputs by teacher forcing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seq2seq.decoding.base import Hypothesis
from seq2seq.runtime.prefixes import force, prefix_table
from seq2seq.runtime.step import AnyState, Choose, Step, gather_attention


def greedy(
    step: Step[AnyState],
    state: AnyState,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    prefixes: Sequence[Sequence[int]],
    keep_attention: bool = False,
) -> list[Hypothesis]:
    """The most probable token at each step; the arguments are those of `seq2seq.decoding.greedy.greedy`."""
    return follow(
        step,
        state,
        highest,
        bos=bos,
        eos=eos,
        max_lengths=max_lengths,
        prefixes=prefixes,
        keep_attention=keep_attention,
    )


def highest(log_probs: np.ndarray, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The most probable token of each row, of equals the first."""
    tokens = log_probs.argmax(1)
    return log_probs[np.arange(len(tokens)), tokens], tokens


def forced(
    step: Step[AnyState],
    state: AnyState,
    outputs: Sequence[Sequence[int]],
    *,
    bos: int,
    eos: int | None,
    keep_attention: bool = False,
) -> list[Hypothesis]:
    """Given outputs with their log-probabilities; the arguments are those of `seq2seq.decoding.greedy.forced`.

    Raises:
        ValueError: for an output that is empty and has no end symbol.
    """
    whole = [[*tokens, *([] if eos is None else [eos])] for tokens in outputs]
    if not all(whole):
        raise ValueError("an output without an end symbol has one token at least; got an empty one.")
    given = prefix_table(whole)

    def take(log_probs: np.ndarray, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = given[rows, length]
        return log_probs[np.arange(len(rows)), tokens], tokens

    return follow(
        step,
        state,
        take,
        bos=bos,
        eos=eos,
        max_lengths=[len(tokens) for tokens in whole],
        prefixes=[[] for _ in whole],
        keep_attention=keep_attention,
    )


def follow(
    step: Step[AnyState],
    state: AnyState,
    choose: Choose,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    prefixes: Sequence[Sequence[int]],
    keep_attention: bool,
) -> list[Hypothesis]:
    """One path for each row, whose next token ``choose`` names. Finished rows leave the batch."""
    table, limits = prefix_table(prefixes), np.array(max_lengths, np.int64)
    outputs: list[list[int]] = [[] for _ in max_lengths]
    scores = np.zeros(len(outputs))
    steps: list[np.ndarray] = []
    paths: list[list[int]] = [[] for _ in outputs]
    rows = np.arange(len(outputs))
    last = np.full(len(outputs), bos)
    length = 0
    while len(rows):
        log_probs, state = step(last, state)
        if length < table.shape[1]:
            log_probs = force(log_probs, table[rows, length])
        best, last = choose(log_probs, rows, length)
        length += 1
        scores[rows] += best
        ended = last == (-1 if eos is None else eos)
        for row, token, end in zip(rows.tolist(), last.tolist(), ended.tolist(), strict=True):
            if not end:
                outputs[row].append(token)
        attention = getattr(state, "attention", None)
        if keep_attention and attention is not None:
            steps.append(attention)
            for place, row in enumerate(rows.tolist()):
                paths[row].append(place)
        (going,) = (~ended & (limits[rows] > length)).nonzero()
        if len(going) < len(rows):
            rows, last, state = rows[going], last[going], state.select(going)
    kept = gather_attention(steps, paths)
    return [Hypothesis(*one) for one in zip(outputs, scores.tolist(), [None] * len(kept), kept, strict=True)]
