"""The folder of a run, ``runs/NAME/JOB/``: its files, written and read."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from seq2seq.config.removed import Gone
from seq2seq.config.schema import INCIDENTAL, Config
from seq2seq.config.values import from_dict
from seq2seq.errors import Busy, UserError
from seq2seq.files.lines import read_lines
from seq2seq.files.records import read_json, write_json
from seq2seq.files.writing import make_folder, refuse_planted
from seq2seq.stopping import Stopped

CONFIG, METRICS, RESULT, PROBE, ERROR = "config.yaml", "metrics.csv", "test.json", "probe.json", "error.txt"
DRAWING = "probe.svg"
PLAN = "sweep.json"  # beside the run folders: the runs that sweeps planned
SOURCES, REFERENCES, HYPOTHESES = "test.src", "test.ref", "test.hyp"
# Of a language model: the negative log-likelihood of each test line, and generated lines.
LINE_NLL, SAMPLES = "test.nll", "samples.txt"
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
LOCK, LOCK_SECONDS = ".lock", 10.0  # a process whose sweep was killed takes a moment to notice


class _Loader(yaml.SafeLoader):
    """A YAML loader for plain values without references, which could expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _Reference(self.peek_event().anchor)
        return super().compose_node(parent, index)


class _Reference(Exception):
    """A YAML file has a reference to a part of itself."""


def read_config(folder: Path) -> Config:
    """Read the config of a run folder.

    Keys that have no effect are accepted here: older versions wrote them.

    Raises:
        UserError: if it is missing, or if this version does not understand it; `Gone` if it asks for what is removed.
    """
    values = _read_settings(folder)
    if _lacks_normalization(values):
        values["tokenizer"] = {**values["tokenizer"], "normalization": "none"}
    try:
        return from_dict(Config, values)
    except UserError as error:
        raise (Gone if isinstance(error, Gone) else UserError)(f"{folder / CONFIG}: {error}") from None


def lacks_normalization(folder: Path) -> bool:
    """Whether a run is older than ``tokenizer.normalization``, and so read its text without normalising it.

    Raises:
        UserError: as `read_config`.
    """
    return _lacks_normalization(_read_settings(folder))


def _lacks_normalization(values: dict[str, Any]) -> bool:
    tokenizer = values.get("tokenizer")
    return isinstance(tokenizer, dict) and "normalization" not in tokenizer


