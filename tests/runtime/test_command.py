"""``seq2seq-translate`` takes an exported folder like a run: the same flags, the same journal, ``--resume``."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from seq2seq.cli import evaluate, probe
from seq2seq.cli.translate import main
from seq2seq.files import resumable
from seq2seq.translate.outputs import parse_n_best
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import LINES
from tests.exported import both, export

INPUT = [*LINES, "", "a dog sings well", "x"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return both(tmp_path_factory.mktemp("command"), 3)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in", "ref"):
        Path(name).write_text("\n".join(INPUT) + "\n")
    return tmp_path


def give(*words: object) -> int:
    """The exit status of the command."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


FLAGS: dict[str, list[object]] = {
    "greedy": [],
    "beam": ["--beam", 3, "--length-penalty", 0.6, "--coverage-penalty", 0.1],
    "sample": ["--sample", "--seed", 5, "--top-k", 4, "--temperature", 0.7],
    "list": ["--beam", 3, "--n-best", 3, "--alignments", "links"],
    "score": ["--score", "in", "--alignments", "links"],
    "prefix": ["--prefix", "the d", "--alignments", "links"],
    "copies": ["--copy-unknown", "--max-ratio", 1, "--batch-tokens", 30, "--window", 2],
    "block": ["--shard", "2/3"],
    "threads": ["--threads", 2, "--max-source", 4],
}


def numbers(line: str) -> tuple[str, list[float]]:
    """A line of output with the scores in it apart."""
    if " ||| " in line:
        number, text, score = parse_n_best(line)
        return f"{number} {text}", [score]
    with contextlib.suppress(ValueError):
        return "", [float(one) for one in line.split("\t")]
    return line, []


@pytest.mark.parametrize("case", FLAGS)
def test_every_flag_does_what_it_does_with_the_checkpoint(paths: tuple[Path, Path], place: Path, case: str) -> None:
    found = []
    for path in paths:
        assert give(path, "-i", "in", "-o", "out", *FLAGS[case]) == 0
        found.append([Path(name).read_text().split("\n") for name in ("out", "links") if Path(name).exists()])
    for own, theirs in zip(*found, strict=True):
        for (words, scores), (other, expected) in zip(map(numbers, own), map(numbers, theirs), strict=True):
            assert (words, scores) == (other, pytest.approx(expected, abs=1e-4))


def killed(monkeypatch: pytest.MonkeyPatch, model: Path) -> list[object]:
    """Kill a translation in its third window; returns what counts windows."""
    real, calls = Translator.translate, []

    def killed_later(translator: Translator, *given: object, **options: object) -> object:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(translator, *given, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Translator, "translate", killed_later)
    assert give(model, "-i", "in", "-o", "out", "--window", 2) == 130
    assert not Path("out").exists()
    return calls


def test_a_killed_translation_is_resumed_to_the_same_bytes(
    paths: tuple[Path, Path], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    assert give(paths[1], "-i", "in", "-o", "whole", "--window", 2) == 0
    calls = killed(monkeypatch, paths[1])
    assert give(paths[1], "-i", "in", "-o", "out", "--window", 2, "--resume") == 0
    assert len(calls) < 3 + -(-len(INPUT) // 2)  # what was done is not done again
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert give(paths[1], "-i", "in", "-o", "out", "--resume") == 0


def test_another_export_does_not_resume_it(
    paths: tuple[Path, Path], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = export(attentive.save(place / "b.ckpt", 4), place / "other")
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    killed(monkeypatch, paths[1])
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert give(other, "-i", "in", "-o", "out", "--window", 2, "--resume") == 2
    assert "the SHA-256 of checkpoint 1" in capsys.readouterr().err


def test_it_is_evaluated_like_its_checkpoint(
    paths: tuple[Path, Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for path in paths:
        with pytest.raises(SystemExit, match="0"):
            evaluate.main([str(path), "--src", "in", "--ref", "ref", "--beam", "2"])
        found.append(json.loads(capsys.readouterr().out))
    theirs, own = ({name: one[name] for name in one if "second" not in name} for one in found)
    assert own["parameters"] > 0
    assert own == {**theirs, "perplexity": pytest.approx(theirs["perplexity"], rel=1e-4)}


def test_it_cannot_be_probed(paths: tuple[Path, Path], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        probe.main([str(paths[1]), "--src", "in", "--ref", "ref", "-o", "probe"])
    assert "an exported model has no network to look into; use the checkpoint." in capsys.readouterr().err


REFUSED: dict[str, tuple[list[object], str]] = {
    "int8": (["--int8"], "decode.int8=true (--int8) asks for 8-bit weights, and this export has 32-bit ones"),
    "graphs": (["--cuda-graphs"], "decode.cuda_graphs (--cuda-graphs) is for networks on a GPU"),
    "shortlist": (["--shortlist"], "decode.shortlist (--shortlist): this export has none"),
    "device": (["--device", "cuda"], "--device cuda is for checkpoints, and model is an exported model; leave it out."),
    "no device": (["--device", "abacus"], "--device abacus is not known"),
    "threads": (["--threads", 5000], "--threads 5000 is out of range"),
    "ensemble": (["model"], "model is an exported model, and an ensemble needs checkpoints; name one model."),
    "listener": (["--lm", "model"], "--lm needs a checkpoint, and model is an exported model; leave it out."),
    "output": (["-o", "model/step.onnx"], "model/step.onnx is a checkpoint and output; name another output."),
    "links": (["--alignments", "model/config.json"], "model/config.json is a checkpoint and output"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_one_line_and_leaves_nothing(
    paths: tuple[Path, Path], place: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(paths[1], "model")
    words, said = REFUSED[case]
    before = {path: path.stat().st_size for path in place.rglob("*")}
    output = [] if "-o" in words else ["-o", "out"]
    assert give("model", *words, "-i", "in", *output) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert {path: path.stat().st_size for path in place.rglob("*")} == before
