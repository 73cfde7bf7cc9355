"""Text from files cannot steer the terminal that it is shown on."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.table import Table

from seq2seq import checkpoint, runs
from seq2seq.cli import evaluate, sweep, translate
from seq2seq.cli.common import exit_status, log_to_stderr
from seq2seq.console import Console, lines_bar
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import show_samples
from seq2seq.terminal import printable, show
from seq2seq.training.tasks.language_model import show_lines
from tests import attentive
from tests.conftest import ROOT
from tests.test_layering import modules

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x08\x7f\x9b31m\u202eevil\u2066\u2028\ud800"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x0d\x08\x7f\x9b31m\u202eevil\u2066\u2028\ud800"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def test_what_steers_is_escaped_and_the_rest_left() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("a\n\tb") == r"a\x0a\x09b"
    assert printable("a\n\tb" + HOSTILE, lines=True) == "a\n\tb" + SHOWN
    for text in ("Äpfel, 日本, שלום, क्‍ष, 👩‍👧", r"C:\x1b", "a\u00a0b"):  # joiners are letters to some languages
        assert printable(text) == text
    code = [printable(chr(i)) for i in range(0x3000) if chr(i) != printable(chr(i))]
    assert len(code) == 32 + 1 + 32 + 7 + 4


def test_an_error_is_one_line_that_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError(f"{HOSTILE}\nand a second line")

    assert exit_status(fail, "seq2seq-test") == 2
    said = capsys.readouterr().err
    assert said == f"seq2seq-test: {SHOWN}\\x0aand a second line\n"
    assert str(UserError(f"a{HOSTILE}")) == f"a{SHOWN}"

    def cannot_write() -> None:
        raise OSError(5, HOSTILE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seq2seq.cli.common._give_up_stdout", lambda: None)
        assert exit_status(cannot_write, "seq2seq-test") == 2
    assert SHOWN in capsys.readouterr().err


def test_log_lines_steer_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    root, ours = logging.getLogger(), logging.getLogger("seq2seq")
    before = list(root.handlers), root.level, ours.level
    try:
        log_to_stderr()
        ours.warning("%s is cut\n  %s", HOSTILE, "next")
        assert capsys.readouterr().err == f"{SHOWN} is cut\n  next\n"
    finally:
        root.handlers, root.level, ours.level = before


def test_samples_and_what_is_printed_steer_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_samples([HOSTILE], [HOSTILE], [HOSTILE]).split("\n") == [
        f"  source      {SHOWN}",
        f"  reference   {SHOWN}",
        f"  hypothesis  {SHOWN}",
    ]
    assert show_lines([HOSTILE, "a\tb"]) == f"  {SHOWN}\n  a\\x09b"
    show(f"{HOSTILE}\nnext")
    assert capsys.readouterr().out == f"{SHOWN}\nnext\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_tables_steer_nothing(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, color_system=None)
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    console.print(f"{HOSTILE} failed\n", markup=False)
    written = console.file.getvalue()
    assert written.count(SHOWN) == 3
    assert not STEERING.search(written)


def test_a_bar_shows_a_files_name_as_it_is() -> None:
    bar = lines_bar()
    bar.add_task(f"[red]{HOSTILE}", total=3)
    assert str(bar.columns[0].render(bar.tasks[0])) == f"[red]{SHOWN}"  # type: ignore[attr-defined]


def test_no_other_console_is_used() -> None:
    assert [
        name for name, imported in modules().items() if any(one.startswith("rich.console") for one in imported)
    ] == ["console"]


def test_people_are_shown_nothing_by_print_that_a_file_brought() -> None:
    """Standard output has data (translations, JSON), or goes through `show`."""
    data = {"cli/evaluate.py", "cli/generate.py", "cli/train.py", "cli/common.py", "terminal.py"}
    package = ROOT / "seq2seq"
    printing = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"^\s+print\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert printing == data


# By the commands


@pytest.fixture
def forged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The contents of a checkpoint, to be changed and saved as ``a.ckpt``."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).write_text("a dog\n")
    return checkpoint.read(attentive.save(tmp_path / "b.ckpt"))


@pytest.mark.parametrize(
    "change", [{"version": HOSTILE, "format": 9}, {"version": HOSTILE, "model": {HOSTILE: 1}}, {"kind": HOSTILE}]
)
def test_a_checkpoints_own_words_steer_nothing(
    forged: dict[str, Any], change: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    change = {name: value.replace("\ud800", "") if isinstance(value, str) else value for name, value in change.items()}
    forged[checkpoint.SECTION] |= change
    torch.save(forged, "a.ckpt")
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["a.ckpt", "--src", "a", "--ref", "b"])
    said = capfd.readouterr().err
    assert ended.value.code == 2
    assert r"\x1b" in said
    assert not STEERING.search(said)


def test_a_files_name_steers_nothing(forged: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    name = HOSTILE.replace("\ud800", "")
    Path(name).write_text("a dog\n")
    for words in (["-i", name, "-o", "out"], ["-i", f"{name}-not-there"], ["-i", "a", "--shard", name]):
        with pytest.raises(SystemExit):
            translate.main(["b.ckpt", *words])
        said = capfd.readouterr().err
        assert r"\x1b" in said
        assert not STEERING.search(said)
    with pytest.raises(SystemExit):
        translate.main(["b.ckpt", f"--{name}"])
    assert not STEERING.search(capfd.readouterr().err)


def test_a_runs_error_steers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "x\x1b[2J"
    sweep.note_error(folder, "no")
    (folder / runs.ERROR).write_text("\x1b]0;owned\x07 it failed\n")
    monkeypatch.setattr(sweep, "planned", [folder])
    console = Console(file=io.StringIO(), soft_wrap=True, highlight=False)
    sweep._tell(console, set())
    written = console.file.getvalue()
    assert r"x\x1b[2J failed: \x1b]0;owned\x07 it failed" in written
    assert not STEERING.search(written)
