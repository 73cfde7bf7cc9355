"""The result of a run, as ``test.json`` in its folder holds it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from seq2seq.errors import UserError
from seq2seq.files.records import Lacking, from_plain, read_json, write_json
from seq2seq.results.scores import SCORES, Scores

REMEDY = "delete it to have the run scored again"
Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The training behind the scores. What older versions did not write is None."""

    best_step: int | None = None  # of the checkpoint that is scored
    train_seconds: float  # validations left out
    train_tokens_per_second: float
    valid_seconds: float = 0.0
    seed: int | None = None
    data: str | None = None  # the folder of the prepared dataset
    version: str
    torch: str
    git_revision: str | None = None


@dataclass(frozen=True)
class Result:
    """The scores of a run, and the training behind them.

    Example:
        >>> Result.read(Path("runs/phrasebook/seed-1/test.json")).scores.summary()  # doctest: +SKIP
        'BLEU 97.12, exact match 91.30 %'
    """

    scores: Scores
    origin: Origin

    @classmethod
    def read(cls, path: Path) -> Result | None:
        """Read ``test.json``; None if the run is not finished.

        Raises:
            UserError: if it is not what a run writes.
        """
        values = read_json(path, REMEDY)
        return None if values is None else cls._built(path, {k: _finite(k, v) for k, v in values.items()})

    @classmethod
    def _built(cls, path: Path, values: Mapping[str, Any]) -> Result:
        names = {one.name for one in dataclasses.fields(Origin)}
        task = values.get("task", "translation")
        if not isinstance(task, str) or task not in SCORES:
            raise UserError(f"{path} has no task of {', '.join(SCORES)}; {REMEDY}.")
        lacking: list[str] = []
        scores = _read(SCORES[task].read, {name: one for name, one in values.items() if name not in names}, lacking)
        origin = _read(partial(from_plain, Origin), values, lacking)
        if scores is None or origin is None:
            raise UserError(f"{path} has no {', '.join(lacking)}; {REMEDY}.")
        return cls(scores, origin)

    def write(self, path: Path) -> None:
        """Write ``test.json``."""
        write_json(path, self.plain())

    def plain(self) -> dict[str, Any]:
        """Return the values of ``test.json``."""
        return self.scores.plain() | vars(self.origin)

    def figure(self, name: str) -> Any:
        """Return a value by its name in ``test.json``; None where the run has none."""
        return self.plain().get(name)


def _read(read: Callable[[Mapping[str, Any]], Part], values: Mapping[str, Any], lacking: list[str]) -> Part | None:
    """Read one part; what it lacks is added to ``lacking``."""
    try:
        return read(values)
    except Lacking as error:
        lacking += error.names
        return None


def _finite(name: str, value: Any) -> Any:
    """Read null as infinity where a perplexity stands: JSON has no infinity."""
    return math.inf if value is None and name.endswith("perplexity") else value
