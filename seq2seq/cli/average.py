"""``seq2seq-average CKPT... -o OUT``: average the weights of several checkpoints."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli.common import ArgumentParser, exit_status, is_same_file, set_up
from seq2seq.errors import UserError

NAME = "seq2seq-average"

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog=NAME, description="Average the weights of several checkpoints of one training into one checkpoint."
    )
    parser.add_argument(
        "checkpoint",
        nargs="+",
        metavar="CKPT",
        help="a .ckpt file, or the folder of a run, for all its best checkpoints (trainer.keep_best)",
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the checkpoint to write")
    options = parser.parse_args(arguments)
    set_up()
    sys.exit(exit_status(lambda: _average(options), NAME))


def _average(options: argparse.Namespace) -> None:
    from seq2seq import checkpoint
    from seq2seq.training.average import average, find_all

    output = Path(options.output)
    if output.is_dir():
        raise UserError(f"{output} is a folder, not a checkpoint file; name a file inside it.")
    paths = find_all(options.checkpoint)
    if any(is_same_file(str(output), str(path)) for path in paths):
        raise UserError(f"{output} is one of the checkpoints to average; name another output.")
    checkpoint.save(output, average(paths))
    log.info("%s: the mean of %s", output, ", ".join(map(str, paths)))


if __name__ == "__main__":
    main()
