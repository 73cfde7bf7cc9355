"""The wheel alone, in an environment of its own, trains and translates from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT, SMALL_RUN


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


MALICIOUS = {"lightning": ("2.6.2", "2.6.3")}  # GHSA-w37p-236h-pfx3


def test_no_requirement_allows_a_malicious_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for names in project["optional-dependencies"].values() for one in names]
    required = [Requirement(one) for one in project["dependencies"] + extras]
    pinned = [line for line in (ROOT / "constraints.txt").read_text().split("\n") if line and not line.startswith("#")]
    assert set(MALICIOUS) <= {one.name for one in required}
    for one in [*required, *map(Requirement, pinned)]:
        for version in MALICIOUS.get(one.name, ()):
            assert not one.specifier.contains(version, prereleases=True), f"{one} allows {version}"


def test_the_wheel_holds_every_config_and_every_table_of_words(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tables = {str(path.relative_to(ROOT)) for path in (ROOT / "seq2seq").rglob("*.tsv")}
    assert tables and tables <= names
    assert {f"seq2seq/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")} <= names
    assert not any(name.startswith(("tests/", "conf/", "runs/", "data/")) for name in names)


def test_the_wheel_trains_and_translates_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """A fresh environment that sees the installed libraries but not this checkout."""
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(site), "--quiet", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    work = tmp_path / "empty"
    work.mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = str(environment / "bin" / "python")
    where = subprocess.run(
        [python, "-c", "import seq2seq; print(seq2seq.__file__)"], cwd=work, env=clean, capture_output=True, text=True
    )
    assert str(site) in where.stdout, where
    train = [python, "-m", "seq2seq.cli.train", "name=w", *SMALL_RUN, "trainer.max_steps=2"]
    done = subprocess.run(train, cwd=work, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = (work / "runs" / "w").iterdir()
    translate = [python, "-m", "seq2seq.cli.translate", str(run)]
    done = subprocess.run(translate, cwd=work, env=clean, capture_output=True, text=True, input="1+2\n\n3+4\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 3
    report = [python, "-m", "seq2seq.cli.report", str(run)]
    done = subprocess.run(report, cwd=work, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (run / "report" / "report.html").is_file()
