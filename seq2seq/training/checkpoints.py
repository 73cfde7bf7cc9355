"""The callback that writes checkpoints."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L

from seq2seq import checkpoint
from seq2seq.data.batches import Batch
from seq2seq.data.stream import Window
from seq2seq.stopping import Deferred, Interrupted
from seq2seq.training.tasks.base import LitModel


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
