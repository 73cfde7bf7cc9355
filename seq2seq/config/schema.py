"""The schema of ``conf/`` and of every checkpoint: each key's type, default, range and meaning, once.

Hydra fills these dataclasses in ``cli/train.py``; a checkpoint carries them as plain dictionaries. Building one checks
every value, so a `Config` that exists is a `Config` that is valid.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from seq2seq.config.checks import one_of, shown, within
from seq2seq.errors import UserError

TASKS = ("translation", "language_model")
CELLS = ("rnn", "gru", "lstm")
NONLINEARITIES = ("tanh", "relu")
BRIDGES = ("auto", "copy", "dense", "hidden_only", "zero")
PEEKY = ("none", "input", "output", "both")
ATTENTIONS = ("none", "dot", "general", "additive")
SEARCHES = ("greedy", "beam", "sample")
TIES = ("none", "decoder", "all")
INITS = ("torch", "book", "uniform")
DROPOUTS = (
    "dropout",
    "embedding_dropout",
    "memory_dropout",
    "weight_dropout",
    "src_word_dropout",
    "tgt_word_dropout",
)
WORD_DROPOUTS = ("zero", "unk")
DATASETS = ("phrasebook", "addition", "dates", "multi30k", "iwslt15", "files", "text", "ptb")
ONE_SIDED = ("text", "ptb")  # datasets without sources
LANGUAGES = {"multi30k": ("en", "de", "fr", "cs"), "iwslt15": ("en", "vi")}
TOKENIZED_LANGUAGES = ("en", "de")  # of multi30k's variant "tokenized"
TOKENIZERS = ("unigram", "bpe", "char", "word", "ptb")
NORMALIZATIONS = ("none", "nfc", "nfkc")
METRIC_TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200", "none")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "inverse_sqrt", "cosine", "linear", "plateau", "decay")
MONITORS = ("bleu", "chrf", "exact_match", "loss")
LOGGERS = ("csv", "tensorboard", "wandb")
BREAKING = ("Cc", "Zl", "Zp")  # Unicode categories of characters that break a line or steer a terminal
MAX_DEPTH = 20  # of lists and sections inside each other in trainer.lightning


def key(default: Any, meaning: str) -> Any:
    """A dataclass field with its default and the sentence that documents it."""
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": meaning})
    return field(default=default, metadata={"help": meaning})


def _section(cls: type) -> Any:
    return field(default_factory=cls)


@dataclass
class DataConfig:
    """Which text, parallel or for a language model, where it lies, and how it is cut into batches."""

    kind: str = key("phrasebook", "dataset: " + ", ".join(DATASETS))
    root: str = key("data", "folder below which prepared datasets are kept")
    seed: int = key(1984, "seed of a generated dataset; apart from the training seed, so that runs share their data")
    train_size: int = key(20000, "generated datasets: training pairs")
    valid_size: int = key(1000, "generated datasets: validation pairs")
    test_size: int = key(1000, "generated datasets: test pairs")
    book_exact: bool = key(False, "addition, dates: pad with spaces that are read as tokens, as the book does")
    book_file: str | None = key(None, "addition, dates: the book's own text file, read instead of generating")
    src_lang: str = key("de", "multi30k, iwslt15: source language")
    tgt_lang: str = key("en", "multi30k, iwslt15: target language")
    variant: str = key(
        "raw",
        "multi30k: raw text, or tokenized (lower-cased, normalised, Moses tokens; en and de), also scored as it stands",
    )
    mirror: str | None = key(
        None, "multi30k, iwslt15: folder that holds the files, instead of a download; ptb: that of ptb.train.txt, ..."
    )
    train_src: str | None = key(None, "files: training source, plain or packed (or a two-column TSV without train_tgt)")
    train_tgt: str | None = key(None, "files: training target; text: the text to train on, plain or packed")
    valid_src: str | None = key(None, "files: validation source (or TSV)")
    valid_tgt: str | None = key(
        None, "files: validation target; text: null takes the last lines but test's of train_tgt"
    )
    test_src: str | None = key(None, "files: test source (or TSV)")
    test_tgt: str | None = key(None, "files: test target; text: null takes the last lines of train_tgt")
    max_length: int = key(0, "drop training pairs with more words on a side; 0 keeps all")
    max_ratio: float = key(0.0, "drop training pairs whose word counts differ by more than this factor; 0 keeps all")
    skip_blank: bool = key(False, "drop training pairs with a blank side instead of refusing them")
    batch_tokens: int = key(
        4096, "most tokens in a training batch: rows times the longest of either side, before any sampling"
    )
    batch_sentences: int = key(0, "most sentences in a training batch; 0 leaves it to batch_tokens")
    columns: int = key(20, "language model: columns that the text is cut into, which are read side by side")
    bptt: int = key(35, "language model: tokens of each column that a step reads and sends gradients back through")
    restart: float = key(
        0.0, "language model: how often a column whose window begins with a line forgets all before: how texts begin"
    )
    num_workers: int = key(0, "processes that prepare batches; 0 prepares them in the training process")

    def __post_init__(self) -> None:
        one_of("data.kind", self.kind, DATASETS)
        one_of("data.variant", self.variant, ("raw", "tokenized"))
        for name in ("train_size", "valid_size", "test_size", "columns", "bptt"):
            within(f"data.{name}", getattr(self, name), 1)
        if self.max_ratio and not 1 <= self.max_ratio < float("inf"):
            raise UserError(f"data.max_ratio={self.max_ratio:g} is out of range; it must be 0 (off) or at least 1.")
        for name in ("seed", "max_length", "batch_tokens", "batch_sentences", "num_workers"):
            within(f"data.{name}", getattr(self, name), 0)
        within("data.restart", self.restart, 0, 1)
        if not self.batch_tokens and not self.batch_sentences:
            raise UserError("data.batch_tokens and data.batch_sentences are both 0; one of them must bound a batch.")
        known = LANGUAGES.get(self.kind, ())
        for name in ("src_lang", "tgt_lang"):
            if known:
                one_of(f"data.{name}", getattr(self, name), known)
        if known and self.src_lang == self.tgt_lang:
            raise UserError(f"data.src_lang and data.tgt_lang are both {self.src_lang}; they must differ.")
        self._check_variant()
        if self.kind == "files":
            missing = [f"data.{split}_src" for split in ("train", "valid", "test") if not getattr(self, f"{split}_src")]
            if missing:
                raise UserError(f"data.kind=files needs {', '.join(missing)}; give each a text file.")
        self._check_one_sided()

    def _check_variant(self) -> None:
        if self.variant == "raw":
            return
        if self.kind != "multi30k":
            raise UserError(
                f"data.variant={self.variant} is for data.kind=multi30k; data.kind={self.kind} has one form only, so "
                "leave it raw."
            )
        for name in ("src_lang", "tgt_lang"):
            value = getattr(self, name)
            if value not in TOKENIZED_LANGUAGES:
                raise UserError(
                    f"data.variant={self.variant} has no {value}; use data.{name}="
                    f"{' or '.join(TOKENIZED_LANGUAGES)}, or data.variant=raw."
                )

    def _check_one_sided(self) -> None:
        if self.kind in ONE_SIDED:
            filters = {"max_length": self.max_length, "max_ratio": self.max_ratio, "skip_blank": self.skip_blank}
            stray = [f"data.{name}" for name, value in filters.items() if value]
            if stray:
                raise UserError(f"{', '.join(stray)} is for pairs, and data.kind={self.kind} has lines; leave it out.")
        if self.kind == "text":
            if not self.train_tgt:
                raise UserError("data.kind=text needs data.train_tgt; give it a text file.")
            if (self.valid_tgt is None) != (self.test_tgt is None):
                raise UserError(
                    "data.kind=text takes both data.valid_tgt and data.test_tgt, or neither, which holds out the last "
                    "lines of data.train_tgt; one is missing."
                )
        if self.kind == "ptb" and not self.mirror:
            raise UserError(
                "data.kind=ptb needs data.mirror, the folder of ptb.train.txt, ptb.valid.txt and ptb.test.txt; the "
                "Penn Treebank is licensed, and not part of this project."
            )


@dataclass
class TokenizerConfig:
    """How text becomes ids: one SentencePiece model for both sides, or one for each."""

    type: str = key(
        "unigram", "SentencePiece model: unigram, bpe, char, word; or ptb: words, an <unk> in the text being unknown"
    )
    vocab_size: int = key(
        8000, "pieces wanted (char, word and ptb with 0: all there are); clipped if the text has fewer"
    )
    joint: bool = key(False, "one vocabulary for source and target")
    byte_fallback: bool = key(True, "spell unknown characters in bytes, so that no text is lost")
    sampling: float = key(0.0, "subword sampling in training: unigram's alpha, or BPE's merge dropout; 0 is off")
    lowercase: bool = key(False, "lower-case the text on both sides")
    sample_lines: int = key(
        1_000_000, "most lines that the pieces are learnt from; of more a random sample is taken; 0 takes all"
    )
    normalization: str = key(
        "nfc", "Unicode form of all text that the model reads and writes: none, nfc, nfkc; never of references"
    )
    like: str | None = key(None, "run or checkpoint whose tokenizers are taken, instead of training some")

    def __post_init__(self) -> None:
        one_of("tokenizer.type", self.type, TOKENIZERS)
        one_of("tokenizer.normalization", self.normalization, NORMALIZATIONS)
        within("tokenizer.vocab_size", self.vocab_size, 0, 2**24)
        within("tokenizer.sampling", self.sampling, 0, 1)
        within("tokenizer.sample_lines", self.sample_lines, 0)
        if self.type in ("unigram", "bpe") and self.vocab_size < 8:
            raise UserError(f"tokenizer.vocab_size={self.vocab_size} is out of range; it must be at least 8.")
        if self.type == "ptb" and 0 < self.vocab_size < 3:
            raise UserError(f"tokenizer.vocab_size={self.vocab_size} is out of range; type ptb takes 0 or at least 3.")
        if self.sampling and self.type not in ("unigram", "bpe"):
            raise UserError(
                f"tokenizer.sampling={self.sampling:g} needs tokenizer.type unigram or bpe; got {self.type}."
            )


@dataclass
class StackConfig:
    """One recurrent stack, where it differs from ``model.cell``, ``model.hidden_size`` and ``model.num_layers``."""

    cell: str | None = key(None, "rnn, gru or lstm; null takes the model's")
    hidden_size: int | None = key(None, "width of the state (in each direction); null takes the model's")
    num_layers: int | None = key(None, "layers; null takes the model's")


@dataclass
class ModelConfig:
    """The network. All of it travels in the checkpoint."""

    reverse: bool = key(False, "read the source right to left (Sutskever et al. 2014)")
    peeky: str = key("none", "show the encoder's summary at every step: none, input, output, both (true: both)")
    cell: str = key("lstm", "recurrent cell of encoder and decoder: " + ", ".join(CELLS))
    nonlinearity: str = key("tanh", "of cell rnn: tanh or relu")
    hidden_size: int = key(256, "width of the recurrent state, in each direction")
    num_layers: int = key(1, "stacked recurrent layers")
    bidirectional: bool = key(False, "read the source in both directions")
    embedding_size: int = key(128, "width of the embeddings")
    encoder: StackConfig = _section(StackConfig)
    decoder: StackConfig = _section(StackConfig)
    attention: str = key("none", "look back at the source at every step: " + ", ".join(ATTENTIONS))
    attention_heads: int = key(1, "heads of the attention; they share out the widths")
    bridge: str = key("auto", "from encoder to decoder: copy, dense, hidden_only, zero; auto copies where shapes agree")
    tie: str = key("none", "share embeddings: decoder (its input and output), all (the encoder's too)")
    dropout: float = key(0.0, "between layers and before the output layer")
    embedding_dropout: float = key(0.0, "on embeddings")
    memory_dropout: float = key(0.0, "on the encoder's outputs that attention looks at")
    locked_dropout: bool = key(False, "drop the same units at all positions of a sentence (variational dropout)")
    weight_dropout: float = key(0.0, "on the weights of recurrent matrices, the same for a whole batch")
    src_word_dropout: float = key(0.0, "probability that a source token is hidden in training")
    tgt_word_dropout: float = key(0.0, "probability that a target token is hidden from the next steps in training")
    word_dropout_kind: str = key("zero", "what hidden tokens are: zero (their embedding), unk (an unknown word)")
    residual: bool = key(False, "add a layer's input to its output, the first layer's left out")
    layer_norm: bool = key(False, "normalise the outputs of each recurrent layer")
    init: str = key("torch", "initial weights: torch's, the book's normal(0, 1/fan-in), or uniform in +-init_range")
    init_range: float = key(0.1, "of init=uniform: no first weight is larger (Zaremba et al. 2014)")
    match_peeky: bool = key(
        False, "without peeky: widen hidden_size until there are as many parameters as with peeky=both, as a control"
    )
    fixed_length: int = key(0, "0: sentences end with </s>; n: no </s> and exactly n target tokens, as in the book")

    def __post_init__(self) -> None:
        self.peeky = {"true": "both", "false": "none"}.get(str(self.peeky).lower(), str(self.peeky))
        one_of("model.peeky", self.peeky, (*PEEKY, "true", "false"))
        one_of("model.cell", self.cell, CELLS)
        one_of("model.nonlinearity", self.nonlinearity, NONLINEARITIES)
        one_of("model.bridge", self.bridge, BRIDGES)
        one_of("model.attention", self.attention, ATTENTIONS)
        one_of("model.tie", self.tie, TIES)
        one_of("model.init", self.init, INITS)
        one_of("model.word_dropout_kind", self.word_dropout_kind, WORD_DROPOUTS)
        for name in ("hidden_size", "num_layers", "embedding_size", "attention_heads"):
            within(f"model.{name}", getattr(self, name), 1)
        for name in DROPOUTS:
            within(f"model.{name}", getattr(self, name), 0, 1, below=True)
        within("model.fixed_length", self.fixed_length, 0, 10_000)
        within("model.init_range", self.init_range, 0)
        for side in ("encoder", "decoder"):
            stack = self.stack(side)
            one_of(f"model.{side}.cell", stack.cell, CELLS)
            within(f"model.{side}.hidden_size", stack.hidden_size, 1)
            within(f"model.{side}.num_layers", stack.num_layers, 1)
        self._check_bridge()
        self._check_match_peeky()
        if self.attention != "none":
            self._check_attention()

    def stack(self, side: str) -> Stack:
        """The encoder's or the decoder's stack with nothing left open."""
        own: StackConfig = getattr(self, side)
        return Stack(
            cell=self.cell if own.cell is None else own.cell,
            hidden_size=self.hidden_size if own.hidden_size is None else own.hidden_size,
            num_layers=self.num_layers if own.num_layers is None else own.num_layers,
            nonlinearity=self.nonlinearity,
            residual=self.residual,
            layer_norm=self.layer_norm,
            locked_dropout=self.locked_dropout,
            weight_dropout=self.weight_dropout,
        )

    def final_shape(self) -> tuple[str, int, int]:
        """(cell, layers, width) of the encoder's final state, its directions side by side."""
        encoder = self.stack("encoder")
        return encoder.cell, encoder.num_layers, encoder.hidden_size * (2 if self.bidirectional else 1)

    def resolved_bridge(self) -> str:
        """The bridge with ``auto`` decided: copy where cell, layers and width agree, else dense."""
        if self.bridge != "auto":
            return self.bridge
        decoder = self.stack("decoder")
        return "copy" if self.final_shape() == (decoder.cell, decoder.num_layers, decoder.hidden_size) else "dense"

    def _check_attention(self) -> None:
        query, memory = self.stack("decoder").hidden_size, self.final_shape()[2]
        if self.attention == "dot" and query != memory:
            raise UserError(
                f"model.attention=dot needs a decoder as wide as the encoder's output; got {query} and {memory}. "
                "Use model.attention=general, or set model.encoder.hidden_size or model.decoder.hidden_size."
            )
        if query % self.attention_heads or memory % self.attention_heads:
            raise UserError(
                f"model.attention_heads={self.attention_heads} must divide the decoder's width {query} "
                f"and the encoder's {memory}."
            )

    def _check_match_peeky(self) -> None:
        if not self.match_peeky:
            return
        if self.peeky != "none":
            raise UserError(
                f"model.match_peeky=true is a control for model.peeky=none; got {self.peeky}. Leave one of them out."
            )
        if self.encoder.hidden_size is not None or self.decoder.hidden_size is not None:
            raise UserError(
                "model.match_peeky=true widens model.hidden_size; leave out the encoder's and the decoder's own."
            )

    def _check_bridge(self) -> None:
        decoder = self.stack("decoder")
        there, here = self.final_shape(), (decoder.cell, decoder.num_layers, decoder.hidden_size)
        equal = there[1:] == here[1:] if self.bridge == "hidden_only" else there == here
        if self.bridge in ("copy", "hidden_only") and not equal:
            raise UserError(
                f"model.bridge={self.bridge} needs equal encoder and decoder (cell, layers, size); "
                f"got {_tuple(there)} and {_tuple(here)}. Use model.bridge=dense."
            )


