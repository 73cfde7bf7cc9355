"""``seq2seq-report RUNS -o DIR``: compare the arms of a sweep in a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli.common import ArgumentParser, exit_status, set_up
from seq2seq.console import Console
from seq2seq.errors import require
from seq2seq.terminal import show

NAME = "seq2seq-report"
PACKAGES = ("jinja2", "matplotlib", "scipy")  # needed only by reports


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog=NAME,
        description="Compare all runs below some folders: which arm is better, by how much, and is it chance? "
        "An arm is a group of runs that differ only in their seed.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="folder of a sweep, or of single runs")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="DIR", help="folder for the report (default: report/ in the first RUNS)"
    )
    options = parser.parse_args(arguments)
    set_up()
    sys.exit(exit_status(lambda: _report(options.runs, options.out), NAME))


def _report(roots: list[Path], out: Path | None) -> None:
    require("a report", "compare", *PACKAGES)
    from seq2seq.report.analysis import analyse
    from seq2seq.report.arms import read_sweep
    from seq2seq.report.write import write_report

    with Console(stderr=True).status("reading and comparing the runs"):  # a spinner, if that is a terminal
        page = write_report(analyse(read_sweep(roots)), roots[0] / "report" if out is None else out)
    show(page)


if __name__ == "__main__":
    main()
