"""Let contenders take turns, so that other work on the machine slows all of them equally."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

ROOT = Path(__file__).resolve().parent.parent


class Turn(NamedTuple):
    """Time and memory of one turn of a contender."""

    seconds: float  # of the processor, unless the worker's clock is another
    held: float  # units of work: target tokens, sentences, floating-point operations
    peak_mb: float
    training: float = 0.0  # seconds of it without the validation

    @property
    def rate(self) -> float:
        return self.held / self.seconds


class Player(Protocol):
    """A program that takes turns with others."""

    name: str

    def turn(self, units: int) -> Turn:
        """Do some units of work."""


class Program:
    """A process that works when it is told to: a line on its stdin has the units, its answer is a line of JSON."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )

    def turn(self, units: int) -> Turn:
        """Have it do some units of work.

        Raises:
            RuntimeError: if the process ends instead.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{units}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"{self.name} ended with status {self.process.wait()}; see what it said above.")
        return Turn(**json.loads(answer))

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Contender(Program):
    """A `bench.worker` process."""

    def __init__(self, part: str, name: str, model: str, root: Path, pairs: int, vocab: int) -> None:
        words = [part, name, model, str(root), str(pairs), str(vocab)]
        super().__init__(name, [sys.executable, "-m", "bench.worker", *words])


def interleave(
    contenders: Sequence[Player],
    units: Mapping[str, int],
    repetitions: int,
    *,
    warm: Mapping[str, int] | None = None,
) -> dict[str, list[Turn]]:
    """Each contender's turns, after a warm-up turn."""
    for contender in contenders:
        contender.turn((warm or units)[contender.name])
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for repetition in range(repetitions):
        for contender in contenders if repetition % 2 == 0 else reversed(contenders):
            turns[contender.name].append(contender.turn(units[contender.name]))
    return turns


def ratios(mine: Iterable[float], others: Iterable[float]) -> list[float]:
    """Of each repetition."""
    return [one / other for one, other in zip(mine, others, strict=True)]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The median, with minimum and maximum of several values."""
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({format(min(values), form)} to {format(max(values), form)})"
