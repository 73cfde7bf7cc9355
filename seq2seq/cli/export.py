"""``seq2seq-export RUN -o DIR [--int8]``: a model as a folder that translates without torch."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from seq2seq import stopping
from seq2seq.cli.common import ArgumentParser, exit_status, set_up
from seq2seq.errors import UserError, require

NAME = "seq2seq-export"

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = ArgumentParser(
        prog=NAME,
        description="Export a translator or a language model as a folder of ONNX graphs, tokenizers and settings. The "
        "graphs are run and compared with the network before the folder gets its name.",
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="a .ckpt file, or the folder of a run, whose best one is taken"
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--int8", action="store_true", help="weights of 8-bit integers: a quarter of the size")
    parser.add_argument(
        "--sample",
        metavar="FILE",
        help="source lines to compare on (default: the first ones of the run's test set)",
    )
    parser.add_argument("--force", action="store_true", help="replace an exported folder of that name")
    options = parser.parse_args(arguments)
    set_up()
    sys.exit(exit_status(lambda: _export(options), NAME))


def _export(options: argparse.Namespace) -> None:
    require("the export", "export", "onnx", "onnxruntime")
    with stopping.Ending(lambda number: False), stopping.Later():
        from seq2seq import checkpoint
        from seq2seq.export import folder, verify
        from seq2seq.files.folders import appearing, write_files
    with stopping.Ending(lambda number: False):
        output, remedy = Path(options.output), "replace it with --force"
        check = partial(folder.check_target, replace=options.force, remedy=remedy)
        check(output)
        lines = _sample(options, checkpoint.find(options.checkpoint))
        source = folder.load(options.checkpoint)
        files = folder.contents(source, int8=options.int8)
        with appearing(output, check) as temporary:
            write_files(files, temporary)
            found = verify.compare(source, temporary, lines)
            verify.check(found, int8=options.int8)
    size = sum(map(len, files.values()))
    log.info("%s: %.1f MB; %s", output, size / 1e6, found)


def _sample(options: argparse.Namespace, path: Path) -> list[str]:
    """Lines to compare on: those of ``--sample``, or of the checkpoint's run; none if there are none.

    Raises:
        UserError: if a file that was asked for cannot be read.
    """
    from seq2seq import runs
    from seq2seq.files.lines import read_lines

    if options.sample is not None:
        lines = read_lines(options.sample)
        if not any(line.strip() for line in lines):
            raise UserError(f"{options.sample} has no line that is not blank; name a file of source lines.")
        return lines
    for folder in (path.parent, path.parent.parent):
        if (folder / runs.SOURCES).is_file():
            return read_lines(folder / runs.SOURCES)
    return []


if __name__ == "__main__":
    main()
