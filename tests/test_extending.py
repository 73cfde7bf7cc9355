"""The examples of ``docs/extending.md`` run, one after the other, and what they add works."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import torch

from seq2seq import checkpoint, runs
from seq2seq.config import choices, schema
from seq2seq.config import tasks as facts
from seq2seq.config.rules import idle_keys
from seq2seq.data.sources import SOURCES
from seq2seq.decoding.engine import Engine
from seq2seq.errors import UserError
from seq2seq.evaluation.probe import probe
from seq2seq.files.lines import read_lines
from seq2seq.files.writing import write_lines
from seq2seq.metrics import bleu
from seq2seq.models.bridge import Bridge
from seq2seq.models.build import build_seq2seq
from seq2seq.models.cells import CELLS
from seq2seq.models.encoders import ENCODERS
from seq2seq.report.analysis import analyse
from seq2seq.report.arms import sweep_of
from seq2seq.report.metrics import ALL
from seq2seq.results.probe import Probe
from seq2seq.results.result import Result
from seq2seq.results.scores import SCORES as RESULTS
from seq2seq.training.average import average
from seq2seq.training.experiment import run
from seq2seq.training.tasks import TASKS
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import LINES, ROOT
from tests.training.test_training import config

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def allow(section: type, name: str, word: str) -> tuple[Any, Any]:
    """Let a key take one more word, as an entry in ``config/choices.py`` does; returns what it was."""
    (field,) = [one for one in dataclasses.fields(section) if one.name == name]
    before, facts = field.metadata, field.metadata["facts"]
    field.metadata = {**before, "facts": facts._replace(choices=(*facts.choices, word))}
    return field, before


@pytest.fixture(scope="module")
def page() -> Any:
    """The names that the page's code defines; the tables are put back afterwards."""
    tables: list[dict[str, Any]] = [CELLS, ENCODERS, SOURCES, TASKS, facts.TASKS, RESULTS]  # type: ignore[list-item]
    kept = [(table, dict(table)) for table in tables]
    before = [
        allow(schema.ModelConfig, "cell", "leaky"),
        allow(schema.ModelConfig, "encoder_kind", "vectors"),
        allow(schema.DataConfig, "source", "numbers"),
        allow(schema.Config, "task", "length_aware"),
    ]
    names: dict[str, Any] = {"__name__": "page"}
    torch.manual_seed(0)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/extending.md", "exec", dont_inherit=True), names)
    yield names
    for table, was in kept:
        table.clear()  # type: ignore[attr-defined]
        table.update(was)  # type: ignore[attr-defined]
    for field, metadata in before:
        field.metadata = metadata


def test_every_choice_of_the_config_is_in_its_table() -> None:
    assert set(CELLS) == set(choices.CELLS)
    assert set(ENCODERS) == set(choices.ENCODERS)
    assert set(SOURCES) == set(choices.SOURCES)
    assert {name for name, source in SOURCES.items() if source.is_text} == set(choices.TEXT_SOURCES)
    assert set(TASKS) == set(choices.TASKS) == set(facts.TASKS) == set(RESULTS)
    assert {name for one in facts.TASKS.values() for name in one.metrics} <= set(ALL) & set(facts.FIGURES)


def test_a_second_task_without_sources_has_the_keys_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(facts.TASKS, "stream", facts.LANGUAGE_MODEL)
    field, before = allow(schema.Config, "task", "stream")
    options: dict[str, Any] = {"task": "stream", "trainer": schema.TrainerConfig(monitor="loss")}
    try:
        assert idle_keys(schema.Config(data=schema.DataConfig(bptt=7), **options)) == []
        with pytest.raises(UserError, match="task=stream has no source, so it cannot use model.reverse; leave"):
            schema.Config(model=schema.ModelConfig(reverse=True), **options)
        with pytest.raises(UserError, match="leave it 0 with task=stream"):
            schema.Config(optim=schema.OptimConfig(r_drop=1), model=schema.ModelConfig(dropout=0.1), **options)
    finally:
        field.metadata = before


def test_a_monitor_of_another_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(facts.TASKS, "translation", facts.TRANSLATION._replace(monitors=("bleu",)))
    with pytest.raises(UserError, match="monitor=chrf is not a figure of task=translation; choose from bleu, loss"):
        schema.Config(trainer=schema.TrainerConfig(monitor="chrf"))


