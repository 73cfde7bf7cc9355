"""Results and probes come back as they were written, and damaged ones are refused by the names of what they lack."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import UserError
from seq2seq.files.records import write_json
from seq2seq.results.probe import Probe
from seq2seq.results.result import Origin, Result
from seq2seq.results.scores import LanguageModelScores, Scores, TextScores, TranslationScores


def test_a_probe_that_is_none_is_refused(tmp_path: Path) -> None:
    assert Probe.read(tmp_path / "probe.json") is None
    (tmp_path / "probe.json").write_text("3")
    with pytest.raises(UserError, match="probe.json holds no keys; make it again with seq2seq-probe"):
        Probe.read(tmp_path / "probe.json")


def test_a_probe_is_read_in_utf_8_and_past_keys_that_it_does_not_know(tmp_path: Path) -> None:
    overall = {"accuracy": 0.5, "nächste": {"größer": ["ä", None]}}
    values = PROBE | {"accuracy_by_position": PROBE["accuracy_by_position"] | {"overall": overall}, "来": "訳"}
    write_json(tmp_path / "probe.json", PROBE)
    known = Probe.read(tmp_path / "probe.json")
    assert known is not None
    for escaped in (False, True):
        (tmp_path / "probe.json").write_text(json.dumps(values, ensure_ascii=escaped), encoding="utf-8")
        assert Probe.read(tmp_path / "probe.json") == known


def hollow(values: dict[str, Any], *path: str) -> dict[str, Any]:
    """The values without what the path leads to."""
    name, *rest = path
    return {key: hollow(value, *rest) if key == name else value for key, value in values.items() if rest or key != name}


PROBE = {
    "gradient_reach": [],
    "peeky_reliance": {
        "overall": {"total_variation": 0.5},
        "by_position": {"total_variation": [0.5, 0.5], "count": [2, 1]},
    },
    "accuracy_by_position": {"overall": {"accuracy": 0.5}, "by_position": {"accuracy": [0.5], "count": [2]}},
}
REACH = {
    "by_position": {"share": [1.0], "count": [2]},
    "by_distance": {"norm": [None, 1.0], "count": [0, 2]},
    "decay_per_step": None,
}


@pytest.mark.parametrize(
    "values, lacking",
    [
        (PROBE | {"accuracy_by_position": {}}, "accuracy_by_position.overall, accuracy_by_position.by_position"),
        (hollow(PROBE, "accuracy_by_position", "overall"), "accuracy_by_position.overall"),
        (hollow(PROBE, "accuracy_by_position", "by_position", "count"), "accuracy_by_position.by_position.count"),
        (hollow(PROBE, "peeky_reliance", "overall", "total_variation"), "peeky_reliance.overall.total_variation"),
        (hollow(PROBE, "peeky_reliance"), "peeky_reliance"),
        (PROBE | {"peeky_reliance": {"overall": 3}}, "peeky_reliance.overall, peeky_reliance.by_position"),
        (PROBE | {"gradient_reach": [3]}, "gradient_reach"),
        (PROBE | {"gradient_reach": [hollow(REACH, "by_distance", "norm")]}, "gradient_reach.by_distance.norm"),
        (
            PROBE | {"gradient_reach": [REACH | {"by_position": {"share": ["x"], "count": [2]}}]},
            "gradient_reach.by_position.share",
        ),
        (
            PROBE | {"gradient_reach": [REACH | {"by_position": {"share": [1.0], "count": [2, 2]}}]},
            "gradient_reach.by_position.count",
        ),
    ],
)
def test_a_hollow_probe_is_refused_by_the_name_of_what_is_missing(
    tmp_path: Path, values: dict[str, Any], lacking: str
) -> None:
    write_json(tmp_path / "probe.json", PROBE | {"gradient_reach": [REACH]})
    found = Probe.read(tmp_path / "probe.json")
    assert found is not None and found.gradient_reach[0].by_distance.norm == (None, 1.0)
    assert found.num_sentences is None and found.gradient_reach[0].by_distance.log_norm is None  # of an older version
    write_json(tmp_path / "probe.json", values)
    with pytest.raises(UserError, match=rf"probe.json has no {lacking}; make it again with seq2seq-probe"):
        Probe.read(tmp_path / "probe.json")


TRANSLATION = TranslationScores(
    bleu=30.5,
    bleu_signature="nrefs:1|tok:13a",
    chrf=50.0,
    chrf_signature="nrefs:1",
    ter=40.0,
    ter_signature="nrefs:1",
    exact_match=12.5,
    perplexity=math.inf,
    num_tokens=418,
    num_sentences=100,
    parameters=13790,
    seconds=0.5,
    sentences_per_second=200.0,
)
TEXT = TextScores(perplexity=20.5, word_perplexity=80.0, num_tokens=99, num_words=60, num_unknown=0)
LANGUAGE_MODEL = LanguageModelScores(
    train_scored_lines=7,
    train_lines=9,
    train=TEXT,
    valid=TEXT,
    test=TEXT,
    num_sentences=10,
    parameters=99,
    seconds=0.5,
    tokens_per_second=198.0,
)
ORIGIN = Origin(best_step=9, train_seconds=1.5, train_tokens_per_second=99.0, version="1", torch="2", git_revision=None)


@pytest.mark.parametrize(
    "scores",
    [
        TRANSLATION,
        dataclasses.replace(TRANSLATION, bleu_tokenized=1.5, bleu_tokenized_signature="tok:none"),
        dataclasses.replace(TRANSLATION, extra={"length_ratio": 0.9}),
        LANGUAGE_MODEL,
    ],
)
def test_a_result_that_is_written_reads_as_it_was(scores: Scores, tmp_path: Path) -> None:
    result = Result(scores, ORIGIN)
    result.write(tmp_path / "test.json")
    assert Result.read(tmp_path / "test.json") == result
    assert list(json.loads((tmp_path / "test.json").read_text())) == list(result.plain())


def test_a_result_has_the_order_of_figures_that_run_folders_have() -> None:
    """A reader of ``test.json`` sees the scores first, and where they come from last."""
    names = list(Result(LANGUAGE_MODEL, ORIGIN).plain())
    assert names[:5] == ["task", "train_scored_lines", "train_lines", "train_perplexity", "train_word_perplexity"]
    assert names[8:14:5] == ["valid_perplexity", "perplexity"] and names[-3:] == ["version", "torch", "git_revision"]
    assert "bleu_tokenized" not in Result(TRANSLATION, ORIGIN).plain()


def test_a_result_of_an_older_version_lacks_what_that_did_not_write(tmp_path: Path) -> None:
    old = hollow(hollow(Result(TRANSLATION, ORIGIN).plain(), "valid_seconds"), "num_tokens")
    write_json(tmp_path / "test.json", hollow(old, "git_revision"))
    found = Result.read(tmp_path / "test.json")
    assert found is not None and found.origin.valid_seconds == 0 and found.origin.git_revision is None
    assert found.figure("num_tokens") is None and found.figure("perplexity") == math.inf


def test_a_language_models_result_is_refused_by_all_that_it_lacks(tmp_path: Path) -> None:
    lacking = hollow(hollow(Result(LANGUAGE_MODEL, ORIGIN).plain(), "num_words"), "torch")
    write_json(tmp_path / "test.json", hollow(lacking, "valid_word_perplexity"))
    message = r"test.json has no valid_word_perplexity, num_words, torch; delete it to have the run scored again"
    with pytest.raises(UserError, match=message):
        Result.read(tmp_path / "test.json")
