"""``seq2seq-evaluate CKPT --src F --ref G``: score a checkpoint on a test set.

The figures go to stdout as JSON. With ``--text F`` they are those of a language model.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from seq2seq.cli.common import (
    ArgumentParser,
    exit_status,
    is_same_file,
    refuse_overwriting,
    set_up,
)
from seq2seq.cli.decode import add_model_arguments, apply_model_arguments
from seq2seq.cli.language_model import load
from seq2seq.config.choices import METRIC_TOKENIZERS
from seq2seq.config.schema import MetricsConfig
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.translate.translator import Translator

NAME = "seq2seq-evaluate"
WITH_TEXT = ("text", "device", "threads")  # arguments that may stand beside --text

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog=NAME,
        description="Translate a source, score it against references, print JSON; "
        "or print the perplexity of a language model on a text.",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--src", metavar="FILE", help="source text, one sentence a line, plain or packed (gz, xz, bz2, zst)"
    )
    parser.add_argument("--ref", metavar="FILE", help="references, line for line; scored untouched")
    parser.add_argument("--hyp", metavar="FILE", help="write the hypotheses here")
    parser.add_argument(
        "--tokenize",
        choices=METRIC_TOKENIZERS,
        help="sacreBLEU's tokenizer for BLEU (default: metrics.tokenizer of the training)",
    )
    parser.flags["metrics.tokenizer"] = "--tokenize"
    parser.add_argument(
        "--text",
        metavar="FILE",
        help="text for a language model, read as one stream, plain or packed (gz, xz, bz2, zst)",
    )
    options = parser.parse_args(arguments)
    if options.text is None and None in (options.src, options.ref):
        parser.error("the following arguments are required: --src and --ref, or --text")
    set_up(parser.flags)
    if options.text is None:
        sys.exit(exit_status(lambda: _evaluate(options), NAME, parser.flags))
    sys.exit(exit_status(lambda: _evaluate_text(options, parser.given), NAME, parser.flags))


def _evaluate(options: argparse.Namespace) -> None:
    from seq2seq.data.pairs import read_parallel
    from seq2seq.evaluation.evaluate import evaluate
    from seq2seq.files.writing import writing
    from seq2seq.metrics import scorer

    if options.tokenize:
        scorer(options.tokenize)  # refuses a tokenizer that is not installed
    if options.hyp and any(is_same_file(options.hyp, path) for path in (options.src, options.ref)):
        raise UserError(f"--hyp {options.hyp} would be written over an input; name another file.")
    refuse_overwriting([options.hyp], options.checkpoint)
    pairs = read_parallel(options.src, options.ref, allow_blank=True)
    translator = apply_model_arguments(options)
    if options.tokenize:
        translator = dataclasses.replace(translator, metrics=MetricsConfig(options.tokenize))
    references = [ref for _, ref in pairs]
    # An output that cannot be written is refused before the work.
    with writing(options.hyp) if options.hyp else nullcontext() as stream:
        evaluation = evaluate(translator, [src for src, _ in pairs], references)
        if stream is not None:
            stream.write("".join(line + "\n" for line in evaluation.hypotheses).encode())
    _warn(options, translator, references, evaluation.hypotheses)
    _print(evaluation.scores.plain())


def _warn(
    options: argparse.Namespace, translator: Translator, references: Sequence[str], hypotheses: Sequence[str]
) -> None:
    """Warn of references that do not suit the metric, or are in another Unicode form."""
    from seq2seq import runs
    from seq2seq.evaluation import advice

    is_tokenized = runs.is_tokenized(options.checkpoint[0]) and not options.tokenize
    tokenizer = "none" if is_tokenized else translator.metrics.tokenizer
    for line in (
        advice.of_references(references, tokenizer),
        advice.of_form(references, translator.normalization, hypotheses),
    ):
        if line is not None:
            log.warning("%s", line)


def _evaluate_text(options: argparse.Namespace, given: Mapping[str, str]) -> None:
    from seq2seq.files.lines import read_lines, refuse_line_ends

    stray = [flag for name, flag in given.items() if name not in WITH_TEXT]
    if stray or len(options.checkpoint) > 1:
        what = stray[0] if stray else "several checkpoints"
        raise UserError(f"--text is scored by one language model; leave out {what}.")
    lines = read_lines(options.text)
    if not lines:
        raise UserError(f"{options.text} is empty; it must hold one sentence on each line.")
    refuse_line_ends(options.text, lines)
    score = load(options.checkpoint[0], options).score(lines)
    _print({**vars(score.scores()), "num_sentences": len(lines)})


def _print(figures: dict[str, Any]) -> None:
    known = {name: None if value == math.inf else value for name, value in figures.items()}
    print(json.dumps(known, indent=2, allow_nan=False))


if __name__ == "__main__":
    main()
