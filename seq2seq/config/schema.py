"""The schema of ``conf/`` and of every checkpoint: each key's type, default, range and meaning.

Hydra fills these dataclasses in ``cli/train.py``; a checkpoint carries them as plain dictionaries. Building one checks
every value, so a `Config` that exists is a `Config` that is valid.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from seq2seq.config import tasks
from seq2seq.config.checks import shown
from seq2seq.config.choices import (
    ACCELERATORS,
    ATTENTIONS,
    BRIDGES,
    CELLS,
    DATASETS,
    ENCODERS,
    GENERATED,
    INITS,
    LANGUAGES,
    LOGGERS,
    METRIC_TOKENIZERS,
    MONITORS,
    NORMALIZATIONS,
    OPTIMIZERS,
    PEEKY,
    PRECISIONS,
    SCHEDULES,
    SEARCHES,
    SOURCES,
    STRATEGIES,
    TASKS,
    TIES,
    TOKENIZERS,
    VARIANTS,
    WORD_DROPOUTS,
)
from seq2seq.config.keys import When, check_keys, fields_below, key, only, section
from seq2seq.config.rules import DATA, DECODE, EXPERIMENT, MODEL, OPTIM, TOKENIZER, TRAINER, check_rules
from seq2seq.errors import UserError

BREAKING = ("Cc", "Zl", "Zp")  # Unicode categories of characters that break a line or steer a terminal
MAX_DEPTH = 20  # of lists and sections inside each other in trainer.lightning


GENERATED_ONLY = only("data.kind", *GENERATED)
HELD_OUT_ONLY = only("data.kind", *GENERATED, "text")
BOOK_ONLY = only("data.kind", "addition", "dates")
LANGUAGES_ONLY = only("data.kind", *LANGUAGES)
FILES_ONLY = only("data.kind", "files")
TEXT_ONLY = only("data.kind", "files", "text")
MIRROR_ONLY = only("data.kind", *LANGUAGES, "ptb")
STREAM_ONLY = When(
    f"task={' or '.join(name for name, facts in tasks.TASKS.items() if not facts.has_sources)}",
    lambda config: not tasks.TASKS[config.task].has_sources,
)
ATTENTION_ONLY = only("model.attention", *ATTENTIONS[1:])
ADAM_ONLY = only("optim.algorithm", "adam", "adamw")
SGD_ONLY = only("optim.algorithm", "sgd")
UNIFORM_ONLY = only("model.init", "uniform")
WARMUP_ONLY = only("optim.schedule", *(one for one in SCHEDULES if one != "plateau"))
PLATEAU_ONLY = only("optim.schedule", "plateau")
LINEAR_ONLY = only("optim.schedule", "linear")
DECAY_ONLY = only("optim.schedule", "decay")
WORD_DROPOUT_ONLY = When(
    "model.src_word_dropout or model.tgt_word_dropout above 0",
    lambda config: config.model.src_word_dropout or config.model.tgt_word_dropout,
)


@dataclass
class DataConfig:
    """The dataset, its files, and its division into batches."""

    kind: str = key("phrasebook", "dataset", choices=DATASETS)
    source: str = key("text", "what a line of the source side stands for", choices=SOURCES)
    root: str = key("data", "folder below which prepared datasets are kept", incidental=True, path=True)
    seed: int = key(
        1984,
        "seed of a generated dataset; not the training seed, so that runs share their data",
        low=0,
        applies=GENERATED_ONLY,
    )
    train_size: int = key(20000, "generated datasets: training pairs", low=1, applies=GENERATED_ONLY)
    valid_size: int = key(
        1000, "generated datasets: validation pairs; text: lines held out for validation", low=1, applies=HELD_OUT_ONLY
    )
    test_size: int = key(
        1000, "generated datasets: test pairs; text: lines held out for the test", low=1, applies=HELD_OUT_ONLY
    )
    book_exact: bool = key(
        False,
        "addition, dates: pad with spaces that are read as tokens, as the book does",
        applies=BOOK_ONLY,
    )
    book_file: str | None = key(
        None,
        "addition, dates: the book's own text file, read instead of generating",
        applies=BOOK_ONLY,
        path=True,
    )
    src_lang: str = key("de", "multi30k, iwslt15: source language", applies=LANGUAGES_ONLY)
    tgt_lang: str = key("en", "multi30k, iwslt15: target language", applies=LANGUAGES_ONLY)
    variant: str = key(
        "raw",
        "multi30k: raw text, or tokenized (lower-cased, normalised, Moses tokens; en and de), also scored as it stands",
        choices=VARIANTS,
    )
    mirror: str | None = key(
        None,
        "multi30k, iwslt15: folder that holds the files, instead of a download; ptb: that of ptb.train.txt, ...",
        applies=MIRROR_ONLY,
        incidental=True,
        path=True,
    )
    train_src: str | None = key(
        None,
        "files: training source, plain or packed (or a two-column TSV without train_tgt)",
        applies=FILES_ONLY,
        path=True,
    )
    train_tgt: str | None = key(
        None,
        "files: training target; text: the text to train on, plain or packed",
        applies=TEXT_ONLY,
        path=True,
    )
    valid_src: str | None = key(None, "files: validation source (or TSV)", applies=FILES_ONLY, path=True)
    valid_tgt: str | None = key(
        None,
        "files: validation target; text: if null, held out from the end of train_tgt, before the test lines",
        applies=TEXT_ONLY,
        path=True,
    )
    test_src: str | None = key(None, "files: test source (or TSV)", applies=FILES_ONLY, path=True)
    test_tgt: str | None = key(
        None,
        "files: test target; text: if null, held out from the end of train_tgt",
        applies=TEXT_ONLY,
        path=True,
    )
    max_length: int = key(0, "drop training pairs with more words on a side; 0 keeps all", low=0)
    max_ratio: float = key(0.0, "drop training pairs whose word counts differ by more than this factor; 0 keeps all")
    skip_blank: bool = key(False, "drop training pairs with a blank side instead of refusing them")
    batch_tokens: int = key(
        4096,
        "most tokens in a training batch: rows times the longest of either side, before any sampling",
        low=0,
    )
    batch_sentences: int = key(0, "most sentences in a training batch; 0 leaves it to batch_tokens", low=0)
    columns: int = key(
        20,
        "language model: columns that the text is cut into; they are read in parallel",
        low=1,
        applies=STREAM_ONLY,
    )
    bptt: int = key(
        35,
        "language model: tokens of each column in a step, and steps of backpropagation",
        low=1,
        applies=STREAM_ONLY,
    )
    restart: float = key(
        0.0,
        "language model: probability of resetting the state at a window that starts with a new line",
        low=0,
        high=1,
        applies=STREAM_ONLY,
    )
    num_workers: int = key(
        0,
        "processes that prepare batches; 0 prepares them in the training process",
        low=0,
        incidental=True,
    )

    def __post_init__(self) -> None:
        check_keys(self, "data.")
        check_rules(DATA, self)


@dataclass
class TokenizerConfig:
    """How text becomes ids: one SentencePiece model for both sides, or one for each."""

    type: str = key(
        "unigram",
        "SentencePiece model; or ptb: words, where an <unk> in the text is an unknown word",
        choices=TOKENIZERS,
    )
    vocab_size: int = key(
        8000,
        "pieces wanted (char, word and ptb with 0: all there are); clipped if the text has fewer",
        low=0,
        high=2**24,
    )
    joint: bool = key(False, "one vocabulary for source and target")
    byte_fallback: bool = key(True, "spell unknown characters in bytes, so that no text is lost")
    sampling: float = key(
        0.0,
        "subword sampling in training: unigram's alpha, or BPE's merge dropout; 0 is off",
        low=0,
        high=1,
    )
    lowercase: bool = key(False, "lower-case the text on both sides")
    sample_lines: int = key(
        1_000_000,
        "learn the pieces from at most this many lines, a random sample; 0 takes all",
        low=0,
    )
    normalization: str = key(
        "nfc",
        "Unicode form of all text that the model reads and writes; references stay as they are",
        choices=NORMALIZATIONS,
    )
    like: str | None = key(None, "run or checkpoint whose tokenizers are used; none are trained", path=True)

    def __post_init__(self) -> None:
        check_keys(self, "tokenizer.")
        check_rules(TOKENIZER, self)


@dataclass
class StackConfig:
    """One recurrent stack, where it differs from ``model.hidden_size`` and ``model.num_layers``."""

    hidden_size: int | None = key(None, "width of the state (in each direction); null takes the model's", low=1)
    num_layers: int | None = key(None, "layers; null takes the model's", low=1)


@dataclass
class ModelConfig:
    """The network. All of it travels in the checkpoint."""

    reverse: bool = key(False, "read the source right to left (Sutskever et al. 2014)")
    peeky: str = key(
        "none",
        "where every step sees the encoder's summary; true means both, false none",
        choices=(*PEEKY, "true", "false"),
    )
    cell: str = key("lstm", "recurrent cell of encoder and decoder", choices=CELLS)
    hidden_size: int = key(256, "width of the recurrent state, in each direction", low=1)
    num_layers: int = key(1, "stacked recurrent layers", low=1)
    bidirectional: bool = key(False, "read the source in both directions")
    embedding_size: int = key(128, "width of the embeddings", low=1)
    encoder_kind: str = key("recurrent", "what reads the source", choices=ENCODERS)
    encoder: StackConfig = section(StackConfig)
    decoder: StackConfig = section(StackConfig)
    attention: str = key("none", "look back at the source at every step", choices=ATTENTIONS)
    bridge: str = key(
        "auto",
        "from encoder to decoder; auto is copy where the shapes agree, else dense",
        choices=BRIDGES,
    )
    tie: str = key("none", "share embeddings: decoder (its input and output), all (the encoder's too)", choices=TIES)
    dropout: float = key(0.0, "dropout between layers and before the output layer", low=0, high=1, below=True)
    embedding_dropout: float = key(0.0, "dropout of embeddings", low=0, high=1, below=True)
    memory_dropout: float = key(
        0.0,
        "dropout of the encoder's outputs that attention reads",
        low=0,
        high=1,
        below=True,
        applies=ATTENTION_ONLY,
    )
    locked_dropout: bool = key(False, "drop the same units at all positions of a sentence (variational dropout)")
    weight_dropout: float = key(
        0.0,
        "dropout of the weights of recurrent matrices, the same for a whole batch",
        low=0,
        high=1,
        below=True,
    )
    src_word_dropout: float = key(
        0.0,
        "probability that a source token is hidden in training",
        low=0,
        high=1,
        below=True,
    )
    tgt_word_dropout: float = key(
        0.0,
        "probability that a target token is hidden from the next steps in training",
        low=0,
        high=1,
        below=True,
    )
    word_dropout_kind: str = key(
        "zero",
        "replacement of a hidden token: zero (a zero embedding), unk (the unknown word)",
        choices=WORD_DROPOUTS,
        applies=WORD_DROPOUT_ONLY,
    )
    residual: bool = key(False, "add a layer's input to its output, except in the first layer")
    layer_norm: bool = key(False, "normalise the outputs of each recurrent layer")
    init: str = key(
        "torch",
        "initial weights: torch's, the book's normal(0, 1/fan-in), or uniform in +-init_range",
        choices=INITS,
    )
    init_range: float = key(
        0.1,
        "init=uniform: largest initial weight (Zaremba et al. 2014)",
        low=0,
        applies=UNIFORM_ONLY,
    )
    match_peeky: bool = key(
        False,
        "without peeky: widen hidden_size until there are as many parameters as with peeky=both, as a control",
    )
    fixed_length: int = key(
        0,
        "0: sentences end with </s>; n: no </s> and exactly n target tokens, as in the book",
        low=0,
        high=10_000,
    )

    def __post_init__(self) -> None:
        self.peeky = {"true": "both", "false": "none"}.get(str(self.peeky).lower(), str(self.peeky))
        check_keys(self, "model.")
        check_rules(MODEL, self)

    def stack(self, side: str) -> Stack:
        """The settings of the encoder's or the decoder's stack, without null values."""
        own: StackConfig = getattr(self, side)
        return Stack(
            cell=self.cell,
            hidden_size=self.hidden_size if own.hidden_size is None else own.hidden_size,
            num_layers=self.num_layers if own.num_layers is None else own.num_layers,
            residual=self.residual,
            layer_norm=self.layer_norm,
            locked_dropout=self.locked_dropout,
            weight_dropout=self.weight_dropout,
        )


@dataclass(frozen=True)
class Stack:
    """One recurrent stack, without null values."""

    cell: str
    hidden_size: int
    num_layers: int
    residual: bool = False
    layer_norm: bool = False
    locked_dropout: bool = False
    weight_dropout: float = 0.0


@dataclass
class OptimConfig:
    """The optimiser, its learning rate over time, and the loss."""

    algorithm: str = key("adam", "optimiser", choices=OPTIMIZERS)
    lr: float = key(1e-3, "highest learning rate", low=0, above=True)
    weight_decay: float = key(0.0, "L2 penalty (adam, sgd) or decoupled decay (adamw)", low=0)
    momentum: float = key(0.0, "momentum of sgd", low=0, high=1, below=True, applies=SGD_ONLY)
    beta1: float = key(0.9, "adam, adamw: decay of the first moment", low=0, high=1, below=True, applies=ADAM_ONLY)
    beta2: float = key(0.999, "adam, adamw: decay of the second moment", low=0, high=1, below=True, applies=ADAM_ONLY)
    eps: float = key(
        1e-8,
        "adam, adamw: added to the root of the second moment",
        low=0,
        high=1,
        above=True,
        below=True,
        applies=ADAM_ONLY,
    )
    eps_hat: bool = key(
        False,
        "adam, adamw: add eps to the root before its bias is corrected (Kingma and Ba 2015, end of section 2)",
        applies=ADAM_ONLY,
    )
    schedule: str = key("constant", "learning rate over time", choices=SCHEDULES)
    warmup_steps: int = key(
        0,
        "steps of linear warm-up from 0, for every schedule but plateau",
        low=0,
        applies=WARMUP_ONLY,
    )
    decay_start: float = key(
        0.5,
        "linear: share of the training after which the learning rate falls, down to 0",
        low=0,
        high=1,
        below=True,
        applies=LINEAR_ONLY,
    )
    plateau_factor: float = key(
        0.5,
        "plateau: factor on the learning rate when validation stops improving",
        low=0,
        high=1,
        below=True,
        applies=PLATEAU_ONLY,
    )
    plateau_patience: int = key(
        1,
        "plateau: validations without improvement to wait before the rate falls",
        low=0,
        applies=PLATEAU_ONLY,
    )
    decay_after: int = key(0, "decay: epochs at the full rate", low=0, applies=DECAY_ONLY)
    decay_factor: float = key(
        0.5,
        "decay: factor on the rate after each further epoch",
        low=0,
        high=1,
        above=True,
        applies=DECAY_ONLY,
    )
    clip_norm: float = key(5.0, "scale gradients down to this global norm; 0 is off", low=0)
    clip_value: float = key(0.0, "clamp each gradient to this absolute value; 0 is off", low=0)
    ema: float = key(
        0.0,
        "decay of a running average of the weights, used by validation, best.ckpt and the test; 0 is off",
        low=0,
        high=1,
        below=True,
    )
    label_smoothing: float = key(
        0.0,
        "share of the target's probability spread over the vocabulary",
        low=0,
        high=1,
        below=True,
    )
    r_drop: float = key(
        0.0,
        "weight of the difference between two passes with different dropout (Liang et al. 2021); a step takes twice as "
        "long; 0 is off",
        low=0,
        high=100,
    )

    def __post_init__(self) -> None:
        check_keys(self, "optim.")
        check_rules(OPTIM, self)


@dataclass
class DecodeConfig:
    """The search for a translation. A checkpoint carries these keys as its defaults."""

    search: str = key(
        "greedy",
        "how outputs are found; validation is always greedy",
        choices=SEARCHES,
    )
    beam_size: int = key(5, "beam: hypotheses that are kept at each step", search="beam", low=1, high=1000)
    length_penalty: float = key(
        1.0,
        "beam: score / ((5 + length) / 6)^this (Wu et al. 2016); 0 prefers short outputs",
        search="beam",
        low=0,
        high=10,
    )
    coverage_penalty: float = key(
        0.0,
        "beam, with attention: cost of source positions that got little of it; 0 is off",
        search="beam",
        low=0,
        high=10,
    )
    temperature: float = key(
        1.0,
        "sample: below 1 prefers likely tokens, above 1 allows more unlikely ones; 0 is greedy",
        search="sample",
        low=0,
        high=100,
    )
    top_k: int = key(0, "sample: draw from this many of the likeliest tokens; 0 is all", search="sample", low=0)
    top_p: float = key(
        1.0, "sample: draw from the fewest tokens whose probabilities sum to this", search="sample", low=0, high=1
    )
    seed: int = key(
        1, "sample: seed of the random draws; equal lines get equal outputs", search="sample", low=0, high=2**32 - 1
    )
    copy_unknown: bool = key(
        False,
        "with attention: replace an unknown in the output by the most attended source word",
    )
    max_ratio: float = key(2.0, "most output tokens for each source token", low=0, high=1000)
    max_extra: int = key(20, "output tokens allowed in addition to max_ratio", low=1, high=100_000)
    max_source: int = key(
        2000,
        "longest source in tokens; longer lines are cut, counted and reported in a warning",
        low=1,
    )
    batch_tokens: int = key(8192, "most tokens in a batch while decoding", low=1)
    int8: bool = key(False, "on a CPU: weights of 8-bit integers, up to 1.6 times as fast")
    cuda_graphs: bool = key(False, "on a GPU: launch the decoder's step as a whole, recorded once for each shape")
    shortlist: bool = key(False, "on a CPU: choose from the pieces that trainer.shortlist has found for the source")

    def __post_init__(self) -> None:
        check_keys(self, "decode.")
        check_rules(DECODE, self)

    def max_length(self, src_length: int) -> int:
        """Most target tokens for a source of ``src_length`` tokens."""
        return int(self.max_ratio * src_length) + self.max_extra


@dataclass
class MetricsConfig:
    """The scores of validations, the test set, seq2seq-evaluate and reports."""

    tokenizer: str = key(
        "13a",
        "sacreBLEU's tokenizer for BLEU; none for text that is tokenised. With zh, ja-mecab, ko-mecab and char TER "
        "cuts text into Asian characters",
        choices=METRIC_TOKENIZERS,
    )

    def __post_init__(self) -> None:
        check_keys(self, "metrics.")


@dataclass
class TrainerConfig:
    """Length and hardware of a training, validation, and checkpoints."""

    max_epochs: int = key(10, "passes over the training data", low=1)
    max_steps: int = key(-1, "optimiser steps; -1 for no bound", low=-1)
    max_minutes: float = key(0.0, "wall-clock bound on training; 0 for none", low=0, high=1e6)
    accelerator: str = key("cpu", "kind of processor", choices=ACCELERATORS)
    devices: int = key(1, "processes or GPUs", low=1)
    strategy: str = key("auto", "Lightning's strategy", choices=STRATEGIES)
    precision: str = key("32-true", "Lightning's precision", choices=PRECISIONS)
    threads: int = key(
        0,
        "torch's threads; 0 takes one for a small network, else one for each core",
        low=0,
        high=1024,
        compared=False,
    )
    deterministic: bool = key(False, "refuse operations that may differ between two equal runs (a GPU has some)")
    accumulate: int = key(1, "batches for one optimiser step", low=1)
    validate_every: float = key(1.0, "epochs between validations; a fraction validates inside an epoch")
    monitor: str = key(
        "bleu",
        "validation figure that selects the best checkpoint",
        choices=MONITORS,
    )
    keep_best: int = key(1, "best checkpoints to keep; from 2 on each is step-N.ckpt too, for seq2seq-average", low=1)
    patience: int = key(0, "validations without improvement that end the training; 0 is off", low=0, high=1e6)
    probe: int = key(
        256,
        "test sentences that probe the trained network, for probe.json; 0 is off",
        low=0,
        compared=False,
    )
    save_minutes: float = key(
        5.0,
        "minutes between saves of last.ckpt inside an epoch; 0 is off. It is saved after each epoch anyway",
        low=0,
        high=1e6,
        compared=False,
    )
    shortlist: int = key(
        0,
        "target pieces to learn for each source piece at the end, for decode.shortlist; 0 is off",
        low=0,
        high=1000,
    )
    score_tokens: int = key(
        2_000_000,
        "language model: most tokens of the training text to score at the end, from its start",
        low=1,
        applies=STREAM_ONLY,
    )
    samples: int = key(
        5,
        "translations, or generated lines, shown after each validation and at the end",
        low=0,
        high=1e6,
        compared=False,
    )
    progress: bool = key(True, "progress bar on stderr, if that is a terminal", incidental=True)
    loggers: list[str] = key(
        ["csv"],
        "where metrics go; csv always",
        choices=LOGGERS,
        compared=False,
    )
    lightning: dict[str, Any] = key(
        {},
        "more arguments of lightning.Trainer: +trainer.lightning.NAME=VALUE; NAME is num_nodes, limit_train_batches, "
        "log_every_n_steps, profiler, detect_anomaly or benchmark",
    )

    def __post_init__(self) -> None:
        check_keys(self, "trainer.")
        check_rules(TRAINER, self)

    @property
    def is_alone(self) -> bool:
        """Whether a run uses one process."""
        return self.strategy == "auto" and self.devices == 1 and self.lightning.get("num_nodes", 1) == 1


@dataclass
class Config:
    """One experiment."""

    name: str = key("phrasebook", "the experiment's folder below runs", compared=False)
    seed: int = key(
        1,
        "fixes initial weights, batches, dropout and subword sampling",
        low=0,
        high=2**32 - 1,
        compared=False,
    )
    runs: str = key("runs", "folder of all experiments", incidental=True, path=True)
    resume: str | None = key(None, "run folder to resume; its own config is used", incidental=True, path=True)
    overwrite: bool = key(False, "start again in a run folder that holds another run", incidental=True)
    task: str = key(
        "translation",
        "kind of network; a language model is a decoder without an encoder (experiment=lm)",
        choices=TASKS,
    )
    warm_start: str | None = key(
        None,
        "run or checkpoint of a language model that gives the decoder its initial weights",
        path=True,
    )
    data: DataConfig = section(DataConfig)
    tokenizer: TokenizerConfig = section(TokenizerConfig)
    model: ModelConfig = section(ModelConfig)
    optim: OptimConfig = section(OptimConfig)
    decode: DecodeConfig = section(DecodeConfig)
    metrics: MetricsConfig = section(MetricsConfig)
    trainer: TrainerConfig = section(TrainerConfig)

    def __post_init__(self) -> None:
        check_keys(self)
        if any(unicodedata.category(character) in BREAKING for character in self.name):
            raise UserError(f"name={shown(self.name)} has a line break or control character; leave it out.")
        check_rules(EXPERIMENT, self)


INCIDENTAL = tuple(name for name, _, facts in fields_below(Config) if facts.incidental)
PATHS = frozenset(name for name, _, facts in fields_below(Config) if facts.path)
UNCOMPARED = tuple(name for name, _, facts in fields_below(Config) if facts.incidental or not facts.compared)


def _refuse_unwritable(word: str, where: str) -> None:
    """Refuse text that cannot name a file.

    Surrogates that stand for bytes which are not UTF-8 are allowed.
    """
    try:
        fit = b"\0" not in word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        fit = False
    if not fit:
        raise UserError(f"{where} has a NUL or half a character; got {shown(word)}. Leave it out.")


def _refuse_objects(value: Any, where: str, seen: set[int], depth: int = 0) -> None:
    """Check that a mapping for Lightning holds only words, numbers, lists and mappings.

    ``seen`` holds the lists and mappings that were looked at: a checkpoint can hold the same one exponentially often.

    Raises:
        UserError: for another value, a key that is not a word, or one that is nested too deep.
    """
    if isinstance(value, (dict, list)):
        if depth > MAX_DEPTH:
            raise UserError(f"{where} is nested more than {MAX_DEPTH} levels deep; make it flat.")
        if id(value) in seen:
            return
        seen.add(id(value))
        for name in value if isinstance(value, dict) else ():
            if not isinstance(name, str):
                raise UserError(f"{where} has the key {shown(name)}; keys must be words.")
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_objects(inner, where, seen, depth + 1)
    elif not isinstance(value, (str, int, float, type(None))):
        raise UserError(f"{where} must hold plain values; got {shown(value)}.")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise UserError(f"{where} must hold numbers of 64 bits; got an integer of {value.bit_length()} bits.")
