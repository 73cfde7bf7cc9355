"""One experiment from its config to its scores, in a folder of plain files that can be gone on with."""

from __future__ import annotations

import logging
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

import seq2seq
from seq2seq import __version__, checkpoint
from seq2seq.config.schema import Config
from seq2seq.data.arrays import encode_corpus
from seq2seq.data.prepare import prepare
from seq2seq.decoding.shortlist import learn
from seq2seq.evaluation import advice
from seq2seq.metrics import scorer
from seq2seq.runs import (
    CHECKPOINTS,
    ERROR,
    RESULT,
    locked,
    read_result,
    write_json,
)
from seq2seq.stopping import Interrupted
from seq2seq.terminal import show
from seq2seq.training.callbacks import Stopwatch
from seq2seq.training.claim import as_begun, refuse_another_run
from seq2seq.training.data import tokenizers_of
from seq2seq.training.fit import fit
from seq2seq.training.tasks.language_model import (
    score_language_model,
    show_language_model,
)
from seq2seq.training.tasks.translation import score_translation, show_translation
from seq2seq.training.trainer import check_trainer

log = logging.getLogger(__name__)
for _chatty in ("lightning.pytorch", "lightning.fabric"):  # which say on stderr what hardware they use and why they end
    logging.getLogger(_chatty).setLevel(logging.WARNING)


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Train, score the best checkpoint on the test set, and leave everything in ``folder``.

    A finished run is not repeated and an unfinished one is gone on with, if its config is this one.

    Returns:
        What ``test.json`` holds; of several processes, only the first one's.

    Raises:
        UserError: for anything that the user can mend.
        Interrupted: if ctrl-C, TERM or USR1 stopped the training, which is saved.
    """
    check_trainer(config)
    if config.task == "translation":
        scorer(config.metrics.tokenizer)  # now, and not when it is needed
    if config.trainer.is_alone:
        # Lightning took it from a job scheduler's variables when it was imported.
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
    first = getattr(rank_zero_only, "rank", 0) == 0  # of several processes on this run
    threads = torch.get_num_threads()
    try:
        with locked(folder) if first else nullcontext():
            return _run(config, folder)
    except Interrupted:
        if first:
            raise
        return {}  # the first process says so
    finally:
        torch.set_num_threads(threads)  # which were this network's


def _run(config: Config, folder: Path) -> dict[str, Any]:
    (folder / ERROR).unlink(missing_ok=True)  # of an earlier try
    config = as_begun(config, folder)
    refuse_another_run(config, folder)
    result = None if config.overwrite else read_result(folder)
    if result is not None:
        log.info("%s is finished already; overwrite=true trains it anew", folder)
        show_result(folder, config, result)
        return result
    revision = git_revision()  # of the code that trains, whatever is committed meanwhile
    data_folder = prepare(config.data)
    tokenizers = tokenizers_of(config, data_folder)
    if not (folder / CHECKPOINTS / checkpoint.LAST).is_file():  # once a run
        for line in advice.of_training(config, data_folder, tokenizers):
            rank_zero_only(log.warning)("%s", line)
    stopwatch = Stopwatch()
    best_step = fit(config, folder, data_folder, tokenizers, stopwatch)
    if best_step is None:
        return {}  # one of several processes, the first of which goes on
    if config.trainer.shortlist:
        corpus = encode_corpus(data_folder, "train", tokenizers)
        shortlist = learn(*corpus, tokenizers, count=config.trainer.shortlist)
        for path in (folder / CHECKPOINTS / checkpoint.BEST, *checkpoint.kept_best(folder)):
            checkpoint.add_shortlist(path, shortlist)
    score = score_language_model if config.task == "language_model" else score_translation
    result = score(config, folder, data_folder) | {
        "best_step": best_step,
        "train_seconds": round(stopwatch.seconds, 2),
        "train_tokens_per_second": round(stopwatch.tokens_per_second(), 1),
        "valid_seconds": round(stopwatch.valid_seconds, 2),
        "seed": config.seed,
        "data": str(data_folder),
        "version": __version__,
        "torch": torch.__version__,
        "git_revision": revision,
    }
    write_json(folder / RESULT, result)
    show_result(folder, config, result)
    return result


def show_result(folder: Path, config: Config, result: dict[str, Any]) -> None:
    """Print a run's score, and what it writes, on stdout."""
    if config.task == "language_model":
        show_language_model(folder, config, result)
    else:
        show_translation(folder, config, result)
    show(
        f"{result['parameters']:,} parameters, trained for {result['train_seconds']:.0f} s at "
        f"{result['train_tokens_per_second']:,.0f} target tokens/s, validated for {result['valid_seconds']:.0f} s; "
        f"everything is in {folder}"
    )


def git_revision() -> str | None:
    """Return the commit of the checkout that this code runs from, or None outside a checkout.

    A ``+`` at its end says that there are uncommitted changes.
    """
    checkout = Path(seq2seq.__file__).resolve().parent.parent
    if not (checkout / ".git").exists():  # installed, perhaps below somebody else's checkout
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
