"""One experiment from its config to its scores, in a folder of plain files that can be gone on with."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import multiprocessing
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Sized
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities import rank_zero_only

from seq2seq import __version__, checkpoint
from seq2seq.config.schema import Config, TokenizerConfig
from seq2seq.data.arrays import Tokenizers, encode_corpus, encode_side, train_tokenizers
from seq2seq.data.pairs import SPLITS
from seq2seq.data.prepare import prepare, read_manifest
from seq2seq.data.workers import workers_alive
from seq2seq.decoding.forms.available import check_form
from seq2seq.decoding.forms.products import require_int8
from seq2seq.decoding.shortlist import learn
from seq2seq.errors import UserError, require
from seq2seq.evaluation import advice
from seq2seq.evaluation.evaluate import evaluate, show_samples
from seq2seq.evaluation.probe import probe
from seq2seq.files.lines import iter_lines, read_lines
from seq2seq.files.writing import make_folder, write_lines
from seq2seq.language_model import LanguageModel
from seq2seq.metrics import bleu, scorer
from seq2seq.models.build import build_language_model, build_seq2seq, num_parameters, widened
from seq2seq.models.threads import SMALL
from seq2seq.runs import (
    CHECKPOINTS,
    CONFIG,
    DRAWING,
    ERROR,
    HYPOTHESES,
    LINE_NLL,
    METRICS,
    PROBE,
    REFERENCES,
    RESULT,
    SAMPLES,
    SOURCES,
    TENSORBOARD,
    differences,
    lacks_normalization,
    locked,
    read_config,
    read_result,
    write_json,
)
from seq2seq.stopping import Deferred, Interrupted, Stopped
from seq2seq.terminal import show
from seq2seq.tokens.load import same_pieces
from seq2seq.tokens.pieces import Tokenizer
from seq2seq.training.callbacks import Checkpoints, MetricsFile, ProgressBar, Stopwatch
from seq2seq.training.data import TextData, TranslationData
from seq2seq.training.distributed import choose_strategy
from seq2seq.training.tasks.language_model import LitLanguageModel, show_lines
from seq2seq.training.tasks.translation import PROGRESS, LitModel, LitTranslator
from seq2seq.training.trainer import Alone, Trainer, check_arguments
from seq2seq.training.warm_start import warm_start
from seq2seq.translate.translator import Translator

log = logging.getLogger(__name__)
for _chatty in ("lightning.pytorch", "lightning.fabric"):  # which say on stderr what hardware they use and why they end
    logging.getLogger(_chatty).setLevel(logging.WARNING)

KINDS = {"translation": checkpoint.TRANSLATION, "language_model": checkpoint.LANGUAGE_MODEL}  # by task


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
    config = _as_begun(config, folder)
    _refuse_another_run(config, folder)
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
    score = test_language_model if config.task == "language_model" else test
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


def claim(config: Config, folder: Path) -> None:
    """Write the config into a new run folder, or see that the one there is the same.

    Raises:
        UserError: if the folder holds a run with another config, or with none.
    """
    _refuse_another_run(config, folder)
    if config.overwrite and (folder / CONFIG).is_file():
        for name in (CHECKPOINTS, TENSORBOARD):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        # The config last: as long as something of the run is left, its settings are too, however this ends.
        written = (METRICS, RESULT, HYPOTHESES, SOURCES, REFERENCES, LINE_NLL, SAMPLES, PROBE, DRAWING, ERROR, CONFIG)
        for name in written:
            (folder / name).unlink(missing_ok=True)
    if not (folder / CONFIG).is_file():
        make_folder(folder)
        lines = yaml.safe_dump(_kept(config), sort_keys=False, allow_unicode=True).split("\n")[:-1]
        write_lines(folder / CONFIG, lines)


def _kept(config: Config) -> dict[str, Any]:
    """What a run folder keeps of a config: a run that is gone on with must not start anew once more."""
    return dataclasses.asdict(dataclasses.replace(config, overwrite=False, resume=None))


def _refuse_another_run(config: Config, folder: Path) -> None:
    """See that a folder holds no run, or this one, or one that may be overwritten.

    Raises:
        UserError: if the folder holds a run with another config, or with none.
    """
    if (folder / CONFIG).is_file():
        different = [] if config.overwrite else differences(dataclasses.asdict(read_config(folder)), _kept(config))
        if different:
            raise UserError(
                f"{folder} holds a run with other settings ({', '.join(different)}); "
                "give this one another name=..., or start anew there with overwrite=true."
            )
        return
    for name in (CHECKPOINTS, RESULT):
        if (folder / name).exists():
            raise UserError(
                f"{folder} has {name} but no {CONFIG}, so it is not known what was trained there; move it away, or "
                "give this run another name=..."
            )


def _as_begun(config: Config, folder: Path) -> Config:
    """The config that holds: a run from before there was ``tokenizer.normalization`` is resumed without one."""
    if config.overwrite or not (folder / CONFIG).is_file():
        return config
    if config.tokenizer.normalization != TokenizerConfig().normalization or not lacks_normalization(folder):
        return config
    there = read_config(folder).tokenizer.normalization
    return dataclasses.replace(config, tokenizer=dataclasses.replace(config.tokenizer, normalization=there))


def check_trainer(config: Config) -> None:
    """Refuse arguments of Lightning's Trainer that are not to be set, and devices that are not there, before any data
    is read.

    Raises:
        UserError: naming the argument and what there is.
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
    """Whether torch can train a recurrent layer in bfloat16 on this CPU; not every one has the instructions."""
    layer, inputs = torch.nn.LSTM(2, 2), torch.zeros(1, 1, 2)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            layer(inputs)
    except RuntimeError:
        return False
    return True


