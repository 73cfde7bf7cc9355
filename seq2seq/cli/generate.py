"""``seq2seq-generate CKPT``: generate lines with a language model, or reorder n-best lists."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from seq2seq.cli.common import ArgumentParser, exit_status, refuse_undecodable, set_up
from seq2seq.cli.language_model import LM_WEIGHT, add_device_arguments, load
from seq2seq.errors import UserError

NAME = "seq2seq-generate"
MOST_LINES, MOST_TOKENS = 1_000_000, 100_000
DRAWING = ("prefix", "number", "temperature", "top_k", "top_p", "seed", "max_length")

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog=NAME, description="Sample lines from a language model, and print them; each line begins a new text."
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file, or the folder of a run of a language model")
    drawing = parser.add_argument_group("sampling")
    drawing.add_argument("--prefix", default="", metavar="TEXT", help="text that each line begins with")
    drawing.add_argument("-n", "--number", type=int, default=5, metavar="N", help="lines (default: %(default)s)")
    for flag, convert, default, meaning in (
        ("--temperature", float, 1.0, "below 1 likelier tokens, above 1 less likely ones; 0 takes the likeliest"),
        ("--top-k", int, 0, "draw from this many of the likeliest tokens; 0 is all"),
        ("--top-p", float, 1.0, "draw from the fewest tokens whose probabilities sum to this"),
        ("--seed", int, 1, "seed of the random draws"),
        ("--max-length", int, 100, "most tokens in a line"),
    ):
        drawing.add_argument(flag, type=convert, default=default, metavar="X", help=f"{meaning} (default: %(default)s)")
    rescoring = parser.add_argument_group("rescoring")
    rescoring.add_argument(
        "--rescore",
        metavar="FILE",
        help="sample nothing; print this n-best list (number ||| text ||| score), each number's lines reordered",
    )
    rescoring.add_argument(
        "--lm-weight",
        type=float,
        default=LM_WEIGHT,
        metavar="W",
        help="W times the line's log-probability is added to its score (default: %(default)s)",
    )
    add_device_arguments(parser)
    unset: dict[str, Any] = dict.fromkeys((*DRAWING, "lm_weight"))
    options = parser.parse_args(arguments, argparse.Namespace(**unset))  # instead of the defaults
    rescored = options.rescore is not None
    for name in DRAWING if rescored else ("lm_weight",):
        if getattr(options, name) is not None:
            flag = "-n" if name == "number" else f"--{name.replace('_', '-')}"
            parser.error(f"{flag} is {'not for' if rescored else 'for'} --rescore; leave it out")
    for name in unset:
        if getattr(options, name) is None:
            setattr(options, name, parser.get_default(name))
    set_up()
    sys.exit(exit_status(lambda: (_rescore if rescored else _generate)(options), NAME))


def _generate(options: argparse.Namespace) -> None:
    from seq2seq.console import lines_bar
    from seq2seq.decoding.settings import SamplingSettings

    for flag, value, low, high in (
        ("-n", options.number, 1, MOST_LINES),
        ("--max-length", options.max_length, 1, MOST_TOKENS),
        ("--seed", options.seed, 0, 2**32 - 1),
    ):
        if not low <= value <= high:
            raise UserError(f"{flag} {value} is out of range; it must be in [{low}, {high}].")
    if "\n" in options.prefix:
        raise UserError("--prefix holds a newline; give it on one line.")
    refuse_undecodable("--prefix", options.prefix)
    try:
        settings = SamplingSettings(options.temperature, options.top_k, options.top_p)
    except ValueError as error:
        raise UserError(f"{error} See --help.") from None
    model = load(options.checkpoint, options)
    limits = {"seed": options.seed, "max_length": options.max_length}
    lines = model.generate(options.number, prefix=options.prefix, settings=settings, **limits)
    with lines_bar(shown=not sys.stdout.isatty()) as bar:  # a terminal shows the lines themselves
        for line in bar.track(lines, options.number, description="lines"):
            print(line, flush=True)


def _rescore(options: argparse.Namespace) -> None:
    from seq2seq.translate import rescore

    rescore.check_weight(options.lm_weight)
    entries = rescore.read_n_best(options.rescore)
    model = load(options.checkpoint, options)
    for entry in rescore.rescore(entries, model, options.lm_weight):
        print(entry)


if __name__ == "__main__":
    main()
