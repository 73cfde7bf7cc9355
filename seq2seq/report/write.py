"""Write a report: ``report.html``, ``report.md``, ``results.csv`` and the pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from seq2seq.config.tasks import FIGURES
from seq2seq.files.writing import escaped, make_folder, write_lines
from seq2seq.report import plots, words
from seq2seq.report.analysis import NEAR_BEST, Analysis, describe_factors, probes
from seq2seq.report.arms import shown
from seq2seq.report.drawing import inline
from seq2seq.results.probe import RARE

HTML, MARKDOWN, TABLE = "report.html", "report.md", "results.csv"

CAPTIONS = {
    "differences": (
        "How far each arm is from the baseline",
        "A dot is a difference of means over seeds, the bar its 95 % interval. Filled and blue: different even after "
        "the correction for the number of comparisons. Grey: not shown; a grey bar that does not reach 0 would be "
        "significant as the only comparison.",
    ),
    "interaction": (
        "What two options do together",
        "Lines join means, small marks are seeds. Parallel lines: each option gains the same with and without the "
        "other. Lines that spread or cross: the gain of one depends on the other.",
    ),
    "curves": (
        "While training",
        "The score at each validation; the line is the mean over seeds, the band goes "
        "from the lowest seed to the highest.",
    ),
    "time": (
        "The same against time",
        "Epochs of a larger network take longer. This is what each arm had reached after the same seconds of training "
        "(validation left out). Runs at the same time on one machine slow each other down, so ignore small "
        "differences.",
    ),
    "length": (
        "Short and long sources",
        "Test sentences grouped by the length of their source; means over seeds. With few sentences the line is noisy.",
    ),
    "position": (
        "Where in the target it goes wrong",
        "Left: the model continues its own output, so one shifted word makes all later ones wrong. Right: every step "
        "follows the correct beginning. Here and in the pictures below, a position is left out if fewer than one "
        f"probed sentence in {RARE} reaches it.",
    ),
    "gradient": (
        "Which source tokens the first target words depend on",
        "How much of the gradient of a target word's log-probability arrives at each source token, in source order, "
        "even if the encoder reads it backwards. The shares of a sentence add up to 100 % over all its tokens.",
    ),
    "decay": (
        "The vanishing gradient",
        "The same gradient against the number of encoder steps that it goes back, on a logarithmic axis. A straight "
        "falling line means that the gradient shrinks by the same factor at each step.",
    ),
    "reliance": (
        "How much peeky steps use the summary",
        "At a single step the summary is replaced by the average summary. The picture shows the share of probability "
        "that moves to other words. 0: the step does not use the summary; 1: it depends on the summary completely.",
    ),
    "training": (
        "Gradients in training",
        "The norm of the gradients before clipping, how often they had to be clipped, and the largest absolute "
        "eigenvalue of the encoder's recurrent matrix. This matrix is multiplied with itself once for each token (for "
        "gated cells, it is that of the candidate state).",
    ),
}


WITHOUT_SOURCES = {  # where they differ
    "curves": (
        "While training",
        "The perplexity per word on the validation text, less is better; the line is the mean over seeds, the band "
        "goes from the lowest seed to the highest. Values far above the final ones are cut off.",
    ),
    "length": (
        "Short and long lines",
        "Test lines grouped by their words; means over seeds. The end of a line counts as a word, so it weighs more "
        "in a short line.",
    ),
    "training": (
        "Gradients in training",
        "The norm of the gradients before clipping, how often they had to be clipped, and the largest absolute "
        "eigenvalue of the recurrent matrices. Such a matrix is multiplied with itself once for each token (for gated "
        "cells, it is that of the candidate state).",
    ),
}


class Table(NamedTuple):
    """A heading for each column and rows of text; the first column is the row's name."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(analysis: Analysis, out: Path) -> Path:
    """Write the report into a folder; an earlier one is replaced.

    Returns:
        The page.

    Raises:
        UserError: if something cannot be written.
    """
    pictures = plots.draw(analysis)
    values = _values(analysis)
    captions = CAPTIONS | ({} if analysis.facts.has_sources else WITHOUT_SOURCES)
    shown_pictures = [(name, *caption, pictures[name]) for name, caption in captions.items() if name in pictures]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seq2seq.report", "templates"),
        autoescape=lambda name: name is not None and name.startswith(HTML),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["inline"] = lambda svg, name: inline(name, svg)
    environment.filters["cell"] = _cell
    files = {f"{name}.svg": pictures[name] for name in CAPTIONS if name in pictures}
    for name in (MARKDOWN, HTML):
        files[name] = environment.get_template(name + ".jinja").render(values, pictures=shown_pictures)
    files[TABLE] = _results(analysis)
    make_folder(out)  # now that all is there
    for name in CAPTIONS.keys() - pictures.keys():
        (out / f"{name}.svg").unlink(missing_ok=True)  # of an earlier report, on other runs
    for name, content in files.items():
        write_lines(out / name, escaped(content).rstrip("\n").split("\n"))
    return out / HTML


