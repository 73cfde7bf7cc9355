"""Signals that ask a process to stop: ctrl-C, and TERM and USR1, which a job scheduler sends before it kills."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

log = logging.getLogger(__name__)

ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
ONE_STROKE = 0.1  # seconds: timeout(1), say, signals a process and then its whole group


class Interrupted(Exception):
    """A signal came, and the training is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopped(BaseException):
    """A signal came where there is nothing to save, or came once more. Of a `KeyboardInterrupt` Lightning would make
    an exit status of 1.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_status(number: int) -> int:
    """What a process ends with that a signal ends: 130 for ctrl-C, 138 for USR1 and 143 for TERM."""
    return 128 + number


def name(number: int) -> str:
    """What a signal is called in a message."""
    return "ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def ignore(worker: int = 0) -> None:
    """Leave it to the parent when this process ends, though a terminal or a scheduler signals the whole group."""
    for number in (signal.SIGINT, *ASKING):
        signal.signal(number, signal.SIG_IGN)


class Handlers:
    """Handlers of some signals while a block runs; outside of the main thread, which gets all signals, none."""

    def __init__(self, signals: tuple[signal.Signals, ...]) -> None:
        self.number = 0  # the first signal that came
        self._signals = signals
        self._at = 0.0
        self._owner = 0
        self._old: dict[int, Any] = {}

    def install(self) -> None:
        """Let them handle the signals from now on."""
        self._owner = os.getpid()
        if not self._old and threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._handle) for number in self._signals}

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a child, whose parent says when it ends
            return
        now = time.monotonic()
        if not self.number:
            self.number, self._at = number, now
            self._first(number)
        elif now - self._at > ONE_STROKE and multiprocessing.parent_process() is None:
            raise Stopped(number)

    def _first(self, number: int) -> None:
        raise NotImplementedError


class Deferred(Handlers):
    """While the block runs, the first signal is noted in ``number``, for the block to end where nothing is lost; a
    second one raises `Stopped`.
    """

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, *ASKING))

    def _first(self, number: int) -> None:
        log.warning(
            "%s: stopping after this step or validation; a second signal stops at once and loses what is not saved",
            name(number),
        )


class Later(Handlers):
    """While the block runs, the first signal waits; it raises `Stopped` at its end. For imports, that an exception in
    their middle would leave half-done.
    """

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, *ASKING))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self.number:
            raise Stopped(self.number)

    def _first(self, number: int) -> None:
        """Nothing is to be said yet."""


class Ending(Handlers):
    """While the block runs, TERM and USR1 raise `Stopped`.

    Args:
        passed_on: is given the first signal, and returns whether other processes see to it, for whose end the block
            waits.
    """

    def __init__(self, passed_on: Callable[[int], bool]) -> None:
        super().__init__(ASKING)
        self.passed_on = passed_on

    def _first(self, number: int) -> None:
        if not self.passed_on(number):
            raise Stopped(number)
