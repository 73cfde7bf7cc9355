"""Handle signals that ask a process to stop.

They are ctrl-C, and TERM and USR1, which job schedulers send before a kill.
"""

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
# Signals within this many seconds count as one: timeout(1) signals a process and then its whole group.
ONE_STROKE = 0.1


class Interrupted(Exception):
    """A signal asked to stop, and the training is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopped(BaseException):
    """A signal asked to stop where there is nothing to save, or asked a second time.

    It is not a `KeyboardInterrupt`, because Lightning would end the process with status 1.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_status(number: int) -> int:
    """Return the exit status after a signal.

    It is 130 for ctrl-C, 138 for USR1 and 143 for TERM.
    """
    return 128 + number


def name(number: int) -> str:
    """Return a signal's name for messages."""
    return "ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def ignore(worker: int = 0) -> None:
    """Ignore the signals in this process, which its parent ends.

    A terminal or scheduler signals the whole process group.
    """
    for number in (signal.SIGINT, *ASKING):
        signal.signal(number, signal.SIG_IGN)


class Handlers:
    """Install signal handlers while a block runs.

    Without effect outside the main thread, which gets all signals.
    """

    def __init__(self, signals: tuple[signal.Signals, ...]) -> None:
        self.number = 0  # the first signal that came
        self._signals = signals
        self._at = 0.0
        self._owner = 0
        self._old: dict[int, Any] = {}

    def install(self) -> None:
        """Install the handlers now."""
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
        if os.getpid() != self._owner:  # a child process: its parent ends it
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
    """Note the first signal in ``number``, so that the block can end where nothing is lost.

    A second signal raises `Stopped`.
    """

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, *ASKING))

    def _first(self, number: int) -> None:
        log.warning(
            "%s: stopping after this step or validation; a second signal stops at once and loses unsaved work",
            name(number),
        )


class Later(Handlers):
    """Raise `Stopped` for the first signal at the end of the block.

    It is for imports, which an exception would leave half done.
    """

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, *ASKING))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self.number:
            raise Stopped(self.number)

    def _first(self, number: int) -> None:
        """Log nothing: the block ends soon."""


class Ending(Handlers):
    """Raise `Stopped` for TERM and USR1 while the block runs.

    Args:
        passed_on: is called with the first signal, and returns whether other processes handle it. If so, `Stopped` is
            not raised, and the block has to wait for their end.
    """

    def __init__(self, passed_on: Callable[[int], bool]) -> None:
        super().__init__(ASKING)
        self.passed_on = passed_on

    def _first(self, number: int) -> None:
        if not self.passed_on(number):
            raise Stopped(number)