def _tuple(values: Sequence[object]) -> str:
    return f"({', '.join(map(str, values))})"


@dataclass(frozen=True)
class Stack:
    """One recurrent stack, every value decided."""

    cell: str
    hidden_size: int
    num_layers: int
    nonlinearity: str
    residual: bool = False
    layer_norm: bool = False
    locked_dropout: bool = False
    weight_dropout: float = 0.0


@dataclass
class OptimConfig:
    """The optimiser, its learning rate over time, and the loss."""

    algorithm: str = key("adam", "optimiser: " + ", ".join(OPTIMIZERS))
    lr: float = key(1e-3, "highest learning rate")
    weight_decay: float = key(0.0, "L2 penalty (adam, sgd) or decoupled decay (adamw)")
    momentum: float = key(0.0, "of sgd")
    beta1: float = key(0.9, "of adam and adamw")
    beta2: float = key(0.999, "of adam and adamw")
    eps: float = key(1e-8, "of adam and adamw: added to the root of the second moment")
    eps_hat: bool = key(
        False, "adam, adamw: add eps to the root before its bias is corrected (Kingma and Ba 2015, end of section 2)"
    )
    schedule: str = key("constant", "learning rate over time: " + ", ".join(SCHEDULES))
    warmup_steps: int = key(0, "steps of linear warm-up from 0, for every schedule but plateau")
    decay_start: float = key(0.5, "linear: share of the training after which the learning rate falls, down to 0")
    plateau_factor: float = key(0.5, "plateau: factor on the learning rate when validation stops improving")
    plateau_patience: int = key(1, "plateau: validations without improvement that are waited for")
    decay_after: int = key(0, "decay: epochs at the full rate, before ...")
    decay_factor: float = key(0.5, "... each further one has this times the rate of the one before")
    clip_norm: float = key(5.0, "scale gradients down to this global norm; 0 is off")
    clip_value: float = key(0.0, "clamp each gradient to this absolute value; 0 is off")
    ema: float = key(
        0.0, "decay of a running average of the weights, which validation, best.ckpt and the test take; 0 is off"
    )
    label_smoothing: float = key(0.0, "share of the target's probability spread over the vocabulary")
    r_drop: float = key(
        0.0,
        "weight of the difference between two passes with different dropout (Liang et al. 2021); a step takes twice as "
        "long; 0 is off",
    )

    def __post_init__(self) -> None:
        one_of("optim.algorithm", self.algorithm, OPTIMIZERS)
        one_of("optim.schedule", self.schedule, SCHEDULES)
        if not 0 < self.lr < float("inf"):
            raise UserError(f"optim.lr={self.lr:g} is out of range; it must be above 0.")
        for name in ("weight_decay", "warmup_steps", "plateau_patience", "decay_after", "clip_norm", "clip_value"):
            within(f"optim.{name}", getattr(self, name), 0)
        within("optim.r_drop", self.r_drop, 0, 100)
        for name in ("momentum", "beta1", "beta2", "decay_start", "plateau_factor", "ema", "label_smoothing"):
            within(f"optim.{name}", getattr(self, name), 0, 1, below=True)
        if not 0 < self.eps < 1:
            raise UserError(f"optim.eps={self.eps:g} is out of range; it must be above 0 and below 1.")
        if self.eps_hat and self.algorithm == "sgd":
            raise UserError("optim.eps_hat is for adam and adamw; leave it out, or set optim.algorithm=adam.")
        if not 0 < self.decay_factor <= 1:
            raise UserError(f"optim.decay_factor={self.decay_factor:g} is out of range; it must be in (0, 1].")
        if self.clip_norm and self.clip_value:
            raise UserError("optim.clip_norm and optim.clip_value are both set; set one of them to 0.")


