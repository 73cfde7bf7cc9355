"""Draw the pictures of where in a sentence a model looks, and where it is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from seq2seq.report.analysis import Analysis, probes
from seq2seq.report.drawing import add_legend, look_of, new_figure, rank, whole
from seq2seq.results.probe import RARE, Column, Counts


def draw_position(analysis: Analysis) -> Figure | None:
    """Draw where in the target it goes wrong, free-running and teacher-forced."""
    if not analysis.by_position:
        return None
    figure, (free, forced) = new_figure(2, height=4.2)
    for name, wrong in analysis.by_position.items():
        free.plot(range(1, len(wrong) + 1), wrong, label=whole(name), **look_of(rank(analysis, name), marked=True))
    free.set(title="the model's own output", xlabel=f"{analysis.unit} of the reference", ylabel="wrong there, %")
    for index, arm in enumerate(analysis.sweep.arms):
        accuracies = [one.accuracy_by_position.by_position for one in probes(arm)]
        accuracy = _average([_common(one.accuracy, one.count) for one in accuracies])
        if accuracy:
            missed = [100 * (1 - value) for value in accuracy]
            forced.plot(range(1, len(missed) + 1), missed, label=whole(arm.name), **look_of(index, marked=True))
    forced.set(title="after a right beginning (teacher forcing)", xlabel="token of the reference")
    for axes in (free, forced):
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(figure, [free, forced])
    return figure


def _common(values: Column, counts: Counts) -> list[float | None]:
    """A probe's means by position; None where few sentences make them noisy."""
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


def draw_gradient(analysis: Analysis) -> Figure | None:
    """Draw one panel for each of the first target words."""
    steps = max((len(one.gradient_reach) for arm in analysis.sweep.arms for one in probes(arm)), default=0)
    if not steps:
        return None
    figure, panels = new_figure(min(steps, 3), height=4.2)
    for step, axes in enumerate(panels):
        for index, arm in enumerate(analysis.sweep.arms):
            found = [one.gradient_reach[step].by_position for one in probes(arm) if step < len(one.gradient_reach)]
            share = [100 * value for value in _average([_common(reach.share, reach.count) for reach in found])]
            if share:
                axes.plot(range(1, len(share) + 1), share, label=whole(arm.name), **look_of(index, marked=True))
        axes.set(title=f"from target token {step + 1}", xlabel="source token")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not any(axes.lines for axes in panels):  # of a model that is blind to its source
        return None
    panels[0].set_ylabel("share of the gradient, %")
    add_legend(figure, panels)
    return figure


def draw_decay(analysis: Analysis) -> Figure | None:
    """Draw the gradient against the distance that it has to come back."""
    figure, (axes,) = new_figure(height=4.2)
    for index, arm in enumerate(analysis.sweep.arms):
        found = [one.gradient_reach[0].by_distance for one in probes(arm) if one.gradient_reach]
        norms = [_common(reach.norm, reach.count) for reach in found]
        points = list(itertools.dropwhile(lambda pair: not pair[1], enumerate(_average_known(norms))))
        points = list(itertools.takewhile(lambda pair: pair[1], points))
        if points:
            places, values = zip(*points, strict=True)
            axes.semilogy(places, values, label=whole(arm.name), **look_of(index, marked=True))
    if not axes.lines:
        return None
    axes.set(xlabel="encoder steps between reading a token and the end", ylabel="gradient from target token 1")
    low, high = axes.get_ylim()
    if high < 10_000 * low:  # over more decades their powers are marks enough
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # matplotlib's own is a formula
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(figure, [axes])
    return figure


def _average_known(lists: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Means of the values at each place, without None."""
    columns = ([value for value in values if value is not None] for values in zip(*lists, strict=False))
    return [float(np.mean(known)) if known else None for known in columns]


def draw_reliance(analysis: Analysis) -> Figure | None:
    """Draw how much peeky steps use the summary."""
    figure, (axes,) = new_figure(height=3.8)
    for index, arm in enumerate(analysis.sweep.arms):
        found = [one.peeky_reliance.by_position for one in probes(arm) if one.peeky_reliance]
        moved = _average([_common(one.total_variation, one.count) for one in found])
        if moved:
            axes.plot(range(1, len(moved) + 1), moved, label=whole(arm.name), **look_of(index, marked=True))
    if not axes.lines:
        return None
    axes.set(xlabel="token of the target", ylabel="probability that moves")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(figure, [axes])
    return figure
