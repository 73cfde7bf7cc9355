"""The commands and the Python of the pages run."""

from __future__ import annotations

import glob
import gzip
import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests import attentive, exported
from tests.conftest import LINES, ROOT

PAGES = ("README.md", "docs/translating.md", "docs/files.md", "docs/training.md", "docs/api/index.md")
QUICK = ("seq2seq-translate ", "seq2seq-evaluate ", "seq2seq-average ")  # the others train, or need what was trained
RUN = Path("runs", "phrasebook", "seed-1")


def blocks(language: str) -> list[tuple[str, str]]:
    """A page's name and the text of each block of code in a language."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        found += [(page, block) for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]
    return found


COMMANDS = [
    pytest.param(line, id=f"{page}-{line}")
    for page, block in blocks("sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith(QUICK)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages name."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("best", "step-240", "step-480"):
        attentive.save(folder / "run" / "checkpoints" / f"{name}.ckpt")
    exported.export(attentive.save(folder / RUN / "checkpoints" / "best.ckpt"), folder / "phrasebook")
    attentive.save(folder / "best.ckpt")
    attentive.save(folder / "average.ckpt", 2)
    text = "".join(line + "\n" for line in LINES[:2])
    for name in ("in", "in.txt", "test.src", "test.ref", "test.tgt", "prefixes"):
        (folder / name).write_text(text)
    (folder / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def expand(word: str) -> list[str]:
    """What a shell makes of a word with a star."""
    return glob.glob(word) if "*" in word else [word]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_a_page_runs(place: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    name, *words = shlex.split(line, comments=True)
    main = importlib.import_module(f"seq2seq.cli.{name.removeprefix('seq2seq-')}").main
    with pytest.raises(SystemExit) as ended:
        main([one for word in words for one in expand(word)])
    assert ended.value.code == 0


@pytest.mark.parametrize(
    "code", [pytest.param(code, id=f"{page}-{number}") for number, (page, code) in enumerate(blocks("python"))]
)
def test_the_python_of_a_page_runs(place: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    exec(code, {})


def test_the_pages_have_commands() -> None:
    assert len(COMMANDS) > 16
