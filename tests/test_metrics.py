"""Scores against sacreBLEU's own command and against figures worked out by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq import metrics
from seq2seq.errors import UserError

REFERENCES = ["The cat sat on the mat.", "", "Über den Fluß!", "A dog barks.", "It rains\u2028today.", "我们住在北京。"]
HYPOTHESES = ["The cat sat on a mat.", "", "Über den Fluss!", "A dog barks .", "It rained\u2028today.", "我们在北京。"]


@pytest.mark.parametrize(
    "name, tokenizer",
    [("bleu", "13a"), ("bleu", "none"), ("bleu", "zh"), ("bleu", "char"), ("bleu", "intl"), ("chrf", "13a")]
    + [("ter", "13a"), ("ter", "intl"), ("ter", "zh"), ("ter", "char")],
)
def test_a_score_is_what_the_sacrebleu_command_prints(tmp_path: Path, name: str, tokenizer: str) -> None:
    for file, lines in (("ref", REFERENCES), ("hyp", HYPOTHESES)):
        (tmp_path / file).write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-m", name, "--width", "9", "--format", "json"]
    command += ["--tokenize", tokenizer] if name == "bleu" else []
    command += ["--ter-normalized", "--ter-asian-support"] if name == "ter" and tokenizer in ("zh", "char") else []
    printed = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, text=True).stdout)
    score = getattr(metrics, name)(HYPOTHESES, REFERENCES, **({} if name == "chrf" else {"tokenizer": tokenizer}))
    assert score.value == pytest.approx(printed["score"], abs=1e-8)
    assert score.signature == printed["signature"]


def test_exact_match_counts_equal_lines_apart_from_spaces_at_the_ends() -> None:
    assert metrics.exact_match(["a", "b ", "c", ""], ["a", "b", "d", ""]) == 75


def test_perplexity_of_a_uniform_model_is_its_vocabulary() -> None:
    assert metrics.perplexity(10 * math.log(37), 10) == pytest.approx(37)
    assert metrics.perplexity(1e6, 1) == math.inf


@pytest.mark.parametrize("score", [metrics.bleu, metrics.chrf, metrics.ter, metrics.exact_match])
def test_lists_that_do_not_match_are_refused(score: object) -> None:
    with pytest.raises(UserError, match="there are 1 hypotheses but 2 references; the two must be line-aligned"):
        score(["a"], ["a", "b"])  # type: ignore[operator]
    with pytest.raises(UserError, match="nothing to score: both hypotheses and references are empty"):
        score([], [])  # type: ignore[operator]