def _trainer_arguments(config: Config) -> dict[str, Any]:
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
            data, module = _language_model(config, data_folder, tokenizers.tgt, fresh=contents is None)
        else:
            data, module = _translation(config, data_folder, tokenizers, fresh=contents is None)
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
    trainer = _build_trainer(config, folder, callbacks, choose_strategy(config.trainer, module.model))
    rank_zero_only(claim)(config, folder)  # now that nothing refuses it, for it may take an old run away
    if contents is not None:
        if contents["training"]["stopped"]:  # early, which Lightning does not remember: nothing is trained any more
            for callback in (stopwatch, metrics, checkpoints):
                callback.load_state_dict(contents["callbacks"][callback.state_key])
            if metrics.rows and metrics.rows[-1]["step"] == contents["global_step"]:
                return checkpoints.best_step if trainer.is_global_zero else None
            # The timer of max_minutes stopped it before its validation; it remembers that its time is over.
        log.info("going on from %s", last)
    with warnings.catch_warnings(), module.enough_memory(), _ended_at_once(trainer), stop, _refusals(config):
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


def _translation(
    config: Config, data_folder: Path, tokenizers: Tokenizers, *, fresh: bool
) -> tuple[TranslationData, LitTranslator]:
    data = TranslationData(config, data_folder, tokenizers)
    network = widened(config.model, len(tokenizers.src), len(tokenizers.tgt))
    torch.manual_seed(config.seed)
    model = build_seq2seq(network, len(tokenizers.src), len(tokenizers.tgt))
    check_form(config.decode, model, _test_device(config))  # now, and not when all is trained
    if config.decode.int8:
        require_int8()
    if fresh and config.warm_start is not None:
        warm_start(model, tokenizers.tgt, config.warm_start)
    rank_zero_only(log.info)(
        "%d + %d pieces, %s parameters, %d training pairs",
        len(tokenizers.src),
        len(tokenizers.tgt),
        f"{num_parameters(model):,}",
        len(data.train_corpus.src),
    )
    num_batches = _num_batches(config, data.train_dataloader())
    return data, LitTranslator(
        dataclasses.replace(config, model=network),
        model,
        tokenizers,
        valid_src=data.valid_src,
        valid_tgt=data.valid_tgt,
        num_steps=_num_steps(config, num_batches),
        steps_per_epoch=-(-num_batches // config.trainer.accumulate),
    )


def _language_model(
    config: Config, data_folder: Path, tokenizer: Tokenizer, *, fresh: bool
) -> tuple[TextData, LitLanguageModel]:
    data = TextData(config, data_folder, tokenizer)
    torch.manual_seed(config.seed)
    model = build_language_model(config.model, len(tokenizer))
    if fresh and config.warm_start is not None:
        warm_start(model, tokenizer, config.warm_start)
    num_windows = _num_batches(config, data.train_dataloader())
    rank_zero_only(log.info)(
        "%d pieces, %s parameters, %s training tokens in %d windows",
        len(tokenizer),
        f"{num_parameters(model):,}",
        f"{len(data.train_stream):,}",
        num_windows,
    )
    return data, LitLanguageModel(
        config,
        model,
        tokenizer,
        valid_words=data.valid_words,
        num_steps=_num_steps(config, num_windows),
        steps_per_epoch=-(-num_windows // config.trainer.accumulate),
    )


def tokenizers_of(config: Config, data_folder: Path) -> Tokenizers:
    """The tokenizers of a run: those of another one, where ``tokenizer.like`` names it, else trained ones.

    Raises:
        UserError: if a translation is to have the tokenizers of a language model, which has one; if those of another
            run have two vocabularies, or cannot be sampled from, where the model or the training needs that.
    """
    tgt_only = config.task == "language_model"
    if config.tokenizer.like is None:
        return train_tokenizers(data_folder, config.tokenizer, tgt_only=tgt_only)
    kind, found = checkpoint.load_tokenizers(config.tokenizer.like)
    if not tgt_only and kind == checkpoint.LANGUAGE_MODEL:
        raise UserError(
            f"tokenizer.like={config.tokenizer.like} is a language model, which has no tokenizer for sources; name a "
            "translator."
        )
    if config.model.tie == "all" and not same_pieces(*found):
        raise UserError(
            f"model.tie=all needs one vocabulary for both sides, and tokenizer.like={config.tokenizer.like} has two; "
            "use model.tie=decoder."
        )
    if config.tokenizer.sampling and not found.src.can_sample:
        raise UserError(
            f"tokenizer.sampling={config.tokenizer.sampling:g} needs pieces that can be cut anew, and those of "
            f"tokenizer.like={config.tokenizer.like} cannot; leave it 0."
        )
    return found


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


class _NoProfiler(PassThroughProfiler):
    """Lightning's own one makes a generator for each of the forty things that it might time in a step."""

    def profile(self, action_name: str) -> Any:
        return _NOTHING


_NOTHING = nullcontext()


def _build_trainer(config: Config, folder: Path, callbacks: list[L.Callback], strategy: str) -> Trainer:
    settings = {"profiler": _NoProfiler(), **_trainer_arguments(config), **config.trainer.lightning}
    settings["strategy"] = strategy
    if "profiler" in config.trainer.lightning:
        logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # or its table would not be seen
    if config.trainer.is_alone:
        settings["plugins"] = [Alone()]
    with _refusals(config, TypeError, ValueError):
        return Trainer(**settings, default_root_dir=folder, logger=_loggers(config, folder), callbacks=callbacks)


@contextmanager
def _refusals(config: Config, *others: type[Exception]) -> Iterator[None]:
    """Say in one line what Lightning makes nothing of."""
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


def _num_batches(config: Config, loader: Sized) -> int:
    """Batches of an epoch, of which Lightning may be told to leave some out: a share or a number of them is left."""
    limit = config.trainer.lightning.get("limit_train_batches")
    if isinstance(limit, float):
        return int(limit * len(loader))
    return min(limit, len(loader)) if isinstance(limit, int) else len(loader)


def _num_steps(config: Config, num_batches: int) -> int:
    steps = config.trainer.max_epochs * -(-num_batches // config.trainer.accumulate)
    return steps if config.trainer.max_steps < 0 else min(steps, config.trainer.max_steps)


def _optional_callbacks(config: Config, stopwatch: Stopwatch) -> list[L.Callback]:
    trainer = config.trainer
    callbacks: list[L.Callback] = []
    if trainer.patience:
        mode = "min" if trainer.monitor == "loss" else "max"
        callbacks.append(EarlyStopping(PROGRESS, mode=mode, patience=trainer.patience, check_on_train_epoch_end=False))
    if trainer.progress:
        callbacks.append(ProgressBar(stopwatch))
    return callbacks


def _loggers(config: Config, folder: Path) -> list[Logger]:
    loggers: list[Logger] = []
    if "tensorboard" in config.trainer.loggers:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(folder, name="", version=TENSORBOARD))
    if "wandb" in config.trainer.loggers:
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(project=config.name, name=folder.name, save_dir=folder))
    return loggers


def _test_device(config: Config) -> str:
    return "cuda" if config.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def test(config: Config, folder: Path, data_folder: Path) -> dict[str, Any]:
    """Score and probe the best checkpoint on the test set, whose text is kept in the run folder."""
    translator = Translator.from_checkpoint(folder / CHECKPOINTS / checkpoint.BEST, device=_test_device(config))
    sources, references = read_lines(data_folder / "test.src"), read_lines(data_folder / "test.tgt")
    evaluation = evaluate(translator, sources, references)
    for name, lines in ((SOURCES, sources), (REFERENCES, references), (HYPOTHESES, evaluation.hypotheses)):
        write_lines(folder / name, lines)
    if config.trainer.probe:
        probed = slice(0, config.trainer.probe)
        try:
            write_json(folder / PROBE, probe(translator, sources[probed], references[probed]))
        except UserError as error:
            log.warning("%s is not written: %s", folder / PROBE, error)
    figures = evaluation.figures
    if config.data.variant == "tokenized":
        tokenized = bleu(evaluation.hypotheses, references, tokenizer="none")
        figures |= {"bleu_tokenized": tokenized.value, "bleu_tokenized_signature": tokenized.signature}
    return figures


def test_language_model(config: Config, folder: Path, data_folder: Path) -> dict[str, Any]:
    """The perplexity of the best checkpoint on all three texts, each read as one stream; lines that it makes up, and
    the test text's lines with what each costs, are kept in the run folder.

    Of the training text it reads the first lines only, with at most ``trainer.score_tokens`` tokens: a stream cannot be
    read side by side, so a large text would take longer to score than to train on.
    """
    best = folder / CHECKPOINTS / checkpoint.BEST
    language_model = LanguageModel.from_checkpoint(best, device=_test_device(config))
    figures: dict[str, Any] = {"task": config.task}
    for split in SPLITS:
        if split != "train":
            lines = read_lines(data_folder / f"{split}.tgt")
        else:
            lines, num_lines = _first_lines(config, data_folder, language_model.tokenizer)
            figures |= {"train_scored_lines": len(lines), "train_lines": num_lines}
        started = time.perf_counter()
        score = language_model.score(lines)
        seconds = time.perf_counter() - started
        prefix = "" if split == "test" else f"{split}_"
        figures |= {
            f"{prefix}perplexity": score.perplexity,
            f"{prefix}word_perplexity": score.word_perplexity,
            f"{prefix}num_tokens": score.num_tokens,
            f"{prefix}num_words": score.num_words,
            f"{prefix}num_unknown": score.num_unknown,
        }
    figures |= {
        "num_sentences": len(lines),
        "parameters": num_parameters(language_model.model),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(score.num_tokens / seconds, 1),
    }
    write_lines(folder / REFERENCES, lines)
    write_lines(folder / LINE_NLL, [repr(round(nll, 6)) for nll in score.line_nll])
    write_lines(folder / SAMPLES, language_model.generate(max(config.trainer.samples, 5)))
    return figures


def _first_lines(config: Config, data_folder: Path, tokenizer: Tokenizer) -> tuple[list[str], int]:
    """The first lines of the training text, at least one and as many as `test_language_model` scores, and the number of
    all its lines.
    """
    ids = encode_side(data_folder, "train", "tgt", tokenizer)
    tokens = ids.offsets[1:] - ids.offsets[0] + np.arange(1, len(ids) + 1)  # up to each line's end, which is one too
    count = max(1, int(np.searchsorted(tokens, config.trainer.score_tokens, side="right")))
    return list(itertools.islice(iter_lines(data_folder / "train.tgt"), count)), len(ids)


def show_result(folder: Path, config: Config, result: dict[str, Any]) -> None:
    """Print a run's score, and what it writes, on stdout."""
    if config.task == "language_model":
        _show_language_model(folder, config, result)
    else:
        _show_translation(folder, config, result)
    show(
        f"{result['parameters']:,} parameters, trained for {result['train_seconds']:.0f} s at "
        f"{result['train_tokens_per_second']:,.0f} target tokens/s, validated for {result['valid_seconds']:.0f} s; "
        f"everything is in {folder}"
    )


def _show_language_model(folder: Path, config: Config, result: dict[str, Any]) -> None:
    if config.trainer.samples and (folder / SAMPLES).is_file():
        show(show_lines(read_lines(folder / SAMPLES)[: config.trainer.samples]) + "\n")
    for split, prefix in (("train", "train_"), ("valid", "valid_"), ("test", "")):
        unknown = result[f"{prefix}num_unknown"]
        scored, all_lines = (result.get(f"{prefix}{name}") for name in ("scored_lines", "lines"))
        show(
            f"{split:5} perplexity {result[f'{prefix}perplexity']:.2f} per token, "
            f"{result[f'{prefix}word_perplexity']:.2f} per word ({result[f'{prefix}num_tokens']:,} tokens"
            + (f", {unknown:,} of them unknown" if unknown else "")
            + (f"; the first {scored:,} of {all_lines:,} lines" if scored != all_lines else "")
            + ")"
        )


def _show_translation(folder: Path, config: Config, result: dict[str, Any]) -> None:
    lines = [folder / name for name in (SOURCES, REFERENCES, HYPOTHESES)]
    if config.trainer.samples and all(path.is_file() for path in lines):
        shown = slice(0, config.trainer.samples)
        show(show_samples(*(read_lines(path)[shown] for path in lines)) + "\n")
    show(
        f"test BLEU {result['bleu']:.2f}  chrF {result['chrf']:.2f}  TER {result['ter']:.2f}  "
        f"exact match {result['exact_match']:.2f} %  perplexity {result['perplexity']:.3f}"
    )
    show(f"signature {result['bleu_signature']}")
    if "bleu_tokenized" in result:
        show(f"test BLEU of tokens {result['bleu_tokenized']:.2f}, signature {result['bleu_tokenized_signature']}")


def git_revision() -> str | None:
    """The commit of the checkout that this code runs from, ``+`` after it if there are changes; None where there is
    none.
    """
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():  # installed, perhaps below somebody else's checkout
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
