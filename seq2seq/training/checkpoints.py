"""The callback that writes checkpoints."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L

from seq2seq import checkpoint
from seq2seq.config.tasks import FIGURES
from seq2seq.data.batches import Batch
from seq2seq.data.stream import Window
from seq2seq.stopping import Deferred, Interrupted
from seq2seq.training.tasks.base import LitModel


class Checkpoints(L.Callback):
    """Write ``best.ckpt``, from which to translate, and ``last.ckpt``, from which to resume.

    ``last.ckpt`` is written after an epoch and its validation, every ``save_minutes`` unless that is 0, and as soon as
    possible after a signal to ``stop``. It is only written after a complete optimiser step, when no validation is due.
    Both files are written atomically. The old ``last.ckpt`` is kept as ``previous.ckpt``, in case a disk damages the
    new one.

    With ``keep_best > 1`` the K best checkpoints are also kept as ``step-N.ckpt``, to be averaged. A file that drops
    out of the K is deleted only after ``last.ckpt`` is saved, so a resumed run finds every file it expects.
    """

    def __init__(
        self, folder: Path, *, monitor: str, save_minutes: float, keep_best: int = 1, stop: Deferred | None = None
    ) -> None:
        self.folder = folder
        self.stop = stop or Deferred()
        self.metric = f"valid/{monitor}"
        self.sign = -1 if FIGURES[monitor].lower else 1
        self.save_seconds = 60 * save_minutes or math.inf
        self.best: list[float] | None = None
        self.best_step = 0
        self.keep_best = keep_best
        self.kept: list[list[float]] = []  # ranks and steps of the K best, the best first; empty with keep_best=1
        self._saved_at = time.monotonic()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._remove_others(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch | Window, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        if done % trainer.accumulate_grad_batches:
            return  # a checkpoint has no gradients of an unfinished step
        if done == trainer.num_training_batches or done % int(trainer.val_check_batch or 1) == 0:
            return  # a validation comes next, and Lightning would skip it after a resume from here
        due = bool(self.stop.number) or time.monotonic() - self._saved_at > self.save_seconds
        if trainer.strategy.reduce_boolean_decision(due, all=False):  # all processes save, or none
            self._save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, LitModel)
        # Of equal scores, such as a BLEU of 0 at the start, the one with the lower loss is better.
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
        """Return whether this checkpoint is among the K best; of equal ones, the earlier one is better.

        A step that is validated twice counts once.
        """
        others = [one for one in self.kept if one[-1] != step]
        self.kept = sorted([*others, [*rank, step]], key=lambda one: one[:-1], reverse=True)[: self.keep_best]
        return any(one[-1] == step for one in self.kept)

    def _remove_others(self, trainer: L.Trainer) -> None:
        """Delete the files of checkpoints that dropped out of the K best."""
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
        """End the training in all processes if a signal asked one of them to stop.

        Raises:
            Interrupted: if so; the training is saved.
        """
        if trainer.strategy.reduce_boolean_decision(bool(self.stop.number), all=False):
            raise Interrupted(self.stop.number or signal.SIGTERM)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.kept = state_dict.get("kept", [])  # missing in older checkpoints
