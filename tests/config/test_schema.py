"""Every value of a config is checked, and what is refused is refused by name with the way out."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config.keys import default_of, fields_below
from seq2seq.config.rules import idle_keys, refuse_idle
from seq2seq.config.schema import (
    Config,
    DataConfig,
    DecodeConfig,
    ModelConfig,
    OptimConfig,
    StackConfig,
    TokenizerConfig,
    TrainerConfig,
)
from seq2seq.config.values import from_dict
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
    (
        DataConfig,
        {"kind": "multi30k", "src_lang": "en"},
        r"data.src_lang and data.tgt_lang are both en; they must differ",
    ),
    (
        DataConfig,
        {"variant": "tokenized"},
        r"data.variant=tokenized is for data.kind=multi30k; data.kind=phrasebook has one form only, so leave it raw",
    ),
    (
        DataConfig,
        {"kind": "multi30k", "variant": "tokenized", "src_lang": "fr"},
        r"data.variant=tokenized has no fr; use data.src_lang=en or de, or data.variant=raw",
    ),
    (Config, {"name": "a\nb"}, r"name='a\\nb' has a line break or control character; leave it out"),
    (Config, {"name": "a\x1b[31m"}, r"name='a\\x1b\[31m' has a line break or control character"),
    (Config, {"name": "a\u2028b"}, r"name='a\\u2028b' has a line break or control character"),
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
    (ModelConfig, {"decoder": StackConfig(num_layers=0)}, r"model.decoder.num_layers=0 is out of range"),
    (
        ModelConfig,
        {"bridge": "copy", "num_layers": 2, "encoder": StackConfig(num_layers=1)},
        r"model.bridge=copy needs equal encoder and decoder \(cell, layers, size\); "
        r"got \(lstm, 1, 256\) and \(lstm, 2, 256\). Use model.bridge=dense",
    ),
    (
        ModelConfig,
        {"bridge": "hidden_only", "bidirectional": True},
        r"model.bridge=hidden_only needs equal encoder and decoder",
    ),
    (OptimConfig, {"algorithm": "lion"}, r"optim.algorithm=lion is not known; choose from adam, adamw, sgd"),
    (OptimConfig, {"lr": 0.0}, r"optim.lr=0 is out of range; it must be above 0"),
    (OptimConfig, {"lr": math.nan}, r"optim.lr=nan is out of range"),
    (OptimConfig, {"eps": 0.0}, r"optim.eps=0 is out of range; it must be in \(0, 1\)"),
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
        r"decode.coverage_penalty=0.3 needs attention; got model.attention=none. Use model.attention=general, or",
    ),
    (
        Config,
        {"optim": OptimConfig(r_drop=1.0), "model": ModelConfig(memory_dropout=0.3)},
        r"optim.r_drop=1 compares two passes with different dropout, which the model lacks; set",
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


def test_a_config_survives_the_way_through_plain_values() -> None:
    config = Config(model=ModelConfig(peeky="true", encoder=StackConfig(num_layers=2)), name="x")
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
        ({"data": {"mirror": "a\0b"}}, r"data.mirror has a NUL or half a character; got 'a\\x00b'. Leave it out"),
        ({"data": {"mirror": "\ud800"}}, r"data.mirror has a NUL or half a character"),
        ({"trainer": {"loggers": [1]}}, r"trainer.loggers must be a list of words; got 1 in it"),
        ({"trainer": {"loggers": ["csv", None]}}, r"trainer.loggers must be a list of words; got None in it"),
        ({"trainer": {"loggers": [["csv"]]}}, r"trainer.loggers must be a list of words; got \['csv'\] in it"),
        ({"trainer": {"lightning": {1: 2}}}, r"trainer.lightning has the key 1; keys must be words"),
        ({"trainer": {"lightning": {"a": b"b"}}}, r"trainer.lightning must hold plain values; got b'b'"),
        ({"trainer": {"lightning": {"a": [{"b": 2**70}]}}}, r"trainer.lightning must hold numbers of 64 bits"),
    ],
)
def test_plain_values_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(Config, values)


def nested(levels: int) -> list[Any]:
    """Lists in which each holds the one below twice, as a checkpoint can: 2 ** levels leaves in no space."""
    value: list[Any] = ["csv"]
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "values",
    [{"trainer": {"loggers": nested(60)}}, {"trainer": {"lightning": {"a": nested(60)}}}, {"seed": nested(60)}],
)
def test_a_value_that_holds_the_same_list_exponentially_often_is_refused_at_once(values: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        from_dict(Config, values)
    assert len(str(error.value)) < 400


KEYS: list[tuple[str, ...]] = [
    (*path, one.name)
    for path, section in (
        ((), Config),
        (("data",), DataConfig),
        (("tokenizer",), TokenizerConfig),
        (("model",), ModelConfig),
        (("model", "encoder"), StackConfig),
        (("optim",), OptimConfig),
        (("decode",), DecodeConfig),
        (("trainer",), TrainerConfig),
    )
    for one in dataclasses.fields(section)
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=9),
    st.binary(max_size=3),
    st.dates(),
    st.sampled_from(["csv", "wandb", "lstm", "none", "files", "multi30k", "tokenized", "language_model", 2**80]),
    st.just(None).map(lambda _: 10**5000),  # whose digits Python does not print
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none() | st.tuples(st.integers()), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=5,
)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_value_at_any_key_gives_a_config_or_one_line(chosen: dict[tuple[str, ...], Any]) -> None:
    values: dict[Any, Any] = {}
    for path, value in chosen.items():
        section = values
        for name in path[:-1]:
            inner = section.setdefault(name, {})
            section = inner if isinstance(inner, dict) else {}
        section[path[-1]] = value
    said = ""
    try:
        assert isinstance(from_dict(Config, values), Config)
    except UserError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize("kind", ["files", "phrasebook", "addition"])
def test_languages_that_mean_nothing_may_be_equal(kind: str) -> None:
    files = {f"{split}_src": "a" for split in ("train", "valid", "test")}
    assert DataConfig(kind=kind, src_lang="en", tgt_lang="en", **files).src_lang == "en"


def test_the_tokenized_variant_is_that_of_english_and_german() -> None:
    for src, tgt in (("en", "de"), ("de", "en")):
        assert DataConfig(kind="multi30k", variant="tokenized", src_lang=src, tgt_lang=tgt).variant == "tokenized"


IDLE: list[tuple[dict[str, dict[str, Any]], list[str]]] = [
    ({"optim": {"algorithm": "sgd", "eps_hat": True, "beta1": 0.5}}, ["optim.beta1=0.5", "optim.eps_hat=true"]),
    ({"optim": {"momentum": 0.9, "warmup_steps": 3}}, ["optim.momentum=0.9"]),
    ({"optim": {"schedule": "plateau", "warmup_steps": 3, "decay_start": 0.1}}, ["optim.warmup_steps", "optim.decay_"]),
    ({"model": {"init_range": 0.2, "memory_dropout": 0.1}}, ["model.memory_dropout=0.1", "model.init_range=0.2"]),
    (
        {"model": {"word_dropout_kind": "unk", "attention": "general", "memory_dropout": 0.1}},
        ["model.word_dropout_kind"],
    ),
    ({"model": {"word_dropout_kind": "unk", "tgt_word_dropout": 0.1, "init": "uniform", "init_range": 0.2}}, []),
    ({"data": {"mirror": "x", "columns": 3, "train_size": 3}}, ["data.mirror=x has", "data.columns=3"]),
    ({"data": {"kind": "multi30k", "mirror": "x", "train_size": 3, "book_exact": True}}, ["data.train_", "data.book_"]),
]


@pytest.mark.parametrize("values, idle", IDLE)
def test_keys_without_effect_are_refused_together_and_only_when_a_training_begins(
    values: dict[str, Any], idle: list[str]
) -> None:
    config = from_dict(Config, values)  # as a run folder or a checkpoint is read
    found = idle_keys(config)
    assert [said.startswith(name) for said, name in zip(found, idle, strict=True)] == [True] * len(idle)
    assert all("has no effect without" in said and ", its default" in said for said in found)
    if idle:
        with pytest.raises(UserError, match="; set ") as error:
            refuse_idle(config)
        assert str(error.value) == "; ".join(found) + "."


def test_what_a_message_says_to_set_is_accepted() -> None:
    """The remedy of each message, taken by its word, leaves no key without effect."""
    config = from_dict(Config, {"optim": {"algorithm": "sgd", "eps": 1e-7, "schedule": "plateau", "warmup_steps": 9}})
    remedies = [said.split("; set ")[1].split(",")[0].split("=") for said in idle_keys(config)]
    values = dataclasses.asdict(config)
    for name, value in remedies:
        section, _, key = name.partition(".")
        values[section][key] = type(values[section][key])(value)
    assert len(remedies) == 2 and not idle_keys(from_dict(Config, values))


def test_every_default_is_allowed_and_has_an_effect_or_none() -> None:
    for name, one, facts in fields_below(Config):
        facts.check(name, default_of(one))
    assert not idle_keys(Config())


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
            assert dataclasses.is_dataclass(field.default_factory) or field.metadata["facts"].meaning, field.name


def test_the_longest_output_follows_from_the_source_alone() -> None:
    assert [DecodeConfig(max_ratio=1.5, max_extra=4).max_length(n) for n in (1, 2, 10)] == [5, 7, 19]
