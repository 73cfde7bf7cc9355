"""Worker processes need no shared memory, and what ends them is said in one line instead of waited for."""

from __future__ import annotations

import errno
import multiprocessing.synchronize
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from seq2seq.data.batches import Batch, _Epoch, collate
from seq2seq.data.workers import prepared, workers_alive
from seq2seq.errors import UserError
from seq2seq.training.experiment import run
from tests.conftest import ROOT
from tests.training.test_training import config

KILLED = (
    r"a process that prepares batches died \((killed by signal: Killed|exited unexpectedly)\), most likely for lack of "
    r"memory; make data.num_workers \(now 1\) or data.batch_tokens smaller"
)


class Batches(Dataset[Batch]):
    """Small batches; the process that is to prepare ``last`` is killed, as by a machine without memory."""

    def __init__(self, last: int = -1) -> None:
        self.last = last

    def __getitem__(self, position: int) -> Batch:
        if position == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return collate([[position, 5]], [[6]], [position])


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """A test that hangs fails."""
    signal.alarm(120)
    yield
    signal.alarm(0)


def test_batches_come_in_order_and_can_be_written_to() -> None:
    found = list(prepared(Batches(), range(3, 9), 2))
    assert [batch.rows for batch in found] == [[number] for number in range(3, 9)]
    for batch in found:
        assert isinstance(batch, Batch)
        assert [type(one) for one in batch] == [type(one) for one in Batches()[0]]
        batch.src.zero_()


def test_no_tensor_goes_through_shared_memory(tmp_path: Path) -> None:
    """With a full /dev/shm a worker's tensors were lost, and the training waited for them for ever."""
    (tmp_path / "full.py").write_text(
        "import torch\n"
        "def full(*_): raise RuntimeError('unable to allocate shared memory(shm): No space left on device (28)')\n"
        "torch.UntypedStorage._share_fd_cpu_ = torch.UntypedStorage._share_filename_cpu_ = full\n"
        "from seq2seq.data.workers import prepared\n"
        "from tests.data.test_workers import Batches\n"
        "print(sum(int(batch.src.sum()) for batch in prepared(Batches(), range(9), 2)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "full.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert (done.stdout, done.stderr) == (f"{sum(range(9)) + 9 * (5 + 3)}\n", "")


@pytest.mark.parametrize("room", [0, 5])
def test_processes_that_cannot_be_started_are_said(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def no_semaphore(self: object, *arguments: object, **options: object) -> None:
        made.append(self)
        if len(made) > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        make(self, *arguments, **options)

    make = multiprocessing.synchronize.SemLock.__init__
    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", no_semaphore)
    said = "data.num_workers=2 processes cannot be started: No space left on device; free memory and /dev/shm, or set"
    with pytest.raises(UserError, match=said):
        list(prepared(Batches(), range(3), 2))


def test_a_worker_that_is_killed_is_said() -> None:
    with pytest.raises(UserError, match=KILLED):
        list(prepared(Batches(last=4), range(9), 1))


def test_a_worker_that_is_killed_ends_a_training_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path, data={"num_workers": 1}, trainer={"max_epochs": 2})
    get, parent = _Epoch.__getitem__, os.getpid()

    def killed(self: _Epoch, position: int) -> Batch:
        if self.seed[1] == 1 and position == 3 and os.getpid() != parent:  # in the second epoch
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, position)

    with monkeypatch.context() as patch:
        patch.setattr(_Epoch, "__getitem__", killed)
        with pytest.raises(UserError, match=KILLED):
            run(settings, tmp_path / "run")
    result = run(settings, tmp_path / "run")
    assert result == run(settings, tmp_path / "run")
    whole = run(config(tmp_path, trainer={"max_epochs": 2}), tmp_path / "whole")
    assert result is not None and whole is not None
    mine, theirs = result.plain(), whole.plain()
    assert [mine[name] for name in ("bleu", "perplexity")] == [theirs[name] for name in ("bleu", "perplexity")]


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="another"), workers_alive(1):
        raise RuntimeError("another")
    assert not torch.utils.data.get_worker_info()
