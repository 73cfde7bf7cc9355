"""What all tasks share: the `Task` protocol, and the Lightning module around a loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from seq2seq import checkpoint
from seq2seq.config.schema import Config
from seq2seq.config.tasks import FIGURES
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.batches import Batch
from seq2seq.data.memory import Shape, is_out_of_memory
from seq2seq.data.stream import Window
from seq2seq.errors import UserError
from seq2seq.results.scores import Scores
from seq2seq.training.ema import RunningAverage
from seq2seq.training.gradients import GradientNorms
from seq2seq.training.optimiser import build_optimizer, lr_factor

PROGRESS = "valid/progress"  # the figure that early stopping and the plateau schedule watch
SEEDS_AT_ONCE = 64  # steps whose seeds are computed at a time, which is faster than one by one
PENDING = 1000  # losses on a GPU that may wait to be added


class LitModel(L.LightningModule):
    """The Lightning module around a loss, whatever the network: optimiser, schedule, clipping, sums, checkpoints.

    Every random draw of a step is a function of (seed, epoch, batch, process).

    Args:
        num_steps, steps_per_epoch: optimiser steps of the whole training and of an epoch, for schedules.
    """

    def __init__(self, config: Config, model: nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.text: dict[str, str] = {}  # SHA-256 of each data file, for the checkpoints
        self.num_steps, self.steps_per_epoch = num_steps, steps_per_epoch
        self.average = RunningAverage(model, config.optim.ema) if config.optim.ema else None
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None  # of the resumed run
        self.valid_figures: dict[str, float] = {}
        self.train_loss, self.train_tokens = 0.0, 0  # sums since the last validation
        self._losses: list[Tensor] = []  # not added yet: reading each step's loss would wait for the GPU
        self.norms = GradientNorms()
        self._at_work: Shape | str | None = None  # shape of the current training batch

    # What a task defines.

    def summary(self) -> str:
        """Return the part of a validation's log line that follows the losses."""
        raise NotImplementedError

    def samples(self, count: int) -> str:
        """Return some outputs of the network, for people to look at."""
        raise NotImplementedError

    def section(self) -> dict[str, Any]:
        """Return what a checkpoint holds besides weights and the training's state."""
        raise NotImplementedError

    def smallest_loss(self) -> Tensor:
        """Return the loss of a batch with one token.

        It shows which parameters get a gradient.
        """
        raise NotImplementedError

    def _out_of_memory(self) -> UserError:
        """Return the error for a current batch that does not fit into memory."""
        raise NotImplementedError

    # The optimiser and its step.

    def configure_optimizers(self) -> Any:
        optim = self.config.optim
        # In mixed precision Lightning does not clip the gradients of a fused optimiser, which may unscale them itself.
        optimizer = build_optimizer(optim, self.model, fused=self.config.trainer.precision == "32-true")
        if optim.schedule == "plateau":
            self.plateau = self._build_plateau(optimizer)
            return optimizer
        if optim.schedule == "constant" and not optim.warmup_steps:
            return optimizer
        sizes = (self.num_steps, self.steps_per_epoch)
        schedule = LambdaLR(optimizer, lambda step: lr_factor(optim, step, *sizes))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def _build_plateau(self, optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
        plateau = ReduceLROnPlateau(
            optimizer,
            mode="min" if FIGURES[self.config.trainer.monitor].lower else "max",
            factor=self.config.optim.plateau_factor,
            patience=self.config.optim.plateau_patience,
            threshold=0.0,
        )
        if self._plateau_state is not None:
            plateau.load_state_dict(self._plateau_state)
        return plateau

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device)

    @contextmanager
    def enough_memory(self) -> Iterator[None]:
        """Name the batch for which memory did not suffice during a training.

        It may fail in the loss, the gradients or the update.

        Raises:
            UserError: if an allocation failed during a batch.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if self._at_work is None or not is_out_of_memory(error):
                raise
            raise self._out_of_memory() from None

    def on_train_batch_start(self, batch: Batch | Window, batch_idx: int) -> None:
        self._at_work = batch.shape
        block, index = divmod(batch_idx, SEEDS_AT_ONCE)
        seed = _step_seeds(self.config.seed, self.current_epoch, block, self.global_rank)[index]
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # manual_seed of all devices makes a stack trace for each
        else:
            torch.manual_seed(seed)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            self.average.update()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients, as the optimiser's own method does, but without a record for torch's profiler."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the name of the current hook without a module's checks.

        Lightning sets it some fifty times in a step, and `nn.Module` would check each time for a parameter.
        """
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        self.norms.clip(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def learning_rate(self) -> float:
        """Return the rate of the next step."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    # The losses since the last validation.

    def _counted(self, loss: Tensor, batch: Batch | Window) -> Tensor:
        """Add a batch's loss to the sums, and scale it for its gradient."""
        self.train_tokens += batch.num_tokens
        if loss.device.type == "cpu":
            value = loss.item()
            self.train_loss += value
            if not math.isfinite(value):
                self._refuse_loss(value)
        else:  # added on the CPU later: Apple's GPUs have no float64
            self._losses.append(loss.detach())
            if len(self._losses) >= PENDING:
                self._count_losses()
        return loss / batch.loss_scale

    def _count_losses(self) -> None:
        """Add the pending losses to the sum, in float64."""
        if self._losses:
            for value in torch.stack(self._losses).cpu().double().tolist():
                self.train_loss += value
            self._losses = []

    def _refuse_loss(self, loss: float) -> None:
        raise UserError(
            f"the loss is {loss} at step {self.global_step} (epoch {self.current_epoch}); "
            f"try a smaller optim.lr (now {self.config.optim.lr:g}) "
            f"or optim.clip_norm (now {self.config.optim.clip_norm:g})."
        )

    # Validation.

    def on_validation_start(self) -> None:
        if self.average is not None:
            self.average.swap()

    def on_validation_end(self) -> None:
        """Put the weights back, after the callbacks: the best checkpoint has the weights' average."""
        if self.average is not None:
            self.average.swap()

    def on_validation_epoch_start(self) -> None:
        self._at_work = None
        self._count_losses()
        if self.train_tokens and not math.isfinite(self.train_loss):
            self._refuse_loss(self.train_loss)

    def _validated(self, figures: dict[str, float]) -> None:
        """Publish a validation's figures, and reset the sums."""
        self.valid_figures = figures
        self.train_loss, self.train_tokens = 0.0, 0
        self.norms.reset()
        progress = self._progress()
        self.log_dict(self.valid_figures | {PROGRESS: progress}, logger=False)
        if self.plateau is not None:
            self.plateau.step(progress)

    def _progress(self) -> float:
        """Return the monitored figure, or the negative loss while the figure is 0."""
        monitor = self.config.trainer.monitor
        figure = self.valid_figures[f"valid/{monitor}"]
        return figure if figure > 0 or FIGURES[monitor].lower else -self.valid_figures["valid/loss"]

    def _gather(self, mine: Any) -> list[Any]:
        """Return the given object of every process, in the order of their ranks."""
        if self.trainer.world_size == 1:
            return [mine]
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, mine)
        return parts

    # Checkpoints.

    def on_save_checkpoint(self, contents: dict[str, Any]) -> None:
        self._count_losses()
        contents[checkpoint.SECTION] = self.section()
        contents["training"] = {
            "plateau": self.plateau.state_dict() if self.plateau else None,
            "train_loss": self.train_loss,
            "train_tokens": self.train_tokens,
            "gradients": self.norms.state(),
            "stopped": self.trainer.should_stop,
            "text": self.text,
        }
        if self.average is not None and not self.average.swapped:
            contents["training"]["average"] = self.average.state_dict()

    def on_load_checkpoint(self, contents: dict[str, Any]) -> None:
        training = contents["training"]
        self.train_loss, self._losses = float(training["train_loss"]), []
        self.train_tokens = training["train_tokens"]
        self.norms.load(training)
        self._plateau_state = training["plateau"]
        if self.average is not None:
            self.average.load_state_dict(training["average"])