def _values(analysis: Analysis) -> dict[str, Any]:
    runs = [run for arm in analysis.sweep.arms for run in arm.runs]
    shown, not_shown = words.findings(analysis)
    return {
        "analysis": analysis,
        "title": ", ".join(dict.fromkeys(run.config.name for run in runs)),
        "metric": FIGURES[analysis.metric].title,
        "num_runs": len(runs),
        "missing": [(one.name, one.reason) for one in analysis.sweep.missing],
        "factors": describe_factors(analysis.sweep),
        "shown": shown,
        "not_shown": not_shown,
        "doubt": words.doubt(analysis),
        "convergence": words.convergence(analysis),
        "chance": words.chance(analysis) if analysis.comparisons[analysis.metric] else "",
        "scores": _scores(analysis),
        "speeds": _speeds(analysis),
        "comparisons": [(FIGURES[name].title, _comparisons(found)) for name, found in _ordered(analysis) if found],
        "paired": _paired(analysis),
        "probed": _probed(analysis),
        "signatures": sorted({run.result.figure("bleu_signature") for run in runs} - {None}),
        "made_with": sorted({f"seq2seq {run.result.origin.version}, torch {run.result.origin.torch}" for run in runs}),
        "seeds": ", ".join(map(str, sorted({run.seed for run in runs}))),
    }


def _ordered(analysis: Analysis) -> list[tuple[str, Any]]:
    """Comparisons by metric, the main metric first."""
    return sorted(analysis.comparisons.items(), key=lambda pair: pair[0] != analysis.metric)


def _scores(analysis: Analysis) -> Table:
    unit, columns = FIGURES[analysis.metric].unit, analysis.facts.scores
    titles = (title + unit if name in ("best", "last") else title for name, title in columns)
    rows = []
    for row in words.ranked(analysis):
        figures = (words.spread(row.figures[name]) for name, _ in columns)
        rows.append((row.arm.name, str(len(row.arm.runs)), *figures))
    return Table(("arm", "seeds", *titles), tuple(rows))


def _speeds(analysis: Analysis) -> Table:
    speed, title = analysis.facts.speed
    heads = (
        "arm",
        "parameters",
        "training s",
        "training tokens/s",
        title,
        f"s to {NEAR_BEST:.0%} of the best".replace("%", " %"),
    )
    rows = []
    for row in analysis.rows:
        figures = [row.figures[name] for name in ("train_seconds", "train_tokens_per_second", speed)]
        known = (words.spread(figure, 0) for figure in figures)
        rows.append((row.arm.name, f"{row.parameters:,}", *known, words.spread(row.to_near_best, 0)))
    return Table(heads, tuple(rows))


def _comparisons(found: Sequence[Any]) -> Table:
    heads = ("comparison", "points", "95 % interval", "p", "p corrected", "± of seeds", "± of sentences", "verdict")
    rows = []
    for one in found:
        contrast = one.contrast
        rows.append(
            (
                one.title,
                words.signed(contrast.estimate),
                f"{words.signed(contrast.low)} to {words.signed(contrast.high)}",
                words.p_value(contrast.p),
                words.p_value(one.p),
                words.number(contrast.seed_error),
                words.number(contrast.sentence_error),
                words.verdict(one),
            )
        )
    return Table(heads, tuple(rows))


def _paired(analysis: Analysis) -> Table:
    heads = ("arm", "seed", "metric", "test", "points", "p")
    rows = [
        (
            one.arm,
            str(one.seed),
            FIGURES[test.metric].title,
            test.test,
            words.signed(test.difference),
            words.p_value(test.p),
        )
        for one in analysis.paired
        for test in one.tests
    ]
    return Table(heads, tuple(rows))


def _probed(analysis: Analysis) -> Table:
    heads = ("arm", "gradient left per encoder step", "probability the summary moves", "right with a right start, %")
    rows = []
    for arm in analysis.sweep.arms:
        found = probes(arm)
        decays = [reach.decay_per_step for one in found for reach in one.gradient_reach[:1]]
        moved = [one.peeky_reliance.overall.total_variation for one in found if one.peeky_reliance]
        right = [_percent(one.accuracy_by_position.overall.accuracy) for one in found]
        if found:
            rows.append(
                (
                    arm.name,
                    *(_mean(values) for values in (decays, moved, right)),
                )
            )
    return Table(heads, tuple(rows))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return words.number(sum(known) / len(known)) if known and len(known) == len(values) else "–"


def _results(analysis: Analysis) -> str:
    """A row for each run, for further analysis."""
    keys = [factor.key for factor in analysis.sweep.factors]
    figures = analysis.facts.results
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["arm", *keys, "seed", *figures])
    for arm in analysis.sweep.arms:
        for run in arm.runs:
            result = run.result.plain()
            settings = [shown(arm.values[key]) for key in keys]
            values = [result.get(name) for name in figures]
            writer.writerow([arm.name, *settings, run.seed, *values])
    return table.getvalue()


def _cell(value: str) -> str:
    """Escape text for a cell of a Markdown table."""
    for character in "\\|`*_[]":
        value = value.replace(character, "\\" + character)
    return value.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")
