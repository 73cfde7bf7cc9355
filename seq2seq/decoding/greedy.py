"""Search for an output, given a step function: a model's, an ensemble's, or a Markov chain's in a test.

Greedy search is here, with what `seq2seq.decoding.beam` and `seq2seq.decoding.sampling` share with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor


class State(Protocol):
    """What a step function carries from step to step; row i belongs to sentence i.

    It may also have ``attention`` ``(batch, src_length)``, the weights of the step just taken, or None; and ``mask`` of
    the same shape, True at real positions of the source, or None where all are real.
    """

    def select(self: AnyState, rows: Tensor) -> AnyState: ...


BLOCK = 64  # log-probabilities of which the highest is looked at first

AnyState = TypeVar("AnyState", bound=State)
# From last tokens (n,) and state to log-probabilities (n, vocabulary) and the next state.
Step = Callable[[Tensor, AnyState], tuple[Tensor, AnyState]]
# From log-probabilities (n, vocabulary), the rows (n,) that they are of, and the number of tokens that these have, to
# the log-probabilities and the tokens that are chosen, each (n,).
Choose = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


class Hypothesis(NamedTuple):
    """An output: its tokens without the end symbol, and the sum of its log-probabilities, that of the end symbol
    included.
    """

    tokens: list[int]
    score: float
    normalised: float | None = None  # what a beam ranked it by; None where nothing was ranked
    # (steps, src_length), on the CPU: a row for each token, and a last one for the end symbol where there is one. The
    # source's padding has columns, of zeros. None unless asked for.
    attention: Tensor | None = None


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

    A row's output depends on that row alone. Finished rows leave the batch.

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
        lambda log_probs, rows, length: log_probs.max(-1),  # of equals, the first
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
    """Given outputs, with the log-probabilities that a search would have found them with: teacher forcing.

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
    """One path for each row, whose next token ``choose`` names; ``table`` is that of `prefix_table`."""
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
    """Each path's attention ``(steps, src_length)``, from that of the batches ``(n, src_length)``; None if there is
    none.

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


def _highest(log_probs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest of each row and where they are, by ``topk``: on a CPU of the few blocks with the highest
    maxima alone, in which they must be.
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
    """The ``count`` highest of each row and their tokens, best first, lower tokens first among equals; each
    ``(n, at most count)``, on the CPU.

    ``topk`` alone leaves open which of two equals it takes, so rows where any are equal, and that is few, are sorted.
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