def test_the_cell_reads_no_padding_and_gets_gradients(page: dict[str, Any]) -> None:
    cell = page["LeakyRNN"](schema.Stack("leaky", 5, 1), 4, dropout=0.0, bidirectional=False)
    x = torch.randn(2, 6, 4)
    _, (whole,) = cell(x, torch.tensor([6, 3]))
    _, (short,) = cell(x[1:, :3])
    torch.testing.assert_close(whole[1:], short)
    whole.sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in cell.parameters())


def test_the_task_and_the_cell_train_an_experiment(page: dict[str, Any], tmp_path: Path) -> None:
    settings = config(tmp_path, model={"cell": "leaky"}, trainer={"max_epochs": 1})
    settings = dataclasses.replace(settings, task="length_aware")
    result = run(settings, tmp_path / "run")
    hypotheses, references = (read_lines(tmp_path / "run" / name) for name in ("test.hyp", "test.ref"))
    assert len(references) == result.scores.num_sentences
    assert result.scores.bleu == bleu(hypotheses, references).value
    assert result.figure("length_ratio") > 0
    assert Result.read(tmp_path / "run" / "test.json") == result
    assert len(Translator.from_checkpoint(tmp_path / "run").translate(["1+2", "", "3+4"])) == 3
    analysis = analyse(sweep_of([tmp_path / "run"]))
    assert analysis.rows[0].figures["length_ratio"] == (result.figure("length_ratio"), None)
    assert result.scores.summary().startswith(f"BLEU {result.scores.bleu:.2f}")


