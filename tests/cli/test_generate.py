"""The commands of a language model, as a user calls them, and a report on some."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from seq2seq import checkpoint
from seq2seq.config.schema import Config, ModelConfig, TrainerConfig
from seq2seq.errors import UserError
from seq2seq.language_model import LanguageModel
from seq2seq.report import words
from seq2seq.report.analysis import analyse
from seq2seq.report.arms import read_sweep
from seq2seq.report.contrast import contrast, resample
from seq2seq.report.metrics import PERPLEXITY
from seq2seq.report.write import write_report
from tests.conftest import Command
from tests.report.test_report import make_run

SMALL = (
    "experiment=lm",
    "data=addition",
    "tokenizer=char",
    "data.train_size=300",
    "data.valid_size=20",
    "data.test_size=20",
    "data.columns=4",
    "model.hidden_size=16",
    "model.embedding_size=8",
    "trainer.max_epochs=1",
)


def test_train_generate_evaluate_translate(command: Command, trained: Path, tmp_path: Path) -> None:
    """One run on the target side of the data that the translator of `trained` has, in one go, since each takes long."""
    done = command("train", *SMALL, f"tokenizer.like={trained}", "trainer.samples=3")
    assert done.returncode == 0, done.stderr
    assert (
        len(re.findall(r"^(train|valid|test ) +perplexity [\d.]+ per token, [\d.]+ per word", done.stdout, re.M)) == 3
    )
    run = next((tmp_path / "runs" / "lm").iterdir())
    assert done.stdout.startswith("".join(f"  {line}\n" for line in (run / "samples.txt").read_text().split("\n")[:3]))

    arguments = ("--prefix", "1", "-n", "4", "--temperature", "0.8", "--top-k", "5", "--top-p", "0.9", "--seed", "2")
    drawn = command("generate", run, *arguments)
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout.count("\n") == 4 and all(line.startswith("1") for line in drawn.stdout.splitlines())
    assert command("generate", run, *arguments).stdout == drawn.stdout
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert command("generate", run, "--prefix", "Ä", "-n", "1", env=ascii_only).stdout.startswith("Ä")

    for wrong, said in (
        (("--prefix", "a \udcff"), "--prefix is not UTF-8; write it in a terminal that has UTF-8"),
        (("--rescore", "n", "--seed", "1"), "--seed is not for --rescore; leave it out"),
        (("--rescore", ""), "the name of a text file is empty; give one."),
    ):
        refused = command("generate", run, *wrong)
        assert refused.returncode == 2 and said in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr

    for name in ("a", "b"):
        (tmp_path / name).write_text("12\n345\n")
    scored = command("evaluate", run, "--text", "a")
    figures = json.loads(scored.stdout)
    assert (figures["num_tokens"], figures["num_words"], figures["num_sentences"]) == (7, 4, 2)
    assert figures["perplexity"] == pytest.approx(LanguageModel.from_checkpoint(run).score(["12", "345"]).perplexity)

    (tmp_path / "n").write_text("0 ||| 12 ||| -1\n0 ||| 13 ||| -1.5\n")
    rescored = command("generate", run, "--rescore", "n", "--lm-weight", "0.5")
    assert sorted(line.split(" ||| ")[1] for line in rescored.stdout.splitlines()) == ["12", "13"]

    for weight in ("0", "3"):
        out = command("translate", trained, "--lm", run, "--lm-weight", weight, "--beam", "3", stdin=b"1+2\n\n34+5\n")
        assert out.returncode == 0, out.stderr
        assert out.stdout.count("\n") == 3 and out.stdout.split("\n")[1] == ""

    for words_, said in (
        (("translate", run), "holds a language model; give it to seq2seq-generate"),
        (("generate", trained), "holds a translator; give it to seq2seq-translate"),
        (("evaluate", trained, "--text", "a"), "holds a translator; give it to seq2seq-translate"),
        (("evaluate", run, "--src", "a", "--ref", "b"), "holds a language model; give it to seq2seq-generate"),
        (("translate", trained, "--lm", trained), "holds a translator; give it to seq2seq-translate"),
        (
            ("train", "data=addition", f"tokenizer.like={run}"),
            "is a language model, which has no tokenizer for sources",
        ),
    ):
        wrong = command(*words_, stdin=b"")
        assert wrong.returncode == 2
        assert said in wrong.stderr and "Traceback" not in wrong.stderr


def test_a_checkpoint_of_an_unknown_kind_is_refused(trained: Path, tmp_path: Path) -> None:
    contents = checkpoint.read(trained / "checkpoints" / "best.ckpt")
    contents[checkpoint.SECTION]["kind"] = "parser\n"
    checkpoint.save(tmp_path / "a.ckpt", contents)
    with pytest.raises(UserError, match="a.ckpt holds a network of kind 'parser'; name a run"):
        checkpoint.load(tmp_path / "a.ckpt")


# The report.

LINES = [f"line {i} of this text" for i in range(40)]
NLL = {("rnn", "none"): 20.0, ("rnn", "decoder"): 19.0, ("lstm", "none"): 16.0, ("lstm", "decoder"): 17.0}


def make_language_model(folder: Path, cell: str, tie: str, seed: int) -> None:
    """The folder of a finished run whose lines cost about what `NLL` says."""
    folder.mkdir(parents=True)
    config = Config(
        name="text",
        task="language_model",
        seed=seed,
        model=ModelConfig(cell=cell, tie=tie),
        trainer=TrainerConfig(monitor="loss"),
    )
    nll = NLL[cell, tie] + seed / 50 + np.random.default_rng(7).normal(size=len(LINES))
    per_word = float(np.exp(nll.sum() / (6 * len(LINES))))
    figures = {"perplexity": 3.0, "word_perplexity": per_word, "num_words": 240, "parameters": 99, "num_unknown": 0}
    texts = {"perplexity": 4.0, "word_perplexity": 4.0, "num_words": 120}
    figures |= {f"{split}_{name}": value for split in ("train", "valid") for name, value in texts.items()}
    figures |= {
        "tokens_per_second": 5.0,
        "train_seconds": 6.0,
        "train_tokens_per_second": 7.0,
        "valid_seconds": 3.0,
        "num_sentences": 40,
    }
    about = {"task": "language_model", "version": "1", "torch": "2", "best_step": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    (folder / "test.json").write_text(json.dumps({**figures, **about}))
    (folder / "test.ref").write_text("".join(f"{line}\n" for line in LINES))
    (folder / "test.nll").write_text("".join(f"{value!r}\n" for value in nll.tolist()))
    (folder / "samples.txt").write_text(f"made up by {cell}\n")
    (folder / "metrics.csv").write_text(
        "epoch,step,seconds,valid/word_perplexity,train/grad_norm,train/clipped,decoder/spectral_radius\n"
        + "".join(f"{i},{i},{10 * i}.0,{per_word + 40 / i**2},1.5,20,1.1\n" for i in (1, 2, 3, 4))
    )


@pytest.fixture
def runs_folder(tmp_path: Path) -> Path:
    for cell, tie in NLL:
        for seed in (1, 2, 3):
            make_language_model(tmp_path / "runs" / f"{cell}-{tie}-{seed}", cell, tie, seed)
    return tmp_path / "runs"


def test_language_models_are_ranked_by_perplexity_and_less_is_better(runs_folder: Path) -> None:
    analysis = analyse(read_sweep([runs_folder]))
    assert analysis.metric == "word_perplexity"
    assert [row.arm.name for row in words.ranked(analysis)] == ["lstm", "lstm + tied", "rnn + tied", "rnn"]
    rows = {row.arm.name: row for row in analysis.rows}
    draws = np.random.default_rng(7).normal(size=len(LINES)).sum()
    expected = [np.exp((len(LINES) * (16 + seed / 50) + draws) / 240) for seed in (1, 2, 3)]
    found = rows["lstm"].figures["word_perplexity"]
    assert found is not None
    assert (found.mean, found.sd) == pytest.approx((np.mean(expected), np.std(expected, ddof=1)))
    near = rows["lstm"].to_near_best
    assert near is not None and near.mean == 40.0  # at 40 / 16 above the best, which is a tenth of about 15
    shown, _ = words.findings(analysis)
    assert any(
        line.startswith("lstm against rnn is ") and "points of perplexity per word better" in line for line in shown
    )
    assert [one.low for one in analysis.by_length] == [5]
    page = write_report(analysis, runs_folder / "report")
    text = page.with_suffix(".md").read_text()
    assert text.index("| lstm | 3 |") < text.index("| lstm + tied | 3 |") < text.index("| rnn | 3 |")
    assert "BLEU" not in text and "made up by lstm" in text and "encoder" not in text
    assert (runs_folder / "report" / "curves.svg").is_file()
    header = (runs_folder / "report" / "results.csv").read_text().split("\n")[0]
    assert header.startswith("arm,model.cell,model.tie,seed,perplexity,word_perplexity,valid_perplexity")


def test_a_contrast_of_perplexities_is_that_of_their_means_and_has_no_bound() -> None:
    draw = np.random.default_rng(0)
    stats = {}
    for arm, mean in (("a", 40.0), ("b", 30.0)):
        costs = draw.normal(mean, 1, (3, 50))
        stats[arm] = np.stack([costs, np.full_like(costs, 5.0)], axis=2)
    (metric,) = PERPLEXITY.values()
    found = contrast(resample(metric, stats), {"a": 1.0, "b": -1.0})
    means = [np.exp(one.sum(axis=1)[:, 0] / 250).mean() for one in stats.values()]
    assert found.estimate == pytest.approx(means[0] - means[1])
    assert found.estimate > 100  # which no BLEU could be
    assert found.low < found.estimate < found.high
    assert found.p is not None and found.p < 0.01


def test_a_language_model_that_burst_is_compared_all_the_same(runs_folder: Path) -> None:
    """Its perplexity's square, and that of its square, must still be numbers."""
    (runs_folder / "rnn-none-1" / "test.nll").write_text("2400\n" * len(LINES))  # 400 nats a word
    (found, *_) = analyse(read_sweep([runs_folder])).comparisons["word_perplexity"]
    assert np.isfinite([found.contrast.estimate, found.contrast.standard_error, found.contrast.p]).all()


def test_a_language_model_has_nothing_to_probe(runs_folder: Path, command: Command) -> None:
    done = command("probe", runs_folder / "rnn-none-1")
    assert done.returncode == 2
    assert "is a language model, which has no source to look at; name a translator's run." in done.stderr


def test_runs_of_two_tasks_are_not_compared(runs_folder: Path) -> None:
    make_run(runs_folder / "a", Config(name="sums"), 3)
    with pytest.raises(UserError, match=r"is a run of task=language_model, .* of task=translation; name runs of one"):
        read_sweep([runs_folder])


def test_a_cost_that_is_no_number_is_said_so(runs_folder: Path) -> None:
    (runs_folder / "rnn-none-1" / "test.nll").write_text("one\n" * len(LINES))
    with pytest.raises(UserError, match=r"test.nll has a line that is not a number .*; delete test.json"):
        read_sweep([runs_folder])
