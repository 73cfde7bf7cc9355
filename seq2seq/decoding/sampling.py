"""Outputs drawn at random from the distribution that a step function gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.decoding.greedy import follow
from seq2seq.decoding.prefixes import prefix_table
from seq2seq.decoding.step import AnyState, Hypothesis, Step, likeliest

FEW = 64  # tokens, which most often reach top_p; sorting the whole vocabulary would take longer than the network
WITH_FLOAT64 = ("cpu", "cuda")  # kinds of devices; Apple's GPUs (mps), for one, have no float64


@dataclass(frozen=True)
class SamplingSettings:
    """What to draw from. Where both are given, the smaller set of ``top_k`` and ``top_p`` is kept.

    Args:
        temperature: divides the log-probabilities before all else; 0 is greedy search.
        top_k: how many of the likeliest tokens are kept, lower ones first among equals; 0 keeps all.
        top_p: the smallest set of the likeliest tokens whose probability reaches this is kept; 1 keeps all.
        barred: tokens that are not drawn, since they stand in no text; the others share their probability. Greedy
            search, at temperature 0, draws nothing.

    Raises:
        ValueError: for a value out of range.

    Source:
        top_p: Holtzman et al. (2020), https://arxiv.org/abs/1904.09751.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    barred: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be at least 0 and finite; got {self.temperature}.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0, which keeps all; got {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1; got {self.top_p}.")


@torch.no_grad()
def sample(
    step: Step[AnyState],
    state: AnyState,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    seeds: Sequence[int],
    settings: SamplingSettings = SamplingSettings(),
    device: torch.device | str = "cpu",
    prefixes: Sequence[Sequence[int]] | None = None,
    keep_attention: bool = False,
) -> list[Hypothesis]:
    """Draw one output for each row, token by token, until ``eos`` or a row's own maximum length.

    A row's output depends only on that row and its seed: token i is chosen by the seed's i-th number, whatever the
    batch. Scores are the model's own log-probabilities, of temperature 1 and with nothing cut off, so they can be
    compared with those of a search.

    Args:
        step, state, bos, eos, max_lengths, device, prefixes, keep_attention: as for `greedy`.
        seeds: one for each row. For several outputs of a sentence, give its row several times, with different seeds.

    Raises:
        ValueError: if the number of seeds is not that of the rows; for prefixes that no output can have.
    """
    if len(seeds) != len(max_lengths):
        raise ValueError(f"each row needs one seed; got {len(seeds)} for {len(max_lengths)} rows.")
    numbers = _numbers(seeds, max_lengths)  # (batch, longest)

    def choose(log_probs: Tensor, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
        if settings.temperature == 0:
            return log_probs.max(-1)
        tokens = _draw(log_probs, numbers[rows.cpu(), length], settings)
        return log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1), tokens

    return follow(
        step,
        state,
        choose,
        bos=bos,
        eos=eos,
        max_lengths=max_lengths,
        table=prefix_table(prefixes, max_lengths, eos, device),
        keep_attention=keep_attention,
    )


def _numbers(seeds: Sequence[int], max_lengths: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1), ``(batch, longest)``: in row i the first ones of seed i, as many as it may need."""
    longest = max(max_lengths, default=0)
    rows = []
    for seed, limit in zip(seeds, max_lengths, strict=True):
        generator = random.Random(seed)  # whose numbers are the same in every version of Python
        rows.append([generator.random() for _ in range(limit)] + [0.0] * (longest - limit))
    return torch.tensor(rows, dtype=torch.double)


def _draw(log_probs: Tensor, numbers: Tensor, settings: SamplingSettings) -> Tensor:
    """Where each number ``(n,)`` falls in the cumulative distribution over the tokens that are kept, by their order in
    the vocabulary, so that rounding moves its borders and never swaps two tokens.
    """
    home = log_probs.device
    wide = (log_probs if home.type in WITH_FLOAT64 else log_probs.cpu()).double()
    if settings.barred:
        wide = wide.index_fill(1, torch.tensor(settings.barred, device=wide.device), -torch.inf)
    below = wide - wide.amax(-1, keepdim=True)  # so that no temperature divides the likeliest out of range
    tempered = (below / settings.temperature).log_softmax(-1)
    total = (tempered.exp() * _kept(tempered, settings)).cumsum(-1)  # (n, vocabulary)
    targets = numbers.to(total.device).unsqueeze(1) * total[:, -1:]
    return torch.searchsorted(total, targets, right=True).squeeze(1).to(home)


def _kept(log_probs: Tensor, settings: SamplingSettings) -> Tensor | float:
    """The tokens that may be drawn, 1 or 0, ``(n, vocabulary)``."""
    if settings.top_k == 0 and settings.top_p == 1:
        return 1.0
    kept = torch.zeros_like(log_probs)
    home = log_probs.device
    values, tokens = likeliest(log_probs, settings.top_k or FEW)
    reached, few = _smallest_set(values, settings.top_p)
    kept.scatter_(1, tokens.to(home), few.to(home))
    if settings.top_k == 0 and not reached.all():
        rows = (~reached).nonzero().squeeze(1).to(home)
        ranked = log_probs[rows].sort(dim=1, descending=True, stable=True)
        kept[rows] = torch.zeros_like(ranked.values).scatter(
            1, ranked.indices, _smallest_set(ranked.values, settings.top_p)[1]
        )
    return kept


def _smallest_set(log_probs: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Of sorted log-probabilities ``(n, count)``: whether they reach ``top_p``, ``(n,)``, and those needed for it, 1 or
    0, ``(n, count)``.
    """
    total = log_probs.exp().cumsum(1)
    above = F.pad(total[:, :-1], (1, 0))  # the probability of all that are likelier
    needed = above < top_p if top_p < 1 else torch.ones_like(above, dtype=torch.bool)
    return total[:, -1] >= top_p, needed.to(log_probs.dtype)
