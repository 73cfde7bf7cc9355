"""Train one network, from the start or from its last checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_only

from seq2seq import checkpoint
from seq2seq.config.schema import Config
from seq2seq.config.tasks import FIGURES
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.prepare import read_manifest
from seq2seq.data.workers import workers_alive
from seq2seq.errors import UserError
from seq2seq.models.build import num_parameters
from seq2seq.models.threads import SMALL
from seq2seq.runs import (
    CHECKPOINTS,
    METRICS,
    differences,
)
from seq2seq.stopping import Deferred, Stopped
from seq2seq.training.callbacks import MetricsFile, ProgressBar, Stopwatch
from seq2seq.training.checkpoints import Checkpoints
from seq2seq.training.claim import claim
from seq2seq.training.distributed import choose_strategy
from seq2seq.training.tasks import TASKS
from seq2seq.training.tasks.base import PROGRESS, Built, LitModel
from seq2seq.training.trainer import Trainer, build_trainer, refusals

log = logging.getLogger(__name__)


def fit(config: Config, folder: Path, data_folder: Path, tokenizers: Tokenizers, stopwatch: Stopwatch) -> int | None:
    """Train from the start, or from ``last.ckpt`` if there is one.

    Returns:
        The step of the best checkpoint; None in all processes but the first.

    Raises:
        UserError: if the network cannot be built or does not fit, or ``last.ckpt`` was trained on other text or pieces.
    """
    last = folder / CHECKPOINTS / checkpoint.LAST
    contents = None if config.overwrite else _read_last(last)
    if contents is not None:
        _refuse_other_network(config, last, contents)
    data, module = _build(config, data_folder, tokenizers, fresh=contents is None)
    if contents is not None:
        _refuse_other_text(folder, contents, module)
    if config.trainer.threads or num_parameters(module) < SMALL:
        torch.set_num_threads(config.trainer.threads or 1)
    training = _Training(config, folder, module, stopwatch)
    # Nothing refuses the config from here on. Claiming may remove an old run.
    rank_zero_only(claim)(config, folder)
    if contents is not None:
        if training.has_ended(contents):
            return training.best_step()
        log.info("resuming from %s", last)
    training.run(data, None if contents is None else last)
    return training.best_step()


def _build(config: Config, data_folder: Path, tokenizers: Tokenizers, *, fresh: bool) -> Built:
    try:
        built = TASKS[config.task].build(config, data_folder, tokenizers, fresh=fresh)
    except RuntimeError as error:  # out of memory
        reason = " ".join(str(error).split())
        raise UserError(f"the network cannot be built: {reason}; make model.hidden_size smaller.") from None
    built.module.text = _digests(data_folder)
    return built


class _Training:
    """Lightning's Trainer with our callbacks, for one network."""

    def __init__(self, config: Config, folder: Path, module: LitModel, stopwatch: Stopwatch) -> None:
        self.config, self.module, self.stopwatch = config, module, stopwatch
        self.stop = Deferred()
        self.metrics = MetricsFile(folder / METRICS, stopwatch, samples=config.trainer.samples)
        self.checkpoints = Checkpoints(
            folder / CHECKPOINTS,
            monitor=config.trainer.monitor,
            save_minutes=config.trainer.save_minutes,
            keep_best=config.trainer.keep_best,
            stop=self.stop,
        )
        # The checkpoints come last, so that they save the states that the other callbacks have after the same hook.
        callbacks = [stopwatch, self.metrics, *_optional_callbacks(config, stopwatch), self.checkpoints]
        strategy = choose_strategy(config.trainer, module.model, module.smallest_loss)
        self.trainer = build_trainer(config, folder, callbacks, strategy)

    def best_step(self) -> int | None:
        """Return the step of the best checkpoint; None in all processes but the first."""
        return self.checkpoints.best_step if self.trainer.is_global_zero else None

    def has_ended(self, contents: dict[str, Any]) -> bool:
        """Return whether the training of a checkpoint stopped early and was validated.

        Lightning would train it further: it does not remember that it stopped. Of a training that stopped without a
        validation the callbacks are loaded too; the timer of ``max_minutes`` remembers that its time is over.
        """
        if not contents["training"]["stopped"]:
            return False
        for callback in (self.stopwatch, self.metrics, self.checkpoints):
            callback.load_state_dict(contents["callbacks"][callback.state_key])
        return self._is_validated(contents["global_step"])

    def _is_validated(self, step: int) -> bool:
        return bool(self.metrics.rows) and self.metrics.rows[-1]["step"] >= step

    def run(self, data: L.LightningDataModule, last: Path | None) -> None:
        """Train, resuming from the checkpoint ``last`` if given, and validate at the end.

        Raises:
            Interrupted: if a signal asked the training to stop; it is saved.
            UserError: if memory does not suffice, the loss is not finite, or Lightning refuses an argument.
        """
        module, trainer = self.module, self.trainer
        path = None if last is None else str(last)
        with (
            warnings.catch_warnings(),
            module.enough_memory(),
            _ended_at_once(trainer),
            self.stop,
            refusals(self.config),
        ):
            # Lightning's advice on workers and its inspection of samplers are about torch's loaders, and not ours.
            warnings.filterwarnings("ignore", module="lightning")
            with workers_alive(self.config.data.num_workers):
                trainer.fit(module, data, ckpt_path=path, weights_only=True)
                self.checkpoints.end_if_asked(trainer)
                if not self._is_validated(trainer.global_step):  # it ended between two validations
                    trainer.validate(module, data, verbose=False)
                    self.checkpoints.end_if_asked(trainer)


