"""A package imports from those listed above it, and other people's libraries stay in their places."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.conftest import ROOT

PACKAGE = ROOT / "seq2seq"
ORDER = [  # packages and modules of the root; each may import from those before it
    "terminal",
    "errors",
    "stopping",
    "console",
    "config",
    "files",
    "results",
    "runs",
    "tokens",
    "metrics",
    "data",
    "models",
    "decoding",
    "runtime",
    "checkpoint",
    "language_model",
    "translate",
    "evaluation",
    "export",
    "report",
    "training",
    "cli",
]
OUTSIDE = {  # who may import what, packages with all that is in them
    "hydra": {"cli.overrides", "cli.sweep", "cli.train", "cli.words"},
    "omegaconf": {"cli.overrides", "cli.sweep", "cli.train"},
    "lightning": {"training"},
    "sentencepiece": {"tokens"},
    "sacrebleu": {"metrics", "report"},
    "scipy": {"report"},
    "matplotlib": {"translate.attention_plot", "report", "cli.probe"},
    "jinja2": {"report"},
    "onnx": {"export"},
    "onnxruntime": {"export", "runtime.sessions"},
    "torch": {
        "data",
        "models",
        "decoding",
        "checkpoint",
        "language_model",
        "translate",
        "evaluation",
        "export",
        "training",
        "cli",
    },
}
NO_TORCH = {
    "data.arrays",
    "data.corpora",
    "data.memory",
    "data.pairs",
    "decoding.base",
    "decoding.batching",
    "decoding.draws",
    "decoding.settings",
    "translate.alignment",
    "translate.attention_plot",
    "translate.call",
    "translate.files",
    "translate.options",
    "translate.outputs",
    "translate.reading",
    "translate.results",
    "translate.spelling",
    "cli.words",
    "cli.overrides",
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def modules() -> dict[str, set[str]]:
    """What each module imports, by its name inside the package."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): imports(path) for path in paths}


MODULES = modules()


def ours(imported: set[str]) -> set[str]:
    return {one.removeprefix("seq2seq.") for one in imported if one.startswith("seq2seq.")} & set(MODULES)


def is_in(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def test_every_module_has_its_place() -> None:
    assert {name.split(".")[0] for name in MODULES} == set(ORDER)


def test_imports_go_down() -> None:
    for name, imported in MODULES.items():
        place = ORDER.index(name.split(".")[0])
        above = {one for one in ours(imported) if ORDER.index(one.split(".")[0]) > place}
        assert not above, f"{name} imports {above}"


def test_no_modules_import_each_other() -> None:
    try:
        TopologicalSorter({name: ours(imported) - {name} for name, imported in MODULES.items()}).prepare()
    except CycleError as error:
        raise AssertionError(f"modules import each other: {' <- '.join(error.args[1])}") from None


def test_libraries_stay_in_their_places() -> None:
    for name, imported in MODULES.items():
        roots = {one.split(".")[0] for one in imported}
        for library in roots & set(OUTSIDE):
            assert is_in(name, OUTSIDE[library]), f"{name} imports {library}"
        assert "torch" not in roots or not is_in(name, NO_TORCH), f"{name} imports torch"


def strings(path: Path) -> set[str]:
    """The string literals of a module, docstrings among them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_only_commands_know_flags() -> None:
    """The library's messages name keys and parameters; a command adds its flags (``cli/flags.py``)."""
    others = re.compile(r"var\(--|seq2seq-[a-z]+ --")  # of a style sheet, and a whole command to type
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("cli/") and name != "training/experiment.py":  # which asks git
            found = {text for text in strings(path) if re.search(r"(?<!\w)--[a-z]", others.sub("", text))}
            assert not found, f"{name} names flags: {found}"


def test_the_ground_floor_needs_the_standard_library_only() -> None:
    for name in (
        "terminal",
        "errors",
        "stopping",
        "config.checks",
        "config.schema",
        "config.tasks",
        "config.values",
        "config.describe",
    ):
        roots = {one.split(".")[0] for one in MODULES.get(name, set())}
        assert roots <= {"seq2seq", *sys.stdlib_module_names}, f"{name} imports {roots}"
