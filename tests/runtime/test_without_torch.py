"""An exported model translates where torch and most other packages are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.cli.translate import main
from seq2seq.translate.translator import Translator
from tests.conftest import LINES, ROOT
from tests.exported import both

MISSING = (
    "torch",
    "lightning",
    "hydra",
    "omegaconf",
    "sacrebleu",
    "scipy",
    "filelock",
    "yaml",
    "rich",
    "matplotlib",
    "onnx",
)
BLOCKED = """
import sys
for name in {missing!r}:
    sys.modules[name] = None  # importing it raises an ImportError
"""
LIBRARY = """
from seq2seq import Translator
translator = Translator.from_export({path!r}, beam=3)
lines = {lines!r}
found = [*translator.translate(lines), *translator.translate(lines, search="sample", seed=7)]
best = translator.n_best(lines, 2, attention=True)
scored = translator.score(lines, found[: len(lines)])
print("\\n".join([*found, *(f"{{one.text}} {{one.links}}" for own in best for one in own)]))
beginning = translator.translate(lines, prefixes=["b"] * len(lines))
print(translator.nll(lines, found[: len(lines)])[1], len(scored), beginning[0])
"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return both(tmp_path_factory.mktemp("without"), 3)


def run(
    code: str, *arguments: object, stdin: str = "", missing: tuple[str, ...] = MISSING
) -> subprocess.CompletedProcess[str]:
    """Run code in a process where packages are missing."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(missing=missing) + code, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )


def test_the_library(paths: tuple[Path, Path]) -> None:
    done = run(LIBRARY.format(path=str(paths[1]), lines=LINES))
    assert done.returncode == 0, done.stderr
    trained = Translator.from_checkpoint(paths[0], beam=3)
    texts = [*trained.translate(LINES), *trained.translate(LINES, search="sample", seed=7)]
    best = [f"{one.text} {one.links}" for own in trained.n_best(LINES, 2, attention=True) for one in own]
    last = f"{trained.nll(LINES, texts[: len(LINES)])[1]} {len(LINES)} {trained.translate(LINES[0], prefixes='b')}"
    assert done.stdout.split("\n")[:-1] == [*texts, *best, last]


COMMAND = "from seq2seq.cli.translate import main; main()"


@pytest.mark.parametrize("words", [[], ["--beam", 3, "--n-best", 2], ["--sample", "--seed", 4], ["--prefix", "the"]])
def test_the_command(paths: tuple[Path, Path], words: list[object], tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_text("\n".join([*LINES, "", "x"]) + "\n")
    with pytest.raises(SystemExit, match="0"):
        main([str(one) for one in (paths[0], "-i", source, "-o", out, "--max-extra", 4, *words)])
    done = run(COMMAND, paths[1], "--max-extra", 4, *words, stdin=source.read_text())
    assert done.returncode == 0, done.stderr
    found, expected = (
        [line.rpartition(" ||| ") for line in text.split("\n")] for text in (done.stdout, out.read_text())
    )
    assert [one[0] for one in found] == [one[0] for one in expected]
    if "--n-best" not in words:
        assert found == expected


def test_a_model_of_torch_says_what_is_missing(paths: tuple[Path, Path]) -> None:
    done = run(f"from seq2seq import Translator; Translator.from_checkpoint({str(paths[0])!r})")
    assert "torch" in done.stderr


def test_without_onnxruntime_it_says_how_to_get_it(paths: tuple[Path, Path]) -> None:
    done = run(COMMAND, paths[1], stdin="a\n", missing=("torch", "onnxruntime"))
    assert done.returncode == 2
    assert "an exported model needs onnxruntime, which is not installed; pip install '.[runtime]'." in done.stderr


def test_translating_starts_without_what_it_does_not_need(paths: tuple[Path, Path]) -> None:
    slow = ("torch", "multiprocessing", "filelock", "rich", "numpy.ma", "yaml", "asyncio")
    code = f"{COMMAND[:-8]}\ntry:\n    main()\nfinally:\n    print(*[name for name in {slow!r} if name in sys.modules])"
    done = run(code, paths[1], "-o", os.devnull, stdin="a dog\n", missing=())
    assert done.stdout == "\n", done.stderr


def test_one_line_from_a_cold_start_takes_little(paths: tuple[Path, Path]) -> None:
    """The bounds are several times what an idle machine needs."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the peak of memory is read from /proc")
    told = f"print(time.process_time(), open({str(status)!r}).read(), sep=chr(10))"
    code = f"{COMMAND[:-8]}\nimport time\ntry:\n    main()\nfinally:\n    {told}"
    done = run(code, paths[1], "-o", os.devnull, stdin="a dog\n", missing=())
    seconds, *rest = done.stdout.split("\n")
    (peak,) = (int(line.split()[1]) for line in rest if line.startswith("VmHWM"))
    assert float(seconds) < 3
    assert peak < 100_000  # kilobytes
