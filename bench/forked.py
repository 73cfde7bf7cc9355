"""Contenders that start quickly: forks of a process that has only imported modules."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from bench.rounds import Turn
from bench.worker import Gate, peak_mb


class Forked:
    """A process that works when it is told to, as `bench.rounds.Contender` is.

    Args:
        work: a function of a module, which is called with the gate and the arguments and does not return.
        wall_clock: time is the clock's, not the processor's.
    """

    def __init__(self, name: str, work: Callable[..., None], *arguments: Any, wall_clock: bool = False) -> None:
        self.name = name
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["bench.preload"])
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_run, args=(theirs, wall_clock, work, arguments), daemon=True)
        self.process.start()
        theirs.close()

    def turn(self, units: int) -> Turn:
        """Have it do some units of work.

        Raises:
            RuntimeError: if the process ends instead.
        """
        try:
            self.connection.send(units)
            return Turn(**self.connection.recv())
        except (EOFError, ConnectionError):
            self.process.join()
            raise RuntimeError(
                f"{self.name} ended with status {self.process.exitcode}; see what it said above."
            ) from None

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()
        self.process.join()
        self.process.close()


class _PipeGate(Gate):
    """The process's end."""

    def __init__(self, connection: Connection, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.connection = connection
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as we run)

    def wait(self) -> int:
        try:
            return self.connection.recv()
        except EOFError:
            os._exit(0)

    def done(self, **figures: float) -> None:
        self.connection.send({"peak_mb": peak_mb(), **figures})


def _run(connection: Connection, wall_clock: bool, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    work(_PipeGate(connection, time.perf_counter if wall_clock else time.process_time), *arguments)
