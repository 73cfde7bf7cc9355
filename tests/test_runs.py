"""The files of a run folder are read back as they were written, and refused by name where they are not."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path

import pytest
import yaml

from seq2seq import runs
from seq2seq.config.schema import Config, TrainerConfig
from seq2seq.errors import UserError


def begun(folder: Path, config: Config | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config or Config())))
    return folder


def test_progress_goes_from_nothing_to_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert runs.progress(folder) == 0
    begun(folder, Config(trainer=TrainerConfig(max_epochs=8)))
    assert runs.progress(folder) == 0
    (folder / "metrics.csv").write_text("epoch,step,valid/bleu\n1,10,0.5\n2,20,nan\n")
    assert runs.progress(folder) == 0.25
    (folder / "metrics.csv").write_text("epoch,step\n8,80\n")
    assert 0.9 < runs.progress(folder) < 1  # the test is still to come
    (folder / "test.json").write_text("{}")
    assert runs.progress(folder) == 1


def test_progress_counts_steps_where_they_are_the_bound(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", Config(trainer=TrainerConfig(max_epochs=100, max_steps=40)))
    (folder / "metrics.csv").write_text("epoch,step\n1,10\n")
    assert runs.progress(folder) == 0.25


def test_progress_counts_validations_inside_an_epoch(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", Config(trainer=TrainerConfig(max_epochs=4, validate_every=0.5)))
    for table, share in (("1,3", 0.125), ("1,3\n1,6", 0.25), ("1,3\n1,6\n2,9", 0.375), ("1,3\n1,6\n1,7", 0.25)):
        (folder / "metrics.csv").write_text(f"epoch,step\n{table}\n")
        assert runs.progress(folder) == share


def test_a_plan_is_kept_beside_those_before_it(tmp_path: Path) -> None:
    runs.write_plans([tmp_path / "a" / "one", tmp_path / "a" / "two", tmp_path / "b" / "one"])
    runs.write_plans([tmp_path / "a" / "three", tmp_path / "a" / "one"])
    assert runs.read_plan(tmp_path / "a") == ["one", "two", "three"]
    assert runs.read_plan(tmp_path / "b") == ["one"]
    assert runs.read_plan(tmp_path / "c") == []


@pytest.mark.parametrize("content", ["[]", '{"runs": 3}', '{"runs": [1]}', "{", "{}"])
def test_a_plan_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match="sweep.json .*delete it, and missing runs will not be listed"):
        runs.read_plan(tmp_path)


def test_metrics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step\n1,two\n")
    with pytest.raises(UserError, match=r"metrics.csv has a row with a value that is not a number \(.*two"):
        runs.read_metrics(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,step\n1\n")
    with pytest.raises(UserError, match="metrics.csv has a row with a value that is not a number"):
        runs.read_metrics(tmp_path)


@pytest.mark.parametrize("line", ["nan", "inf", "-inf"])
def test_a_cost_that_no_text_has_is_refused(tmp_path: Path, line: str) -> None:
    assert runs.numbers(tmp_path / "test.nll", ["1.5", "-0.0"]) == [1.5, 0.0]
    with pytest.raises(UserError, match=rf"test.nll: line 2 is {line}, not a finite number"):
        runs.numbers(tmp_path / "test.nll", ["1.5", line])


def test_a_setting_that_only_one_of_two_runs_has_is_a_difference() -> None:
    one, other = ({"trainer": {"lightning": {"detect_anomaly": True}}}, {"trainer": {"lightning": {}}})
    assert runs.differences(one, other) == ["trainer.lightning.detect_anomaly: True there, None here"]
    assert runs.differences(other, one) == ["trainer.lightning.detect_anomaly: None there, True here"]


def _hold(folder: str, ready: multiprocessing.synchronize.Event, over: multiprocessing.synchronize.Event) -> None:
    with runs.locked_run(Path(folder)):
        ready.set()
        over.wait(60)


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LOCK_SECONDS", 0.1)
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, over))
    other.start()
    try:
        assert ready.wait(60)
        with (
            pytest.raises(UserError, match="is being trained by another process; wait for it, or stop it"),
            runs.locked_run(tmp_path),
        ):
            pass
    finally:
        over.set()
        other.join()
    with runs.locked_run(tmp_path):
        pass


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    rest = tmp_path / "checkpoints" / ".last.ckpt.0123abcd.tmp"
    rest.write_bytes(b"half")
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"whole")
    with runs.locked_run(tmp_path):
        assert not rest.exists()
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
