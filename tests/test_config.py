"""Every value of a config is checked, and what is refused is refused by name with the way out."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from seq2seq.config import (
    Config,
    DataConfig,
    DecodeConfig,
    ModelConfig,
    OptimConfig,
    StackConfig,
    TokenizerConfig,
    TrainerConfig,
    from_dict,
)
from seq2seq.errors import UserError

REFUSED: list[tuple[type, dict[str, Any], str]] = [
    (DataConfig, {"kind": "wmt"}, r"data.kind=wmt is not known; choose from phrasebook, addition"),
    (DataConfig, {"variant": "bpe"}, r"data.variant=bpe is not known; choose from raw, tokenized"),
    (DataConfig, {"train_size": 0}, r"data.train_size=0 is out of range; it must be at least 1"),
    (DataConfig, {"max_ratio": -1.0}, r"data.max_ratio=-1 is out of range; it must be 0 \(off\) or at least 1"),
    (
        DataConfig,
        {"batch_tokens": 0},
        r"batch_tokens and data.batch_sentences are both 0; one of them must bound a batch",
    ),
    (DataConfig, {"src_lang": "en"}, r"data.src_lang and data.tgt_lang are both en; they must differ"),
    (DataConfig, {"kind": "files", "train_src": "a"}, r"data.kind=files needs data.valid_src, data.test_src"),
    (TokenizerConfig, {"type": "bytes"}, r"tokenizer.type=bytes is not known"),
    (TokenizerConfig, {"vocab_size": 5}, r"tokenizer.vocab_size=5 is out of range; it must be at least 8"),
    (TokenizerConfig, {"sampling": 2.0}, r"tokenizer.sampling=2 is out of range; it must be in \[0, 1\]"),
    (
        TokenizerConfig,
        {"type": "char", "sampling": 0.1},
        r"tokenizer.sampling=0.1 needs tokenizer.type unigram or bpe; got char",
    ),
    (ModelConfig, {"peeky": "maybe"}, r"model.peeky=maybe is not known; choose from none, input, output, both"),
    (ModelConfig, {"cell": "qrnn"}, r"model.cell=qrnn is not known; choose from rnn, gru, lstm"),
    (ModelConfig, {"hidden_size": 0}, r"model.hidden_size=0 is out of range; it must be at least 1"),
    (ModelConfig, {"dropout": 1.0}, r"model.dropout=1 is out of range; it must be in \[0, 1\)"),
    (ModelConfig, {"dropout": math.nan}, r"model.dropout=nan is out of range"),
    (ModelConfig, {"encoder": StackConfig(cell="x")}, r"model.encoder.cell=x is not known"),
    (ModelConfig, {"decoder": StackConfig(num_layers=0)}, r"model.decoder.num_layers=0 is out of range"),
    (
        ModelConfig,
        {"bridge": "copy", "cell": "gru", "num_layers": 2, "encoder": StackConfig(cell="lstm")},
        r"model.bridge=copy needs equal encoder and decoder \(cell, layers, size\); "
        r"got \(lstm, 2, 256\) and \(gru, 2, 256\). Use model.bridge=dense",
    ),
    (
        ModelConfig,
        {"bridge": "hidden_only", "bidirectional": True},
        r"model.bridge=hidden_only needs equal encoder and decoder",
    ),
    (OptimConfig, {"algorithm": "lion"}, r"optim.algorithm=lion is not known; choose from adam, adamw, sgd"),
    (OptimConfig, {"lr": 0.0}, r"optim.lr=0 is out of range; it must be above 0"),
    (OptimConfig, {"lr": math.nan}, r"optim.lr=nan is out of range"),
    (OptimConfig, {"eps": 0.0}, r"optim.eps=0 is out of range; it must be above 0 and below 1"),
    (OptimConfig, {"eps_hat": True, "algorithm": "sgd"}, r"optim.eps_hat is for adam and adamw"),
    (OptimConfig, {"label_smoothing": 1.0}, r"optim.label_smoothing=1 is out of range"),
    (OptimConfig, {"clip_value": 1.0}, r"optim.clip_norm and optim.clip_value are both set; set one of them to 0"),
    (DecodeConfig, {"max_extra": 0}, r"decode.max_extra=0 is out of range; it must be in \[1, 100000\]"),
    (TrainerConfig, {"max_epochs": 0}, r"trainer.max_epochs=0 is out of range"),
    (TrainerConfig, {"monitor": "ter"}, r"trainer.monitor=ter is not known; choose from bleu, chrf, exact_match, loss"),
    (
        TrainerConfig,
        {"loggers": ["mlflow"]},
        r"trainer.loggers=mlflow is not known; choose from csv, tensorboard, wandb",
    ),
    (
        TrainerConfig,
        {"validate_every": 1.5},
        r"trainer.validate_every=1.5 is out of range; it must be in \(0, 1\] or whole",
    ),
    (Config, {"seed": -1}, r"seed=-1 is out of range; it must be in \[0, 4.29497e\+09\]"),
    (Config, {"name": "../up"}, r"name='../up' cannot be a folder's name"),
    (Config, {"name": "a/../../b"}, r"name='a/../../b' cannot be a folder's name"),
    (DataConfig, {"max_ratio": 0.5}, r"data.max_ratio=0.5 is out of range; it must be 0 \(off\) or at least 1"),
    (DataConfig, {"kind": "iwslt15"}, r"data.src_lang=de is not known; choose from en, vi"),
    (TrainerConfig, {"max_minutes": math.inf}, r"trainer.max_minutes=inf is out of range"),
    (TrainerConfig, {"validate_every": math.inf}, r"trainer.validate_every=inf is out of range"),
    (
        Config,
        {"model": ModelConfig(tie="all"), "tokenizer": TokenizerConfig(joint=False)},
        r"model.tie=all needs one vocabulary for both sides; use tokenizer.joint=true or model.tie=decoder",
    ),
    (
        Config,
        {"decode": DecodeConfig(search="beam", coverage_penalty=0.3)},
        r"decode.coverage_penalty=0.3 needs attention; got model.attention=none. Use general, say, or leave it 0",
    ),
    (
        Config,
        {"optim": OptimConfig(r_drop=1.0), "model": ModelConfig(memory_dropout=0.3)},
        r"optim.r_drop=1 compares two passes with different dropout, and there is none",
    ),
    (
        Config,
        {"task": "language_model", "trainer": TrainerConfig(monitor="loss", shortlist=3)},
        r"trainer.shortlist=3 is for translation; leave it 0 with task=language_model",
    ),
]


@pytest.mark.parametrize("section, values, message", REFUSED, ids=[message[:30] for *_, message in REFUSED])
def test_a_bad_value_is_refused_by_name_on_one_line(section: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        section(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given, meant", [("true", "both"), ("True", "both"), ("false", "none"), ("none", "none"), ("input", "input")]
)
def test_peeky_true_means_both_and_false_none(given: str, meant: str) -> None:
    assert ModelConfig(peeky=given).peeky == meant


@pytest.mark.parametrize(
    "options, bridge",
    [
        ({}, "copy"),
        ({"bidirectional": True}, "dense"),
        ({"bidirectional": True, "encoder": StackConfig(hidden_size=128)}, "copy"),
        ({"decoder": StackConfig(cell="gru")}, "dense"),
        ({"bridge": "zero"}, "zero"),
    ],
)
def test_the_automatic_bridge_copies_where_shapes_agree(options: dict[str, Any], bridge: str) -> None:
    assert ModelConfig(**options).resolved_bridge() == bridge


def test_a_config_survives_the_way_through_plain_values() -> None:
    config = Config(model=ModelConfig(peeky="true", encoder=StackConfig(cell="gru")), name="x")
    assert from_dict(Config, dataclasses.asdict(config)) == config


@pytest.mark.parametrize(
    "values, message",
    [
        ({"model": {"revers": True}}, r"model.revers is not a key. Did you mean reverse\? model has: reverse, peeky"),
        ({"modle": {}}, r"modle is not a key. Did you mean model\? The config has: name, seed"),
        ({"model": 3}, r"model must be a section of keys; got 3"),
        ({"seed": "one"}, r"seed must be of type int; got 'one'"),
        ({"seed": True}, r"seed must be of type int; got True"),
        ({"model": {"reverse": 1}}, r"model.reverse must be of type bool; got 1"),
        ({"data": {"mirror": 5}}, r"data.mirror must be of type str \| None; got 5"),
    ],
)
def test_plain_values_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(Config, values)


def test_every_key_is_documented() -> None:
    for section in (
        Config,
        DataConfig,
        TokenizerConfig,
        StackConfig,
        ModelConfig,
        OptimConfig,
        DecodeConfig,
        TrainerConfig,
    ):
        for field in dataclasses.fields(section):
            assert dataclasses.is_dataclass(field.default_factory) or field.metadata["help"], field.name


def test_the_longest_output_follows_from_the_source_alone() -> None:
    assert [DecodeConfig(max_ratio=1.5, max_extra=4).max_length(n) for n in (1, 2, 10)] == [5, 7, 19]
