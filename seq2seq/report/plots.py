"""Draw the pictures of a report as SVG text; equal figures give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seq2seq.config.tasks import FIGURES
from seq2seq.report import probe_plots
from seq2seq.report.analysis import Analysis
from seq2seq.report.arms import Arm, Run, shown
from seq2seq.report.drawing import (
    COLOURS,
    MARKERS,
    STYLE,
    WIDTH,
    add_legend,
    look_of,
    new_figure,
    rank,
    shortened,
    to_svg,
    whole,
)
from seq2seq.report.questions import Grid


def draw(analysis: Analysis) -> dict[str, str]:
    """Draw every picture that has figures, by its name."""
    painters: dict[str, Callable[[Analysis], Figure | None]] = {
        "curves": _curves,
        "time": _time,
        "interaction": _interaction,
        "differences": _differences,
        "length": _length,
        "position": probe_plots.draw_position,
        "gradient": probe_plots.draw_gradient,
        "decay": probe_plots.draw_decay,
        "reliance": probe_plots.draw_reliance,
        "training": _training,
    }
    pictures = {}
    with mpl.rc_context(cast(Any, STYLE)):
        for name, paint in painters.items():
            figure = paint(analysis)
            if figure is not None:
                pictures[name] = to_svg(figure)
    return pictures


def _label(analysis: Analysis) -> str:
    figure = FIGURES[analysis.metric]
    return figure.title + figure.unit


def _series(runs: Sequence[Run], x: str, y: str) -> list[tuple[list[float], list[float]]]:
    """A line for each run, over the rows that have both numbers."""
    lines = []
    for run in runs:
        points = [(row[x], row[y]) for row in run.curve if x in row and math.isfinite(row.get(y, math.nan))]
        lines.append(([point[0] for point in points], [point[1] for point in points]))
    return lines if all(line[0] for line in lines) else []  # nothing is averaged around a gap


def _band(axes: Axes, arm: Arm, index: int, x: str, y: str) -> None:
    """Draw the mean over seeds, and the span from the lowest to the highest."""
    lines = _series(arm.runs, x, y)
    if not lines:
        return
    places = np.unique(np.concatenate([line[0] for line in lines]))
    places = places[places <= min(line[0][-1] for line in lines)]  # where every seed still runs
    places = places[places >= max(line[0][0] for line in lines)]
    if not len(places):
        return
    values = np.stack([np.interp(places, *line) for line in lines])
    look = look_of(index, marked=len(places) == 1)  # a line of one point would not be seen
    axes.plot(places, values.mean(axis=0), label=whole(arm.name), **look)
    if len(values) > 1:
        axes.fill_between(
            places, values.min(axis=0), values.max(axis=0), color=COLOURS[index % len(COLOURS)], alpha=0.15, lw=0
        )


def _by_arm(analysis: Analysis, x: str, y: str, labels: tuple[str, str]) -> Figure | None:
    figure, (axes,) = new_figure(height=4.2)
    for index, arm in enumerate(analysis.sweep.arms):
        _band(axes, arm, index, x, y)
    if not axes.lines:
        return None
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set_ylim(*_span(axes) if FIGURES[analysis.metric].lower else (0, None))
    axes.set_xlim(left=0)
    add_legend(figure, [axes])
    return figure


def _span(axes: Axes) -> tuple[float, float]:
    """Limits for a perplexity: up to twice the least, or to the worst final value."""
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    lowest, highest = (float(pick(np.concatenate(lines))) for pick in (np.min, np.max))
    return 0.95 * lowest, 1.03 * min(highest, max(2 * lowest, *(float(line[-1]) for line in lines)))


def _curves(analysis: Analysis) -> Figure | None:
    return _by_arm(analysis, "epoch", f"valid/{analysis.metric}", ("epoch", f"{_label(analysis)} on valid"))


def _time(analysis: Analysis) -> Figure | None:
    labels = ("seconds of training", f"{_label(analysis)} on valid")
    return _by_arm(analysis, "seconds", f"valid/{analysis.metric}", labels)


def _interaction(analysis: Analysis) -> Figure | None:
    if not analysis.grids:
        return None
    across = min(len(analysis.grids), 4)
    down = -(-len(analysis.grids) // across)
    figure = Figure(figsize=(WIDTH, 3.8 * down), layout="constrained")
    places = list(figure.subplots(down, across, squeeze=False).flat)
    panels = places[: len(analysis.grids)]
    for empty in places[len(panels) :]:
        empty.set_axis_off()
    for axes, grid in zip(panels, analysis.grids, strict=True):
        _draw_grid(axes, grid, analysis)
    bottom, top = min(axes.get_ylim()[0] for axes in panels), max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(_bottom(bottom, top), top)
        axes.tick_params(axis="x", labelsize=10 if across < 4 else 8)
    for axes in panels[::across]:
        axes.set_ylabel(f"{_label(analysis)} on test")
    return figure


def _bottom(lowest: float, highest: float) -> float:
    """The start of an axis: 0, unless all values are far above it."""
    return 0.0 if lowest < highest / 2 else lowest


def _draw_grid(axes: Axes, grid: Grid, analysis: Analysis) -> None:
    """Draw one factor along the axis, a line for each value of the other, a dot for each seed."""
    across, lines = grid.factors
    for j, value in enumerate(lines.values[:2]):
        scores = [[run.result.figure(analysis.metric) for run in grid.arms[i][j].runs] for i in range(2)]
        look = look_of(j + 1)
        axes.plot([0, 1], [np.mean(one) for one in scores], label=_said(lines.key, value), **look)
        for place, one in enumerate(scores):
            axes.plot([place] * len(one), one, MARKERS[j], color=look["color"], alpha=0.6)
    axes.set_xticks([0, 1], [_said(across.key, value) for value in across.values[:2]])
    axes.set_xlim(-0.25, 1.25)
    axes.legend(loc="best")
    if grid.held is not None:
        axes.set_title(shortened(_said(grid.held.key, grid.held.values[1])))


def _said(key: str, value: Any) -> str:
    return f"{key.rpartition('.')[2]}: {shown(value)}"


def _differences(analysis: Analysis) -> Figure | None:
    found = analysis.comparisons[analysis.metric]
    if not found:
        return None
    figure, (axes,) = new_figure(height=1.2 + 0.42 * len(found))
    for place, one in enumerate(reversed(found)):
        sure = one.p is not None and one.p < 0.05
        colour = COLOURS[1] if sure else COLOURS[0]
        axes.plot([one.contrast.low, one.contrast.high], [place, place], color=colour, lw=3, solid_capstyle="butt")
        axes.plot(one.contrast.estimate, place, "o", color=colour, mfc=colour if sure else "white", ms=7)
    axes.axvline(0, color="#000000", lw=1)
    axes.set_yticks(range(len(found)), [shortened(one.title) for one in reversed(found)])
    axes.set_ylim(-0.6, len(found) - 0.4)
    figure_of = FIGURES[analysis.metric]
    axes.set_xlabel(f"points of {figure_of.title}" + (", less is better" if figure_of.lower else ""))
    axes.grid(axis="y", visible=False)
    return figure


def _length(analysis: Analysis) -> Figure | None:
    bins = analysis.by_length
    if len(bins) < 2:
        return None
    figure, (axes,) = new_figure(height=4.2)
    for name in bins[0].scores:
        axes.plot([one.scores[name] for one in bins], label=whole(name), **look_of(rank(analysis, name), marked=True))
    spans = [f"{one.low}" if one.low == one.high else f"{one.low}–{one.high}" for one in bins]
    axes.set_xticks(
        range(len(bins)), [f"{span}\n({one.num_sentences:,})" for span, one in zip(spans, bins, strict=True)]
    )
    whose = "source (and sentences)" if analysis.facts.has_sources else "line (and lines)"
    axes.set(xlabel=f"{analysis.unit}s in the {whose}", ylabel=f"{_label(analysis)} on test")
    axes.set_ylim(bottom=_bottom(*axes.get_ylim()))
    add_legend(figure, [axes])
    return figure


def _training(analysis: Analysis) -> Figure | None:
    side = "encoder" if analysis.facts.has_sources else "decoder"
    panels = (
        ("train/grad_norm", "mean norm of the gradients"),
        ("train/clipped", "steps that were clipped, %"),
        (f"{side}/spectral_radius", f"{side}'s spectral radius" if side == "encoder" else "spectral radius"),
    )
    figure, axes = new_figure(len(panels), height=4.2)
    for one, (column, title) in zip(axes, panels, strict=True):
        for index, arm in enumerate(analysis.sweep.arms):
            _band(one, arm, index, "epoch", column)
        one.set(title=title, xlabel="epoch")
        one.set_ylim(bottom=0)
    if not axes[0].lines:
        return None
    add_legend(figure, axes)
    return figure
