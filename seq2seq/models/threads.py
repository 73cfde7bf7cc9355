"""Torch's threads for a network, and in a forked process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

SMALL = 500_000  # parameters; the steps of a smaller network are too short to share between threads

_forked = False


def of_network(num_parameters: int) -> int:
    """Return a network's number of threads: 1 if it is small, else 0 for torch's own."""
    return 1 if num_parameters < SMALL else 0


@contextmanager
def using(threads: int) -> Iterator[None]:
    """Set torch's number of threads for the block.

    In a forked process it is 1, whatever is asked for: see `survive_forks`.

    Args:
        threads: 0 leaves torch's number as it is.
    """
    before = torch.get_num_threads()
    wanted = 1 if _forked else threads or before
    if wanted == before:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def survive_forks() -> None:
    """Let networks also work in processes forked from this one, where torch then has one thread.

    Only the thread that calls ``fork`` exists in the new process. OpenMP does not notice that its other threads are
    missing, and waits for them forever. With one thread it needs no others.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_note_fork)


def _note_fork() -> None:
    global _forked
    _forked = True
    torch.set_num_threads(1)
