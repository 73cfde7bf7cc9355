"""A signal saves the training, and the same command resumes it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2seq import checkpoint, stopping
from seq2seq.stopping import Interrupted, Stopped
from seq2seq.training.callbacks import Stopwatch
from seq2seq.training.checkpoints import Checkpoints
from seq2seq.training.experiment import run
from tests.conftest import ROOT, Command, equal, rows, weights
from tests.training.test_training import config


@pytest.mark.parametrize("name, ends", [("SIGINT", KeyboardInterrupt), ("SIGTERM", Stopped), ("SIGUSR1", Stopped)])
def test_a_second_signal_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ends: type[BaseException]
) -> None:
    def twice(*arguments: Any) -> None:
        for _ in range(2):
            signal.raise_signal(signal.Signals[name])

    monkeypatch.setattr(stopping, "ONE_STROKE", 0.0)
    monkeypatch.setattr(Checkpoints, "on_train_batch_end", twice)
    before = signal.getsignal(signal.Signals[name])
    with pytest.raises(ends):
        run(config(tmp_path), tmp_path / "run")
    assert signal.getsignal(signal.Signals[name]) is before
    assert not (tmp_path / "run").exists()  # for there is nothing in it to resume


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("where", ["on_train_batch_end", "on_validation_start", "on_train_end", "on_validation_end"])
def test_a_signal_saves_and_stops_and_the_run_ends_as_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    """Twice in a blink is once: timeout(1) signals a process, and then its whole group."""
    settings = config(tmp_path, trainer={"max_steps": 10}, model={"dropout": 0.2})
    run(settings, tmp_path / "whole")
    original = getattr(Stopwatch, where, None)

    def signalled(self: Stopwatch, *arguments: Any) -> None:
        if original:
            original(self, *arguments)
        for _ in range(2):
            signal.raise_signal(signal.Signals[name])

    with monkeypatch.context() as patch:
        patch.setattr(Stopwatch, where, signalled)
        with pytest.raises(Interrupted) as stop:
            run(settings, tmp_path / "run")
    assert stop.value.number == signal.Signals[name]
    assert not (tmp_path / "run" / "test.json").exists()
    run(settings, tmp_path / "run")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    for checkpoint_name in ("last.ckpt", "best.ckpt"):
        assert equal(weights(tmp_path / "run", checkpoint_name), weights(tmp_path / "whole", checkpoint_name))


SLURM = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


SLURM |= {"SLURM_JOB_ID": "71", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    "name, status, extra",
    [
        ("SIGINT", 130, []),
        ("SIGTERM", 143, ["data.num_workers=2"]),
        ("SIGUSR1", 138, []),
        ("SIGTERM", 143, ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1"]),
    ],
    ids=["ctrl-C", "TERM with workers", "USR1", "TERM under DDP"],
)
def test_a_signal_saves_and_says_how_to_go_on(
    command: Command, tmp_path: Path, name: str, status: int, extra: list[str]
) -> None:
    """Under Slurm too, to whose steps it sends a signal in all their processes."""
    words = [
        "data=addition",
        "tokenizer=char",
        "name=c",
        "data.train_size=2000",
        "data.valid_size=20",
        "data.test_size=20",
    ]
    words += ["data.batch_sentences=16", "model.hidden_size=16", "trainer.max_epochs=500", "trainer.samples=0"]
    child = subprocess.Popen(
        [sys.executable, "-m", "seq2seq.cli.train", *words, *extra],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **SLURM},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("epoch 1"):
                break
        os.killpg(child.pid, signal.Signals[name])
        rest = child.stderr.read()
    assert child.returncode == status
    said = re.search(r"resume it with the same command, or with: seq2seq-train resume=(\S+)", rest)
    assert said, rest
    assert "Traceback" not in rest
    folder = tmp_path / said[1]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs"}
    assert checkpoint.read(folder / "checkpoints" / "last.ckpt")["global_step"] > 0
    if name != "SIGINT":
        return
    # The interrupted run's own config holds; make it a short one, as somebody might who has waited long enough.
    values = yaml.safe_load((folder / "config.yaml").read_text())
    assert values["trainer"]["max_epochs"] == 500
    values["trainer"]["max_epochs"] = int(rows(folder)[-1]["epoch"]) + 1
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    done = command("train", f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    assert (folder / "test.json").is_file()
