"""What a config may set of Lightning's Trainer, and that job schedulers do not disturb a run."""

from __future__ import annotations

import dataclasses
import inspect
import os
import shutil
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from seq2seq.errors import UserError
from seq2seq.training.experiment import run
from seq2seq.training.trainer import (
    ALLOWED,
    REFUSED,
    check_arguments,
    check_trainer,
    cpu_has_bfloat16,
    trainer_arguments,
)
from tests.conftest import equal, rows, weights
from tests.training.test_training import config


def test_bfloat16_trains_too_or_is_refused_where_the_cpu_lacks_it(tmp_path: Path) -> None:
    settings = config(tmp_path, trainer={"precision": "bf16-mixed"})
    if cpu_has_bfloat16():
        run(settings, tmp_path / "run")
        assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path / "run").values())
    else:
        with pytest.raises(UserError, match="torch has no recurrent layers in bfloat16 for this CPU; use 32-true"):
            run(settings, tmp_path / "run")


def test_bfloat16_is_refused_before_any_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.training.trainer.cpu_has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="trainer.precision=bf16-mixed, but torch has no"):
        run(config(tmp_path, trainer={"precision": "bf16-mixed"}), tmp_path / "run")
    assert not (tmp_path / "data").exists()


def test_every_argument_of_the_trainer_is_allowed_or_refused_for_a_reason(tmp_path: Path) -> None:
    """A new Lightning may have new ones: they are to be decided on."""
    every = set(inspect.signature(lightning.Trainer).parameters)
    taken = {*trainer_arguments(config(tmp_path)), "callbacks", "logger"}
    assert set(ALLOWED) | set(REFUSED) | taken == every
    assert not set(ALLOWED) & (set(REFUSED) | taken)
    for name in every - set(ALLOWED):
        with pytest.raises(UserError, match=rf"^trainer.lightning.{name} (is set by|would) .*; \w+"):
            check_arguments({name: 1})


def test_a_profile_is_seen_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(config(tmp_path), tmp_path / "a")
    run(config(tmp_path, trainer={"lightning": {"profiler": "simple"}}), tmp_path / "b")
    assert "run_training_batch" in caplog.text
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_what_lightning_takes_from_the_environment_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(config(tmp_path), tmp_path / "a")
    for name, value in {"LIMIT_VAL_BATCHES": 1, "LIMIT_TRAIN_BATCHES": 2, "MIN_EPOCHS": 9, "FAST_DEV_RUN": 1}.items():
        monkeypatch.setenv(f"PL_TRAINER_{name}", str(value))
    run(config(tmp_path), tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


SCHEDULERS = {
    "slurm": {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
    | {"SLURM_JOB_ID": "71", "SLURM_JOB_NAME": "train"},
    "torchrun": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0", "NODE_RANK": "1"}
    | {"MASTER_ADDR": "nowhere", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2"},
    "mpi": {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMI_RANK": "1", "JSM_NAMESPACE_RANK": "1"},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_run_on_one_device_does_not_mind_a_job_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor does it begin with what Lightning would take for its own checkpoint."""
    trainer = {"loggers": ["csv", "tensorboard"]}
    settings = dataclasses.replace(config(tmp_path, trainer=trainer), seed=2)
    run(config(tmp_path), tmp_path / "other")
    expected = run(settings, tmp_path / "alone").plain()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for place in (tmp_path / "cwd", tmp_path / "job"):
        place.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "other" / "checkpoints" / "last.ckpt", place / "hpc_ckpt_1.ckpt")
    for variable, value in SCHEDULERS[name].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning has it when it is imported under these variables
    found = run(settings, tmp_path / "job").plain()
    assert found["bleu"] == expected["bleu"]
    assert rows(tmp_path / "job") == rows(tmp_path / "alone")
    assert equal(weights(tmp_path / "job"), weights(tmp_path / "alone"))
    assert list((tmp_path / "job" / "tensorboard").iterdir())
    assert {path.name for path in (tmp_path / "cwd").iterdir()} == {"hpc_ckpt_1.ckpt"}
    assert all(os.environ[variable] == value for variable, value in SCHEDULERS[name].items())


def test_what_the_trainer_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    extra = {"lightning": {"limit_train_batches": 1.5}, "progress": False}
    with pytest.raises(UserError, match=r"lightning.Trainer refuses limit_train_batches=1.5: "):
        run(config(tmp_path, trainer=extra), tmp_path / "run")


@pytest.mark.parametrize(
    "extra, said",
    [
        ({"limit_val_batches": 2}, "limit_val_batches would compute the loss on only a part of the validation set"),
        ({"limit_train_batches": 0.001}, "lightning.Trainer refuses limit_train_batches=0.001: "),
    ],
)
def test_batches_that_would_leave_nothing_or_half_a_figure_are_refused(
    tmp_path: Path, extra: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run(config(tmp_path, trainer={"lightning": extra}), tmp_path / "run")


@pytest.mark.parametrize(
    "extra, message",
    [
        (
            {"lightning": {"max_epoch": 3}},
            r"trainer.lightning.max_epoch is not an argument of lightning.Trainer; there are: ",
        ),
        ({"lightning": {"max_epochs": 3}}, r"trainer.lightning.max_epochs is set by seq2seq itself"),
    ],
)
def test_trainer_arguments_are_checked_before_any_data_is_read(
    tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(config(tmp_path, trainer=extra), tmp_path / "run")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.accelerator=gpu, but torch finds no GPU here; use trainer=cpu"):
        check_trainer(config(tmp_path, trainer={"accelerator": "gpu"}))


def test_wandb_that_is_not_installed_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"trainer.loggers=\[wandb\] needs wandb, which is not installed; pip install '.\[wandb\]'"
    ):
        run(config(tmp_path, trainer={"loggers": ["wandb"]}), tmp_path / "run")
