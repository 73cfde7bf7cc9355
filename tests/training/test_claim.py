"""A run folder keeps its run: another config is refused, and overwriting can be interrupted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import UserError
from seq2seq.runs import read_config
from seq2seq.training.claim import claim
from seq2seq.training.experiment import run
from tests.conftest import rows
from tests.training.test_training import config


def test_a_folder_with_another_run_is_refused_until_it_may_be_overwritten(tmp_path: Path) -> None:
    run(config(tmp_path), tmp_path / "run")
    other = config(tmp_path, model={"hidden_size": 8})
    with pytest.raises(UserError, match=r"other settings \(model.hidden_size: 12 there, 8 here\).*overwrite=true"):
        run(other, tmp_path / "run")
    other.overwrite = True
    (tmp_path / "run" / "probe.svg").write_text("<svg/>")  # of the weights that go
    run(other, tmp_path / "run")
    assert not (tmp_path / "run" / "probe.svg").exists()
    assert read_config(tmp_path / "run").model.hidden_size == 8
    assert len(rows(tmp_path / "run")) == 2


def test_an_overwriting_that_is_killed_leaves_nothing_that_is_taken_for_the_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = config(tmp_path, model={"hidden_size": 8})
    other.overwrite = True
    run(config(tmp_path, trainer={"max_epochs": 1}), tmp_path / "run")
    for survived in range(30):  # removals, of files and folders
        folder = Path(shutil.copytree(tmp_path / "run", tmp_path / f"run{survived}"))
        left = survived

        def die_after_some(path: Path, **options: object) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            subprocess.run(["rm", "-rf", str(path)], check=True)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", die_after_some)
            patch.setattr("seq2seq.training.claim.shutil.rmtree", die_after_some)
            try:
                claim(other, folder)
            except KeyboardInterrupt:
                if not (folder / "config.yaml").is_file() or read_config(folder).model.hidden_size == 8:
                    assert not {"checkpoints", "test.json", "metrics.csv"} & {path.name for path in folder.iterdir()}
            else:
                assert survived > 10
                break
        claim(other, folder)
        assert {path.name for path in folder.iterdir()} - {".lock"} == {"config.yaml"}
        assert read_config(folder).model.hidden_size == 8
    else:
        pytest.fail("more files than were thought of")


@pytest.mark.parametrize(
    "refused",
    [{"data": {"valid_size": 10**9}}, {"model": {"hidden_size": 10**8}}, {"tokenizer": {"like": "nowhere"}}],
)
def test_a_refused_overwriting_leaves_the_old_run(tmp_path: Path, refused: dict[str, Any]) -> None:
    run(config(tmp_path, trainer={"max_epochs": 1}), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = config(tmp_path, **refused)
    other.overwrite = True
    with pytest.raises(UserError):
        run(other, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_run_leaves_no_folder_and_no_config(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "runs" / "a" / "b"
    if there:
        folder.mkdir(parents=True)
        (folder / "note").write_text("mine")
    with pytest.raises(UserError, match="the loss is"):
        run(config(tmp_path, optim={"algorithm": "sgd", "lr": 1e38, "clip_norm": 0.0}), folder)
    if there:
        assert [path.name for path in folder.iterdir()] == ["note"]
    else:
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("left", ["test.json", "checkpoints"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_without_its_config_is_nobody_s(tmp_path: Path, left: str, overwrite: bool) -> None:
    folder = tmp_path / "run"
    run(config(tmp_path, trainer={"max_epochs": 1}), folder)
    for path in (folder / "config.yaml", folder / "test.json"):
        if path.name != left:
            path.unlink()
    if left != "checkpoints":
        (folder / "checkpoints").rename(tmp_path / "elsewhere")
    settings = config(tmp_path)
    settings.overwrite = overwrite
    with pytest.raises(UserError, match=rf"run has {left} but no config.yaml, so .* name="):
        run(settings, folder)
    assert (folder / left).exists()
    assert not (folder / "config.yaml").exists()
