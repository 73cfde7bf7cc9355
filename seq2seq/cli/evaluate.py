"""``seq2seq-evaluate CKPT --src F --ref G``: all figures of a checkpoint on a test set, as JSON on stdout."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence

from seq2seq.cli.common import (
    ArgumentParser,
    add_model_arguments,
    apply_model_arguments,
    exit_status,
    is_same_file,
    set_up,
)
from seq2seq.errors import UserError

NAME = "seq2seq-evaluate"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = ArgumentParser(prog=NAME, description="Translate a source, score it against references, print JSON.")
    add_model_arguments(parser)
    parser.add_argument("--src", required=True, metavar="FILE", help="source text, one sentence a line, plain or .gz")
    parser.add_argument("--ref", required=True, metavar="FILE", help="references, line for line; scored untouched")
    parser.add_argument("--hyp", metavar="FILE", help="write the hypotheses here")
    options = parser.parse_args(arguments)
    set_up()
    sys.exit(exit_status(lambda: _evaluate(options), NAME))


def _evaluate(options: argparse.Namespace) -> None:
    from seq2seq.data import text
    from seq2seq.evaluate import evaluate

    if options.hyp and any(is_same_file(options.hyp, path) for path in (options.src, options.ref)):
        raise UserError(f"--hyp {options.hyp} would be written over an input; name another file.")
    pairs = text.read_parallel(options.src, options.ref, allow_blank=True)
    translator = apply_model_arguments(options)
    evaluation = evaluate(translator, [src for src, _ in pairs], [ref for _, ref in pairs])
    if options.hyp:
        text.write_lines(options.hyp, evaluation.hypotheses)
    figures = {name: None if value == math.inf else value for name, value in evaluation.figures.items()}
    print(json.dumps(figures, indent=2, allow_nan=False))


if __name__ == "__main__":
    main()
