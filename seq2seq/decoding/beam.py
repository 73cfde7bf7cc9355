"""Beam search, with any step function: the most probable outputs found in bounded memory.

Each step keeps the continuations with the highest log-probability among those of a sentence's open hypotheses. A
hypothesis ends with the end symbol or at its row's maximum length, and then keeps its slot in the beam (Sutskever et
al. 2014). So a beam of 1 is greedy search, and a beam as wide as the number of sequences finds the best of all. Length
and coverage penalties rank only finished hypotheses; open ones have equal lengths, and are compared without penalties.

Stopping early is exact. Log-probabilities can only fall, so the final rank of an open hypothesis with sum s, in a row
of at most n tokens, is at most ``s / ((5 + n) / 6) ** length_penalty``; coverage only lowers it. A sentence is done
when no open hypothesis can rank above its ``num_best``-th finished one. A single hopeless hypothesis is not dropped:
its continuations still occupy beam slots, and freeing them would let worse hypotheses finish.

The network stays on its device. The few numbers of each hypothesis are kept on the CPU, where they are summed in double
precision and ties have a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.decoding.prefixes import force, prefix_table
from seq2seq.decoding.step import AnyState, Hypothesis, State, Step, gather_attention, likeliest


@dataclass(frozen=True)
class BeamSettings:
    """How wide to search, and how to rank what is found.

    A hypothesis is ranked by ``log_prob / ((5 + len) / 6) ** length_penalty + coverage_penalty * coverage``. Here len
    counts the log-probabilities in the sum: its tokens, and ``</s>`` where it ends with one. The coverage is the sum,
    over the source's real positions, of ``log(min(attention received over those len steps, 1))``.

    Args:
        size: hypotheses that a sentence keeps, open and finished together.
        num_best: hypotheses to return, at most ``size``.
        length_penalty: alpha, at least 0; 0 ranks by log-probability, which favours short outputs.
        coverage_penalty: beta, at least 0; 0 is off.

    Raises:
        ValueError: for a value out of range.

    Source:
        Wu et al. (2016), https://arxiv.org/abs/1609.08144, equation 14.
    """

    size: int = 5
    num_best: int = 1
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.num_best <= self.size:
            raise ValueError(f"num_best must be from 1 to the beam size, {self.size}; got {self.num_best}.")
        for name in ("length_penalty", "coverage_penalty"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be at least 0 and finite; got {getattr(self, name)}.")

    def rank(self, log_prob: float, length: int, attention: Tensor | None = None) -> float:
        """What a finished hypothesis would be ranked at.

        Args:
            length: the log-probabilities in the sum.
            attention: ``(length, real source positions)``; needed where coverage counts.
        """
        coverage = 0.0
        if self.coverage_penalty:
            received = _covered(0.0, attention).sum(0).clamp(torch.finfo(torch.float).tiny, 1)
            coverage = received.log().double().sum().item()
        return log_prob / ((5 + length) / 6) ** self.length_penalty + self.coverage_penalty * coverage


@torch.no_grad()
def beam(
    step: Step[AnyState],
    state: AnyState,
    *,
    bos: int,
    eos: int | None,
    max_lengths: Sequence[int],
    settings: BeamSettings,
    device: torch.device | str = "cpu",
    prefixes: Sequence[Sequence[int]] | None = None,
    keep_attention: bool = False,
) -> list[list[Hypothesis]]:
    """The best hypotheses of each row, best first: ``settings.num_best``, or all if there are fewer.

    A row's output depends only on that row. Of equal scores, the one that ended earlier stands first, then the one
    whose parent does, then the lower token.

    Args:
        step, state, eos, max_lengths, prefixes, keep_attention: as for `greedy`.

    Raises:
        ValueError: if coverage is to count and the state has no attention; for prefixes that no output can have.

    Source:
        Sutskever et al. (2014), https://arxiv.org/abs/1409.3215.
    """
    table = prefix_table(prefixes, max_lengths, eos, device)
    finished = _Finished(max_lengths, eos, settings)
    opened = _Open.first(len(max_lengths), bos)
    coverage: Tensor | float = 0.0  # (n, src_length): the attention that each source position has had
    steps: list[Tensor] = []
    for length in range(max(max_lengths, default=0)):
        log_probs, state = step(opened.tokens[:, -1].to(device), state)
        if length < table.shape[1]:
            sentences = opened.sentence.to(device)
            log_probs = force(log_probs, table[sentences, length], sentences)
        attention: Tensor | None = getattr(state, "attention", None)
        if keep_attention and attention is not None:
            steps.append(attention)
        coverage = _covered(coverage, attention) if settings.coverage_penalty else coverage
        grown = _grow(opened, *likeliest(log_probs, settings.size), size=settings.size)
        opened, parents = finished.take(grown, opened, _penalty(coverage, state))
        if not len(parents):
            break
        if not torch.equal(parents, torch.arange(len(log_probs))):
            parents = parents.to(device)
            state = state.select(parents)
            coverage = coverage[parents] if isinstance(coverage, Tensor) else coverage
    return finished.best(steps)


class _Open(NamedTuple):
    """Open hypotheses by sentence, each sentence's best first; n of them, on the CPU."""

    sentence: Tensor  # (n,)
    score: Tensor  # (n,), float64, as greedy search adds up
    tokens: Tensor  # (n, 1 + length), bos first
    path: Tensor  # (n, length): where its ancestors stood in the batch of each step

    @staticmethod
    def first(num_sentences: int, bos: int) -> _Open:
        """The empty hypothesis of each sentence."""
        score = torch.zeros(num_sentences, dtype=torch.double)
        path = torch.zeros(num_sentences, 0, dtype=torch.long)
        return _Open(torch.arange(num_sentences), score, torch.full((num_sentences, 1), bos), path)

    def extend(self, parents: Tensor, tokens: Tensor, score: Tensor) -> _Open:
        """Children ``(m,)`` of the hypotheses at ``parents``."""
        path = torch.cat([self.path[parents], parents.unsqueeze(1)], 1)
        return _Open(self.sentence[parents], score, torch.cat([self.tokens[parents], tokens.unsqueeze(1)], 1), path)


