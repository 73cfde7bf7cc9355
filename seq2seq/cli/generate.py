"""``seq2seq-generate CKPT``: generate lines with a language model, or reorder n-best lists."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from seq2seq.cli.common import ArgumentParser, exit_status, refuse_undecodable, set_up
from seq2seq.cli.decode import add_device_arguments
from seq2seq.cli.flags import KEYS, add_key
from seq2seq.cli.language_model import LM_WEIGHT, load
from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError

NAME = "seq2seq-generate"
MOST_LINES, MOST_TOKENS = 1_000_000, 100_000
SAMPLING = tuple(one.name for one, facts in KEYS.values() if facts.search == "sample")  # settings of drawing
DRAWING = ("prefix", "number", *SAMPLING, "max_length")

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
    for name in SAMPLING:
        parser.flags |= add_key(drawing, f"decode.{name}", default=getattr(DecodeConfig(), name))
    drawing.add_argument(
        "--max-length", type=int, default=100, metavar="N", help="most tokens in a line (default: %(default)s)"
    )
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
    parser.flags |= {"weight": "--lm-weight", "max_length": "--max-length"}
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
    set_up(parser.flags)
    sys.exit(exit_status(lambda: (_rescore if rescored else _generate)(options), NAME, parser.flags))


def _generate(options: argparse.Namespace) -> None:
    from seq2seq.console import lines_bar
    from seq2seq.decoding.settings import SamplingSettings

    for flag, value, low, high in (
        ("-n", options.number, 1, MOST_LINES),
        ("--max-length", options.max_length, 1, MOST_TOKENS),
    ):
        if not low <= value <= high:
            raise UserError(f"{flag} {value} is out of range; it must be in [{low}, {high}].")
    if "\n" in options.prefix:
        raise UserError("--prefix holds a newline; give it on one line.")
    refuse_undecodable("--prefix", options.prefix)
    decode = DecodeConfig(search="sample", **{name: getattr(options, name) for name in SAMPLING})
    settings = SamplingSettings(decode.temperature, decode.top_k, decode.top_p)
    model = load(options.checkpoint, options)
    limits = {"seed": decode.seed, "max_length": options.max_length}
    lines = model.generate(options.number, prefix=options.prefix, settings=settings, **limits)
    with lines_bar(shown=not sys.stdout.isatty()) as bar:  # a terminal shows the lines themselves
        for line in bar.track(lines, options.number, description="lines"):
            print(line, flush=True)


def _rescore(options: argparse.Namespace) -> None:
    from seq2seq.decoding.fusion import check_weight
    from seq2seq.translate import rescore

    check_weight(options.lm_weight)
    entries = rescore.read_n_best(options.rescore)
    model = load(options.checkpoint, options)
    for entry in rescore.rescore(entries, model, options.lm_weight):
        print(entry)


if __name__ == "__main__":
    main()