@dataclass
class DecodeConfig:
    """How a translation is searched for. A checkpoint carries these as its defaults."""

    search: str = key("greedy", "how outputs are found: " + ", ".join(SEARCHES) + "; validation is always greedy")
    beam_size: int = key(5, "beam: hypotheses that are kept at each step")
    length_penalty: float = key(1.0, "beam: score / ((5 + length) / 6)^this (Wu et al. 2016); 0 prefers short outputs")
    coverage_penalty: float = key(0.0, "beam, with attention: cost of source positions that got little of it; 0 is off")
    temperature: float = key(1.0, "sample: below 1 likelier tokens, above 1 more surprising ones; 0 is greedy")
    top_k: int = key(0, "sample: from so many of the likeliest tokens; 0 is all")
    top_p: float = key(1.0, "sample: from the fewest tokens that have this probability together")
    seed: int = key(1, "sample: another seed, other outputs; equal lines get equal ones")
    copy_unknown: bool = key(
        False, "with attention: an unknown in the output becomes the source word that was looked at most"
    )
    max_ratio: float = key(2.0, "most output tokens for each source token ...")
    max_extra: int = key(20, "... and this many more")
    max_source: int = key(
        2000, "longest source in tokens; the rest of a longer line is left out, warned of and counted"
    )
    batch_tokens: int = key(8192, "most tokens in a batch while decoding")
    int8: bool = key(False, "on a CPU: weights of 8-bit integers, up to 1.6 times as fast")
    cuda_graphs: bool = key(False, "on a GPU: launch the decoder's step as a whole, recorded once for each shape")
    shortlist: bool = key(False, "on a CPU: choose from the pieces that trainer.shortlist has found for the source")

    def __post_init__(self) -> None:
        one_of("decode.search", self.search, SEARCHES)
        within("decode.beam_size", self.beam_size, 1, 1000)
        for name, high in (("length_penalty", 10), ("coverage_penalty", 10), ("temperature", 100), ("top_p", 1)):
            within(f"decode.{name}", getattr(self, name), 0, high)
        within("decode.top_k", self.top_k, 0)
        within("decode.seed", self.seed, 0, 2**32 - 1)
        if not self.top_p:
            raise UserError("decode.top_p=0 leaves no token to choose; it must be above 0.")
        within("decode.max_ratio", self.max_ratio, 0, 1000)
        within("decode.max_extra", self.max_extra, 1, 100_000)
        within("decode.max_source", self.max_source, 1)
        within("decode.batch_tokens", self.batch_tokens, 1)

    def max_length(self, src_length: int) -> int:
        """Most target tokens of a source of ``src_length`` tokens: whatever its neighbours."""
        return int(self.max_ratio * src_length) + self.max_extra


