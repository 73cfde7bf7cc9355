"""A module imports from those listed above it; other people's libraries stay in their places."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from tests.conftest import ROOT

ORDER = [  # each may import from those before it
    "terminal",
    "errors",
    "given",
    "stopping",
    "config",
    "segmentation",
    "reservoir",
    "tokenizer",
    "bounded",
    "threads",
    "search",
    "beam",
    "sampling",
    "ensemble",
    "fusion",
    "alignment",
    "metrics",
    "detect",
    "progress",
    "models.dropout",
    "models.lstm",
    "models.recurrent",
    "models.attention",
    "models.encoder",
    "models.decoder",
    "models.loss",
    "models.language_model",
    "models.seq2seq",
    "models.graphs",
    "models.inference",
    "data.chunks",
    "data.packed",
    "data.encoding",
    "data.text",
    "data.lexicon",
    "data.phrasebook",
    "data.synthetic",
    "data.download",
    "data.prepare",
    "data.corpus",
    "data.workers",
    "data.batch",
    "data.stream",
    "runs",
    "partial",
    "shortlist",
    "sizes",
    "checkpoint",
    "average",
    "data.datamodule",
    "language_model",
    "warm_start",
    "forms",
    "translate",
    "attention_plot",
    "outputs",
    "rescore",
    "files",
    "advice",
    "evaluate",
    "probe",
    "report.arms",
    "report.significance",
    "report.analysis",
    "report.plots",
    "report.words",
    "report.write",
    "distributed",
    "ema",
    "lit",
    "lit_lm",
    "callbacks",
    "trainer",
    "training",
    "cli.common",
    "cli.average",
    "cli.language_model",
    "cli.data",
    "cli.evaluate",
    "cli.generate",
    "cli.translate",
    "cli.probe",
    "cli.report",
    "cli.words",
    "cli.overrides",
    "cli.sweep",
    "cli.train",
]
OUTSIDE = {  # who may import what
    "hydra": {"cli.words", "cli.overrides", "cli.sweep", "cli.train"},
    "omegaconf": {"cli.overrides", "cli.sweep", "cli.train"},
    "lightning": {"data.datamodule", "lit", "lit_lm", "callbacks", "trainer", "training"},
    "sentencepiece": {"segmentation", "tokenizer"},
    "sacrebleu": {"metrics", "report.significance"},
}
NO_TORCH = {
    "terminal",
    "errors",
    "given",
    "stopping",
    "config",
    "segmentation",
    "reservoir",
    "tokenizer",
    "bounded",
    "metrics",
    "detect",
    "progress",
    "data.chunks",
    "data.packed",
    "data.encoding",
    "data.text",
    "data.lexicon",
    "data.phrasebook",
    "data.synthetic",
    "runs",
    "partial",
    "attention_plot",
    "report.arms",
    "report.significance",
    "report.analysis",
    "report.plots",
    "report.words",
    "report.write",
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
    package = ROOT / "seq2seq"
    paths = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(package).with_suffix("").parts): imports(path) for path in paths}


def test_every_module_has_its_place() -> None:
    assert set(modules()) == set(ORDER)


def test_imports_go_down() -> None:
    for name, imported in modules().items():
        ours = {one.removeprefix("seq2seq.") for one in imported if one.startswith("seq2seq.")} & set(ORDER)
        above = {one for one in ours if ORDER.index(one) >= ORDER.index(name)}
        assert not above, f"{name} imports {above}"


def test_libraries_stay_in_their_places() -> None:
    for name, imported in modules().items():
        roots = {one.split(".")[0] for one in imported}
        for library, allowed in OUTSIDE.items():
            assert library not in roots or name in allowed, f"{name} imports {library}"
        assert name not in NO_TORCH or "torch" not in roots, f"{name} imports torch"


def test_layer_zero_needs_its_own_library_alone() -> None:
    allowed = {
        "terminal": set(),
        "errors": set(),
        "given": set(),
        "stopping": set(),
        "config": set(),
        "segmentation": {"sentencepiece"},
        "tokenizer": {"sentencepiece"},
        "bounded": set(),
        "threads": {"torch"},
        "search": {"torch"},
        "beam": {"torch"},
        "sampling": {"torch"},
        "ensemble": {"torch"},
        "fusion": {"torch"},
        "metrics": {"sacrebleu"},
    }
    found = modules()
    for name, libraries in allowed.items():
        roots = {one.split(".")[0] for one in found[name]} - set(sys.stdlib_module_names) - {"seq2seq"}
        assert roots <= libraries, f"{name} imports {roots}"
