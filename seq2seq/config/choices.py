"""The values of keys with a fixed choice, and groups of them."""

from __future__ import annotations

from seq2seq.config import tasks

TASKS = tuple(tasks.TASKS)
CELLS = ("rnn", "gru", "lstm")
ENCODERS = ("recurrent",)
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
VARIANTS = ("raw", "tokenized")  # of multi30k
ACCELERATORS = ("cpu", "gpu", "auto")
STRATEGIES = ("auto", "ddp")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
WORD_DROPOUTS = ("zero", "unk")
DATASETS = ("phrasebook", "addition", "dates", "multi30k", "iwslt15", "files", "text", "ptb")
SOURCES = ("text",)
TEXT_SOURCES = ("text",)  # those with `is_text`: text, with a tokenizer of its own
GENERATED = ("phrasebook", "addition", "dates")
ONE_SIDED = ("text", "ptb")  # datasets without sources
LANGUAGES = {"multi30k": ("en", "de", "fr", "cs"), "iwslt15": ("en", "vi")}
TOKENIZED_LANGUAGES = ("en", "de")  # of multi30k's variant "tokenized"
TOKENIZERS = ("unigram", "bpe", "char", "word", "ptb")
NORMALIZATIONS = ("none", "nfc", "nfkc")
METRIC_TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200", "none")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "inverse_sqrt", "cosine", "linear", "plateau", "decay")
MONITORS = tasks.MONITORS
LOGGERS = ("csv", "tensorboard", "wandb")
