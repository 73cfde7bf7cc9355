"""The pages say what the code does today."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config.describe import describe
from seq2seq.config.keys import fields_below
from seq2seq.config.schema import Config
from tests.conftest import ROOT

NOT_FOR_USERS = {
    "configuration.md",  # lists every key
    "mistakes.md",  # repeats messages
    "architecture.md",  # says how it is made
    "extending.md",
}
USER_PAGES = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in NOT_FOR_USERS),
]
KEYS = [name for name, _, _ in fields_below(Config)]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data" / "README.md"]


def test_the_page_of_keys_is_what_the_code_describes() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == describe()


def code_of(page: str) -> str:
    """The code of a page, a piece a line: what stands in fences, and between single backticks."""
    fenced = re.findall(r"^```.*?\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`]+)`", rest)])


def names_key(code: str, key: str) -> bool:
    """Whether code names a key by its full name. One without a section must be set, as in ``seed=1``: it is a common
    word otherwise.
    """
    end = r"(?!\w)" if "." in key else "="
    return re.search(rf"(?<![\w.-]){re.escape(key)}{end}", code) is not None


def test_a_page_names_a_key_only_in_full_and_in_code() -> None:
    page = "the seed and model.cell\n```sh\ntrain data.kind=x --seed 1 my.optim.lr\n```\n`tokenizer.likes`, `model`"
    code = code_of(page)
    assert [key for key in KEYS if names_key(code, key)] == ["data.kind"]
    assert names_key("trainer=cpu seed=1,2", "seed") and names_key("+trainer.lightning.profiler=x", "trainer.lightning")


@pytest.mark.parametrize("key", KEYS)
def test_a_page_says_when_to_set_each_key(key: str) -> None:
    """A key that no page tells a user to set has no place: measure it, tell its use, or leave it out."""
    code = "\n".join(code_of(path.read_text(encoding="utf-8")) for path in USER_PAGES)
    assert names_key(code, key), f"no page but the generated one names {key}; see docs/training.md"


@pytest.mark.parametrize("page", USER_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_no_key_that_is_not_there(page: Path) -> None:
    sections = {key.split(".")[0] for key in KEYS if "." in key}
    named = re.findall(rf"(?<![\w./+-])((?:{'|'.join(sections)})(?:\.[a-z_0-9]+)+)(?!\w)", page.read_text("utf-8"))
    assert [one for one in named if one not in (*KEYS, "metrics.csv")] == []


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
