"""The English of pages, messages and docstrings stays plain: ``CONTRIBUTING.md`` has the rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

FORBIDDEN = (  # and the plain word
    r"\bgone on\b",  # resumed
    r"\b(?:go|goes|went) on\b",  # resume, continue
    r"(?<!there) is no\b",  # is not a
    r"\bis none\b",  # is missing
    r"\b(?:is|are) of (?!size\b)",  # belongs to, comes from
    r", say\b",  # for example
    r"\balone\b",  # only
    r"\banew\b",  # again
    r"\bnobody\b",  # no process, no user
    r"\bbut for\b",  # except for
    r"\bas a rule\b(?! of thumb)",  # usually
    r"\b(?:has|have) a say\b",  # is used
    r"\bmakes? (?:nothing|sense) of\b",  # ignore, read
    r"\bof ours\b",  # of seq2seq
    r"(?:^|[.:;,] )what (?:is|has|stands|comes|came|goes)\b(?!.*\?)",  # a noun
)
PACKAGE = ROOT / "seq2seq"
TEXTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(path for ending in ("py", "md", "jinja") for path in PACKAGE.rglob(f"*.{ending}")),
    *(ROOT / "conf").rglob("*.yaml"),
    *(ROOT / "bench").glob("*.py"),
    ROOT / "data" / "README.md",
]


def odd_phrases(path: Path) -> list[str]:
    """The lines of a file that hold a forbidden phrase, as often as they hold one; a page may quote one."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\bis None\b", "", re.sub("“[^”]*”", "", text) if path.suffix == ".md" else text)
    return [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for line in text.splitlines()
        for phrase in FORBIDDEN
        for _ in re.findall(phrase, line, re.IGNORECASE)
    ]


def test_no_text_has_an_odd_phrase() -> None:
    assert len(TEXTS) > 150
    found = [line for path in TEXTS for line in odd_phrases(path)]
    assert not found, "\n".join(found)


def test_the_readme_fits_on_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(
    "line",
    [
        "It can be gone on with.",
        "the same command goes on",
        "a.txt is no text",
        "The file is of another run.",
        "Set dropout, say.",
        "lines alone",
        "drawn anew",
        "empty but for spaces",
        "not a file of ours",
        "Keep it small: what has ended is dropped.",
        "What is kept is small.",
    ],
)
def test_an_odd_phrase_is_found(line: str) -> None:
    assert sum(len(re.findall(phrase, line, re.IGNORECASE)) for phrase in FORBIDDEN) == 1


@pytest.mark.parametrize(
    "line",
    [
        "There is no other way.",
        "What is a beam?",
        "It says so.",
        "is normal",
        "Twos normal.",
        "The matrix is of size 2x3.",
    ],
)
def test_a_plain_phrase_is_not_found(line: str) -> None:
    assert not any(re.search(phrase, line, re.IGNORECASE) for phrase in FORBIDDEN)