class Built(NamedTuple):
    """A task's data and network, ready to train."""

    data: L.LightningDataModule
    module: LitModel


class Task(Protocol):
    """What a network learns: the steps of an experiment that depend on it.

    A task is an entry of `seq2seq.training.tasks.TASKS`, under its name in the config's key ``task``. What others have
    to know of its runs, such as the files and figures that `score` leaves, is a row of `seq2seq.config.tasks.TASKS`.
    """

    kind: str  # of its checkpoints; see `seq2seq.checkpoint`

    def check(self, config: Config) -> None:
        """Refuse, before any data is read, settings that only this task can judge.

        Raises:
            UserError: naming the key.
        """

    def tokenizers(self, config: Config, data_folder: Path) -> Tokenizers:
        """Train the tokenizers on a prepared dataset, or load those that ``tokenizer.like`` names."""

    def build(self, config: Config, data_folder: Path, tokenizers: Tokenizers, *, fresh: bool) -> Built:
        """Build the data and the network.

        Args:
            fresh: whether the training starts from first weights, which ``warm_start`` may replace.
        """

    def score(self, config: Config, folder: Path, data_folder: Path, tokenizers: Tokenizers) -> Scores:
        """Score the best checkpoint on the test set.

        Args:
            folder: of the run; outputs and other files of the score are written into it.
        """

    def show(self, config: Config, folder: Path, scores: Scores) -> None:
        """Print the scores, and some outputs, on stdout."""


def num_batches(config: Config, loader: Sized) -> int:
    """Return the number of batches in an epoch, after Lightning's ``limit_train_batches`` (a share or a count)."""
    limit = config.trainer.lightning.get("limit_train_batches")
    if isinstance(limit, float):
        return int(limit * len(loader))
    return min(limit, len(loader)) if isinstance(limit, int) else len(loader)


def step_counts(config: Config, batches: int) -> dict[str, int]:
    """Return the arguments ``num_steps`` and ``steps_per_epoch`` of a `LitModel`."""
    per_epoch = -(-batches // config.trainer.accumulate)
    total = config.trainer.max_epochs * per_epoch
    total = total if config.trainer.max_steps < 0 else min(total, config.trainer.max_steps)
    return {"num_steps": total, "steps_per_epoch": per_epoch}


def scoring_device(config: Config) -> str:
    """Return the device on which the test set is scored."""
    return "cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def sizes_that_fit() -> Iterator[None]:
    """Around the building of a network: refuse sizes that do not go together, which only the built parts know.

    Raises:
        UserError: in place of a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise UserError(f"the network cannot be built: {str(error).rstrip('.')}; change the sizes in model.") from None


@lru_cache(maxsize=1)
def _step_seeds(seed: int, epoch: int, block: int, rank: int) -> list[int]:
    """Return the seeds of the steps of one block of an epoch's batches."""
    steps = range(block * SEEDS_AT_ONCE, (block + 1) * SEEDS_AT_ONCE)
    streams = (np.random.SeedSequence([seed, epoch, step, rank]) for step in steps)
    return [int(stream.generate_state(1, np.uint64)[0]) for stream in streams]
