"""What watches a training: the metrics file, the checkpoints and the progress bar."""

from __future__ import annotations

import csv
import io
import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
from rich.progress import MofNCompleteColumn, TaskID

from seq2seq.console import progress_bar
from seq2seq.data.batches import Batch
from seq2seq.data.stream import Window
from seq2seq.files.writing import write_lines
from seq2seq.training.tasks.base import LitModel

log = logging.getLogger(__name__)


class Stopwatch(L.Callback):
    """Seconds and target tokens of the training alone, and seconds of its validations; all survive a resume."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.tokens = 0
        self.valid_seconds = 0.0
        self._running_since: float | None = None
        self._validating_since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._running_since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch | Window, batch_idx: int
    ) -> None:
        self.tokens += batch.num_tokens * trainer.world_size
        self._lap()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._lap()
        self._running_since = None
        self._validating_since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._running_since = time.perf_counter()
        self.valid_seconds += self._running_since - self._validating_since

    def _lap(self) -> None:
        now = time.perf_counter()
        if self._running_since is not None:
            self.seconds += now - self._running_since
        self._running_since = now

    def tokens_per_second(self) -> float:
        """Target tokens for each second of training so far."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "tokens": self.tokens, "valid_seconds": self.valid_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.tokens = state_dict["seconds"], state_dict["tokens"]
        self.valid_seconds = state_dict.get("valid_seconds", 0.0)  # which older checkpoints do not count


class MetricsFile(L.Callback):
    """A row of ``metrics.csv`` for each validation, and its figures and a few translations in the log.

    The rows travel in the checkpoint, so a resumed run's file has no row twice and none from a future that was lost.
    """

    def __init__(self, path: Path, stopwatch: Stopwatch, *, samples: int) -> None:
        self.path = path
        self.stopwatch = stopwatch
        self.samples = samples
        self.rows: list[dict[str, Any]] = []
        self.epoch = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch | Window, batch_idx: int
    ) -> None:
        self.epoch = trainer.current_epoch + 1  # which a validation after the training would find one too high

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, LitModel)
        row = {
            "epoch": self.epoch,
            "step": trainer.global_step,
            "seconds": round(self.stopwatch.seconds, 2),
            "tokens_per_second": round(self.stopwatch.tokens_per_second(), 1),
            "lr": pl_module.learning_rate(),
            **pl_module.valid_figures,
        }
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)
        if trainer.is_global_zero:
            self._write()
            self._show(row, pl_module)

    def _write(self) -> None:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_lines(self.path, table.getvalue().split("\n")[:-1])

    def _show(self, row: dict[str, Any], module: LitModel) -> None:
        log.info(
            "epoch %d  step %d  train loss %.4f  valid loss %.4f  %s  %.0f tokens/s  %.0f s",
            row["epoch"],
            row["step"],
            row["train/loss"],
            row["valid/loss"],
            module.summary(),
            row["tokens_per_second"],
            row["seconds"],
        )
        if self.samples:
            log.info("%s\n", module.samples(self.samples))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.epoch = state_dict["rows"], state_dict["epoch"]


class ProgressBar(L.Callback):
    """Where the training stands, on stderr, if that is a terminal: epoch, batches, loss, tokens/s, time left."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.bar = progress_bar(MofNCompleteColumn(), "{task.fields[rate]}", refresh_per_second=2)
        self.task: TaskID | None = None
        self._shown_at = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar.disable or not trainer.is_global_zero:
            return
        self.bar.start()
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 1)
        if trainer.max_steps > 0:
            total = min(total, trainer.max_steps * trainer.accumulate_grad_batches)
        done = trainer.current_epoch * int(trainer.num_training_batches) + trainer.fit_loop.epoch_loop.batch_idx + 1
        self.task = self.bar.add_task("training", total=total, completed=done, rate="")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch | Window, batch_idx: int
    ) -> None:
        if self.task is None:
            return
        self.bar.advance(self.task)
        if time.monotonic() - self._shown_at > 0.5:  # a loss on a GPU is not worth waiting for at every step
            self._shown_at = time.monotonic()
            loss = float(outputs["loss"]) * trainer.accumulate_grad_batches  # by which Lightning has divided it
            rate = f"loss {loss:.3f}  {self.stopwatch.tokens_per_second():,.0f} tokens/s"
            self.bar.update(self.task, description=f"epoch {trainer.current_epoch + 1}", rate=rate)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.task is not None:
            self.bar.update(self.task, description="validating")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.bar.stop()
