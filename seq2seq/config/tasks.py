"""What the package knows of each task without training: its files, figures and titles.

A new task is a row in `TASKS` here, an object in `seq2seq.training.tasks.TASKS`, and the class of its scores in
`seq2seq.results.scores.SCORES`.
"""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """A score: its title in tables and sentences."""

    title: str
    unit: str = ""
    lower: bool = False  # whether less is better


FIGURES = {  # those that a training may monitor or a report may compare
    "bleu": Figure("BLEU"),
    "chrf": Figure("chrF"),
    "exact_match": Figure("exact match", unit=" %"),
    "word_perplexity": Figure("perplexity per word", lower=True),
    "loss": Figure("loss", lower=True),
}


class TaskFacts(NamedTuple):
    """What runs of one task hold, and how it is shown. Columns are pairs of a figure's name and its title.

    The figures ``best`` and ``last`` are those of the validation. Those that begin with ``train_`` do not depend on the
    test set.
    """

    files: tuple[str, ...]  # of a run, line for line: the test set and what the network makes of it
    monitors: tuple[str, ...]  # figures of a validation that may choose the best checkpoint, besides the loss
    metrics: tuple[str, ...]  # in `seq2seq.report.metrics.ALL`: what a report compares, the main one first
    scores: tuple[tuple[str, str], ...]  # columns of a report's main table
    arms: tuple[tuple[str, str], ...]  # columns of the table after a sweep
    speed: tuple[str, str]  # column of a report's table of speeds
    results: tuple[str, ...]  # columns of results.csv

    @property
    def has_sources(self) -> bool:
        """Whether something is read before the output begins."""
        return "test.src" in self.files


TRANSLATION = TaskFacts(
    files=("test.src", "test.ref", "test.hyp"),
    monitors=("bleu", "chrf", "exact_match"),
    metrics=("bleu", "chrf", "exact_match"),
    scores=(
        ("bleu", "BLEU"),
        ("chrf", "chrF"),
        ("exact_match", "exact match %"),
        ("perplexity", "perplexity"),
        ("best", "valid best"),
        ("last", "valid last"),
    ),
    arms=(("bleu", "BLEU"), ("chrf", "chrF"), ("exact_match", "exact match %"), ("perplexity", "perplexity")),
    speed=("sentences_per_second", "decoding sentences/s"),
    results=(
        *("bleu", "chrf", "ter", "exact_match", "perplexity", "parameters", "best_step", "num_sentences"),
        *("train_seconds", "train_tokens_per_second", "sentences_per_second", "bleu_signature"),
    ),
)

LANGUAGE_MODEL = TaskFacts(
    files=("test.ref", "test.nll"),
    monitors=(),
    metrics=("word_perplexity",),
    scores=(
        ("word_perplexity", "test, per word"),
        ("perplexity", "test, per token"),
        ("best", "valid best"),
        ("last", "valid last"),
        ("train_word_perplexity", "train, per word"),
    ),
    arms=(("word_perplexity", "test perplexity per word"), ("perplexity", "per token"), ("best", "valid per word")),
    speed=("tokens_per_second", "scoring tokens/s"),
    results=(
        *("perplexity", "word_perplexity", "valid_perplexity", "valid_word_perplexity"),
        *("train_perplexity", "train_word_perplexity", "num_words", "num_unknown"),
        *("parameters", "best_step", "num_sentences", "train_seconds", "train_tokens_per_second", "tokens_per_second"),
    ),
)

TASKS: dict[str, TaskFacts] = {"translation": TRANSLATION, "language_model": LANGUAGE_MODEL}
MONITORS = (*dict.fromkeys(name for facts in TASKS.values() for name in facts.monitors), "loss")
