"""Rules between keys, as tables of conditions and messages.

A rule that is broken is refused wherever a config is made, also when a run folder or checkpoint is read. Keys that have
no effect (`refuse_idle`) are refused only when a training begins: older versions let them pass.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from seq2seq.config.choices import DROPOUTS, LANGUAGES, ONE_SIDED, TEXT_SOURCES, TOKENIZED_LANGUAGES
from seq2seq.config.keys import default_of, fields_below, written
from seq2seq.config.tasks import TASKS
from seq2seq.errors import UserError

SPLITS = ("train", "valid", "test")
FILTERS = ("max_length", "max_ratio", "skip_blank")
SOURCE_KEYS = (
    "reverse",
    "peeky",
    "bidirectional",
    "attention",
    "bridge",
    "match_peeky",
    "fixed_length",
    "encoder",
    "encoder_kind",
    "memory_dropout",
    "src_word_dropout",
)


class Rule(NamedTuple):
    """A condition that no config may meet, and the message for one that does.

    In the message ``{0.kind}`` is the value of ``kind``. A message that needs more is a function.
    """

    broken: Callable[[Any], Any]
    message: str | Callable[[Any], str]


def check_rules(rules: Iterable[Rule], values: Any) -> None:
    """Refuse a section, or a whole config, that breaks a rule.

    Raises:
        UserError: the message of the first broken rule.
    """
    for rule in rules:
        if rule.broken(values):
            raise UserError(rule.message.format(values) if isinstance(rule.message, str) else rule.message(values))


def idle_keys(config: Any) -> list[str]:
    """Messages for the keys without effect that differ from their defaults."""
    found = []
    for name, one, facts in fields_below(type(config)):
        value, default = operator.attrgetter(name)(config), default_of(one)
        if facts.applies is not None and value != default and not facts.applies.holds(config):
            found.append(
                f"{name}={written(value)} has no effect without {facts.applies.text}; set {name}={written(default)}, "
                "its default"
            )
    return found


def refuse_idle(config: Any) -> None:
    """Refuse a new training whose config sets a key that has no effect.

    Raises:
        UserError: with all such keys.
    """
    found = idle_keys(config)
    if found:
        raise UserError("; ".join(found) + ".")


def _unknown_language(side: str) -> Rule:
    read = operator.attrgetter(side)
    return Rule(
        lambda data: data.kind in LANGUAGES and read(data) not in LANGUAGES[data.kind],
        lambda data: f"data.{side}={read(data)} is not known; choose from {', '.join(LANGUAGES[data.kind])}.",
    )


def _untokenized_language(side: str) -> Rule:
    read = operator.attrgetter(side)
    return Rule(
        lambda data: data.variant != "raw" and read(data) not in TOKENIZED_LANGUAGES,
        lambda data: (
            f"data.variant={data.variant} has no {read(data)}; use data.{side}={' or '.join(TOKENIZED_LANGUAGES)}, or "
            "data.variant=raw."
        ),
    )


def _missing_files(data: Any) -> list[str]:
    return [f"data.{split}_src" for split in SPLITS if not getattr(data, f"{split}_src")]


def _filters(data: Any) -> list[str]:
    return [f"data.{name}" for name in FILTERS if getattr(data, name)]


DATA = (
    Rule(
        lambda data: data.max_ratio and not 1 <= data.max_ratio < float("inf"),
        "data.max_ratio={0.max_ratio:g} is out of range; it must be 0 (off) or at least 1.",
    ),
    Rule(
        lambda data: not data.batch_tokens and not data.batch_sentences,
        "data.batch_tokens and data.batch_sentences are both 0; one of them must bound a batch.",
    ),
    _unknown_language("src_lang"),
    _unknown_language("tgt_lang"),
    Rule(
        lambda data: data.kind in LANGUAGES and data.src_lang == data.tgt_lang,
        "data.src_lang and data.tgt_lang are both {0.src_lang}; they must differ.",
    ),
    Rule(
        lambda data: data.variant != "raw" and data.kind != "multi30k",
        "data.variant={0.variant} is for data.kind=multi30k; data.kind={0.kind} has one form only, so leave it raw.",
    ),
    _untokenized_language("src_lang"),
    _untokenized_language("tgt_lang"),
    Rule(
        lambda data: data.kind == "files" and _missing_files(data),
        lambda data: f"data.kind=files needs {', '.join(_missing_files(data))}; give each a text file.",
    ),
    Rule(
        lambda data: data.kind in ONE_SIDED and _filters(data),
        lambda data: f"{', '.join(_filters(data))} is for pairs, and data.kind={data.kind} has lines; leave it out.",
    ),
    Rule(
        lambda data: data.kind == "text" and not data.train_tgt,
        "data.kind=text needs data.train_tgt; give it a text file.",
    ),
    Rule(
        lambda data: data.kind == "text" and (data.valid_tgt is None) != (data.test_tgt is None),
        "data.kind=text takes both data.valid_tgt and data.test_tgt, or neither, which holds out the last lines of "
        "data.train_tgt; one is missing.",
    ),
    Rule(
        lambda data: data.kind == "ptb" and not data.mirror,
        "data.kind=ptb needs data.mirror, the folder of ptb.train.txt, ptb.valid.txt and ptb.test.txt; the Penn "
        "Treebank is licensed, and not part of this project.",
    ),
)

TOKENIZER = (
    Rule(
        lambda tokenizer: tokenizer.type in ("unigram", "bpe") and tokenizer.vocab_size < 8,
        "tokenizer.vocab_size={0.vocab_size} is out of range; it must be at least 8.",
    ),
    Rule(
        lambda tokenizer: tokenizer.type == "ptb" and 0 < tokenizer.vocab_size < 3,
        "tokenizer.vocab_size={0.vocab_size} is out of range; type ptb takes 0 or at least 3.",
    ),
    Rule(
        lambda tokenizer: tokenizer.sampling and tokenizer.type not in ("unigram", "bpe"),
        "tokenizer.sampling={0.sampling:g} needs tokenizer.type unigram or bpe; got {0.type}.",
    ),
)


Shape = tuple[str | None, int, int]  # cell (None without one), layers and width of a state


def refuse_bridge(bridge: str, there: Shape, here: Shape) -> None:
    """Refuse a bridge that cannot hand over a state.

    Args:
        there, here: the shapes of the encoder's final state and of the decoder's.

    Raises:
        UserError: if the bridge copies, and the shapes differ.
    """
    message = _bridge_message(bridge, there, here)
    if message:
        raise UserError(message)


def _bridge_message(bridge: str, there: Shape, here: Shape) -> str:
    """What to say of a bridge that copies between different shapes; else nothing."""
    unequal = there[1:] != here[1:] if bridge == "hidden_only" else there != here
    if bridge not in ("copy", "hidden_only") or not unequal:
        return ""
    shapes = " and ".join(f"({cell or 'no cell'}, {layers}, {width})" for cell, layers, width in (there, here))
    return (
        f"model.bridge={bridge} needs equal encoder and decoder (cell, layers, size); got {shapes}. "
        "Use model.bridge=dense."
    )


def _shapes(model: Any) -> tuple[Shape, Shape]:
    """The shapes of a recurrent encoder's final state, its directions side by side, and of the decoder's."""
    encoder, decoder = model.stack("encoder"), model.stack("decoder")
    width = encoder.hidden_size * (2 if model.bidirectional else 1)
    return (encoder.cell, encoder.num_layers, width), (decoder.cell, decoder.num_layers, decoder.hidden_size)


def _widths(model: Any) -> tuple[int, int]:
    """The widths of the decoder's state and of the encoder's output."""
    there, here = _shapes(model)
    return here[2], there[2]


def _is_recurrent(model: Any) -> bool:
    """Whether the encoder's sizes are those of its stack. Other encoders are asked when the network is built."""
    return model.encoder_kind == "recurrent"


