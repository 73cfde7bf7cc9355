"""What watches a training: the metrics file, the checkpoints and the progress bar."""

from __future__ import annotations

import csv
import io
import logging
import math
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
from rich.progress import MofNCompleteColumn, TaskID

from seq2seq import checkpoint
from seq2seq.console import progress_bar
from seq2seq.data.batches import Batch
from seq2seq.data.stream import Window
from seq2seq.files.writing import write_lines
from seq2seq.stopping import Deferred, Interrupted
from seq2seq.training.tasks.translation import LitModel

log = logging.getLogger(__name__)

COLUMNS = (  # those that the task has
    "epoch",
    "step",
    "seconds",
    "tokens_per_second",
    "lr",
    "train/loss",
    "valid/loss",
    "valid/perplexity",
    "valid/word_perplexity",
    "valid/bleu",
    "valid/chrf",
    "valid/exact_match",
    "train/grad_norm",
    "train/grad_norm_max",
    "train/clipped",
    "encoder/spectral_radius",
    "decoder/spectral_radius",
)


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
        columns = [name for name in COLUMNS if name in self.rows[0]]
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_lines(self.path, table.getvalue().split("\n")[:-1])

    def _show(self, row: dict[str, Any], module: LitModel) -> None:
        log.info(
            "epoch %d  step %d  train loss %.4f  valid loss %.4f  perplexity %.2f  %s  %.0f tokens/s  %.0f s",
            row["epoch"],
            row["step"],
            row["train/loss"],
            row["valid/loss"],
            row["valid/perplexity"],
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


class Checkpoints(L.Callback):
    """Keeps ``best.ckpt``, what is needed to translate, and ``last.ckpt``, what is needed to go on.

    ``last.ckpt`` is written where an optimiser step is complete and no validation is due: after an epoch and its
    validation, every ``save_minutes`` unless that is 0, and as soon as possible after a signal that asks to ``stop``.
    Both are written whole or not at all; what was ``last.ckpt`` until then is kept as ``previous.ckpt``, should a disk
    damage the new one.

    With ``keep_best`` above 1 so many of the best are there as ``step-N.ckpt`` too, to be averaged. One that drops out
    of them is removed once ``last.ckpt`` knows, so that a training that is gone on with finds all that it knows of.
    """

    def __init__(
        self, folder: Path, *, monitor: str, save_minutes: float, keep_best: int = 1, stop: Deferred | None = None
    ) -> None:
        self.folder = folder
        self.stop = stop or Deferred()
        self.metric = f"valid/{monitor}"
        self.sign = -1 if monitor == "loss" else 1
        self.save_seconds = 60 * save_minutes or math.inf
        self.best: list[float] | None = None
        self.best_step = 0
        self.keep_best = keep_best
        self.kept: list[list[float]] = []  # the best ones' ranks and steps, from the best, if there are to be several
        self._saved_at = time.monotonic()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._remove_others(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch | Window, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        if done % trainer.accumulate_grad_batches:
            return  # gradients of an unfinished step are in no checkpoint
        if done == trainer.num_training_batches or done % int(trainer.val_check_batch or 1) == 0:
            return  # a validation comes next, which Lightning would take for done when it starts from here
        due = bool(self.stop.number) or time.monotonic() - self._saved_at > self.save_seconds
        if trainer.strategy.reduce_boolean_decision(due, all=False):  # processes save together, or not at all
            self._save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, LitModel)
        # Where the scores are equal (a BLEU of 0 at the start, say), the lower loss is the better one.
        figures = pl_module.valid_figures
        rank = [self.sign * figures[self.metric], -figures["valid/loss"]]
        is_best = self.best is None or rank > self.best
        if is_best:
            self.best, self.best_step = rank, trainer.global_step
        is_kept = self.keep_best > 1 and self._keep(rank, trainer.global_step)
        if is_best or is_kept:
            contents: dict[str, Any] = {"state_dict": checkpoint.named_weights(pl_module.model)}
            pl_module.on_save_checkpoint(contents)
            if trainer.is_global_zero:
                path = self.folder / (checkpoint.step_name(trainer.global_step) if is_kept else checkpoint.BEST)
                checkpoint.save(path, contents)
                if is_best and is_kept:
                    checkpoint.name_also(path, checkpoint.BEST)

    def _keep(self, rank: list[float], step: int) -> bool:
        """Whether this one is among the best; of equals the earlier one is the better. Each step counts once, also if
        it is validated twice before the next.
        """
        others = [one for one in self.kept if one[-1] != step]
        self.kept = sorted([*others, [*rank, step]], key=lambda one: one[:-1], reverse=True)[: self.keep_best]
        return any(one[-1] == step for one in self.kept)

    def _remove_others(self, trainer: L.Trainer) -> None:
        """Remove what is among the best no more."""
        kept = {checkpoint.step_name(int(one[-1])) for one in self.kept}
        if trainer.is_global_zero and kept:
            for path in checkpoint.kept_best(self.folder):
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save_last(trainer)

    def _save_last(self, trainer: L.Trainer) -> None:
        contents = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if trainer.is_global_zero:
            last = self.folder / checkpoint.LAST
            if last.is_file():
                checkpoint.name_also(last, checkpoint.PREVIOUS)
            checkpoint.save(last, contents)
            self._remove_others(trainer)
        self._saved_at = time.monotonic()
        self.end_if_asked(trainer)

    def end_if_asked(self, trainer: L.Trainer) -> None:
        """End the training in all processes, if one of them was asked to: now that the first one has saved it.

        Raises:
            Interrupted: if so.
        """
        if trainer.strategy.reduce_boolean_decision(bool(self.stop.number), all=False):
            raise Interrupted(self.stop.number or signal.SIGTERM)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.kept = state_dict.get("kept", [])  # which older versions do not write


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
