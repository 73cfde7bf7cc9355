"""Lightning's Trainer as we use it: checked arguments, no job scheduler."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from seq2seq.config.schema import Config
from seq2seq.errors import UserError, require
from seq2seq.runs import (
    TENSORBOARD,
)

ALLOWED: dict[str, tuple[type, ...]] = {  # names and types of the arguments in ``trainer.lightning``
    "num_nodes": (int,),  # machines that share a training with strategy=ddp
    "limit_train_batches": (int, float),  # a shorter epoch, for schedules and resumed runs too
    "log_every_n_steps": (int,),  # only for loggers
    "profiler": (str,),  # times what Lightning does, and changes none of it
    "detect_anomaly": (bool,),  # looks for the operation that made a NaN; slower, to the same weights
    "benchmark": (bool,),  # lets cuDNN try its algorithms
}
_PART = "would compute the loss on only a part of the validation set, but the scores on all of it; make the "
_SHORT = "would leave out checkpoints and scores; use trainer=debug for a quick look"
_LONG = "would be lost when a training resumes; use a larger trainer.patience"
REFUSED = {  # the effect of the other arguments, and the remedy
    "overfit_batches": _PART + "training set itself smaller",
    "limit_val_batches": _PART + "validation set itself smaller",
    "limit_test_batches": "would do nothing, since the whole test set is scored; make that smaller",
    "limit_predict_batches": "would do nothing, since Lightning predicts nothing here; leave it out",
    "fast_dev_run": _SHORT,
    "barebones": _SHORT,
    "min_epochs": _LONG,
    "min_steps": _LONG,
    "val_check_interval": "is set by seq2seq itself; use trainer.validate_every",
    "check_val_every_n_epoch": "is set by seq2seq itself; use trainer.validate_every",
    "inference_mode": "would do nothing, since a validation computes no gradients anyway; leave it out",
    "reload_dataloaders_every_n_epochs": "would do nothing, since each epoch draws new batches; leave it out",
    "sync_batchnorm": "would do nothing, since no network has batch normalisation; leave it out",
    "enable_autolog_hparams": "would do nothing, since config.yaml has every setting; leave it out",
    "model_registry": "would copy checkpoints elsewhere, and they stay in the run folder; leave it out",
    "plugins": "would need an object, and none is built from a config; use the keys of trainer",
    "default_root_dir": "is set by seq2seq itself; use runs and name",
}


def check_arguments(given: dict[str, Any]) -> None:
    """Check the arguments of Lightning's Trainer that a config sets, by name and value.

    Raises:
        UserError: naming the argument, and what to do instead.
    """
    known = inspect.signature(L.Trainer).parameters
    for name, value in given.items():
        where = f"trainer.lightning.{name}"
        if name not in known:
            raise UserError(
                f"{where} is not an argument of lightning.Trainer; there are: {', '.join(sorted(ALLOWED))}."
            )
        if name not in ALLOWED and name not in REFUSED:
            raise UserError(f"{where} is set by seq2seq itself; use the keys of trainer and optim.")
        if isinstance(value, dict):
            raise UserError(f"{where} must be a plain value; got {value}. No object is built of it.")
        if name in REFUSED:
            raise UserError(f"{where} {REFUSED[name]}.")
        _check_value(where, value, ALLOWED[name])


def _check_value(where: str, value: object, types: tuple[type, ...]) -> None:
    if type(value) not in types:
        raise UserError(f"{where} must be of type {' or '.join(one.__name__ for one in types)}; got {value!r}.")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 < value < 2**31:
        raise UserError(f"{where}={value:g} is out of range; it must be above 0.")


class OneProcess(LightningEnvironment):
    """An environment of one process, which ignores the variables of job schedulers."""

    @property
    def creates_processes_externally(self) -> bool:
        return False

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """Keep the environment variables, which Lightning would delete."""


class Trainer(L.Trainer):
    """Lightning's Trainer without its handling of job schedulers.

    It only resumes from the checkpoint that it is given, writes none by itself, and installs no signal handlers. It
    ignores the environment variables ``PL_TRAINER_...``.
    """

    def __init__(self, **arguments: Any) -> None:
        defaults = {name: one.default for name, one in inspect.signature(L.Trainer).parameters.items()}
        super().__init__(**{**defaults, **arguments})
        self._checkpoint_connector = _NoHpcCheckpoint(self)
        self._signal_connector = _NoSignals(self)
        epoch_loop = self.fit_loop.epoch_loop
        self.fit_loop = _Epochs(self, min_epochs=self.fit_loop.min_epochs, max_epochs=self.fit_loop.max_epochs)
        self.fit_loop.epoch_loop = epoch_loop

    def forsake(self, number: int) -> None:
        """Send a signal to the processes that this one has started."""
        kill = getattr(self.strategy.launcher, "kill", None)
        if kill is not None:
            kill(number)


class _Epochs(_FitLoop):
    def _iteration_based_training(self) -> bool:
        """Let Lightning check whether a resumed training was stopped inside an epoch.

        With a bound in steps it would assume so, and count a finished epoch twice.
        """
        return False


class _NoHpcCheckpoint(_CheckpointConnector):
    @property
    def _hpc_resume_path(self) -> None:
        """Ignore files ``hpc_ckpt_N.ckpt`` in the working directory, from which Lightning resumes under Slurm."""
        return None


class _NoSignals(_SignalConnector):
    def register_signal_handlers(self) -> None:
        """Install none: under Slurm Lightning saves a checkpoint elsewhere on USR1, and ignores TERM."""

    def teardown(self) -> None:
        """Restore nothing: no handler was installed."""


def check_trainer(config: Config) -> None:
    """Check the Trainer's arguments, loggers and devices, before any data is read.

    Raises:
        UserError: naming the key.
    """
    check_arguments(config.trainer.lightning)
    for logger, module in (("wandb", "wandb"), ("tensorboard", "tensorboardX")):
        if logger in config.trainer.loggers:
            require(f"trainer.loggers=[{logger}]", logger, module)
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu, but torch finds no GPU here; use trainer=cpu.")
    if config.trainer.accelerator == "cpu" and config.trainer.precision == "bf16-mixed" and not cpu_has_bfloat16():
        raise UserError(
            "trainer.precision=bf16-mixed, but torch has no recurrent layers in bfloat16 for this CPU; use 32-true."
        )


def cpu_has_bfloat16() -> bool:
    """Return whether torch can train a recurrent layer in bfloat16 on this CPU."""
    layer, inputs = torch.nn.LSTM(2, 2), torch.zeros(1, 1, 2)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            layer(inputs)
    except RuntimeError:
        return False
    return True


def trainer_arguments(config: Config) -> dict[str, Any]:
    trainer, optim = config.trainer, config.optim
    whole = trainer.validate_every >= 1
    return {
        "max_epochs": trainer.max_epochs,
        "max_steps": trainer.max_steps,
        "max_time": timedelta(minutes=trainer.max_minutes) if trainer.max_minutes else None,
        "accelerator": trainer.accelerator,
        "devices": trainer.devices,
        "strategy": trainer.strategy,
        "precision": trainer.precision,
        "deterministic": trainer.deterministic,
        "accumulate_grad_batches": trainer.accumulate,
        "check_val_every_n_epoch": int(trainer.validate_every) if whole else 1,
        "val_check_interval": 1.0 if whole else trainer.validate_every,
        "gradient_clip_val": optim.clip_norm or optim.clip_value or None,
        "gradient_clip_algorithm": "value" if optim.clip_value else "norm",
        "use_distributed_sampler": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }


class _NoProfiler(PassThroughProfiler):
    """A profiler that does nothing.

    Lightning's own costs more: it makes some forty generators in a step.
    """

    def profile(self, action_name: str) -> Any:
        return _NOTHING


_NOTHING = nullcontext()


def build_trainer(config: Config, folder: Path, callbacks: list[L.Callback], strategy: str) -> Trainer:
    settings = {"profiler": _NoProfiler(), **trainer_arguments(config), **config.trainer.lightning}
    settings["strategy"] = strategy
    if "profiler" in config.trainer.lightning:
        logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # it logs its table at this level
    if config.trainer.is_alone:
        settings["plugins"] = [OneProcess()]
    with refusals(config, TypeError, ValueError):
        return Trainer(**settings, default_root_dir=folder, logger=_loggers(config, folder), callbacks=callbacks)


@contextmanager
def refusals(config: Config, *others: type[Exception]) -> Iterator[None]:
    """Raise what Lightning refuses as a `UserError` of one line."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (MisconfigurationException, *others)):
            raise
        given = ", ".join(f"{name}={value}" for name, value in config.trainer.lightning.items()) or "trainer"
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"lightning.Trainer refuses {given}: {reason}; take it out, or see the arguments of lightning.Trainer."
        ) from None


def _loggers(config: Config, folder: Path) -> list[Logger]:
    loggers: list[Logger] = []
    if "tensorboard" in config.trainer.loggers:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(folder, name="", version=TENSORBOARD))
    if "wandb" in config.trainer.loggers:
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(project=config.name, name=folder.name, save_dir=folder))
    return loggers