MODEL = (
    Rule(
        lambda model: _is_recurrent(model) and _bridge_message(model.bridge, *_shapes(model)),
        lambda model: _bridge_message(model.bridge, *_shapes(model)),
    ),
    Rule(
        lambda model: model.match_peeky and model.peeky != "none",
        "model.match_peeky=true is a control for model.peeky=none; got {0.peeky}. Leave one of them out.",
    ),
    Rule(
        lambda model: model.match_peeky and (model.encoder.hidden_size, model.decoder.hidden_size) != (None, None),
        "model.match_peeky=true widens model.hidden_size; leave out the encoder's and the decoder's own.",
    ),
    Rule(
        lambda model: _is_recurrent(model) and model.attention == "dot" and len(set(_widths(model))) > 1,
        lambda model: (
            "model.attention=dot needs a decoder as wide as the encoder's output; got {} and {}. Use "
            "model.attention=general, or set model.encoder.hidden_size or model.decoder.hidden_size."
        ).format(*_widths(model)),
    ),
)

OPTIM = (
    Rule(
        lambda optim: optim.clip_norm and optim.clip_value,
        "optim.clip_norm and optim.clip_value are both set; set one of them to 0.",
    ),
)

DECODE = (Rule(lambda decode: not decode.top_p, "decode.top_p=0 leaves no token to choose; it must be above 0."),)


def _is_whole(number: float) -> bool:
    return 1 <= number < 2**31 and number == int(number)


TRAINER = (
    Rule(
        lambda trainer: not (0 < trainer.validate_every < 1 or _is_whole(trainer.validate_every)),
        "trainer.validate_every={0.validate_every:g} is out of range; it must be in (0, 1] or whole.",
    ),
)


def _has_own_dropout(model: Any) -> bool:
    """Whether two sentences of a batch differ in dropout: a batch shares the masks of ``weight_dropout``."""
    without = {"weight_dropout"} | ({"memory_dropout"} if model.attention == "none" else set())
    return any(getattr(model, name) for name in DROPOUTS if name not in without)


