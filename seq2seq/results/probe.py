"""The measurements of a probe, as ``probe.json`` in a run's folder holds them; `evaluation.probe` takes them.

In every column item i is position i + 1 (of a distance: i), ``count`` is what its means are over, and None stands where
there is no figure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.errors import UserError
from seq2seq.files.records import Lacking, from_plain, read_json, write_json

REMEDY = "make it again with seq2seq-probe"
RARE = 20  # a position is drawn if at least one probed sentence in so many has it
Column = tuple[float | None, ...]
Counts = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ReachByPosition:
    """Gradients at the source positions, in source order even where the encoder reverses; without the end symbol."""

    norm: Column | None = None
    share: Column  # of the sum of norms of its sentence; 0 to 1, so that models compare
    count: Counts  # sentences


@dataclass(frozen=True, kw_only=True)
class EndSymbolReach:
    """Gradients at the end symbol, which has another position in each sentence; None in a model without one."""

    norm: float | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReachByDistance:
    """Gradients by encoder steps from reading a token to the end of reading.

    With two directions it is the nearer end. The end symbol is left out, so that nothing is at distance 0 of one
    direction with an end symbol.
    """

    norm: Column
    log_norm: Column | None = None  # mean of the natural logarithm
    count: Counts


@dataclass(frozen=True, kw_only=True)
class GradientReach:
    """How a target step depends on the source tokens.

    The norm at a token is the L2 norm of the gradient of log p(y_t | y_<t, x) by its embedded vector.
    """

    step: int | None = None  # t, from 1 on
    by_position: ReachByPosition
    end_symbol: EndSymbolReach | None = None
    by_distance: ReachByDistance
    decay_per_step: float | None  # factor of the norm for each step of distance


@dataclass(frozen=True, kw_only=True)
class RelianceOverall:
    """How far a prediction moves without its sentence's summary, over all target tokens."""

    total_variation: float | None  # 0 to 1
    kl: float | None = None  # nats
    argmax_changed: float | None = None  # share
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class RelianceByPosition:
    """The same at each target position. An end symbol is a target token like others."""

    total_variation: Column
    kl: Column | None = None
    argmax_changed: Column | None = None
    count: Counts


@dataclass(frozen=True, kw_only=True)
class PeekyReliance:
    """How much each step of a peeky decoder uses the summary."""

    overall: RelianceOverall
    by_position: RelianceByPosition


@dataclass(frozen=True, kw_only=True)
class AccuracyOverall:
    """How right a model is after a right beginning, over all target tokens."""

    accuracy: float | None  # share of tokens that the model holds most likely
    nll: float | None = None  # nats
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class AccuracyByPosition:
    """The same at each target position."""

    accuracy: Column
    nll: Column | None = None
    count: Counts


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Where in the target a model is right."""

    overall: AccuracyOverall
    by_position: AccuracyByPosition


@dataclass(frozen=True, kw_only=True)
class Probe:
    """All measurements of one model.

    Example:
        >>> found = Probe.read(Path("runs/phrasebook/seed-1/probe.json"))  # doctest: +SKIP
        >>> found.accuracy_by_position.overall.accuracy  # doctest: +SKIP
        0.987
    """

    num_sentences: int | None = None  # pairs that were probed
    gradient_reach: tuple[GradientReach, ...]  # of the first target steps
    peeky_reliance: PeekyReliance | None  # None for a model without peeky
    accuracy_by_position: Accuracy

    @classmethod
    def read(cls, path: Path) -> Probe | None:
        """Read ``probe.json``; None if the run was not probed.

        Raises:
            UserError: if it is not what a probe writes.
        """
        values = read_json(path, REMEDY)
        try:
            return None if values is None else from_plain(cls, values)
        except Lacking as error:
            raise UserError(f"{path} has no {error}; {REMEDY}.") from None

    def write(self, path: Path) -> None:
        """Write ``probe.json``."""
        write_json(path, self.plain())

    def plain(self) -> dict[str, Any]:
        """Return the values of ``probe.json``."""
        return dataclasses.asdict(self)
