"""The English of pages, messages and docstrings stays plain: ``CONTRIBUTING.md`` has the rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

FORBIDDEN = (
    r"\b(?:gone on|(?:go|goes|went) on with)\b",  # resume
    r"(?<!there) is no\b",  # is not a
    r"(?<!there) is none\b",  # is not one
    r", say\b",  # for example
    r"\balone\b",  # only
    r"\bmakes? nothing of\b",  # ignore
    r"(?:^|[.:;] )what is\b(?!.*\?)",  # a noun
)
LEFT = {  # room: how many there may be at most. Lower the numbers as they fall, and remove a row that reaches 0.
    "docs/architecture.md": 1,
    "docs/extending.md": 1,
    "docs/mistakes.md": 15,
    "docs/translating.md": 1,
    "seq2seq/checkpoint.py": 2,
    "seq2seq/cli": 3,
    "seq2seq/data": 1,
    "seq2seq/evaluation": 1,
    "seq2seq/models": 1,
    "seq2seq/report": 3,
    "seq2seq/training": 2,
    "seq2seq/translate": 1,
}
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SOURCES = [*(ROOT / "seq2seq").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml")]


def room(path: Path) -> str:
    """A page, ``conf``, or a package or module at the root of ``seq2seq``."""
    parts = path.relative_to(ROOT).parts
    return "/".join(parts if path.suffix == ".md" else parts[:1] if parts[0] == "conf" else parts[:2])


def odd_phrases(path: Path) -> list[str]:
    """The lines of a file that hold a forbidden phrase, as often as they hold one; a page may quote one."""
    text = path.read_text(encoding="utf-8")
    text = re.sub("“[^”]*”" if path.suffix == ".md" else r"\bis None\b", "", text)
    return [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for line in text.splitlines()
        for phrase in FORBIDDEN
        for _ in re.findall(phrase, line, re.IGNORECASE)
    ]


@pytest.mark.parametrize("name", sorted({room(path) for path in [*PAGES, *SOURCES]}))
def test_a_room_has_no_more_odd_phrases_than_it_had(name: str) -> None:
    found = [line for path in [*PAGES, *SOURCES] if room(path) == name for line in odd_phrases(path)]
    assert len(found) <= LEFT.get(name, 0), "\n".join(found)


def test_the_readme_fits_on_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(
    "line",
    ["It can be gone on with.", "a.txt is no text", "Set dropout, say.", "lines alone", "What is kept is small."],
)
def test_an_odd_phrase_is_found(line: str) -> None:
    assert sum(len(re.findall(phrase, line, re.IGNORECASE)) for phrase in FORBIDDEN) == 1


@pytest.mark.parametrize("line", ["There is no other way.", "What is a beam?", "It says so.", "is normal"])
def test_a_plain_phrase_is_not_found(line: str) -> None:
    assert not any(re.search(phrase, line, re.IGNORECASE) for phrase in FORBIDDEN)
