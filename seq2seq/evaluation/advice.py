"""Warn of text that does not suit the metric or the model's Unicode form."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from seq2seq.config.choices import TEXT_SOURCES
from seq2seq.config.schema import Config
from seq2seq.config.tasks import TASKS
from seq2seq.data.arrays import Tokenizers
from seq2seq.files.lines import iter_lines
from seq2seq.tokens import detect

AT_SPACES = ("13a", "intl")  # metric tokenizers that leave a text without spaces whole
BETTER = {"Chinese": "zh", "Japanese": "ja-mecab"}  # tokenizers for these scripts; char for the others
SHOWN = {"nfc": "NFC (accents as part of the letter)", "nfd": "NFD (accents as combining marks)"}


def of_training(config: Config, folder: Path, tokenizers: Tokenizers) -> list[str]:
    """The warnings before a training: on the references, on their Unicode form, and on the sides'.

    Args:
        folder: of the prepared dataset.
    """
    normalization = tokenizers.tgt.normalization
    said = [_of_like(config, normalization)]
    if "bleu" in TASKS[config.task].metrics:
        train = {side: _lines(folder / f"train.{side}") for side in ("src", "tgt")}
        references = {
            "the validation references": _lines(folder / "valid.tgt"),
            "the test references": _lines(folder / "test.tgt"),
        }
        tokenizer = "none" if config.data.variant == "tokenized" else config.metrics.tokenizer
        said.append(_first(of_references(lines, tokenizer, name) for name, lines in references.items()))
        said.append(_first(of_form(lines, normalization, train["tgt"], name) for name, lines in references.items()))
        if config.data.source in TEXT_SOURCES:
            said.append(_of_sides(train["src"], train["tgt"], normalization))
    return [line for line in said if line is not None]


def of_references(references: Sequence[str], tokenizer: str, name: str = "the references") -> str | None:
    """A warning if references do not suit this metric tokenizer.

    Args:
        name: of the references, in the plural.
    """
    if tokenizer == "none":
        return None
    sign = detect.tokenization(references)
    if sign is not None:
        return (
            f"most lines of {name} {sign}: they look tokenised, and their BLEU cannot be compared with that of plain "
            "text; detokenise them, or score tokens as they stand with metrics.tokenizer=none."
        )
    script = detect.script(references) if tokenizer in AT_SPACES else None
    if script is None:
        return None
    better = BETTER.get(script, "char")
    return (
        f"{name} are mostly {script}, which has no spaces between words, so metrics.tokenizer={tokenizer} treats "
        "whole lines as words: BLEU stays near 0 and cannot select a checkpoint; use metrics.tokenizer="
        f"{better}."
    )


def of_form(
    references: Sequence[str], normalization: str, written: Sequence[str], name: str = "the references"
) -> str | None:
    """A warning if references, which are scored unchanged, have another Unicode form.

    Args:
        normalization: of the model. written: text in the model's form, for a model without normalization.
        name: of the references, in the plural.
    """
    remedy = "equal text then counts as different (BLEU 68 instead of 100, in one case); convert"
    if normalization == "none":
        theirs, ours = detect.form(references), detect.form(written)
        if None in (theirs, ours) or theirs == ours:
            return None
        return f"{name} are in {SHOWN[str(theirs)]}, and the model writes {SHOWN[str(ours)]}: {remedy} one of the two."
    count, total = detect.num_in_other_form(references, normalization)
    if not count or count < detect.WORTH_SAYING * total:
        return None
    return (
        f"{count} of {total} lines of {name} are not in the Unicode form {normalization}, which the model writes "
        f"(tokenizer.normalization): {remedy} them, for example with uconv -x {normalization}, or train with "
        "tokenizer.normalization=none where all text is like them."
    )


def _of_sides(src: Sequence[str], tgt: Sequence[str], normalization: str) -> str | None:
    forms = detect.form(src), detect.form(tgt)
    if None in forms or forms[0] == forms[1]:
        return None
    shown = f"the training source is in {SHOWN[str(forms[0])]}, the training target in {SHOWN[str(forms[1])]}"
    if normalization == "none":
        return f"{shown}; use tokenizer.normalization=nfc, which reads and writes one form."
    return f"{shown}; both are read, and translations are written, as {normalization} (tokenizer.normalization)."


def _of_like(config: Config, normalization: str) -> str | None:
    if config.tokenizer.like is None or config.tokenizer.normalization == normalization:
        return None
    return (
        f"tokenizer.like={config.tokenizer.like} has tokenizer.normalization={normalization}, which this run uses "
        f"too; its own setting is ignored ({config.tokenizer.normalization})."
    )


def _first(found: Iterator[str | None]) -> str | None:
    return next((one for one in found if one is not None), None)


def _lines(path: Path) -> list[str]:
    return list(itertools.islice(iter_lines(path), detect.MOST_LINES))
