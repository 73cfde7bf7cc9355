"""Ensembles: several models as one step function for any search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq.decoding.step import State, Step


class EnsembleState(NamedTuple):
    """The members' states, whose rows are the same sentences."""

    members: tuple[State, ...]

    def select(self, rows: Tensor) -> EnsembleState:
        """The state of these rows of the batch, in this order."""
        return EnsembleState(tuple(member.select(rows) for member in self.members))

    @property
    def attention(self) -> Tensor | None:
        """The mean of the members' attention ``(batch, src_length)``; None unless all have it, over one source."""
        weights: list[Any] = [getattr(member, "attention", None) for member in self.members]
        if any(one is None or one.shape != weights[0].shape for one in weights):
            return None
        return torch.stack(weights).mean(0)

    @property
    def mask(self) -> Tensor | None:
        """The first member's mask; where attention has a mean, it is everybody's."""
        return getattr(self.members[0], "mask", None)


def ensemble(steps: Sequence[Step[Any]]) -> Step[EnsembleState]:
    """The step function with the mean probability of the members.

    Start it from an `EnsembleState` with a state for each member, in the same order.

    Raises:
        ValueError: if there is no member; in a step, if the vocabularies differ in size.
    """
    if not steps:
        raise ValueError("an ensemble needs at least one member; got none.")

    def step(last: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        taken = [one(last, member) for one, member in zip(steps, state.members, strict=True)]
        sizes = [log_probs.shape[-1] for log_probs, _ in taken]
        if len(set(sizes)) > 1:
            raise ValueError(f"the members of an ensemble need one target vocabulary; got sizes {sizes}.")
        log_probs = torch.stack([log_probs for log_probs, _ in taken]).logsumexp(0) - math.log(len(taken))
        return log_probs, EnsembleState(tuple(member for _, member in taken))

    return step
