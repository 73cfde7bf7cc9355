"""Outputs drawn at random from the distribution that a step function gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.decoding.base import Hypothesis
from seq2seq.decoding.draws import numbers
from seq2seq.decoding.greedy import follow
from seq2seq.decoding.prefixes import prefix_table
from seq2seq.decoding.settings import SamplingSettings
from seq2seq.decoding.step import AnyState, Step, likeliest

FEW = 64  # tokens, which most often reach top_p; sorting the whole vocabulary would take longer than the network
PLAIN = SamplingSettings()
WITH_FLOAT64 = ("cpu", "cuda")  # kinds of devices; Apple's GPUs (mps), for one, have no float64


@torch.no_grad()
def sample(
    step: Step[AnyState],
    state: AnyState,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    seeds: Sequence[int],
    settings: SamplingSettings = PLAIN,
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
    drawn = torch.from_numpy(numbers(seeds, max_lengths))  # (batch, longest)

    def choose(log_probs: Tensor, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
        if settings.temperature == 0:
            return log_probs.max(-1)
        tokens = _draw(log_probs, drawn[rows.cpu(), length], settings)
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


def _draw(log_probs: Tensor, chosen: Tensor, settings: SamplingSettings) -> Tensor:
    """Where each chosen number ``(n,)`` falls in the cumulative distribution over the tokens that are kept.

    They stand by their order in the vocabulary, so that rounding moves their borders and never swaps two.
    """
    home = log_probs.device
    wide = (log_probs if home.type in WITH_FLOAT64 else log_probs.cpu()).double()
    if settings.barred:
        wide = wide.index_fill(1, torch.tensor(settings.barred, device=wide.device), -torch.inf)
    below = wide - wide.amax(-1, keepdim=True)  # so that no temperature divides the likeliest out of range
    tempered = (below / settings.temperature).log_softmax(-1)
    total = (tempered.exp() * _kept(tempered, settings)).cumsum(-1)  # (n, vocabulary)
    targets = chosen.to(total.device).unsqueeze(1) * total[:, -1:]
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
