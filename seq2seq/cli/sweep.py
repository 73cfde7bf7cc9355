"""A sweep from above: which runs it means to make, how far they are, and what is written when all are through.

The runs may be in this process, in others beside it, or on other machines that share the folders: all that is known of
them here is what their folders say.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from seq2seq import runs
from seq2seq.cli.overrides import run_folder, swept_only
from seq2seq.cli.report import PACKAGES
from seq2seq.console import Console
from seq2seq.errors import UserError, require
from seq2seq.files.writing import escaped, make_folder, write_lines
from seq2seq.terminal import show

if TYPE_CHECKING:
    from seq2seq.report.analysis import Analysis

REPORT = "report"  # folder beside the runs
FIGURES = {"bleu": "BLEU", "chrf": "chrF", "exact_match": "exact match %", "perplexity": "perplexity"}
PERPLEXITIES = {"word_perplexity": "test perplexity per word", "perplexity": "per token", "best": "valid per word"}
WIDTH = 140  # of a table that goes to a file or a pipe, which have none
LOOK_SECONDS = 1.0  # between two looks at the folders
planned: list[Path] = []  # the runs of the sweep that this process has started, in its order
stale: dict[Path, int] = {}  # when the results were written that this sweep is to replace
made: list[Path] = []  # the folders that Hydra makes for a single run, from the innermost


class Refused(BaseException):
    """A plan cannot be made. Of an `Exception` in a callback Hydra makes a warning, and goes on."""


class Plan(Callback):
    """Hydra calls this before a single run, whose new folders are noted in `made`, and before the first job of a sweep:
    the folders that the jobs will have are noted in `planned`, and in ``sweep.json`` beside them, so that a run that
    never came about is missed.
    """

    def on_run_start(self, config: DictConfig, **kwargs: object) -> None:
        with suppress(HydraException, OmegaConfBaseException):  # which the run itself is about to meet, and says
            folder = Path(run_folder(config.runs, config.name, config.seed, config.resume))
            made[:] = [path for path in (folder, *folder.parents) if not path.exists()]

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        if not str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
            return  # one that decides on its way what comes next
        loader = GlobalHydra.instance().config_loader()
        words = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        given: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        words += given  # as the sweep takes them, references and all
        try:
            overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
            (jobs,) = BasicSweeper.split_arguments(overrides, None)
            composed = [loader.load_sweep_config(config, job) for job in jobs]
            folders = [_folder(one) for one in composed]
        except (HydraException, OmegaConfBaseException):
            return  # which the sweep itself is about to meet, and says
        overwritten = [Path(folder) for one, folder in zip(composed, folders, strict=True) if one.overwrite]
        stale.update({folder: _written(folder) for folder in overwritten if runs.is_finished(folder)})
        planned[:] = dict.fromkeys(map(Path, folders))
        try:
            for folder in planned:
                (folder / runs.ERROR).unlink(missing_ok=True)
            runs.write_plans(planned)
        except (UserError, OSError) as error:
            raise Refused(str(error)) from None


def _folder(config: DictConfig) -> str:
    """The folder of one run of a sweep."""
    fixed = config.hydra.job.config.override_dirname.exclude_keys
    return run_folder(config.runs, config.name, config.seed, None, swept_only(config.hydra.overrides.task, fixed))


def _written(folder: Path) -> int:
    """When a run's result was written, in nanoseconds."""
    return (folder / runs.RESULT).stat().st_mtime_ns


def _is_stale(folder: Path) -> bool:
    """Whether all there is of the run is what this sweep is to replace."""
    try:
        return _written(folder) == stale.get(folder)
    except FileNotFoundError:
        return False


@contextmanager
def watching() -> Iterator[None]:
    """While the block runs, and once a sweep has begun in it: say on stderr which runs are through, and show a bar over
    all of them if that is a terminal.
    """
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(over,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(over: threading.Event) -> None:
    while not planned:
        if over.wait(LOOK_SECONDS):
            return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    told = {folder for folder in planned if runs.is_finished(folder) and not _is_stale(folder)}
    if told:
        console.print(f"{len(told)} of {len(planned)} runs are finished already")
    with _bar(console) as bar:
        task = bar.add_task("", total=len(planned))
        last = False
        while not last:
            last = over.wait(LOOK_SECONDS)
            with suppress(UserError):  # of a file that is no run's: the run itself will say so
                _tell(console, told)
                begun = [folder for folder in planned if not _is_stale(folder)]
                shown = f"{sum(map(runs.is_finished, begun))} of {len(planned)} runs"
                bar.update(task, completed=sum(map(runs.progress, begun)), description=shown)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
        speed_estimate_period=1800,
    )


