"""Configs of older versions have keys that are gone: they are read where these say what remains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2seq import checkpoint, runs
from seq2seq.config.keys import fields_below
from seq2seq.config.removed import REMOVED
from seq2seq.config.schema import Config, DecodeConfig, ModelConfig, TrainerConfig
from seq2seq.config.values import from_dict
from seq2seq.errors import UserError
from seq2seq.models.build import build_language_model
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.test_checkpoint import FROZEN, FROZEN_SAYS

OLD = {"nonlinearity": "tanh", "attention_heads": 1, "encoder": {"cell": None}, "decoder": {"cell": None}}
SAYS_WHAT_REMAINS: list[dict[str, Any]] = [
    {**OLD, "cell": "rnn"},
    {"cell": "gru", "encoder": {"cell": "gru", "num_layers": 2}, "decoder": {"cell": "gru"}},
    {"decoder": {"cell": "lstm"}},
    {"nonlinearity": "relu"},
    {"attention_heads": 4},
    {"attention": "general", "attention_heads": 1},
]
ASKS_FOR_MORE = [
    ({"cell": "rnn", "nonlinearity": "relu"}, "model.nonlinearity=relu is gone: model.cell=rnn is tanh; train again"),
    ({"encoder": {"cell": "gru"}}, "model.encoder.cell=gru is gone: model.cell is that of both sides; train again"),
    ({"cell": "gru", "decoder": {"cell": "lstm"}}, "model.decoder.cell=lstm is gone: model.cell is"),
    ({"attention": "dot", "attention_heads": 2}, "model.attention_heads=2 is gone: attention has one head; train"),
    ({"attention": "dot", "attention_heads": [{}]}, r"model.attention_heads=\[{}\] is gone"),
]


@pytest.mark.parametrize("values", SAYS_WHAT_REMAINS, ids=str)
def test_a_removed_key_that_says_what_remains_is_left_out(values: dict[str, Any]) -> None:
    before = repr(values)
    read = from_dict(Config, {"model": values}).model
    assert repr(values) == before
    rest = {name: value for name, value in values.items() if name not in ("nonlinearity", "attention_heads")}
    for side in ("encoder", "decoder"):
        if side in rest:
            rest[side] = {name: value for name, value in rest[side].items() if name != "cell"}
    assert read == from_dict(ModelConfig, rest, "model") == from_dict(ModelConfig, values, "model")


@pytest.mark.parametrize(
    "task, values",
    [
        ("translation", {"cell": "lstm", "encoder": {"cell": "gru"}, "decoder": {"cell": "gru"}}),
        ("translation", {"encoder": {"cell": "gru", "num_layers": None}, "decoder": {"cell": "gru"}}),
        ("translation", {"cell": "gru", "encoder": {"cell": "gru"}, "decoder": {"cell": None}}),
        ("language_model", {"decoder": {"cell": "gru"}, "nonlinearity": "relu"}),
        ("language_model", {"cell": "gru", "encoder": {"cell": "lstm"}}),
    ],
)
def test_one_cell_of_all_stacks_is_that_of_the_model(task: str, values: dict[str, Any]) -> None:
    trainer = {"monitor": "loss"}
    wanted = Config(task=task, model=ModelConfig(cell="gru"), trainer=TrainerConfig(**trainer))
    assert from_dict(Config, {"task": task, "model": values, "trainer": trainer}) == wanted


def test_the_checkpoint_of_a_language_model_has_the_cell_of_its_decoder(tmp_path: Path) -> None:
    both = attentive.tokenizers()
    config = ModelConfig(cell="gru", hidden_size=6, embedding_size=5)
    section = checkpoint.section(config, DecodeConfig(), both, kind=checkpoint.LANGUAGE_MODEL)
    section["model"] |= {"cell": "lstm", "encoder": {"cell": None}, "decoder": {"cell": "gru"}}
    weights = checkpoint.named_weights(build_language_model(config, len(both.tgt)))
    checkpoint.save(tmp_path / "a.ckpt", {"state_dict": weights, checkpoint.SECTION: section})
    assert checkpoint.load_language_model(tmp_path / "a.ckpt").model.decoder.rnn.describe()[0] == "gru"


@pytest.mark.parametrize("values, message", ASKS_FOR_MORE)
def test_a_removed_key_that_asks_for_what_is_gone_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        from_dict(Config, {"model": values})
    assert "\n" not in str(error.value)


def test_a_removed_key_is_not_a_key() -> None:
    removed = {f"{section}.{one.name}" for section, table in REMOVED.items() for one in table}
    assert removed and removed.isdisjoint(name for name, _, _ in fields_below(Config))


def test_a_run_folder_that_has_them_is_read(tmp_path: Path) -> None:
    (tmp_path / runs.CONFIG).write_text(yaml.safe_dump({"model": OLD, "tokenizer": {"normalization": "nfc"}}))
    assert runs.read_config(tmp_path) == Config()


def test_a_checkpoint_that_has_them_translates_as_it_did(tmp_path: Path) -> None:
    contents = checkpoint.read(FROZEN)
    model = contents[checkpoint.SECTION]["model"]
    assert model["nonlinearity"] == "tanh"
    contents[checkpoint.SECTION]["model"] = {**model, "attention_heads": 1}
    checkpoint.save(tmp_path / "old.ckpt", contents)
    says = Translator.from_checkpoint(tmp_path / "old.ckpt").translate(list(FROZEN_SAYS))
    assert list(says) == list(FROZEN_SAYS.values())
