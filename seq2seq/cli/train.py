"""``seq2seq-train [key=value ...] [-m]``: Hydra composes an experiment, and `training.experiment` runs it."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq import stopping
from seq2seq.cli import sweep
from seq2seq.cli.common import BYTES, EXIT_INTERRUPTED, VERSION, conf_dir, exit_status, set_up
from seq2seq.cli.overrides import check_flags, check_overrides, one_line, register_resolvers, with_fixed_keys
from seq2seq.cli.words import is_sweep, plain_words, resume_word
from seq2seq.config.describe import documented_keys
from seq2seq.config.rules import refuse_idle
from seq2seq.config.schema import Config
from seq2seq.config.values import unknown_key
from seq2seq.errors import Busy, UserError

NAME = "seq2seq-train"

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__

register_resolvers()  # at import: the processes of a sweep import this module and then compose


def main() -> None:
    """Run the command. Exit status 2 means a mistake of the user, 130 ctrl-C, 143 TERM, 138 USR1."""
    set_up()
    sys.exit(exit_status(_compose_and_run, NAME))


def _compose_and_run() -> None:
    if "--version" in sys.argv[1:]:
        print(VERSION)
        return
    flags = check_flags(sys.argv[1:])
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(usage())
        return
    many = is_sweep(flags.overrides, multirun=flags.multirun)
    sys.argv = [sys.argv[0], *plain_words(sys.argv[1:], many=many)]
    check_overrides(sys.argv[1:], many=many)
    if many:
        sys.argv[1:] = with_fixed_keys(sys.argv[1:])
    failures: list[UserError] = []
    _run_hydra(failures)
    if failures:
        raise failures[0]
    if sweep.planned:
        sweep.finish(sweep.planned)


def _run_hydra(failures: list[UserError]) -> None:
    """Let Hydra compose each experiment and run it.

    Raises:
        Stopped: if a signal ended the processes of a sweep.
    """
    ConfigStore.instance().store(name="schema", node=Config)
    # Without this, Hydra prints errors itself and exits with status 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    job = partial(_job, failures, os.getpid())
    job = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(job)
    ending = stopping.Ending(sweep.stop_processes)
    try:
        with _in_one_line(), ending, sweep.watching():
            job()
    except BrokenProcessPool:
        if not ending.number:
            sweep.note_deaths()
    except Exception:
        if not ending.number:
            raise
    finally:
        sweep.remove_empty_folders()
    if ending.number:  # the sweep's processes have ended, or the signal caused an exception
        raise stopping.Stopped(ending.number)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise errors of Hydra and the file system as a `UserError` of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error
    except sweep.Refused as refused:
        raise UserError(str(refused)) from None
    except ValueError as error:
        if "flag can only be used" in str(error):
            raise UserError(f"{one_line(error)}; see --help.") from None
        if "Only one of --run" not in str(error):
            raise
        raise UserError("-m and --cfg do not go together; leave out one of them.") from None
    except OSError as error:
        where = error.filename or "the run folder"
        raise UserError(f"{where} cannot be used: {error.strerror or error}; choose another runs= or name=.") from None


def usage() -> str:
    """Return the text of ``--help``, which explains the keys, unlike Hydra's own."""
    groups = sorted(path for path in conf_dir().iterdir() if path.is_dir())
    names = {path.name: sorted(one.stem for one in path.glob("*.yaml")) for path in groups}
    lines = [
        f"usage: {NAME} [KEY=VALUE ...] [GROUP=NAME ...] [-m] [--cfg job] [--hydra-help] [--version]",
        "",
        "Train an experiment and score it. The same command resumes a stopped experiment.",
        "  -m, --multirun  run every combination of values with commas, such as seed=1,2,3",
        "  --cfg job       print every value of the experiment, and do nothing",
        "  --hydra-help    Hydra's own flags",
        "  --version       print the version and exit",
        "",
        "Groups of settings; a NAME sets several keys:",
        *(f"  {group}: {', '.join(known)}" for group, known in names.items()),
        "",
        "Keys with their defaults, which a group may change:",
        *(f"  {name}={default}  {meaning}" for name, default, meaning in documented_keys()),
    ]
    return "\n".join(lines)


