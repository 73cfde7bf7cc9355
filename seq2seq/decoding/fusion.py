"""Shallow fusion: a translator and a language model as one step function."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from seq2seq.config.checks import within
from seq2seq.decoding.step import State, Step

MOST_WEIGHT = 1000


class FusedState(NamedTuple):
    """The states of both, whose rows are the same sentences."""

    translator: State
    language_model: State

    def select(self, rows: Tensor) -> FusedState:
        """The state of these rows of the batch, in this order."""
        return FusedState(self.translator.select(rows), self.language_model.select(rows))

    @property
    def attention(self) -> Tensor | None:
        """The translator's."""
        return getattr(self.translator, "attention", None)

    @property
    def mask(self) -> Tensor | None:
        """The translator's."""
        return getattr(self.translator, "mask", None)


def fuse(translator: Step[Any], language_model: Step[Any], weight: float) -> Step[FusedState]:
    """Shallow fusion: log p(translator) + weight * log p(language model), end symbol included.

    The sums are scores, not log-probabilities of anything: they are not normalised, as is usual. All are at most 0, so
    a beam's bounds hold.

    Args:
        weight: at least 0; at 0 only the translator decides.

    Raises:
        UserError: for a weight out of range.
        ValueError: in a step, if the vocabularies differ in size.

    Source:
        Gulcehre et al. (2015), https://arxiv.org/abs/1503.03535.
    """
    check_weight(weight)

    def step(last: Tensor, state: FusedState) -> tuple[Tensor, FusedState]:
        ours, after = translator(last, state.translator)
        theirs, heard = language_model(last, state.language_model)
        if ours.shape != theirs.shape:
            raise ValueError(
                f"translator and language model need one vocabulary; got sizes {ours.shape[-1]} and {theirs.shape[-1]}."
            )
        # Where the weight is 0, 0 * log(0) must not make the sum NaN.
        return ours + weight * theirs if weight else ours, FusedState(after, heard)

    return step


def check_weight(weight: float) -> None:
    """Refuse a weight out of range; a far larger one would overflow.

    Raises:
        UserError: naming it.
    """
    within("weight", weight, 0, MOST_WEIGHT)
