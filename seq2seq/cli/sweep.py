"""Follow a sweep: its planned runs, their progress, and the final report.

The runs may be in this process, in others, or on other machines that share the folders. So their state is read only
from their folders.
"""

from __future__ import annotations

import multiprocessing
import os
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
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from seq2seq import runs
from seq2seq.cli.overrides import run_folder, swept_only
from seq2seq.cli.report import PACKAGES
from seq2seq.console import Console, progress_bar
from seq2seq.errors import UserError, require
from seq2seq.files.writing import escaped, make_folder, write_lines
from seq2seq.results.result import Result
from seq2seq.terminal import show

if TYPE_CHECKING:
    from seq2seq.report.analysis import Analysis

REPORT = "report"  # folder beside the runs
WIDTH = 140  # of a table in a file or a pipe
LOOK_SECONDS = 1.0  # between two checks of the folders
planned: list[Path] = []  # the runs of the sweep that this process started, in its order
stale: dict[Path, int] = {}  # modification times of results that this sweep replaces, in ns
made: list[Path] = []  # the folders that Hydra makes for a single run, the innermost first


class Refused(BaseException):
    """A plan cannot be made.

    It is not an `Exception`, because Hydra only warns of those in callbacks.
    """


class NotePlan(Callback):
    """A Hydra callback that notes the folders of the coming runs.

    Before a single run, its new folders go into `made`. Before a sweep, the folders of all its jobs go into `planned`,
    and into ``sweep.json`` beside them, so that the report lists runs that never started.
    """

    def on_run_start(self, config: DictConfig, **kwargs: object) -> None:
        with suppress(HydraException, OmegaConfBaseException):  # the run meets the same error, and reports it
            folder = Path(run_folder(config.runs, config.name, config.seed, config.resume))
            made[:] = [path for path in (folder, *folder.parents) if not path.exists()]

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        if not str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
            return  # an optimising sweeper chooses its runs later; see `note_begun`
        loader = GlobalHydra.instance().config_loader()
        words = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        given: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        words += given  # unresolved, as the sweep takes them
        try:
            overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
            (jobs,) = BasicSweeper.split_arguments(overrides, None)
            composed = [loader.load_sweep_config(config, job) for job in jobs]
            folders = [_folder(one) for one in composed]
        except (HydraException, OmegaConfBaseException):
            return  # the sweep meets the same error, and reports it
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
    """Return when a run's result was written, in nanoseconds."""
    return (folder / runs.RESULT).stat().st_mtime_ns


def _is_stale(folder: Path) -> bool:
    """Whether the run has an old result, which this sweep replaces."""
    try:
        return _written(folder) == stale.get(folder)
    except FileNotFoundError:
        return False


@contextmanager
def watching() -> Iterator[None]:
    """Report on stderr, while the block runs, which runs of a sweep have ended.

    If stderr is a terminal, a bar shows the progress of all runs.
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
    while not planned and not over.wait(LOOK_SECONDS):
        pass
    if not planned:
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
            with suppress(UserError):  # of a damaged file: the run itself reports it
                _tell(console, told)
                begun = [folder for folder in planned if not _is_stale(folder)]
                shown = f"{sum(map(runs.is_finished, begun))} of {len(planned)} runs"
                done = sum(map(runs.progress, begun))
                bar.update(task, total=len(planned), completed=done, description=shown)


def _bar(console: Console) -> Progress:
    columns = ("{task.percentage:.0f} %", TimeElapsedColumn(), "left")
    return progress_bar(*columns, console=console, speed_estimate_period=1800)


def _tell(console: Console, told: set[Path]) -> None:
    """Print a line for each run that has ended since the last look."""
    for folder in planned:
        if folder in told or _is_stale(folder):
            continue
        result = Result.read(folder / runs.RESULT)
        reason = None if result else runs.read_error(folder)
        if result:
            seconds = result.origin.train_seconds
            console.print(f"{folder}: {result.scores.summary()}, {seconds:.0f} s", markup=False)
        elif reason:
            console.print(f"{folder} failed: {reason}", markup=False)
        else:
            continue
        told.add(folder)


def finish(folders: Sequence[Path]) -> None:
    """Print a table of a sweep's arms, and write its report.

    Raises:
        UserError: if some of the runs are missing.
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
        how = f"failed: {reason.rstrip('.')}" if reason else "is not finished; another process may be training it"
        others = f"; {len(left) - 1} more are missing" if len(left) > 1 else ""
        raise UserError(f"{first} {how}{others}. Give the same command again to train the missing runs.")


def _can_report(folder: Path) -> bool:
    """Whether a report's packages are installed; if not, print how to make the report later."""
    try:
        require("the sweep's report", "compare", *PACKAGES)
    except UserError as error:
        show(f"{error} Then: seq2seq-report {folder}")
        return False
    return True


def _refused(folders: Sequence[Path]) -> dict[Path, str]:
    """Return, for finished runs with other settings, why this sweep did not start them.

    The reasons are deleted from the folders, because the runs there did not fail.
    """
    reasons = {folder: runs.read_error(folder) for folder in folders if runs.is_finished(folder)}
    refused = {folder: reason for folder, reason in reasons.items() if reason is not None}
    for folder in refused:
        (folder / runs.ERROR).unlink(missing_ok=True)
    return refused


def remove_empty_folders() -> None:
    """Remove the empty folders that Hydra made for a refused run."""
    for folder in made:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    made.clear()


def stop_processes(number: int) -> bool:
    """Signal the processes of a sweep's runs, and return whether there are any."""
    processes = [one for one in multiprocessing.active_children() if type(one).__module__.startswith("joblib.")]
    for process in processes:
        with suppress(OSError, TypeError):  # it has ended, or has not started
            os.kill(process.pid, number)  # type: ignore[arg-type]
    return bool(processes)


def note_deaths() -> None:
    """Write into the folders of all unfinished runs that a process died."""
    for folder in planned:
        if (folder / runs.CONFIG).is_file() and not runs.is_finished(folder) and runs.read_error(folder) is None:
            note_error(folder, "its process, or a parallel one, was killed or crashed; there may be too little memory.")


def print_table(analysis: Analysis) -> None:
    """Print a table of the arms' figures on stdout."""
    from seq2seq.report.words import ranked, spread

    shown = dict(analysis.facts.arms)
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
    found = (run.result.figure("bleu_signature") for arm in analysis.sweep.arms for run in arm.runs)
    signatures = sorted({signature for signature in found if signature})
    show("± is the standard deviation over seeds" + ("; signature " if signatures else "") + ", ".join(signatures))


def objective(folder: Path) -> float | None:
    """Return the monitored figure of a run's best checkpoint; None for an unfinished run.

    Hydra hands it to the sweeper, which may choose the next runs by it. It is the figure on the validation set.
    """
    if runs.read_error(folder) is not None:
        return None
    with suppress(UserError):  # of a damaged file: the run itself has reported it, or the report will
        result = Result.read(folder / runs.RESULT)
        name = f"valid/{runs.read_config(folder).trainer.monitor}"
        if result is not None:
            best = result.origin.best_step
            return next((row[name] for row in runs.read_metrics(folder) if row["step"] == best), None)
    return None


def note_begun(folder: Path) -> None:
    """Add a run to `planned` that a sweeper has chosen during the sweep."""
    if folder.resolve() not in {one.resolve() for one in planned}:
        planned.append(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def note_error(folder: Path, reason: str) -> None:
    """Write into a run's folder why it failed."""
    make_folder(folder)
    write_lines(folder / runs.ERROR, [escaped(" ".join(reason.split()))])