class _Grown(NamedTuple):
    """The best continuations of each sentence with open hypotheses, best first."""

    sentence: Tensor  # (m,)
    score: Tensor  # (m, width), -inf where there are no more
    parent: Tensor  # (m, width), into the open ones
    token: Tensor  # (m, width)


def _grow(opened: _Open, values: Tensor, tokens: Tensor, *, size: int) -> _Grown:
    """The ``size`` best of each sentence's continuations, given the likeliest of each hypothesis ``(n, count)``."""
    sentence, group = torch.unique_consecutive(opened.sentence, return_inverse=True)
    first = torch.searchsorted(group, torch.arange(len(sentence)))  # (m,): where each sentence's open ones begin
    place = torch.arange(len(group)) - first[group]
    count = values.shape[1]
    scores = torch.full((len(sentence), int(place.max()) + 1, count), -torch.inf, dtype=torch.double)
    scores[group, place] = opened.score.unsqueeze(1) + values
    ranked = scores.flatten(1).sort(dim=1, descending=True, stable=True)  # by score, then by parent, then by token
    index = ranked.indices[:, :size]
    parent = (first.unsqueeze(1) + index // count).clamp(max=len(group) - 1)  # past it there are only gaps
    return _Grown(sentence, ranked.values[:, :size], parent, tokens[parent, index % count])


def _covered(coverage: Tensor | float, attention: Tensor | None) -> Tensor:
    if attention is None:
        raise ValueError("coverage_penalty needs a model with attention; the state of this one has none.")
    return coverage + attention


def _penalty(coverage: Tensor | float, state: State) -> Tensor | float:
    """The sum over real source positions of log(min(coverage, 1)), ``(n,)``, on the CPU."""
    if not isinstance(coverage, Tensor):
        return 0.0
    mask: Tensor | None = getattr(state, "mask", None)
    logs = coverage.clamp(torch.finfo(coverage.dtype).tiny, 1).log()  # tiny: nothing seen is bad, and still finite
    return (logs if mask is None else logs.masked_fill(~mask, 0)).cpu().double().sum(1)


class _Ended(NamedTuple):
    hypothesis: Hypothesis
    normalised: float
    path: list[int]


class _Finished:
    """Finished hypotheses, and the check which open ones can still matter."""

    def __init__(self, max_lengths: Sequence[int], eos: int | None, settings: BeamSettings) -> None:
        self.eos = -1 if eos is None else eos
        self.settings = settings
        self.limits = torch.tensor(list(max_lengths), dtype=torch.long)
        self.room = torch.full_like(self.limits, settings.size)
        self.found: list[list[_Ended]] = [[] for _ in max_lengths]
        longest = max(max_lengths, default=0)
        # Divisors of the log-probability, by number of steps.
        self.divisors = torch.tensor(
            [((5 + length) / 6) ** settings.length_penalty for length in range(longest + 1)], dtype=torch.double
        )
        # (sentences, num_best): ranks of the best finished hypotheses
        self.bests = torch.full((len(self.found), settings.num_best), -torch.inf, dtype=torch.double)

    def take(self, grown: _Grown, opened: _Open, coverage: Tensor | float) -> tuple[_Open, Tensor]:
        """Move finished hypotheses out of ``grown``; return the open ones and their rows in the batch."""
        room, limits = self.room[grown.sentence].unsqueeze(1), self.limits[grown.sentence].unsqueeze(1)
        length = opened.tokens.shape[1]  # bos stands for the new token
        kept = (grown.score > -torch.inf) & (torch.arange(grown.score.shape[1]) < room)
        ended = kept & ((grown.token == self.eos) | (limits <= length))
        if ended.any():
            penalty = coverage[grown.parent] if isinstance(coverage, Tensor) else coverage
            normalised = grown.score / self.divisors[length] + self.settings.coverage_penalty * penalty
            self._record(grown, opened, ended, normalised)
        can_win = grown.score / self.divisors[limits] > self.bests[grown.sentence, -1:]
        going = kept & ~ended
        going &= (going & can_win).any(1, keepdim=True)
        parents = grown.parent[going]
        return opened.extend(parents, grown.token[going], grown.score[going]), parents

    def _record(self, grown: _Grown, opened: _Open, ended: Tensor, normalised: Tensor) -> None:
        all_ranks = torch.cat([self.bests[grown.sentence], normalised.masked_fill(~ended, -torch.inf)], 1)
        self.bests[grown.sentence] = all_ranks.topk(self.settings.num_best).values
        self.room[grown.sentence] -= ended.sum(1)
        children = opened.extend(grown.parent[ended], grown.token[ended], grown.score[ended])
        columns = zip(*(column.tolist() for column in (*children, normalised[ended])), strict=True)
        for sentence, score, (_, *tokens), path, rank in columns:
            output = tokens[:-1] if tokens[-1] == self.eos else tokens
            self.found[sentence].append(_Ended(Hypothesis(output, score, rank), rank, path))

    def best(self, steps: Sequence[Tensor]) -> list[list[Hypothesis]]:
        """Each sentence's best, with the attention that ``steps`` hold."""
        chosen = [
            sorted(ended, key=lambda one: -one.normalised)[: self.settings.num_best]  # stable: the earlier first
            for ended in self.found
        ]
        seen = iter(gather_attention(steps, [one.path for ended in chosen for one in ended]))
        return [[one.hypothesis._replace(attention=next(seen)) for one in ended] for ended in chosen]