def _job(failures: list[UserError], parent: int, composed: DictConfig) -> float | None:
    """Run one experiment, in a sweep or not.

    In a sweep, one that fails does not stop the others.

    Returns:
        The objective for sweepers that optimise: see `sweep.objective`. None for a run that failed.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        if not in_sweep:
            _train(composed, folder)
        elif os.getpid() == parent:
            sweep.note_begun(folder)
            _job_of_sweep(composed, folder)
        else:
            _job_in_process(composed, folder)
        return sweep.objective(folder)
    except UserError as error:
        failures.append(error)
    except stopping.Interrupted as stop:
        # In a sweep, the same command also does the other runs. resume= continues only this one.
        same = "" if composed.overwrite else "the same command, or with: "
        log.warning("stopped and saved; resume it with %s%s %s", same, NAME, resume_word(folder))
        sys.exit(stopping.exit_status(stop.number))
    return None


class _Worker(stopping.Handlers):
    """Signal handlers of a process that does runs of a sweep, one after another.

    The first signal stops the current run, and no other is started.
    """

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, *stopping.ASKING))
        self.in_run = False

    def _first(self, number: int) -> None:
        if self.in_run:
            raise stopping.Stopped(number)


_worker = _Worker()


def _job_in_process(composed: DictConfig, folder: Path) -> None:
    """Do a run in a process that the sweep has started.

    Its parent stops it by a signal, and reports that.
    """
    set_up()
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _worker.install()
    if _worker.number:
        return
    try:
        _worker.in_run = True
        _job_of_sweep(composed, folder)
    except (stopping.Stopped, stopping.Interrupted) as stop:
        _worker.number = stop.number
        saved = " and saved" if isinstance(stop, stopping.Interrupted) else ""
        log.warning("%s: stopped%s", folder, saved)
    finally:
        _worker.in_run = False


def _job_of_sweep(composed: DictConfig, folder: Path) -> None:
    """Do a run of a sweep without output.

    Other runs may print at the same time, so the sweep reports how each one ends.
    """
    logging.getLogger("seq2seq").setLevel(logging.WARNING)
    try:
        with open(os.devnull, "w", encoding="utf-8", errors=BYTES) as nowhere, redirect_stdout(nowhere):
            _train(composed, folder)
    except Busy:
        pass  # the other process reports how it ends
    except stopping.Interrupted:
        raise
    except UserError as error:
        sweep.note_error(folder, str(error))
    except Exception as error:
        traceback.print_exc()
        sweep.note_error(folder, f"{type(error).__name__}: {error}")


def _end_with(parent: int) -> None:
    """End this process when its parent was killed: the next sweep does the work again."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(EXIT_INTERRUPTED)


def _train(composed: DictConfig, folder: Path) -> None:
    config = to_config(composed)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        if not config.trainer.is_alone:
            raise UserError(
                "a sweep cannot train on several devices, since each process would run the whole sweep again; "
                "run one experiment at a time, or sweep with trainer.devices=1 trainer.strategy=auto."
            )
        config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, progress=False))
    with stopping.Later():
        from seq2seq import runs
        from seq2seq.training import experiment  # imports torch and Lightning: only for a valid config

    if config.resume is not None:
        watched = config.trainer.progress
        config = dataclasses.replace(runs.read_config(folder), overwrite=False, resume=None)
        config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, progress=watched))
    experiment.run(config, folder)


def to_config(composed: DictConfig) -> Config:
    """Convert a composed config to our dataclasses, and check every value.

    Raises:
        UserError: for a value of the wrong type or out of range, for a key that ``+`` added to the schema's, and for a
            key that has no effect with the others.
    """
    try:
        _refuse_strays(composed, Config())
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    assert isinstance(config, Config)
    if config.resume is None:  # else the run's own config is used
        refuse_idle(config)
    return config


def _refuse_strays(composed: object, schema: Any, prefix: str = "") -> None:
    if not isinstance(composed, DictConfig):
        raise UserError(f"{prefix.rstrip('.')} must be a section of keys; got {composed!r}.")
    allowed = [field.name for field in dataclasses.fields(schema)]
    for name in map(str, composed):
        where = f"{prefix}{name}"
        if name not in allowed:
            raise unknown_key(name, allowed, prefix.rstrip("."))
        default = getattr(schema, name)
        if dataclasses.is_dataclass(default):
            _refuse_strays(composed[name], default, where + ".")


if __name__ == "__main__":
    # By its name: the processes of a sweep could not import functions of __main__.
    importlib.import_module("seq2seq.cli.train").main()
