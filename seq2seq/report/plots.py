"""Draw the pictures of a report as SVG text; equal figures give equal bytes."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from seq2seq.config.tasks import FIGURES
from seq2seq.report.analysis import Analysis, Grid, probes
from seq2seq.report.arms import Arm, Run, shown
from seq2seq.runs import RARE

# Okabe and Ito's colours, which colour-blind readers can tell apart; markers and dashes repeat the difference.
COLOURS = ("#777777", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a800")
MARKERS = "osD^vPX*"
DASHES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    (0, (1, 1.2)),
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (7, 2)),
    (0, (3, 1)),
    (0, (1, 3)),
)
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "seq2seq",
    "text.parse_math": False,  # a dollar is a dollar
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#999999",
    "grid.alpha": 0.25,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}
WIDTH = 9.0  # inches
LONGEST = 56  # characters of a name in a picture


def draw(analysis: Analysis) -> dict[str, str]:
    """Draw every picture that has figures, by its name."""
    painters: dict[str, Callable[[Analysis], Figure | None]] = {
        "curves": _curves,
        "time": _time,
        "interaction": _interaction,
        "differences": _differences,
        "length": _length,
        "position": _position,
        "gradient": _gradient,
        "decay": _decay,
        "reliance": _reliance,
        "training": _training,
    }
    pictures = {}
    with mpl.rc_context(cast(Any, STYLE)):
        for name, paint in painters.items():
            figure = paint(analysis)
            if figure is not None:
                pictures[name] = to_svg(figure)
    return pictures


def to_svg(figure: Figure) -> str:
    """The picture as SVG on white, without a date."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    lines = stream.getvalue().split("\n")
    return "\n".join(line.rstrip() for line in lines)


def inline(name: str, svg: str) -> str:
    """Adapt a picture to a page: it takes the page's colours, and its ids become unique."""
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'(xlink:href)="#([^"]+)"', rf'\1="#{name}-\2"', body)
    body = body.replace("#ffffff", "var(--paper)").replace("#000000", "currentColor")
    body = re.sub(r'(<text [^>]*style=")', r"\1fill: currentColor; ", body)
    return re.sub(r'<svg ([^>]*?)height="[^"]+"([^>]*?)width="[^"]+"', r"<svg \1\2", body)