def _tell(console: Console, told: set[Path]) -> None:
    """A line for each run that has ended since the last look."""
    for folder in planned:
        if folder in told or _is_stale(folder):
            continue
        result = runs.read_result(folder)
        reason = None if result else runs.read_error(folder)
        if result:
            console.print(
                f"{folder}: {runs.summary(result)}, {result['train_seconds']:.0f} s",
                markup=False,
            )
        elif reason:
            console.print(f"{folder} failed: {reason}", markup=False)
        else:
            continue
        told.add(folder)


def finish(folders: Sequence[Path]) -> None:
    """Print a table of a sweep's arms, and write its report.

    Raises:
        UserError: if some of the runs are not there.
    """
    refused = _refused(folders)
    scored = [folder for folder in folders if folder not in refused]
    common = Path(os.path.commonpath([folder.parent for folder in folders]))
    if sum(map(runs.is_finished, scored)) > 1 and _can_report(common):
        from seq2seq.report.analysis import analyse
        from seq2seq.report.arms import sweep_of
        from seq2seq.report.write import write_report

        with Console(stderr=True).status("comparing the runs"):  # a spinner, if that is a terminal
            analysis = analyse(sweep_of(scored))
            page = write_report(analysis, common / REPORT)
        print_table(analysis)
        show(f"report: {page}")
    if refused:
        others = f"; and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise UserError(f"{next(iter(refused.values())).rstrip('.')}{others}.")
    left = {folder: runs.read_error(folder) for folder in folders if not runs.is_finished(folder)}
    if left:
        first, reason = next(iter(left.items()))
        how = f"failed: {reason.rstrip('.')}" if reason else "is not finished; another process may be at it"
        others = f"; {len(left) - 1} more are not there either" if len(left) > 1 else ""
        raise UserError(f"{first} {how}{others}. The same command does what is missing.")


def _can_report(folder: Path) -> bool:
    """Whether a report's packages are installed; if not, say how to make the report later."""
    try:
        require("the sweep's report", "compare", *PACKAGES)
    except UserError as error:
        show(f"{error} Then: seq2seq-report {folder}")
        return False
    return True


def _refused(folders: Sequence[Path]) -> dict[Path, str]:
    """Why runs that are finished were not begun: theirs is another experiment. It is said here, and kept no longer,
    for the run that is there did not fail.
    """
    reasons = {folder: runs.read_error(folder) for folder in folders if runs.is_finished(folder)}
    refused = {folder: reason for folder, reason in reasons.items() if reason is not None}
    for folder in refused:
        (folder / runs.ERROR).unlink(missing_ok=True)
    return refused


def remove_empty_folders() -> None:
    """Remove what Hydra has made for a run that was refused."""
    for folder in made:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    made.clear()


def stop_processes(number: int) -> bool:
    """Pass a signal on to the processes in which a sweep's runs are, and return whether there are any."""
    processes = [one for one in multiprocessing.active_children() if type(one).__module__.startswith("joblib.")]
    for process in processes:
        with suppress(OSError, TypeError):  # it is gone, or has not begun
            os.kill(process.pid, number)  # type: ignore[arg-type]
    return bool(processes)


def note_deaths() -> None:
    """Leave in the folders of runs that are begun and not finished that a process died; nobody knows whose."""
    for folder in planned:
        if (folder / runs.CONFIG).is_file() and not runs.is_finished(folder) and runs.read_error(folder) is None:
            note_error(folder, "its process, or one beside it, was killed or crashed; there may be too little memory.")


def print_table(analysis: Analysis) -> None:
    """The arms' figures on stdout."""
    from seq2seq.report.words import ranked, spread

    shown = PERPLEXITIES if analysis.task == "language_model" else FIGURES

    table = Table()
    table.add_column("arm", overflow="fold")
    for title in ("seeds", *shown.values(), "parameters", "seconds"):
        table.add_column(title, justify="right")
    for row in ranked(analysis):
        figures = [spread(row.figures[name]) for name in shown]
        seconds = spread(row.figures["train_seconds"], 0).split(" ")[0]
        table.add_row(escape(row.arm.name), str(len(row.arm.runs)), *figures, f"{row.parameters:,}", seconds)
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    found = (run.result.get("bleu_signature") for arm in analysis.sweep.arms for run in arm.runs)
    signatures = sorted({signature for signature in found if signature})
    show("± is the standard deviation over seeds" + ("; signature " if signatures else "") + ", ".join(signatures))


def note_error(folder: Path, reason: str) -> None:
    """Leave in a run's folder why it failed."""
    make_folder(folder)
    write_lines(folder / runs.ERROR, [escaped(" ".join(reason.split()))])
