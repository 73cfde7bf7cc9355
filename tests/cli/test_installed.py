"""What the commands say of their version, and of optional packages that are not installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from seq2seq import __version__
from seq2seq.cli import sweep
from seq2seq.cli.report import PACKAGES
from seq2seq.errors import UserError, require
from seq2seq.runs import SOURCES
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS = [path.partition(":")[0] for path in PROJECT["scripts"].values()]
TRAINING = ("lightning", "pytorch_lightning", "torchmetrics", "hydra", "omegaconf")
OPTIONAL = ("joblib", "scipy", "matplotlib", "jinja2", "tensorboardX")


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_prints_our_version(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", "--version"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main()
    assert not ended.value.code
    assert capsys.readouterr().out == f"seq2seq {__version__}\n"


def run_without(modules: tuple[str, ...], command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process in which these modules are not installed."""
    words = list(map(str, arguments))
    code = f"import sys; sys.modules.update(dict.fromkeys({modules}))\n"
    code += f"from seq2seq.cli.{command} import main; main({words})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_translating_needs_nothing_of_training_and_reports(trained: Path, tmp_path: Path) -> None:
    for command, *words in (
        ("translate", trained, "-i", trained / SOURCES, "-o", tmp_path / "out"),
        ("evaluate", trained, "--src", trained / SOURCES, "--ref", trained / "test.ref"),
    ):
        done = run_without(TRAINING + OPTIONAL, command, *words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == (trained / "test.hyp").read_text()


def test_a_picture_and_a_report_say_what_to_install(trained: Path, tmp_path: Path) -> None:
    picture = run_without(
        OPTIONAL, "translate", trained, "-i", trained / SOURCES, "--attention-plot", tmp_path / "a.png"
    )
    report = run_without(OPTIONAL, "report", trained, "-o", tmp_path / "report")
    assert (picture.returncode, report.returncode) == (2, 2)
    assert picture.stderr == (
        "seq2seq-translate: --attention-plot needs matplotlib, which is not installed; pip install '.[compare]'.\n"
    )
    assert report.stderr == (
        "seq2seq-report: a report needs jinja2, matplotlib, scipy, which are not installed; pip install '.[compare]'.\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_sweep_without_a_report_s_packages_says_how_to_make_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / "s" / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "test.json").write_text("{}")
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    sweep.finish(folders)
    said = capsys.readouterr().out
    assert said == (
        "the sweep's report needs jinja2, matplotlib, scipy, which are not installed; pip install '.[compare]'. Then: "
        f"seq2seq-report {tmp_path / 's'}\n"
    )


def test_an_extra_that_a_message_names_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = PROJECT["optional-dependencies"]
    names = {Requirement(one).name.lower() for one in extras["compare"] + extras["tensorboard"]}
    assert {"scipy", "matplotlib", "jinja2", "hydra-joblib-launcher", "tensorboardx"} == names
    assert {"wandb", "slurm"} <= set(extras)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"^x needs wandb, which is not installed; pip install '.\[wandb\]'.$"):
        require("x", "wandb", "json", "wandb")