def _figure(panels: int = 1, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    return figure, list(axes)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Draw one legend below the panels; an arm of several panels appears once."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = [_short(label) for label in found]
    figure.legend(list(found.values()), labels, loc="outside lower center", ncols=min(len(found), 4))


def _short(name: str) -> str:
    """Shorten a name. Matplotlib would leave out one that begins with "_"."""
    if len(name) > LONGEST:  # names often share their beginning
        name = f"{name[: LONGEST // 2]}…{name[len(name) - LONGEST // 2 + 1 :]}"
    return _whole(name)


def _whole(name: str) -> str:
    return f"\u200b{name}" if name.startswith("_") else name


def _look(index: int, *, marked: bool = False) -> dict[str, Any]:
    look: dict[str, Any] = {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[(index // len(COLOURS) + index) % len(DASHES)],
    }
    return look | ({"marker": MARKERS[index % len(MARKERS)]} if marked else {})


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
    look = _look(index, marked=len(places) == 1)  # a line of one point would not be seen
    axes.plot(places, values.mean(axis=0), label=_whole(arm.name), **look)
    if len(values) > 1:
        axes.fill_between(
            places, values.min(axis=0), values.max(axis=0), color=COLOURS[index % len(COLOURS)], alpha=0.15, lw=0
        )


def _by_arm(analysis: Analysis, x: str, y: str, labels: tuple[str, str]) -> Figure | None:
    figure, (axes,) = _figure(height=4.2)
    for index, arm in enumerate(analysis.sweep.arms):
        _band(axes, arm, index, x, y)
    if not axes.lines:
        return None
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set_ylim(*_span(axes) if FIGURES[analysis.metric].lower else (0, None))
    axes.set_xlim(left=0)
    _legend(figure, [axes])
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
        scores = [[run.result[analysis.metric] for run in grid.arms[i][j].runs] for i in range(2)]
        look = _look(j + 1)
        axes.plot([0, 1], [np.mean(one) for one in scores], label=_said(lines.key, value), **look)
        for place, one in enumerate(scores):
            axes.plot([place] * len(one), one, MARKERS[j], color=look["color"], alpha=0.6)
    axes.set_xticks([0, 1], [_said(across.key, value) for value in across.values[:2]])
    axes.set_xlim(-0.25, 1.25)
    axes.legend(loc="best")
    if grid.held is not None:
        axes.set_title(_short(_said(grid.held.key, grid.held.values[1])))


def _said(key: str, value: Any) -> str:
    return f"{key.rpartition('.')[2]}: {shown(value)}"


def _differences(analysis: Analysis) -> Figure | None:
    found = analysis.comparisons[analysis.metric]
    if not found:
        return None
    figure, (axes,) = _figure(height=1.2 + 0.42 * len(found))
    for place, one in enumerate(reversed(found)):
        sure = one.p is not None and one.p < 0.05
        colour = COLOURS[1] if sure else COLOURS[0]
        axes.plot([one.contrast.low, one.contrast.high], [place, place], color=colour, lw=3, solid_capstyle="butt")
        axes.plot(one.contrast.estimate, place, "o", color=colour, mfc=colour if sure else "white", ms=7)
    axes.axvline(0, color="#000000", lw=1)
    axes.set_yticks(range(len(found)), [_short(one.title) for one in reversed(found)])
    axes.set_ylim(-0.6, len(found) - 0.4)
    figure_of = FIGURES[analysis.metric]
    axes.set_xlabel(f"points of {figure_of.title}" + (", less is better" if figure_of.lower else ""))
    axes.grid(axis="y", visible=False)
    return figure


def _length(analysis: Analysis) -> Figure | None:
    bins = analysis.by_length
    if len(bins) < 2:
        return None
    figure, (axes,) = _figure(height=4.2)
    for name in bins[0].scores:
        axes.plot([one.scores[name] for one in bins], label=_whole(name), **_look(_rank(analysis, name), marked=True))
    spans = [f"{one.low}" if one.low == one.high else f"{one.low}–{one.high}" for one in bins]
    axes.set_xticks(
        range(len(bins)), [f"{span}\n({one.num_sentences:,})" for span, one in zip(spans, bins, strict=True)]
    )
    whose = "source (and sentences)" if analysis.facts.has_sources else "line (and lines)"
    axes.set(xlabel=f"{analysis.unit}s in the {whose}", ylabel=f"{_label(analysis)} on test")
    axes.set_ylim(bottom=_bottom(*axes.get_ylim()))
    _legend(figure, [axes])
    return figure


def _rank(analysis: Analysis, name: str) -> int:
    return [arm.name for arm in analysis.sweep.arms].index(name)


def _position(analysis: Analysis) -> Figure | None:
    if not analysis.by_position:
        return None
    figure, (free, forced) = _figure(2, height=4.2)
    for name, wrong in analysis.by_position.items():
        free.plot(range(1, len(wrong) + 1), wrong, label=_whole(name), **_look(_rank(analysis, name), marked=True))
    free.set(title="the model's own output", xlabel=f"{analysis.unit} of the reference", ylabel="wrong there, %")
    for index, arm in enumerate(analysis.sweep.arms):
        accuracy = _average([_common(one["accuracy_by_position"], "accuracy") for one in probes(arm)])
        if accuracy:
            missed = [100 * (1 - value) for value in accuracy]
            forced.plot(range(1, len(missed) + 1), missed, label=_whole(arm.name), **_look(index, marked=True))
    forced.set(title="after a right beginning (teacher forcing)", xlabel="token of the reference")
    for axes in (free, forced):
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, [free, forced])
    return figure


def _common(measured: dict[str, Any], name: str, by: str = "by_position") -> list[float | None]:
    """A probe's means by position; None where few sentences make them noisy."""
    values, counts = measured[by][name], measured[by]["count"]
    return [value if count * RARE >= max(counts) else None for value, count in zip(values, counts, strict=True)]


def _average(lists: Sequence[Sequence[float | None]]) -> list[float]:
    """Means over lists of unequal length, as far as all of them have a number."""
    means = []
    for values in zip(*lists, strict=False):
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            break
        means.append(float(np.mean(known)))
    return means


def _gradient(analysis: Analysis) -> Figure | None:
    """Draw one panel for each of the first target words."""
    steps = max((len(one["gradient_reach"]) for arm in analysis.sweep.arms for one in probes(arm)), default=0)
    if not steps:
        return None
    figure, panels = _figure(min(steps, 3), height=4.2)
    for step, axes in enumerate(panels):
        for index, arm in enumerate(analysis.sweep.arms):
            found = [one["gradient_reach"][step] for one in probes(arm) if step < len(one["gradient_reach"])]
            share = [100 * value for value in _average([_common(reach, "share") for reach in found])]
            if share:
                axes.plot(range(1, len(share) + 1), share, label=_whole(arm.name), **_look(index, marked=True))
        axes.set(title=f"from target token {step + 1}", xlabel="source token")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not any(axes.lines for axes in panels):  # of a model that is blind to its source
        return None
    panels[0].set_ylabel("share of the gradient, %")
    _legend(figure, panels)
    return figure


def _decay(analysis: Analysis) -> Figure | None:
    figure, (axes,) = _figure(height=4.2)
    for index, arm in enumerate(analysis.sweep.arms):
        found = [one["gradient_reach"][0] for one in probes(arm) if one["gradient_reach"]]
        norms = [_common(reach, "norm", "by_distance") for reach in found]
        points = list(itertools.dropwhile(lambda pair: not pair[1], enumerate(_average_known(norms))))
        points = list(itertools.takewhile(lambda pair: pair[1], points))
        if points:
            places, values = zip(*points, strict=True)
            axes.semilogy(places, values, label=_whole(arm.name), **_look(index, marked=True))
    if not axes.lines:
        return None
    axes.set(xlabel="encoder steps between reading a token and the end", ylabel="gradient from target token 1")
    low, high = axes.get_ylim()
    if high < 10_000 * low:  # over more decades their powers are marks enough
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # matplotlib's own is a formula
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, [axes])
    return figure


def _average_known(lists: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Means of the values at each place, without None."""
    columns = ([value for value in values if value is not None] for values in zip(*lists, strict=False))
    return [float(np.mean(known)) if known else None for known in columns]


def _reliance(analysis: Analysis) -> Figure | None:
    figure, (axes,) = _figure(height=3.8)
    for index, arm in enumerate(analysis.sweep.arms):
        found = [one["peeky_reliance"] for one in probes(arm) if one["peeky_reliance"]]
        moved = _average([_common(one, "total_variation") for one in found])
        if moved:
            axes.plot(range(1, len(moved) + 1), moved, label=_whole(arm.name), **_look(index, marked=True))
    if not axes.lines:
        return None
    axes.set(xlabel="token of the target", ylabel="probability that moves")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, [axes])
    return figure


def _training(analysis: Analysis) -> Figure | None:
    side = "encoder" if analysis.facts.has_sources else "decoder"
    panels = (
        ("train/grad_norm", "mean norm of the gradients"),
        ("train/clipped", "steps that were clipped, %"),
        (f"{side}/spectral_radius", f"{side}'s spectral radius" if side == "encoder" else "spectral radius"),
    )
    figure, axes = _figure(len(panels), height=4.2)
    for one, (column, title) in zip(axes, panels, strict=True):
        for index, arm in enumerate(analysis.sweep.arms):
            _band(one, arm, index, "epoch", column)
        one.set(title=title, xlabel="epoch")
        one.set_ylim(bottom=0)
    if not axes[0].lines:
        return None
    _legend(figure, axes)
    return figure
