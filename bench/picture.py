"""The picture of how speed scales: the figures of its tables, a panel for each factor."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, cast

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.scaling import NAMES, Curves, Rates
from seq2seq.report.drawing import COLOURS, DASHES, MARKERS, STYLE, WIDTH, to_svg


def picture(curves: Curves) -> str:
    """The medians, with bands from minimum to maximum, as SVG on a white background."""
    with rc_context(cast(Any, STYLE)):
        return to_svg(draw(curves))


def draw(curves: Curves) -> Figure:
    """The same, as a figure."""
    figure = Figure(figsize=(WIDTH, 7.2), layout="constrained")
    panels = list(figure.subplots(2, 2, sharey=True).flat)
    for axes, (factor, by_label) in zip(panels, curves.items(), strict=True):
        for index, (label, rates) in enumerate(by_label.items()):
            _draw_line(axes, index, label.replace("`", ""), rates)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        values = list(next(iter(by_label.values())))
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.minorticks_off()
        axes.set_xlabel(NAMES[factor])
    _label_rates(panels)
    figure.supylabel("target tokens a second", fontsize=STYLE["font.size"])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _draw_line(axes: Axes, index: int, label: str, rates: Rates) -> None:
    look = {"color": COLOURS[index], "linestyle": DASHES[index], "marker": MARKERS[index]}
    axes.plot(list(rates), [statistics.median(one) for one in rates.values()], label=label, **look)
    least, greatest = [min(one) for one in rates.values()], [max(one) for one in rates.values()]
    axes.fill_between(list(rates), least, greatest, color=COLOURS[index], alpha=0.15, lw=0)


def _label_rates(panels: Sequence[Axes]) -> None:
    """The ticks of the shared axis: 100, 200, 500, 1,000, ..., as far as needed."""
    low, high = panels[0].get_ylim()
    ticks = [step * 10.0**power for power in range(-1, 8) for step in (1, 2, 5)]
    panels[0].set_yticks([tick for tick in ticks if low <= tick <= high])
    for axes in panels:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,g}"))