@dataclass
class MetricsConfig:
    """How translations are scored: in validations, on the test set, by seq2seq-evaluate, and in a report."""

    tokenizer: str = key(
        "13a",
        "sacreBLEU's tokenizer for BLEU: 13a, intl, zh, ja-mecab, ko-mecab, char, flores200, or none for text that is "
        "tokenised; with zh, ja-mecab, ko-mecab and char TER cuts text into Asian characters",
    )

    def __post_init__(self) -> None:
        one_of("metrics.tokenizer", self.tokenizer, METRIC_TOKENIZERS)


@dataclass
class TrainerConfig:
    """How long and on what to train, when to look, and what to keep."""

    max_epochs: int = key(10, "passes over the training data")
    max_steps: int = key(-1, "optimiser steps; -1 for no bound")
    max_minutes: float = key(0.0, "wall-clock bound on training; 0 for none")
    accelerator: str = key("cpu", "cpu, gpu or auto")
    devices: int = key(1, "processes or GPUs")
    strategy: str = key("auto", "Lightning's strategy: auto, ddp")
    precision: str = key("32-true", "Lightning's precision: 32-true, bf16-mixed, 16-mixed")
    threads: int = key(0, "torch's threads; 0 takes one for a small network, else one for each core")
    deterministic: bool = key(False, "refuse operations that may differ between two equal runs (a GPU has some)")
    accumulate: int = key(1, "batches for one optimiser step")
    validate_every: float = key(1.0, "epochs between validations; a fraction validates inside an epoch")
    monitor: str = key("bleu", "what the best checkpoint is best at, on valid: " + ", ".join(MONITORS))
    keep_best: int = key(1, "best checkpoints to keep; from 2 on each is step-N.ckpt too, for seq2seq-average")
    patience: int = key(0, "validations without improvement that end the training; 0 is off")
    probe: int = key(256, "test sentences that the trained network is probed with for probe.json; 0 is off")
    save_minutes: float = key(
        5.0, "minutes between saves of last.ckpt inside an epoch; 0 is off. After each it is saved anyway"
    )
    shortlist: int = key(
        0, "target pieces for each source piece that are learnt at the end, for decode.shortlist; 0 is off"
    )
    score_tokens: int = key(
        2_000_000, "language model: most tokens of the training text, from its start, that the final score is of"
    )
    samples: int = key(5, "translations, or generated lines, shown after each validation and at the end")
    progress: bool = key(True, "progress bar on stderr, if that is a terminal")
    loggers: list[str] = key(["csv"], "where metrics go: csv (always), tensorboard, wandb")
    lightning: dict[str, Any] = key(
        {},
        "more arguments of lightning.Trainer: +trainer.lightning.NAME=VALUE; NAME is num_nodes, limit_train_batches, "
        "log_every_n_steps, profiler, detect_anomaly or benchmark",
    )

    def __post_init__(self) -> None:
        for name in ("max_epochs", "devices", "accumulate", "keep_best", "score_tokens"):
            within(f"trainer.{name}", getattr(self, name), 1)
        within("trainer.max_steps", self.max_steps, -1)
        for name in ("max_minutes", "patience", "save_minutes", "samples"):
            within(f"trainer.{name}", getattr(self, name), 0, 1e6)
        within("trainer.threads", self.threads, 0, 1024)
        within("trainer.probe", self.probe, 0)
        within("trainer.shortlist", self.shortlist, 0, 1000)
        one_of("trainer.accelerator", self.accelerator, ("cpu", "gpu", "auto"))
        one_of("trainer.strategy", self.strategy, ("auto", "ddp"))
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed", "16-mixed"))
        one_of("trainer.monitor", self.monitor, MONITORS)
        for logger in self.loggers:
            one_of("trainer.loggers", logger, LOGGERS)
        whole = 1 <= self.validate_every < 2**31 and self.validate_every == int(self.validate_every)
        if not (0 < self.validate_every < 1 or whole):
            raise UserError(
                f"trainer.validate_every={self.validate_every:g} is out of range; it must be in (0, 1] or whole."
            )

    @property
    def is_alone(self) -> bool:
        """Whether a run is one process, whatever a job scheduler's variables say."""
        return self.strategy == "auto" and self.devices == 1 and self.lightning.get("num_nodes", 1) == 1


