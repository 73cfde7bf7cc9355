"""Prepare items in worker processes, in order; report a worker that cannot start or dies."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seq2seq import stopping
from seq2seq.errors import UserError

# torch's message, which is raised wherever the training is at that moment.
DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is )?([^.\n]+)")

Item = TypeVar("Item", bound=tuple)


def prepared(dataset: Dataset[Item], positions: Sequence[int], num_workers: int) -> Iterator[Item]:
    """Yield the items at some positions, prepared by processes beside this one.

    Args:
        dataset: its items are named tuples; their tensors come as numpy arrays through pipes. As tensors they would
            need room in /dev/shm, which is small in a container, and where it is full torch waits for ever.

    Raises:
        UserError: if the processes cannot be started, or one of them dies.
    """
    with workers_alive(num_workers):
        loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=positions,
            num_workers=num_workers,
            collate_fn=_to_arrays,
            worker_init_fn=stopping.ignore,
            generator=torch.Generator(),  # its own, so that it draws nothing from the global random stream
        )
        for item in _started(loader, num_workers):
            yield _to_tensors(item)


def _started(loader: DataLoader[Any], num_workers: int) -> Iterator[Any]:
    context = multiprocessing.get_context()
    try:
        # The semaphores that the loader needs, first: they lie in /dev/shm, and a loader that gets only some of them
        # prints a stack trace when it is deleted.
        semaphores = context.Event(), [context.Queue() for _ in range(num_workers + 1)]
        del semaphores
        return iter(loader)
    except OSError as error:  # also for lack of memory or of room for more processes
        raise UserError(
            f"data.num_workers={num_workers} processes cannot be started: {error.strerror or error}; free memory and "
            "/dev/shm, or set data.num_workers=0."
        ) from None


@contextmanager
def workers_alive(num_workers: int) -> Iterator[None]:
    """Turn the death of a worker process into one line; encloses a training too.

    Raises:
        UserError: if one was killed, or ended by itself.
    """
    try:
        yield
    except RuntimeError as error:
        died = DIED.match(str(error))
        if died is None:
            raise
        raise UserError(
            f"a process that prepares batches died ({died[1].strip()}), most likely for lack of memory; make "
            f"data.num_workers (now {num_workers}) or data.batch_tokens smaller."
        ) from None


def _to_arrays(item: Item) -> Item:
    return type(item)(*(one.numpy() if isinstance(one, Tensor) else one for one in item))


def _to_tensors(item: Item) -> Item:
    return type(item)(*(torch.from_numpy(one) if isinstance(one, np.ndarray) else one for one in item))