def is_tokenized(path: str | Path) -> bool:
    """Whether the text of a run, or of a checkpoint's run, is tokenised (``data.variant``)."""
    for folder in (Path(path), *list(Path(path).parents)[:2]):
        if (folder / CONFIG).is_file():
            try:
                return read_config(folder).data.variant == "tokenized"
            except UserError:
                return False
    return False


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} is not a run folder: it has no {CONFIG}; name one that seq2seq-train made.")
    try:
        values = yaml.load("\n".join(read_lines(path)), _Loader)
    except _Reference as found:
        raise UserError(
            f"{path} is not a config that seq2seq wrote: it has a reference, *{found}; write the value out where it "
            "is used."
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        # All but the first come of values that are not what their tags say.
        raise UserError(
            f"{path} is not valid YAML: {' '.join(str(error).split())}; restore it, or use another run."
        ) from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no keys; restore it, or use another run.")
    return values


def differences(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two runs differ, each as "key: value there, value here"."""
    found = []
    for name in {**one, **other}:
        where, value = prefix + name, other.get(name)
        # The folder of Penn Treebank's files says which text it is: theirs have no checksums.
        if where in INCIDENTAL and not (where == "data.mirror" and one.get("kind") == "ptb"):
            continue
        if isinstance(value, dict) and isinstance(one.get(name), dict):
            found += differences(one[name], value, where + ".")
        elif one.get(name) != value:
            found.append(f"{where}: {one.get(name)} there, {value} here")
    return found


def numbers(path: Path, lines: Sequence[str]) -> list[float]:
    """The lines of a file as numbers.

    Raises:
        UserError: for a line that is not a finite number.
    """
    try:
        values = [float(line) for line in lines]
    except ValueError as error:
        raise UserError(f"{path} has a line that is not a number ({error}); delete {RESULT}, and run again.") from None
    for line, value in enumerate(values, start=1):
        if not math.isfinite(value):
            raise UserError(f"{path}: line {line} is {value}, not a finite number; leave that run out, or train again.")
    return values


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Lock a run folder against other processes.

    The folder is made if it does not exist. Files that a killed process left half-written are removed. If the block is
    refused or stopped before anything is trained, all that it has made is removed.

    Raises:
        Busy: if another process holds the lock for `LOCK_SECONDS`.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    names = [] if made else os.listdir(folder)
    make_folder(folder)
    refuse_planted(folder / LOCK)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise Busy(f"{folder} is being trained by another process; wait for it, or stop it.") from None
    try:
        for rest in folder.rglob(".*.tmp"):
            rest.unlink(missing_ok=True)
        yield
    except (UserError, KeyboardInterrupt, Stopped):
        _undo(folder, names)
        for path in made:
            with suppress(OSError):  # it is not empty
                path.rmdir()
        raise
    finally:
        lock.release()


def _undo(folder: Path, before: Sequence[str]) -> None:
    """Remove a run that was begun and not trained; ``before`` are the names that the folder held before it."""
    with suppress(OSError):
        (folder / CHECKPOINTS).rmdir()
    if any((folder / name).exists() for name in (CHECKPOINTS, METRICS, RESULT)):
        return
    if TENSORBOARD not in before:
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    for name in {CONFIG, LOCK} - set(before):
        (folder / name).unlink(missing_ok=True)


def is_finished(folder: Path) -> bool:
    """Whether the run is trained and scored."""
    return (folder / RESULT).is_file()


def read_error(folder: Path) -> str | None:
    """Why the run failed, if it did."""
    path = folder / ERROR
    return " ".join(read_lines(path)) if path.is_file() else None


def progress(folder: Path) -> float:
    """The share of a run that is done, from 0 to 1, according to its files."""
    if is_finished(folder):
        return 1.0
    rows = read_metrics(folder)
    if not rows:
        return 0.0
    trainer = read_config(folder).trainer
    epoch = rows[-1]["epoch"]
    if trainer.validate_every < 1:  # the epoch is under way
        epoch += min(1.0, trainer.validate_every * sum(row["epoch"] == epoch for row in rows)) - 1
    share = epoch / trainer.max_epochs
    if trainer.max_steps > 0:
        share = max(share, rows[-1]["step"] / trainer.max_steps)
    return min(share, 0.99)


def write_plans(folders: Sequence[Path]) -> None:
    """Add the planned runs to the ``sweep.json`` of each experiment."""
    for parent in dict.fromkeys(folder.parent for folder in folders):
        make_folder(parent)
        refuse_planted(parent / LOCK)
        with FileLock(parent / LOCK):
            planned = dict.fromkeys(read_plan(parent) + [one.name for one in folders if one.parent == parent])
            write_json(parent / PLAN, {"runs": list(planned)})


def read_plan(parent: Path) -> list[str]:
    """Read the names of the runs that sweeps planned in this folder.

    Raises:
        UserError: if the plan is not what a sweep writes.
    """
    remedy = "delete it, and missing runs will not be listed"
    values = read_json(parent / PLAN, remedy)
    names = [] if values is None else values.get("runs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{parent / PLAN} is not a plan of a sweep; {remedy}.")
    return names


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read ``metrics.csv``: a row for each validation so far.

    Raises:
        UserError: if a value is not a number, or if a row lacks the epoch or the step.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    try:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(read_lines(path))]
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} has a row with a value that is not a number ({error}); restore it, or train again."
        ) from None
    if rows and not {"epoch", "step"} <= rows[0].keys():
        raise UserError(f"{path} has no columns epoch and step; restore it, or train again.")
    return rows