@contextmanager
def _ended_at_once(trainer: Trainer) -> Iterator[None]:
    """Around a training: end its processes with it, and raise a second ctrl-C as `KeyboardInterrupt`."""
    before = multiprocessing.active_children()
    try:
        yield
    except Stopped as stopped:
        trainer.forsake(stopped.number)
        if stopped.number == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise
    finally:
        for child in multiprocessing.active_children():
            if child not in before:  # a loader's process ignores signals
                child.kill()


def _read_last(last: Path) -> dict[str, Any] | None:
    """Read ``last.ckpt``, if there is one; replace a damaged one by the checkpoint before it.

    Raises:
        UserError: if both are damaged.
    """
    previous = last.with_name(checkpoint.PREVIOUS)
    if not last.is_file() and not previous.is_file():
        return None
    try:
        return checkpoint.read_to_go_on(last)
    except UserError as error:
        damaged = error
    if not previous.is_file():
        raise damaged
    try:
        contents = checkpoint.read_to_go_on(previous)
    except UserError:
        again = "overwrite=true starts the run again."
        raise UserError(f"{damaged} {previous.name} beside it is refused too; {again}") from None
    log.warning("%s Resuming from %s, which was saved before it.", damaged, previous.name)
    checkpoint.name_also(previous, last.name)
    return contents


def _refuse_other_network(config: Config, last: Path, contents: dict[str, Any]) -> None:
    """Compare a checkpoint's network with that of the config, before the network is built.

    Raises:
        UserError: if they differ, or if the checkpoint's weights are not those of its network.
    """
    theirs, mine = checkpoint.describe(last, contents).config, config.model
    if mine.match_peeky:  # a checkpoint has the width that it leads to
        mine = dataclasses.replace(mine, match_peeky=False, hidden_size=theirs.hidden_size)
    different = differences(dataclasses.asdict(theirs), dataclasses.asdict(mine))
    if different or contents[checkpoint.SECTION]["kind"] != TASKS[config.task].kind:
        what = ", ".join(f"model.{name}" for name in different) or "task"
        raise UserError(
            f"{last} has another network than the run's settings ({what}); start again there with overwrite=true."
        )


def _digests(data_folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a training reads, by name."""
    manifest = read_manifest(data_folder) or {}
    return {name: digest for name, digest in manifest.get("sha256", {}).items() if not name.startswith("test")}


def _refuse_other_text(folder: Path, contents: dict[str, Any], module: LitModel) -> None:
    """Compare the text and the pieces with those that a checkpoint was trained on.

    Raises:
        UserError: if either has changed.
    """
    before = contents["training"].get("text", module.text)  # missing in older checkpoints
    changed = sorted(name for name in {*before, *module.text} if before.get(name) != module.text.get(name))
    if changed:
        raise UserError(
            f"{folder} was trained on other text: {', '.join(changed)} of its data changed; put the old text back, or "
            "start again there with overwrite=true."
        )
    there, here = contents[checkpoint.SECTION], module.section()
    if not checkpoint.same_state(there["source"], here["source"]):
        raise UserError(
            f"{folder} was trained with another source than its data give (data.source); start again there with "
            "overwrite=true."
        )
    if there["tokenizer"] != here["tokenizer"]:
        raise UserError(
            f"{folder} was trained with other pieces than its tokenizer has now; start again there with overwrite=true."
        )


def _optional_callbacks(config: Config, stopwatch: Stopwatch) -> list[L.Callback]:
    trainer = config.trainer
    callbacks: list[L.Callback] = []
    if trainer.patience:
        mode = "min" if FIGURES[trainer.monitor].lower else "max"
        callbacks.append(EarlyStopping(PROGRESS, mode=mode, patience=trainer.patience, check_on_train_epoch_end=False))
    if trainer.progress:
        callbacks.append(ProgressBar(stopwatch))
    return callbacks
