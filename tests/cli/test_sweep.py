"""A sweep loses nothing: a failed job stops no other, a killed one is resumed, and the report comes out the same."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.types import RunMode
from omegaconf import OmegaConf

from seq2seq import checkpoint, runs
from seq2seq.cli import sweep, train
from seq2seq.errors import Busy, UserError
from seq2seq.report.analysis import analyse
from seq2seq.report.arms import read_sweep
from tests import processes
from tests.conftest import ROOT, SMALL_RUN, Command, rows, small_run
from tests.processes import Started
from tests.report.test_report import changed, make_run

ARMS = ("model.reverse=false,true", "seed=1,2")
WORDS = ("-m", "name=s", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *small_run("trainer.max_epochs=3"), *ARMS)


def without_times(folder: Path) -> None:
    """Set every figure of a sweep that is a time to 1, so that what is left must be equal."""
    for path in folder.glob("*/metrics.csv"):
        with open(path, newline="") as stream:
            rows = list(csv.DictReader(stream))
        with open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: "1" if "second" in k else v for k, v in row.items()} for row in rows)
    for path in folder.glob("*/test.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps({k: 1.0 if "second" in k else v for k, v in result.items()}))


def finished(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/test.json"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a sweep ran to its end in one go."""
    cwd = tmp_path_factory.mktemp("whole")
    done = start(cwd)
    assert done.wait(300) == 0, (cwd / "stderr").read_text()
    return cwd


def start(cwd: Path, words: Sequence[str] = WORDS) -> Started:
    """The sweep as a process of its own."""
    with open(cwd / "stdout", "wb") as out, open(cwd / "stderr", "wb") as err:
        return processes.start("train", *words, cwd=cwd, stdout=out, stderr=err, new_session=True)