WITH_SOURCES = (
    Rule(
        lambda config: config.data.kind in ONE_SIDED,
        "data.kind={0.data.kind} has no sources to translate; use experiment=lm data={0.data.kind} for a language "
        "model, or another dataset.",
    ),
)


def _stray(config: Any) -> list[str]:
    """The keys of a config without sources that need an encoder."""
    model, plain = config.model, type(config.model)()
    stray = [f"model.{name}" for name in SOURCE_KEYS if getattr(model, name) != getattr(plain, name)]
    stray += ["data.source"] * (config.data.source not in TEXT_SOURCES)
    return stray + ["tokenizer.joint"] * (config.tokenizer.joint and config.data.kind in ONE_SIDED)


def _only_for_text(config: Any) -> list[str]:
    """The keys that need text to read, where the source is not text."""
    if config.data.source in TEXT_SOURCES:
        return []
    found = {
        "model.tie=all": config.model.tie == "all",
        "tokenizer.joint": config.tokenizer.joint,
        "trainer.shortlist": config.trainer.shortlist,
        "decode.copy_unknown": config.decode.copy_unknown,
    }
    return [name for name, is_set in found.items() if is_set]


WITHOUT_SOURCES = (
    Rule(
        lambda config: config.model.tie == "all",
        "model.tie=all shares with an encoder, and a language model has none; use model.tie=decoder.",
    ),
    Rule(
        _stray,
        lambda config: (
            f"task={config.task} has no source, so it cannot use {', '.join(_stray(config))}; leave them "
            "out, or start from experiment=lm, which does."
        ),
    ),
    Rule(
        lambda config: config.optim.r_drop,
        "optim.r_drop={0.optim.r_drop:g} is for translation; leave it 0 with task={0.task}.",
    ),
    Rule(
        lambda config: config.trainer.shortlist,
        "trainer.shortlist={0.trainer.shortlist:g} is for translation; leave it 0 with task={0.task}.",
    ),
    Rule(
        lambda config: config.tokenizer.sampling,
        "tokenizer.sampling={0.tokenizer.sampling:g} would segment the text differently in each epoch, and a language "
        "model reads it as one fixed stream; leave it 0.",
    ),
)


def _where(holds: Callable[[Any], bool], rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules that hold for some tasks only."""

    def limited(rule: Rule) -> Rule:
        return Rule(lambda config: holds(config) and rule.broken(config), rule.message)

    return tuple(map(limited, rules))


def _has_sources(config: Any) -> bool:
    return TASKS[config.task].has_sources


def _monitors(config: Any) -> tuple[str, ...]:
    """The figures that a task's training may monitor."""
    return (*TASKS[config.task].monitors, "loss")


EXPERIMENT = (
    Rule(
        lambda config: any(part in ("", ".", "..") for part in config.name.split("/")),
        "name={0.name!r} cannot be a folder's name; use letters, digits, - and _.",
    ),
    Rule(
        lambda config: config.decode.shortlist and not config.trainer.shortlist,
        "decode.shortlist=true needs trainer.shortlist above 0, which learns one.",
    ),
    Rule(
        lambda config: config.model.tie == "all" and not config.tokenizer.joint,
        "model.tie=all needs one vocabulary for both sides; use tokenizer.joint=true or model.tie=decoder.",
    ),
    Rule(
        lambda config: config.decode.copy_unknown and config.model.attention == "none",
        "decode.copy_unknown=true needs attention; got model.attention=none. Use model.attention=general.",
    ),
    Rule(
        lambda config: (
            config.decode.search == "beam" and config.decode.coverage_penalty and config.model.attention == "none"
        ),
        "decode.coverage_penalty={0.decode.coverage_penalty:g} needs attention; got model.attention=none. Use "
        "model.attention=general, or leave it 0.",
    ),
    Rule(
        lambda config: config.model.fixed_length and config.tokenizer.sampling,
        "tokenizer.sampling={0.tokenizer.sampling:g} changes how many tokens a line has, and "
        "model.fixed_length={0.model.fixed_length} needs the same number in each line; set one of them to 0.",
    ),
    Rule(
        lambda config: config.optim.r_drop and not _has_own_dropout(config.model),
        "optim.r_drop={0.optim.r_drop:g} compares two passes with different dropout, which the model lacks; set "
        "model.dropout above 0, or leave optim.r_drop 0.",
    ),
    Rule(
        _only_for_text,
        lambda config: (
            f"{', '.join(_only_for_text(config))} needs text to read, and data.source={config.data.source} is not; "
            "leave it out."
        ),
    ),
    *_where(lambda config: not _has_sources(config), WITHOUT_SOURCES),
    *_where(_has_sources, WITH_SOURCES),
    Rule(
        lambda config: config.trainer.monitor not in _monitors(config),
        lambda config: (
            f"trainer.monitor={config.trainer.monitor} is not a figure of task={config.task}; choose from "
            f"{', '.join(_monitors(config))}."
        ),
    ),
)
