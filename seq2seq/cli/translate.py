"""``seq2seq-translate CKPT [-i IN ...] [-o OUT]``: a filter from lines to translated lines; the work is in
`translate_file`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.cli.common import add_model_arguments, apply_model_arguments, exit_status, is_same_file, set_up
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.translate import Translator

NAME = "seq2seq-translate"
STDIO = "-"

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog=NAME, description="Translate lines: one output line for each input line, a blank one for a blank one."
    )
    add_model_arguments(parser)
    parser.add_argument(
        "-i",
        "--input",
        nargs="+",
        default=[STDIO],
        metavar="IN",
        help="text, plain or .gz; - is stdin (default: %(default)s)",
    )
    parser.add_argument("-o", "--output", default=None, metavar="OUT", help="file, .gz if so named (default: stdout)")
    parser.add_argument("--suffix", metavar="EXT", help="write each input's translation beside it: a.txt to a.txt.EXT")
    parser.add_argument(
        "--window", type=int, default=4096, metavar="N", help="lines read and sorted at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse bytes that are no UTF-8, instead of replacing and counting"
    )
    options = parser.parse_args(arguments)
    set_up()
    sys.exit(exit_status(lambda: _translate(options), NAME))


def _translate(options: argparse.Namespace) -> None:
    if options.window < 1:
        raise UserError(f"--window {options.window} is out of range; it must be at least 1.")
    jobs = _jobs(options)
    translator = apply_model_arguments(options)
    for source, target in jobs:
        _translate_one(translator, source, target, options)


def _jobs(options: argparse.Namespace) -> list[tuple[str, str]]:
    """(input, output) of each file.

    Raises:
        UserError: if it is not clear what goes where, or an output would overwrite an input.
    """
    inputs: list[str] = options.input
    if options.suffix:
        if options.output:
            raise UserError("--output and --suffix say two things about where the translation goes; give one of them.")
        if STDIO in inputs:
            raise UserError("--suffix needs named inputs; stdin has no name to put it after.")
        return [(path, f"{path}.{options.suffix.lstrip('.')}") for path in inputs]
    if len(inputs) > 1:
        raise UserError(f"{len(inputs)} inputs need --suffix, which writes each translation beside its input.")
    target = options.output or STDIO
    if is_same_file(target, inputs[0]):
        raise UserError(f"{target} is both input and output; name another output.")
    return [(inputs[0], target)]


def _translate_one(translator: Translator, source: str, target: str, options: argparse.Namespace) -> None:
    from seq2seq.translate import translate_file

    report = translate_file(
        translator,
        None if source == STDIO else source,
        None if target == STDIO else target,
        window=options.window,
        strict=options.strict,
    )
    name = "stdin" if source == STDIO else source
    notes = []
    if report.num_cut:
        notes.append(f"{report.num_cut} cut to {translator.decode.max_source} tokens")
    if report.num_replaced:
        notes.append(f"{report.num_replaced} with bytes that are no UTF-8, replaced")
    extra = f" ({', '.join(notes)})" if notes else ""
    rate = report.num_lines / report.seconds if report.seconds else 0.0
    log.info("%s: %d lines%s in %.1f s, %.0f a second", name, report.num_lines, extra, report.seconds, rate)


if __name__ == "__main__":
    main()
