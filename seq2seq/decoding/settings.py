"""Settings of the searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.config.schema import DecodeConfig


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

    def rank(self, log_prob: float, length: int, coverage: float = 0.0) -> float:
        """What a finished hypothesis is ranked at, given the log-probabilities in the sum and its coverage."""
        return log_prob / ((5 + length) / 6) ** self.length_penalty + self.coverage_penalty * coverage


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


def beam_settings(decode: DecodeConfig, num_best: int = 1) -> BeamSettings:
    """The settings of a beam search."""
    return BeamSettings(decode.beam_size, num_best, decode.length_penalty, decode.coverage_penalty)


def sampling_settings(decode: DecodeConfig, barred: Sequence[int] = ()) -> SamplingSettings:
    """The settings of sampling."""
    return SamplingSettings(decode.temperature, decode.top_k, decode.top_p, barred)