@dataclass
class Config:
    """One experiment."""

    name: str = key("phrasebook", "the experiment's folder below runs")
    seed: int = key(1, "fixes initial weights, batches, dropout and subword sampling")
    runs: str = key("runs", "folder of all experiments")
    resume: str | None = key(None, "run folder to go on with; its own config holds")
    overwrite: bool = key(False, "start anew in a run folder that holds another run")
    task: str = key("translation", "what is trained: translation, language_model (the decoder alone; experiment=lm)")
    warm_start: str | None = key(None, "run or checkpoint of a language model whose weights the decoder begins with")
    data: DataConfig = _section(DataConfig)
    tokenizer: TokenizerConfig = _section(TokenizerConfig)
    model: ModelConfig = _section(ModelConfig)
    optim: OptimConfig = _section(OptimConfig)
    decode: DecodeConfig = _section(DecodeConfig)
    metrics: MetricsConfig = _section(MetricsConfig)
    trainer: TrainerConfig = _section(TrainerConfig)

    def __post_init__(self) -> None:
        within("seed", self.seed, 0, 2**32 - 1)
        if any(part in ("", ".", "..") for part in self.name.split("/")):
            raise UserError(f"name={self.name!r} cannot be a folder's name; use letters, digits, - and _.")
        if any(unicodedata.category(character) in BREAKING for character in self.name):
            raise UserError(f"name={shown(self.name)} has a line break or control character; leave it out.")
        if self.decode.shortlist and not self.trainer.shortlist:
            raise UserError("decode.shortlist=true needs trainer.shortlist above 0, which learns one.")
        if self.model.tie == "all" and not self.tokenizer.joint:
            raise UserError(
                "model.tie=all needs one vocabulary for both sides; use tokenizer.joint=true or model.tie=decoder."
            )
        if self.decode.copy_unknown and self.model.attention == "none":
            raise UserError("decode.copy_unknown=true needs attention; got model.attention=none. Use general, say.")
        if self.decode.search == "beam" and self.decode.coverage_penalty and self.model.attention == "none":
            raise UserError(
                f"decode.coverage_penalty={self.decode.coverage_penalty:g} needs attention; got model.attention=none. "
                "Use general, say, or leave it 0."
            )
        if self.model.fixed_length and self.tokenizer.sampling:
            raise UserError(
                f"tokenizer.sampling={self.tokenizer.sampling:g} changes how many tokens a line has, and "
                f"model.fixed_length={self.model.fixed_length} wants so many in each; leave one of them 0."
            )
        without = {"weight_dropout"}  # whose masks a whole batch shares
        without |= {"memory_dropout"} if self.model.attention == "none" else set()
        own = [name for name in DROPOUTS if name not in without]
        if self.optim.r_drop and not any(getattr(self.model, name) for name in own):
            raise UserError(
                f"optim.r_drop={self.optim.r_drop:g} compares two passes with different dropout, and there is none; "
                "set model.dropout, say, or leave optim.r_drop 0."
            )
        one_of("task", self.task, TASKS)
        if self.task == "language_model":
            self._check_language_model()
        elif self.data.kind in ONE_SIDED:
            raise UserError(
                f"data.kind={self.data.kind} has no sources to translate; use experiment=lm data={self.data.kind} for "
                "a language model, or another dataset."
            )

    def _check_language_model(self) -> None:
        """Refuse what only an encoder, or a translation, could have."""
        plain, model = ModelConfig(), self.model
        names = ["reverse", "peeky", "bidirectional", "attention", "bridge", "match_peeky", "fixed_length", "encoder"]
        names += ["memory_dropout", "src_word_dropout"]
        stray = [f"model.{name}" for name in names if getattr(model, name) != getattr(plain, name)]
        stray += ["tokenizer.joint"] * (self.tokenizer.joint and self.data.kind in ONE_SIDED)
        if model.tie == "all":
            raise UserError(
                "model.tie=all shares with an encoder, and a language model has none; use model.tie=decoder."
            )
        if stray:
            raise UserError(
                f"task=language_model has no source, and so no {', '.join(stray)}; leave out what sets them, or begin "
                "with experiment=lm, which does."
            )
        for name, value in (("optim.r_drop", self.optim.r_drop), ("trainer.shortlist", self.trainer.shortlist)):
            if value:
                raise UserError(f"{name}={value:g} is for translation; leave it 0 with task=language_model.")
        if self.tokenizer.sampling:
            raise UserError(
                f"tokenizer.sampling={self.tokenizer.sampling:g} would cut the text anew in each epoch, and a language "
                "model reads it as one stream; leave it 0."
            )
        if self.trainer.monitor != "loss":
            raise UserError(
                f"trainer.monitor={self.trainer.monitor} needs translations; with task=language_model use "
                "trainer.monitor=loss."
            )


def _refuse_unwritable(word: str, where: str) -> None:
    """Refuse text that cannot name a file. Surrogates that stand for bytes which are not UTF-8 can."""
    try:
        fit = b"\0" not in word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        fit = False
    if not fit:
        raise UserError(f"{where} has a NUL or half a character; got {shown(word)}. Leave it out.")


def _refuse_objects(value: Any, where: str, seen: set[int], depth: int = 0) -> None:
    """See that a mapping for Lightning holds words, numbers, lists and mappings only.

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