def measurements(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Rows of numbers, and in words whether each goes up or down."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], count)
    rows = [100 + sign * 5 * np.arange(rng.integers(3, 7)) + rng.normal(size=1) for sign in signs]
    return ["\t".join(f"{one:.2f}" for one in row) for row in rows], ["up" if sign > 0 else "down" for sign in signs]


def numbers_config(folder: Path, **trainer: Any) -> schema.Config:
    data: dict[str, Any] = {"kind": "files", "source": "numbers", "batch_sentences": 20, "root": str(folder / "data")}
    for seed, (split, count) in enumerate({"train": 300, "valid": 20, "test": 40}.items()):
        for side, lines in zip(("src", "tgt"), measurements(count, seed), strict=True):
            data[f"{split}_{side}"] = str(folder / f"{split}.{side}.tsv")
            write_lines(Path(data[f"{split}_{side}"]), lines)
    model = {"encoder_kind": "vectors", "hidden_size": 16, "embedding_size": 8, "attention": "dot"}
    plain: dict[str, Any] = {"max_epochs": 4, "monitor": "exact_match", "progress": False, "probe": 8}
    return schema.Config(
        data=schema.DataConfig(**data),
        tokenizer=schema.TokenizerConfig(type="word", vocab_size=0),
        model=schema.ModelConfig(**model),
        optim=schema.OptimConfig(lr=0.02),
        trainer=schema.TrainerConfig(**(plain | trainer)),
    )


def test_the_source_and_the_encoder_train_resume_and_decode(page: dict[str, Any], tmp_path: Path) -> None:
    whole = run(numbers_config(tmp_path), tmp_path / "whole").plain()
    assert whole["exact_match"] == 100
    (tmp_path / "whole" / runs.RESULT).unlink()
    again = run(numbers_config(tmp_path), tmp_path / "whole").plain()  # from last.ckpt, which holds the source
    assert all(again[name] == whole[name] for name in ("exact_match", "perplexity", "best_step"))
    probed = Probe.read(tmp_path / "whole" / "probe.json")
    assert probed is not None and probed.gradient_reach[0].by_position.count[:3] == (8, 8, 8)
    translator = Translator.from_checkpoint(tmp_path / "whole")
    lines = ["1\t2\t3\t4", "", "9\t8\t7"]  # far from the training's mean, which the checkpoint holds
    assert translator.source.mean == pytest.approx(100, abs=5)  # type: ignore[attr-defined]
    lines += measurements(9, 5)[0]
    found = translator.n_best(lines, 2, beam=3, attention=True)
    assert found[1] == [] and found[0][0].src_pieces == ["1", "2", "3", "4"]
    assert translator.translate(lines, search="beam") == [own[0].text if own else "" for own in found]
    for line, own in zip(lines, found, strict=True):  # of the line alone, whatever its batch
        assert not own or translator.translate(line, search="beam") == own[0].text
    seeded = translator.translate(lines * 2, search="sample")
    assert seeded[: len(lines)] == seeded[len(lines) :]


def test_a_row_that_is_not_of_numbers_and_an_encoder_of_ids_are_refused(page: dict[str, Any], tmp_path: Path) -> None:
    settings = numbers_config(tmp_path)
    (tmp_path / "train.src.tsv").write_text("1\tx\n" * 300)
    with pytest.raises(UserError, match=r"'1\\tx' is not a row of numbers; put numbers between tabs"):
        run(settings, tmp_path / "run")
    settings = dataclasses.replace(settings, model=schema.ModelConfig())
    with pytest.raises(UserError, match="encoder_kind=recurrent reads ids, and data.source=numbers gives vectors"):
        run(settings, tmp_path / "run")
    with pytest.raises(UserError, match="tokenizer.joint needs text to read, and data.source=numbers is not"):
        schema.Config(data=settings.data, tokenizer=schema.TokenizerConfig(joint=True))


def test_a_checkpoint_with_a_strange_source_is_refused(page: dict[str, Any], tmp_path: Path) -> None:
    path = attentive.save(tmp_path / "a.ckpt")
    for state, problem in (
        ({"kind": "smells"}, "reads a source of kind 'smells', which this version does not know; upgrade seq2seq"),
        ({"kind": "numbers", "mean": 0.0}, r"its source cannot be built \('spread'\); train again"),
        ({"kind": "numbers", "mean": "x", "spread": 1.0}, "its source cannot be built"),
    ):
        contents = torch.load(path, weights_only=True)
        contents[checkpoint.SECTION]["source"] = state
        torch.save(contents, tmp_path / "b.ckpt")
        with pytest.raises(UserError, match=problem):
            Translator.from_checkpoint(tmp_path / "b.ckpt")


def test_the_mean_of_checkpoints_keeps_their_source_and_has_one(page: dict[str, Any], tmp_path: Path) -> None:
    settings = schema.ModelConfig(encoder_kind="vectors", hidden_size=6, embedding_size=5)
    both = attentive.tokenizers()
    paths = []
    for seed, mean in enumerate((100.0, 100.0, 7.0)):
        torch.manual_seed(seed)
        source = page["Numbers"]({"mean": mean, "spread": 2.0}, both.src)
        section = checkpoint.section(settings, schema.DecodeConfig(), both, source=source)
        weights = checkpoint.named_weights(build_seq2seq(settings, 1, len(both.tgt)))
        paths.append(tmp_path / f"{seed}.ckpt")
        checkpoint.save(paths[-1], {"state_dict": weights, checkpoint.SECTION: section})
    found = average(paths[:2])[checkpoint.SECTION]
    assert found["source"] == {"kind": "numbers", "mean": 100.0, "spread": 2.0}
    with pytest.raises(UserError, match=r"2.ckpt reads another source than .*0.ckpt; average checkpoints of one"):
        average([paths[0], paths[2]])


def test_a_further_kind_of_network_is_averaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(checkpoint.KINDS, "tagger", checkpoint.KINDS[checkpoint.TRANSLATION])
    paths = [attentive.save(tmp_path / f"{seed}.ckpt", seed) for seed in range(2)]
    for path in paths:
        contents = checkpoint.read(path)
        contents[checkpoint.SECTION]["kind"] = "tagger"
        checkpoint.save(path, contents)
    assert average(paths)[checkpoint.SECTION]["kind"] == "tagger"


def test_the_bag_of_words_is_probed_without_its_gradients(page: dict[str, Any], caplog: Any) -> None:
    both = attentive.tokenizers()
    encoder = page["BagOfWords"](len(both.src), 16)
    decoder = build_seq2seq(schema.ModelConfig(hidden_size=16, peeky="both"), 4, len(both.tgt)).decoder
    model = page["Seq2Seq"](encoder, Bridge("auto", encoder, decoder), decoder)
    result = probe(Translator(Engine([model]), both), LINES[:3], LINES[:3])
    assert result.gradient_reach == () and result.accuracy_by_position.overall.count > 0
    assert "the encoder (BagOfWords) does not read from position to position" in caplog.text


def test_the_server_answers_several_requests_at_once(page: dict[str, Any], tmp_path: Path) -> None:
    translator = Translator.from_checkpoint(attentive.save(tmp_path / "a.ckpt"))
    server = page["server"](translator)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"

    def ask(line: str) -> list[str]:
        with urlopen(address, json.dumps({"lines": [line]}).encode(), timeout=60) as answer:
            return json.load(answer)["translations"]

    try:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(ask, LINES * 2))
    finally:
        server.shutdown()
        server.server_close()
    assert answers == [translator.translate([line], beam=2) for line in LINES * 2]
