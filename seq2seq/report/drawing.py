"""What all pictures of a report share: looks, panels, legends, and SVG text."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seq2seq.report.analysis import Analysis

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


def new_figure(panels: int = 1, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels beside each other."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    return figure, list(axes)


def add_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Draw one legend below the panels; an arm of several panels appears once."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = [shortened(label) for label in found]
    figure.legend(list(found.values()), labels, loc="outside lower center", ncols=min(len(found), 4))


def shortened(name: str) -> str:
    """Shorten a name. Matplotlib would leave out one that begins with "_"."""
    if len(name) > LONGEST:  # names often share their beginning
        name = f"{name[: LONGEST // 2]}…{name[len(name) - LONGEST // 2 + 1 :]}"
    return whole(name)


def whole(name: str) -> str:
    """Keep a name that begins with "_" in the legend."""
    return f"\u200b{name}" if name.startswith("_") else name


def look_of(index: int, *, marked: bool = False) -> dict[str, Any]:
    """The colour, dashes and marker of an arm, by its place among all."""
    look: dict[str, Any] = {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[(index // len(COLOURS) + index) % len(DASHES)],
    }
    return look | ({"marker": MARKERS[index % len(MARKERS)]} if marked else {})


def rank(analysis: Analysis, name: str) -> int:
    """The place of an arm among all: its colour depends on it."""
    return [arm.name for arm in analysis.sweep.arms].index(name)
