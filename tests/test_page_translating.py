"""Every command of ``docs/translating.md`` runs."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests import attentive
from tests.conftest import LINES, ROOT

PAGE = (ROOT / "docs" / "translating.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the page names."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("best", "step-240", "step-480"):
        attentive.save(folder / "run" / "checkpoints" / f"{name}.ckpt")
    attentive.save(folder / "average.ckpt", 2)
    for name in ("in", "test.src", "test.ref", "prefixes"):
        (folder / name).write_text("".join(line + "\n" for line in LINES[:2]))
    return folder


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_runs(place: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    name, *words = shlex.split(line, comments=True)
    main = importlib.import_module(f"seq2seq.cli.{name.removeprefix('seq2seq-')}").main
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 12
