"""The scores of a run on its test set, one dataclass for each task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from seq2seq.files.records import Lacking, from_plain


class Scores(Protocol):
    """The scores of one task: the first part of ``test.json``."""

    @property
    def parameters(self) -> int:
        """The network's parameters."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Build the scores from the values of ``test.json``.

        Raises:
            Lacking: if one is missing.
        """

    def plain(self) -> dict[str, Any]:
        """Return the values for ``test.json``, in their order there."""

    def summary(self) -> str:
        """Return the main figures in a few words."""


@dataclass(frozen=True, kw_only=True)
class TranslationScores:
    """The scores of translations; free-running output against untouched references."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str | None = None
    ter: float
    ter_signature: str | None = None
    exact_match: float  # percent
    perplexity: float  # of the references, per target token; the end symbol is one
    num_tokens: int | None = None  # target tokens, of which the perplexity is a mean
    num_sentences: int | None = None
    parameters: int  # of all models of an ensemble together
    seconds: float | None = None  # of decoding
    sentences_per_second: float
    bleu_tokenized: float | None = None  # of text that is tokenised already: BLEU of the tokens as they stand
    bleu_tokenized_signature: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # figures of another task that is a translation

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TranslationScores:
        """Build the scores from the values of ``test.json``.

        Raises:
            Lacking: if one is missing.
        """
        names = {one.name for one in dataclasses.fields(cls)}
        known = {name: value for name, value in values.items() if name in names and name != "extra"}
        extra = {name: value for name, value in values.items() if name not in known}
        return dataclasses.replace(from_plain(cls, known), extra=extra)

    def plain(self) -> dict[str, Any]:
        """Return the values for ``test.json``, in their order there."""
        known = {name: value for name, value in vars(self).items() if value is not None and name != "extra"}
        return known | self.extra

    def summary(self) -> str:
        """Return the main figures in a few words."""
        return f"BLEU {self.bleu:.2f}, exact match {self.exact_match:.2f} %"


@dataclass(frozen=True, kw_only=True)
class TextScores:
    """How well a language model predicts one text."""

    perplexity: float  # per token
    word_perplexity: float  # per word: the same text has equally many with every tokenizer
    num_tokens: int | None = None  # the end of each line is one
    num_words: int  # the end of each line is one
    num_unknown: int | None = None  # tokens that are unknown


@dataclass(frozen=True, kw_only=True)
class LanguageModelScores:
    """The scores of a language model on its three texts; only the first lines of the training text are read."""

    train_scored_lines: int | None = None
    train_lines: int | None = None
    train: TextScores | None = None
    valid: TextScores | None = None
    test: TextScores
    num_sentences: int | None = None
    parameters: int
    seconds: float | None = None  # of scoring the test text
    tokens_per_second: float

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> LanguageModelScores:
        """Build the scores from the values of ``test.json``.

        Raises:
            Lacking: if one is missing.
        """
        texts = {split: _of_text(split, values) for split in ("train", "valid") if f"{split}_perplexity" in values}
        try:
            return from_plain(cls, {**values, **texts, "test": values})
        except Lacking as error:
            names = [name.removeprefix("test.").replace(".", "_") for name in error.names]
            raise Lacking(names) from None

    def plain(self) -> dict[str, Any]:
        """Return the values for ``test.json``, in their order there."""
        values: dict[str, Any] = {"task": "language_model"}
        for name, value in vars(self).items():
            if isinstance(value, TextScores):
                prefix = "" if name == "test" else f"{name}_"
                values |= {f"{prefix}{figure}": one for figure, one in vars(value).items()}
            else:
                values[name] = value
        return values

    def summary(self) -> str:
        """Return the main figures in a few words."""
        return f"perplexity {self.test.perplexity:.2f} per token, {self.test.word_perplexity:.2f} per word"


def _of_text(split: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Select the figures of one text, whose names begin with that of its split."""
    return {name.removeprefix(f"{split}_"): one for name, one in values.items() if name.startswith(f"{split}_")}


# By the key ``task`` of a file; translations do not write it.
SCORES: dict[str, type[Scores]] = {"translation": TranslationScores, "language_model": LanguageModelScores}
