"""The pages say what the code does today."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config.describe import describe
from tests.conftest import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data" / "README.md"]


def test_the_page_of_keys_is_what_the_code_describes() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == describe()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_config_file_says_what_it_is() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# "), path


def names(nav: Any) -> list[str]:
    """The pages of a site's navigation."""
    if isinstance(nav, str):
        return [nav]
    return [name for entry in (nav.values() if isinstance(nav, dict) else nav) for name in names(entry)]


def test_the_site_leads_to_every_page() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(names(nav)) == sorted(pages)


def test_the_python_reference_has_every_package() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    packages = {path.parent.name for path in (ROOT / "seq2seq").glob("*/__init__.py")} - {"cli"}
    named = {name.split(".")[1] for name in re.findall(r"^::: (seq2seq\.\w+)$", text, re.MULTILINE)}
    assert packages <= named
    assert all((ROOT / "seq2seq" / name).exists() or (ROOT / "seq2seq" / f"{name}.py").exists() for name in named)
