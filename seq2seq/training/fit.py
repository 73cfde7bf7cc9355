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
from seq2seq.training.data import TextData, TranslationData
from seq2seq.training.distributed import choose_strategy
from seq2seq.training.tasks.base import PROGRESS, LitModel
from seq2seq.training.tasks.language_model import LitLanguageModel, build_language_model_task
from seq2seq.training.tasks.translation import LitTranslator, build_translation
from seq2seq.training.trainer import Trainer, build_trainer, refusals

log = logging.getLogger(__name__)


KINDS = {"translation": checkpoint.TRANSLATION, "language_model": checkpoint.LANGUAGE_MODEL}  # by task


def fit(config: Config, folder: Path, data_folder: Path, tokenizers: Tokenizers, stopwatch: Stopwatch) -> int | None:
    """Train from the start, or from ``last.ckpt`` if there is one.

    Returns:
        The step of the best checkpoint; None in all processes but the first.

    Raises:
        UserError: if the network cannot be built or does not fit, or ``last.ckpt`` is of other text or pieces.
    """
    data: TranslationData | TextData
    module: LitTranslator | LitLanguageModel
    last = folder / CHECKPOINTS / checkpoint.LAST
    contents = None if config.overwrite else _read_last(last)
    if contents is not None:
        _refuse_other_network(config, last, contents)
    try:
        if config.task == "language_model":
            data, module = build_language_model_task(config, data_folder, tokenizers.tgt, fresh=contents is None)
        else:
            data, module = build_translation(config, data_folder, tokenizers, fresh=contents is None)
    except RuntimeError as error:  # no memory for it
        reason = " ".join(str(error).split())
        raise UserError(f"the network cannot be built: {reason}; make model.hidden_size smaller.") from None
    module.text = _digests(data_folder)
    if contents is not None:
        _refuse_other_text(folder, contents, module)
    if config.trainer.threads or num_parameters(module) < SMALL:
        torch.set_num_threads(config.trainer.threads or 1)
    checkpoints = Checkpoints(
        folder / CHECKPOINTS,
        monitor=config.trainer.monitor,
        save_minutes=config.trainer.save_minutes,
        keep_best=config.trainer.keep_best,
        stop=(stop := Deferred()),
    )
    metrics = MetricsFile(folder / METRICS, stopwatch, samples=config.trainer.samples)
    # The checkpoints come last, so that what they save is of after the others.
    callbacks = [stopwatch, metrics, *_optional_callbacks(config, stopwatch), checkpoints]
    trainer = build_trainer(config, folder, callbacks, choose_strategy(config.trainer, module.model))
    rank_zero_only(claim)(config, folder)  # now that nothing refuses it, for it may take an old run away
    if contents is not None:
        if contents["training"]["stopped"]:  # early, which Lightning does not remember: nothing is trained any more
            for callback in (stopwatch, metrics, checkpoints):
                callback.load_state_dict(contents["callbacks"][callback.state_key])
            if metrics.rows and metrics.rows[-1]["step"] == contents["global_step"]:
                return checkpoints.best_step if trainer.is_global_zero else None
            # The timer of max_minutes stopped it before its validation; it remembers that its time is over.
        log.info("going on from %s", last)
    with warnings.catch_warnings(), module.enough_memory(), _ended_at_once(trainer), stop, refusals(config):
        # Our loaders are not torch's: Lightning's advice on workers and its inspection of samplers do not apply to
        # them.
        warnings.filterwarnings("ignore", module="lightning")
        with workers_alive(config.data.num_workers):
            trainer.fit(module, data, ckpt_path=None if contents is None else str(last), weights_only=True)
            checkpoints.end_if_asked(trainer)
            if not metrics.rows or metrics.rows[-1]["step"] < trainer.global_step:  # it ended between two validations
                trainer.validate(module, data, verbose=False)
                checkpoints.end_if_asked(trainer)
    return checkpoints.best_step if trainer.is_global_zero else None


@contextmanager
def _ended_at_once(trainer: Trainer) -> Iterator[None]:
    """Around a training: it leaves no process behind, and a second ctrl-C is one again."""
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
            if child not in before:  # a loader's, which would not heed a signal
                child.kill()


def _read_last(last: Path) -> dict[str, Any] | None:
    """What ``last.ckpt`` holds, or None where there is none yet; a damaged one is replaced by the one before it.

    Raises:
        UserError: if neither is whole.
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
        again = "overwrite=true starts the run anew."
        raise UserError(f"{damaged} {previous.name} beside it is refused too; {again}") from None
    log.warning("%s Going on from %s, which was saved before it.", damaged, previous.name)
    checkpoint.name_also(previous, last.name)
    return contents


def _refuse_other_network(config: Config, last: Path, contents: dict[str, Any]) -> None:
    """Do not build a network for weights that are not its own.

    Raises:
        UserError: if the checkpoint's network is not that of the settings, or its weights are not those of its network.
    """
    theirs, mine = checkpoint.describe(last, contents).config, config.model
    if mine.match_peeky:  # carried out, it is a width
        mine = dataclasses.replace(mine, match_peeky=False, hidden_size=theirs.hidden_size)
    different = differences(dataclasses.asdict(theirs), dataclasses.asdict(mine))
    if different or contents[checkpoint.SECTION]["kind"] != KINDS[config.task]:
        what = ", ".join(f"model.{name}" for name in different) or "task"
        raise UserError(
            f"{last} is of another network than the run's settings ({what}); start anew there with overwrite=true."
        )


def _digests(data_folder: Path) -> dict[str, str]:
    """SHA-256 of each file that a training reads, by name."""
    manifest = read_manifest(data_folder) or {}
    return {name: digest for name, digest in manifest.get("sha256", {}).items() if not name.startswith("test")}


def _refuse_other_text(folder: Path, contents: dict[str, Any], module: LitModel) -> None:
    """Do not go on with weights that were trained on other text, or for other pieces.

    Raises:
        UserError: if either has changed since the checkpoint was written.
    """
    before = contents["training"].get("text", module.text)  # older checkpoints do not say
    changed = sorted(name for name in {*before, *module.text} if before.get(name) != module.text.get(name))
    if changed:
        raise UserError(
            f"{folder} was trained on other text: {', '.join(changed)} of its data changed; put the old text back, or "
            "start anew there with overwrite=true."
        )
    if contents[checkpoint.SECTION]["tokenizer"] != module.section()["tokenizer"]:
        raise UserError(
            f"{folder} was trained with other pieces than its tokenizer has now; start anew there with overwrite=true."
        )


def _optional_callbacks(config: Config, stopwatch: Stopwatch) -> list[L.Callback]:
    trainer = config.trainer
    callbacks: list[L.Callback] = []
    if trainer.patience:
        mode = "min" if trainer.monitor == "loss" else "max"
        callbacks.append(EarlyStopping(PROGRESS, mode=mode, patience=trainer.patience, check_on_train_epoch_end=False))
    if trainer.progress:
        callbacks.append(ProgressBar(stopwatch))
    return callbacks
