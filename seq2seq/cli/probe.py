"""``seq2seq-probe RUN``: measure how a trained model works, with `evaluation.probe`.

The results are tables, ``probe.json`` and ``probe.svg``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2seq.cli.common import ArgumentParser, exit_status, set_up
from seq2seq.cli.decode import add_device_arguments, apply_model_arguments
from seq2seq.data.pairs import read_parallel
from seq2seq.errors import UserError
from seq2seq.files.writing import make_folder, writing
from seq2seq.results.probe import RARE, Accuracy, Column, Counts, GradientReach, PeekyReliance, Probe
from seq2seq.runs import DRAWING, LINE_NLL, PROBE, REFERENCES, SOURCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

NAME = "seq2seq-probe"
WIDTH = 100  # of a table in a file or a pipe, which has no width of its own
ROWS = 15  # positions that a table shows; probe.json has them all

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog=NAME,
        description="Measure how a trained model uses its sources: which tokens its first words depend on, what peeky "
        "adds at each step, and where in a sentence it is right.",
    )
    parser.add_argument("checkpoint", metavar="RUN", help="the folder of a run, or a .ckpt file")
    parser.add_argument("--src", metavar="FILE", help=f"source text, plain or packed (default: RUN/{SOURCES})")
    parser.add_argument("--ref", metavar="FILE", help=f"references, line for line (default: RUN/{REFERENCES})")
    for flag, default, meaning in (
        ("--sentences", 256, "probe the first N pairs"),
        ("--steps", 3, "follow the gradients of the first N target tokens"),
    ):
        parser.add_argument(flag, type=int, default=default, metavar="N", help=f"{meaning} (default: %(default)s)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help=f"folder for {PROBE} and {DRAWING} (default: RUN; with a .ckpt file they are not written)",
    )
    add_device_arguments(parser)
    options = parser.parse_args(arguments)
    set_up()
    sys.exit(exit_status(lambda: _probe(options), NAME))


class _Files(NamedTuple):
    """Input files, and the folder of the results."""

    src: Path
    ref: Path
    output: Path | None


def _probe(options: argparse.Namespace) -> None:
    for name in ("sentences", "steps"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)} is out of range; it must be at least 1.")
    files = _files(options)
    pairs = read_parallel(files.src, files.ref, allow_blank=True)[: options.sentences]
    from seq2seq.evaluation.probe import probe

    translator = apply_model_arguments(options)
    result = probe(translator, [src for src, _ in pairs], [ref for _, ref in pairs], steps=options.steps)
    if files.output:
        make_folder(files.output)
        result.write(files.output / PROBE)
        _draw(files.output / DRAWING, result)
    _print(result)


def _files(options: argparse.Namespace) -> _Files:
    """The files that the arguments name.

    Raises:
        UserError: if the test set is not named, and not in the run's folder either.
    """
    run = Path(options.checkpoint)
    if not run.exists():
        raise UserError(f"{run} does not exist; name the folder of a run that has been trained, or a .ckpt file.")
    if bool(options.src) != bool(options.ref):
        raise UserError("--src and --ref belong together; name both, or neither to take the run's own test set.")
    output = Path(options.output) if options.output else run if run.is_dir() else None
    if options.src:
        return _Files(Path(options.src), Path(options.ref), output)
    if not run.is_dir():
        raise UserError(f"{run} is a single file, which has no test set beside it; name one with --src and --ref.")
    if (run / LINE_NLL).is_file():
        raise UserError(f"{run} is a language model, which has no source to look at; name a translator's run.")
    missing = [name for name in (SOURCES, REFERENCES) if not (run / name).is_file()]
    if missing:
        raise UserError(f"{run} has no {' and no '.join(missing)}; name a finished run, or files with --src and --ref.")
    return _Files(run / SOURCES, run / REFERENCES, output)


# Tables


def _print(result: Probe) -> None:
    """Explain and show each measurement on stdout."""
    from seq2seq.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    for explanation, table in (
        _reach_table(result.gradient_reach),
        _reliance_table(result.peeky_reliance),
        _accuracy_table(result.accuracy_by_position),
    ):
        console.print(explanation, highlight=False)
        if table:
            console.print(table)
        console.print()
    console.print(f"Means over {result.num_sentences} sentences.", highlight=False)


def _reach_table(reach: Sequence[GradientReach]) -> tuple[str, Table | None]:
    if not reach:
        return "Gradient reach: none, for this model's encoder does not read from position to position.", None
    decays = ", ".join(_shown(step.decay_per_step, ".2f") for step in reach)
    explanation = (
        "Gradient reach: the share of the gradient of the 1st, 2nd, ... target token that arrives at each source "
        f"token. For each encoder step that it goes back, the gradient is multiplied by {decays} "
        "(1 means that no step loses anything)."
    )
    columns = {
        f"target {step.step} %": _percent(step.by_position.share, step.end_symbol.share if step.end_symbol else None)
        for step in reach
    }
    return explanation, _table("source token", columns, reach[0].by_position.count, "</s>")


def _reliance_table(reliance: PeekyReliance | None) -> tuple[str, Table | None]:
    if reliance is None:
        return (
            "Peeky reliance: none, because this model has no peeky; its decoder gets the summary only as first state.",
            None,
        )
    explanation = (
        "Peeky reliance: how far a prediction moves if the average summary replaces this sentence's summary at that "
        "step: total variation (0 not at all, 1 completely), KL divergence in nats, and how often another token "
        "becomes the likeliest."
    )
    values, every = reliance.by_position, reliance.overall
    columns = {
        "total variation": _decimals(values.total_variation, every.total_variation),
        "KL": _decimals(values.kl, every.kl),
        "other token %": _percent(values.argmax_changed, every.argmax_changed),
    }
    return explanation, _table("target token", columns, values.count, "all")


def _accuracy_table(measured: Accuracy) -> tuple[str, Table]:
    explanation = (
        "Accuracy by position: given the true tokens before it, how often the likeliest token is the right one, and "
        "the mean negative log-likelihood of the right one in nats (0 is certainty)."
    )
    values, every = measured.by_position, measured.overall
    columns = {
        "right %": _percent(values.accuracy, every.accuracy),
        "nats": _decimals(values.nll, every.nll),
    }
    return explanation, _table("target token", columns, values.count, "all")


def _table(title: str, columns: dict[str, list[str]], counts: Sequence[int], last: str) -> Table:
    """A table with a row for each position, and a last row named ``last``."""
    from rich.table import Table

    table = Table()
    for name in (title, *columns, "sentences"):
        table.add_column(name, justify="right")
    for i, count in enumerate(counts[:ROWS]):
        # A later target step may have fewer sentences, and so fewer positions.
        table.add_row(
            str(i + 1), *(column[i] if i + 1 < len(column) else "" for column in columns.values()), str(count)
        )
    if len(counts) > ROWS:
        table.add_row("...")
    table.add_section()
    table.add_row(last, *(column[-1] for column in columns.values()))
    return table


def _percent(shares: Column | None, last: float | None) -> list[str]:
    return [_shown(share if share is None else 100 * share, ".1f") for share in (*(shares or ()), last)]


def _decimals(values: Column | None, last: float | None) -> list[str]:
    return [_shown(value, ".3f") for value in (*(values or ()), last)]


def _shown(value: float | None, format: str) -> str:
    return "-" if value is None else f"{value:{format}}"


# Drawing


def _draw(path: Path, result: Probe) -> None:
    """Write the three measurements side by side; the same figures give the same bytes."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        log.warning("%s is left out: matplotlib is not installed; pip install '.[compare]'", path)
        return
    settings: dict[Any, Any] = {
        "svg.hashsalt": NAME,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
    }
    with matplotlib.rc_context(settings), writing(path) as stream:
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        reach, reliance, accuracy = figure.subplots(1, 3)
        _draw_reach(reach, result.gradient_reach)
        _draw_reliance(reliance, result.peeky_reliance)
        by_position = result.accuracy_by_position.by_position
        _draw_line(accuracy, by_position.accuracy, by_position.count)
        _label(accuracy, "Accuracy by target position", "target position", "right tokens (%)", top=102)
        figure.supxlabel(
            f"positions that fewer than one sentence in {RARE} reaches are left out", size="small", color="0.5"
        )
        figure.savefig(stream, format="svg", metadata={"Date": None})


