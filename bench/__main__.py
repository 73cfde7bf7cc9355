"""``python -m bench [--only PART ...] [--quick] [--keep]``: measure, print, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.machine import has_module, processor
from bench.parts import HEADINGS, PARTS, PICTURES, QUICK, Sizes
from bench.rounds import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure seq2seq beside plain torch loops that do the same work."
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions; prints the tables and does not change the page"
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs in the large corpus, a multiple of 10,000")
    parser.add_argument("--repetitions", type=int, metavar="N", help="turns of each contender")
    parser.add_argument("--folder", type=Path, help="where to keep the data (default: a folder that is removed)")
    parser.add_argument(
        "--ctranslate2", metavar="PYTHON", default="", help="an interpreter with ctranslate2, for the part export"
    )
    options = parser.parse_args(arguments)
    if options.ctranslate2 and not has_module(options.ctranslate2, "ctranslate2"):
        parser.error(f"--ctranslate2: {options.ctranslate2} cannot import ctranslate2; pip install ctranslate2 there.")
    sizes = QUICK if options.quick else Sizes()
    if options.repetitions:
        sizes = sizes._replace(repetitions=options.repetitions)
    if options.pairs:
        sizes = sizes._replace(corpus=options.pairs)
    sizes = sizes._replace(ctranslate2=options.ctranslate2)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="seq2seq-bench-") as temporary:
        root = options.folder or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        tables = {}
        for part in options.only:
            started = time.monotonic()
            tables[part] = [f"### {HEADINGS[part]}", "", *PARTS[part](root, sizes)]
            print("\n".join(tables[part]), flush=True)
            print(f"({time.monotonic() - started:.0f} s)\n", file=sys.stderr)
        if not options.quick:
            for part in PICTURES.keys() & tables.keys():
                shutil.copyfile(root / PICTURES[part], PAGE.with_name(PICTURES[part]))
    if not options.quick:
        words = " ".join(sys.argv[1:] if arguments is None else arguments)
        words = re.sub(r" ?--folder[ =]\S+", "", words)  # a folder of this machine
        words = re.sub(r"(--ctranslate2[ =])\S+", r"\1PYTHON", words)
        command = f'make bench ARGS="{words}"' if words else "make bench"
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), tables, command), encoding="utf-8")


def page(old: str, tables: dict[str, list[str]], command: str) -> str:
    """The page with these parts' tables between their marks, otherwise unchanged."""
    for part, lines in tables.items():
        marks = f"<!-- bench {part} -->", f"<!-- end of bench {part} -->"
        threads = "one thread where no other number is given" if part == "scaling" else "one thread"
        measured = f"`{command}` on {processor()}, {threads}."
        table = "\n".join([marks[0], lines[0], "", measured, *lines[1:], marks[1]])
        pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
        if not re.search(pattern, old, re.DOTALL):
            raise ValueError(f"the page has no place for {part}: {marks[0]} and {marks[1]} on lines of their own.")
        old = re.sub(pattern, lambda _, table=table: table, old, flags=re.DOTALL)  # type: ignore[misc]
    return old


if __name__ == "__main__":
    main()