def report_of(cwd: Path, command: Command, out: Path) -> dict[str, bytes]:
    without_times(cwd / "runs" / "s")
    done = command("report", "runs/s", "-o", out, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_a_sweep_ends_with_a_table_and_a_report(whole: Path) -> None:
    printed = (whole / "stdout").read_text()
    assert re.search(r"│ reverse +│ +2 │", printed)
    assert "± is the standard deviation over seeds; signature nrefs:1" in printed
    assert "report: runs/s/report/report.html" in printed
    assert (whole / "runs" / "s" / "report" / "report.html").is_file()
    said = (whole / "stderr").read_text().splitlines()
    ends = [line for line in said if re.fullmatch(r"runs/s/\S+_seed-[12]: BLEU .*, exact match .* %, \d+ s", line)]
    assert len(ends) == 4, said
    assert all(folder.joinpath("probe.json").is_file() for folder in finished(whole / "runs" / "s"))


def test_jobs_side_by_side_are_those_one_after_another(whole: Path, command: Command, tmp_path: Path) -> None:
    done = command("train", *WORDS[:2], *WORDS[4:])
    assert done.returncode == 0, done.stderr
    beside, after = finished(whole / "runs" / "s"), finished(tmp_path / "runs" / "s")
    assert [folder.name for folder in beside] == [folder.name for folder in after]
    for one, other in zip(beside, after, strict=True):
        mine, theirs = (checkpoint.read(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (one, other))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


CHOOSER = """
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


class Chooser(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        values = []
        for job, rate in enumerate(("0.001", "0.1")):
            (done,) = self.launcher.launch([[*arguments, f"optim.lr={rate}"]], initial_job_idx=job)
            values.append(done.return_value)
        Path("values").write_text(repr(values))


@dataclass
class Settings:
    _target_: str = "hydra_plugins.chooser.Chooser"


ConfigStore.instance().store(group="hydra/sweeper", name="chooser", node=Settings)
"""


def test_a_sweeper_gets_the_best_validation_value_of_each_run(command: Command, tmp_path: Path) -> None:
    """As one that chooses the next runs by the results of the last."""
    plugin = tmp_path / "plugins" / "hydra_plugins" / "chooser"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(CHOOSER)
    words = small_run("trainer.monitor=loss", "trainer.max_epochs=3")
    paths = os.pathsep.join([str(plugin.parent.parent), str(ROOT)])
    done = command("train", "-m", "name=s", "hydra/sweeper=chooser", *words, env={"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    values = ast.literal_eval((tmp_path / "values").read_text())
    folders = [next(tmp_path.glob(f"runs/s/*{rate}*")) for rate in ("0.001", "0.1")]
    for value, folder in zip(values, folders, strict=True):
        losses = [float(row["valid/loss"]) for row in rows(folder) if row["valid/loss"]]
        assert value == min(losses) and len(losses) == 3


@pytest.mark.parametrize("moment", ["planned", "first epoch", "one finished"])
def test_a_killed_sweep_ends_as_if_it_had_not_been(whole: Path, command: Command, tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "runs" / "s"
    reached = {
        "planned": lambda: (folder / "sweep.json").is_file(),
        "first epoch": lambda: any(folder.glob("*/metrics.csv")),
        "one finished": lambda: bool(finished(folder)),
    }[moment]
    process = start(tmp_path)
    until = time.monotonic() + 240
    while not reached():
        assert time.monotonic() < until and process.poll() is None, (tmp_path / "stderr").read_text()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)  # not its workers: they must notice
    process.wait()
    before = {one: (one / "test.json").stat().st_mtime_ns for one in finished(folder)}
    again = start(tmp_path)
    assert again.wait(300) == 0, (tmp_path / "stderr").read_text()
    assert all((one / "test.json").stat().st_mtime_ns == stamp for one, stamp in before.items())
    assert len(finished(folder)) == 4
    assert not list(folder.rglob("*.tmp"))
    mine = report_of(tmp_path, command, tmp_path / "out")
    assert mine == report_of(whole, command, tmp_path / "expected")
    assert {"report.html", "report.md", "results.csv", "curves.svg"} <= mine.keys()


@pytest.mark.parametrize("jobs, whole_group", [(1, False), (2, False), (2, True)])
def test_a_sweep_that_gets_term_saves_its_runs_and_begins_no_other(
    tmp_path: Path, jobs: int, whole_group: bool
) -> None:
    folder = tmp_path / "runs" / "s"
    words = ["-m", "name=s", *small_run("trainer.max_epochs=500", "data.train_size=3000"), "seed=1,2,3"]
    words += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"] if jobs == 2 else []
    process = start(tmp_path, words)
    until = time.monotonic() + 240
    while len(list(folder.glob("*/metrics.csv"))) < jobs:
        assert time.monotonic() < until and process.poll() is None, (tmp_path / "stderr").read_text()
        time.sleep(0.02)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGTERM)
    assert process.wait(120) == 143, (tmp_path / "stderr").read_text()
    said = (tmp_path / "stderr").read_text()
    assert "Traceback" not in said and said.count("stopped and saved") == jobs
    assert "the same command" in said
    assert len(list(folder.glob("*/config.yaml"))) == jobs
    assert len(list(folder.glob("*/checkpoints/last.ckpt"))) == jobs
    assert not [*finished(folder), *folder.glob("*/error.txt"), *folder.glob("report")]
    assert not (tmp_path / "stdout").read_text()


def test_a_failed_run_is_missing_in_the_report_and_a_rerun_makes_it(command: Command, tmp_path: Path) -> None:
    """A file stands where a checkpoint folder must be, until somebody takes it away."""
    words = ("-m", "name=s", *small_run("trainer.max_epochs=1"), "seed=1,2,3", "trainer.probe=0")
    first = command("train", *words)
    assert first.returncode == 0, first.stderr
    bad = finished(tmp_path / "runs" / "s")[1]
    for name in ("test.json", "metrics.csv"):
        (bad / name).unlink()
    for path in (bad / "checkpoints").iterdir():
        path.unlink()
    (bad / "checkpoints").rmdir()
    (bad / "checkpoints").write_text("in the way")
    done = command("train", *words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("Give the same command again to train the missing runs.")
    assert "Traceback" not in done.stderr
    markdown = (tmp_path / "runs" / "s" / "report" / "report.md").read_text()
    assert f"{bad.name.replace('_', '&')}: failed: " in markdown.replace("\\_", "&")
    (bad / "checkpoints").unlink()
    assert command("train", *words).returncode == 0
    assert "failed" not in (tmp_path / "runs" / "s" / "report" / "report.md").read_text()
    assert not (bad / "error.txt").exists()


def test_a_crash_in_one_job_is_noted_and_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(composed: object, folder: Path) -> None:
        raise RuntimeError("no such\nluck")

    monkeypatch.setattr(train, "_train", crash)
    train._job_of_sweep(OmegaConf.create({}), tmp_path / "run")
    assert runs.read_error(tmp_path / "run") == "RuntimeError: no such luck"
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(
        UserError, match="run failed: RuntimeError: no such luck. Give the same command again to train the missing runs"
    ):
        sweep.finish([tmp_path / "run"])


def test_a_job_returns_the_monitored_figure_of_its_best_checkpoint_and_none_if_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a sweeper can choose what to try next by it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "planned", [Path("first")])
    monkeypatch.setattr(train, "_train", lambda composed, folder: None)
    settings = changed(1, trainer={"monitor": "exact_match"})
    make_run(tmp_path / "first", settings, 30, best_step=20)
    make_run(tmp_path / "second", settings, 45, best_step=30)
    make_run(tmp_path / "failed", settings, 10)
    (tmp_path / "failed" / "error.txt").write_text("no memory\n")
    values = []
    for name in ("first", "second", "failed", "unfinished"):
        output = SimpleNamespace(output_dir=str(tmp_path / name))
        job = SimpleNamespace(mode=RunMode.MULTIRUN, runtime=output)
        monkeypatch.setattr(train, "HydraConfig", SimpleNamespace(get=lambda job=job: job))
        values.append(train._job([], os.getpid(), OmegaConf.create({})))
    assert values == [25.0, 56.25, None, None]
    assert sweep.planned == [Path(name) for name in ("first", "second", "failed", "unfinished")]


def test_several_failures_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        sweep.note_error(tmp_path / name, f"{name} went wrong.")
    with pytest.raises(UserError, match="a failed: a went wrong; 2 more are missing. Give the same command again"):
        sweep.finish([tmp_path / name for name in ("a", "b", "c")])


def test_a_process_that_dies_is_noted_and_the_rest_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """joblib gives up when a process is killed, by the kernel where memory is short: what was begun is named."""
    begun, never, done = (tmp_path / name for name in ("begun", "never", "done"))
    monkeypatch.setattr(sweep, "planned", [begun, never, done])
    for folder in (begun, done):
        folder.mkdir()
        (folder / "config.yaml").write_text("seed: 1\n")
    (done / "test.json").write_text("{}")

    def die(*arguments: object, **options: object) -> object:
        def job() -> None:
            raise BrokenProcessPool

        return lambda wrapped: job

    monkeypatch.setattr(train.hydra, "main", die)
    monkeypatch.setattr(sys, "argv", ["seq2seq-train", "-m"])
    with pytest.raises(UserError, match="begun failed: its process, or a parallel one, was killed or crashed"):
        train._compose_and_run()
    assert runs.read_error(done) is None and runs.read_error(never) is None


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(composed: object, folder: Path) -> None:
        raise Busy(f"{folder} is being trained by another process")

    monkeypatch.setattr(train, "_train", busy)
    train._job_of_sweep(OmegaConf.create({}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(
        UserError, match="run is not finished; another process may be training it. Give the same command again"
    ):
        sweep.finish([tmp_path / "run"])


def test_a_finished_run_of_other_settings_is_said_and_stays_as_it_was(command: Command, tmp_path: Path) -> None:
    """What is not in a folder's name may change between two sweeps: a file of conf/, a default."""
    words = ("-m", "name=s", *small_run("trainer.max_epochs=1"), "seed=1,2", "trainer.probe=0")
    assert command("train", *words).returncode == 0
    first, second = finished(tmp_path / "runs" / "s")
    config = first / "config.yaml"
    config.write_text(config.read_text().replace("clip_norm: 5.0", "clip_norm: 4.0"))
    before = (first / "test.json").read_bytes()
    done = command("train", *words)
    assert done.returncode == 2
    assert re.search(
        r"seed-1 holds a run with other settings \(optim.clip_norm: 4.0 there, 5.0 here\); give this one another "
        r"name=..., or start again there with overwrite=true.$",
        done.stderr.splitlines()[-1],
    )
    assert "report:" not in done.stdout
    assert (first / "test.json").read_bytes() == before
    assert not (first / "error.txt").exists() and not (second / "error.txt").exists()


def test_a_sweep_that_overwrites_does_not_take_old_results_for_its_own(command: Command, tmp_path: Path) -> None:
    words = ("-m", "name=s", *small_run("trainer.max_epochs=1"), "seed=1,2", "trainer.probe=0")
    assert command("train", *words).returncode == 0
    again = command("train", *words)
    assert "2 of 2 runs are finished already" in again.stderr and again.returncode == 0
    anew = command("train", *words, "overwrite=true")
    assert anew.returncode == 0
    assert "finished already" not in anew.stderr
    assert len(re.findall(r"seed-[12]: BLEU ", anew.stderr)) == 2


def test_a_damaged_plan_stops_a_sweep_before_it_trains(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs" / "s").mkdir(parents=True)
    (tmp_path / "runs" / "s" / "sweep.json").write_text("{")
    done = command("train", "-m", "name=s", *SMALL_RUN, "seed=1,2")
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "sweep.json is not valid JSON" in said and "delete it, and missing runs will not be listed" in said
    assert {path.name for path in (tmp_path / "runs" / "s").iterdir()} <= {"sweep.json", ".lock"}


def test_an_arms_name_is_no_markup_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("old[/b]", "[old]"):
        make_run(tmp_path / name.strip("[]").replace("/", ""), changed(1, data={"book_file": name}), 10)
    sweep.print_table(analyse(read_sweep([tmp_path])))
    printed = capsys.readouterr().out
    assert "old[/b]" in printed and "[old]" in printed
