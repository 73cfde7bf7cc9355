"""Run one experiment, from its config to its scores, in one folder.

The folder has plain files, and an unfinished run can be resumed from it.
"""

from __future__ import annotations

import logging
import subprocess
from contextlib import nullcontext
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

import seq2seq
from seq2seq import __version__, checkpoint
from seq2seq.config.schema import Config
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.prepare import prepare
from seq2seq.evaluation import advice
from seq2seq.results.result import Origin, Result
from seq2seq.runs import (
    CHECKPOINTS,
    ERROR,
    RESULT,
    locked_run,
)
from seq2seq.stopping import Interrupted
from seq2seq.terminal import show
from seq2seq.training.callbacks import Stopwatch
from seq2seq.training.claim import as_begun, refuse_another_run
from seq2seq.training.fit import fit
from seq2seq.training.tasks import TASKS
from seq2seq.training.trainer import check_trainer

log = logging.getLogger(__name__)
# These log the hardware that they use, and why a training ends.
for _chatty in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)


def run(config: Config, folder: Path) -> Result | None:
    """Train, score the best checkpoint on the test set, and write everything into ``folder``.

    A finished run is not repeated, and an unfinished one with the same config is resumed.

    Returns:
        The contents of ``test.json``; None in all processes but the first.

    Raises:
        UserError: for anything that the user can mend.
        Interrupted: if ctrl-C, TERM or USR1 stopped the training, which is saved.
    """
    check_trainer(config)
    TASKS[config.task].check(config)
    if config.trainer.is_alone:
        # Lightning took the rank from a job scheduler's variables when it was imported.
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
    first = getattr(rank_zero_only, "rank", 0) == 0  # of the processes of this run
    threads = torch.get_num_threads()
    try:
        with locked_run(folder) if first else nullcontext():
            return _run(config, folder)
    except Interrupted:
        if first:
            raise
        return None  # the first process reports it
    finally:
        torch.set_num_threads(threads)  # training may have changed their number


def _run(config: Config, folder: Path) -> Result | None:
    (folder / ERROR).unlink(missing_ok=True)  # of an earlier attempt
    config = as_begun(config, folder)
    refuse_another_run(config, folder)
    result = None if config.overwrite else Result.read(folder / RESULT)
    if result is not None:
        log.info("%s is finished already; overwrite=true trains it again", folder)
        show_result(folder, config, result)
        return result
    revision = git_revision()  # now: there may be a new commit when the training ends
    data_folder = prepare(config.data)
    tokenizers = TASKS[config.task].tokenizers(config, data_folder)
    _advise(config, folder, data_folder, tokenizers)
    stopwatch = Stopwatch()
    best_step = fit(config, folder, data_folder, tokenizers, stopwatch)
    if best_step is None:
        return None  # the first process scores
    scores = TASKS[config.task].score(config, folder, data_folder, tokenizers)
    origin = Origin(
        best_step=best_step,
        train_seconds=round(stopwatch.seconds, 2),
        train_tokens_per_second=round(stopwatch.tokens_per_second(), 1),
        valid_seconds=round(stopwatch.valid_seconds, 2),
        seed=config.seed,
        data=str(data_folder),
        version=__version__,
        torch=torch.__version__,
        git_revision=revision,
    )
    result = Result(scores, origin)
    result.write(folder / RESULT)
    show_result(folder, config, result)
    return result


def _advise(config: Config, folder: Path, data_folder: Path, tokenizers: Tokenizers) -> None:
    """Log warnings about the text, unless the run is resumed."""
    if not (folder / CHECKPOINTS / checkpoint.LAST).is_file():
        for line in advice.of_training(config, data_folder, tokenizers):
            rank_zero_only(log.warning)("%s", line)


def show_result(folder: Path, config: Config, result: Result) -> None:
    """Print a run's scores and some of its outputs on stdout."""
    origin = result.origin
    TASKS[config.task].show(config, folder, result.scores)
    show(
        f"{result.scores.parameters:,} parameters, trained for {origin.train_seconds:.0f} s at "
        f"{origin.train_tokens_per_second:,.0f} target tokens/s, validated for {origin.valid_seconds:.0f} s; "
        f"everything is in {folder}"
    )


def git_revision() -> str | None:
    """Return the commit of the checkout that this code runs from, or None outside a checkout.

    A ``+`` at its end says that there are uncommitted changes.
    """
    checkout = Path(seq2seq.__file__).resolve().parent.parent
    if not (checkout / ".git").exists():  # installed, perhaps below another project's checkout
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