def _draw_reach(axes: Axes, reach: Sequence[GradientReach]) -> None:
    for step in reach:
        _draw_line(axes, step.by_position.share, step.by_position.count, label=f"target {step.step}")
    _label(axes, "Gradient by source position", "source position", "share of the gradient (%)")
    if reach:
        axes.legend(frameon=False)


def _draw_reliance(axes: Axes, reliance: PeekyReliance | None) -> None:
    _label(axes, "Peeky reliance", "target position", "total variation (%)", top=102)
    if reliance is None:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no peeky", transform=axes.transAxes, ha="center", va="center", color="0.5")
    else:
        _draw_line(axes, reliance.by_position.total_variation, reliance.by_position.count)


def _draw_line(axes: Axes, shares: Column, counts: Counts, *, label: str | None = None) -> None:
    """A share in percent, at the positions that enough sentences have."""
    enough = max(counts, default=0) / RARE
    values = enumerate(zip(shares, counts, strict=True), start=1)
    points = [(i, 100 * share) for i, (share, count) in values if share is not None and count >= enough]
    axes.plot([i for i, _ in points], [share for _, share in points], marker="o", markersize=3, label=label)


def _label(axes: Axes, title: str, x: str, y: str, *, top: float | None = None) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.set_ylim(bottom=0, top=top)
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
