"""``seq2seq-evaluate CKPT --src F --ref G``: all figures of a checkpoint on a test set, as JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli.common import add_model_arguments, apply_model_arguments, exit_status, set_up

NAME = "seq2seq-evaluate"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog=NAME, description="Translate a source, score it against references, print JSON."
    )
    add_model_arguments(parser)
    parser.add_argument("--src", required=True, metavar="FILE", help="source text, one sentence a line, plain or .gz")
    parser.add_argument("--ref", required=True, metavar="FILE", help="references, line for line; scored untouched")
    parser.add_argument("--hyp", metavar="FILE", type=Path, help="write the hypotheses here")
    options = parser.parse_args(arguments)
    set_up()
    sys.exit(exit_status(lambda: _evaluate(options), NAME))


def _evaluate(options: argparse.Namespace) -> None:
    from seq2seq.data import text
    from seq2seq.evaluate import evaluate

    pairs = text.read_parallel(options.src, options.ref, allow_blank=True)
    translator = apply_model_arguments(options)
    evaluation = evaluate(translator, [src for src, _ in pairs], [ref for _, ref in pairs])
    if options.hyp:
        text.write_lines(options.hyp, evaluation.hypotheses)
    print(json.dumps(evaluation.figures, indent=2))


if __name__ == "__main__":
    main()
