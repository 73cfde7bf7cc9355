"""Explain the figures in sentences, for readers without statistics."""

from __future__ import annotations

import math

from seq2seq.config.tasks import FIGURES
from seq2seq.report.analysis import Analysis, Comparison, Mean, Row

ALPHA = 0.05
CLOSE = 3.0  # points; arms that differ by less are said to end together
SIGNIFICANT, UNCERTAIN, UNKNOWN = "different", "not shown", "one seed says too little"


def number(value: float | None, digits: int = 2) -> str:
    """A number with a real minus sign; a dash for a missing one."""
    if value is None or math.isnan(value):
        return "–"
    return "∞" if value == math.inf else f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, plus too; 0 has no sign."""
    rounded = round(value, digits) + 0.0  # turns -0 into 0
    return ("+" if rounded > 0 else "") + number(rounded, digits)


def spread(mean: Mean | None, digits: int = 2) -> str:
    """Mean and standard deviation."""
    if mean is None:
        return "–"
    return number(mean.mean, digits) + ("" if mean.sd is None else f" ± {number(mean.sd, digits)}")


def p_value(p: float | None) -> str:
    """A p value with three digits, or "< 0.001"."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(one: Comparison) -> str:
    """The verdict on a comparison, in one of three words."""
    if one.p is None:
        return UNKNOWN
    return SIGNIFICANT if one.p < ALPHA else UNCERTAIN


def sentence(one: Comparison, metric: str) -> str:
    """A comparison as a sentence or two."""
    title, of_unit, lower = FIGURES[metric]
    unit = f"points of {title}" if lower or of_unit else f"{title} points"
    found = one.contrast
    span = f"95\u00a0% interval {signed(found.low)} to {signed(found.high)}"
    if one.p is None:
        return (
            f"{_subject(one)} {_verb(one)} {number(abs(found.estimate))} {unit} {_direction(one, lower=lower)} "
            f"({span}, over test sentences only). Another seed may give another result: train more "
            "seeds."
        )
    if one.p < ALPHA:
        return (
            f"{_subject(one)} {_verb(one)} {number(abs(found.estimate))} {unit} {_direction(one, lower=lower)} "
            f"({span}, p {_with_sign(one.p)}): more than chance of seeds and sentences explains."
        )
    before = one.contrast.p
    if before is not None and before < ALPHA:
        return (
            f"{_subject(one)}: {signed(found.estimate)} {unit} ({span}) would be significant as the only comparison "
            f"(p {_with_sign(before)}), but is not among so many (p {_with_sign(one.p)})."
        )
    return (
        f"{_subject(one)}: {signed(found.estimate)} {unit}, but a difference is not shown ({span}, "
        f"p {_with_sign(one.p)})."
    )


def _with_sign(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _subject(one: Comparison) -> str:
    if one.kind == "interaction":
        return f"{one.title} together"
    if one.kind == "three-way":
        two, _, third = one.title.rpartition(" × ")
        return f"With {third} against without, the gain of {two} beyond the sum of their gains"
    higher, lower = _sides(one)
    return f"{higher} against {lower}"


def _sides(one: Comparison) -> tuple[str, str]:
    (higher,) = (arm for arm, weight in one.weights.items() if weight > 0)
    (lower,) = (arm for arm, weight in one.weights.items() if weight < 0)
    return higher, lower


def _verb(one: Comparison) -> str:
    return "gain" if one.kind == "interaction" else "is"


def _direction(one: Comparison, *, lower: bool) -> str:
    """The direction in words; ``lower`` says that less is better."""
    above = (one.contrast.estimate >= 0) != lower
    if one.kind == "interaction":
        return f"{'more' if above else 'less'} than the sum of their separate gains"
    if one.kind == "three-way":
        return "more" if above else "less"
    return "better" if above else "worse"


def ranked(analysis: Analysis) -> list[Row]:
    """The arms' rows in the order of a table: if less is better, the lowest first."""
    if not FIGURES[analysis.metric].lower:
        return list(analysis.rows)
    found = {row.arm.name: row.figures[analysis.metric] for row in analysis.rows}
    return sorted(analysis.rows, key=lambda row: math.inf if (mean := found[row.arm.name]) is None else mean.mean)


def findings(analysis: Analysis) -> tuple[list[str], list[str]]:
    """Sentences about the comparisons that are significant, and about those that are not."""
    found = analysis.comparisons[analysis.metric]
    shown = [sentence(one, analysis.metric) for one in found if verdict(one) == SIGNIFICANT]
    return shown, [sentence(one, analysis.metric) for one in found if verdict(one) != SIGNIFICANT]


def doubt(analysis: Analysis) -> str | None:
    """Explain "not shown" and name what would help; None if no comparison is uncertain."""
    rest = [one for one in analysis.comparisons[analysis.metric] if verdict(one) == UNCERTAIN]
    if not rest:
        return None
    by_seeds = sum((one.contrast.seed_error or 0) > one.contrast.sentence_error for one in rest)
    wanted = "more seeds" if 2 * by_seeds >= len(rest) else "more test sentences"
    return (
        "Not shown does not mean that the arms are equal: every value within an interval agrees with these runs. "
        f"More certainty would come from {wanted}, which cause the larger part of the uncertainty."
    )


def chance(analysis: Analysis) -> str:
    """Explain how the intervals and p values were computed."""
    found = analysis.comparisons[analysis.metric]
    sentences = f"{found[0].contrast.num_sentences:,} test sentences resampled 2,000 times"
    counted = sum(one.p is not None for one in found)
    if not counted:
        return (
            f"The intervals cover only the variance over sentences ({sentences}). With one seed in an arm the "
            "variance over seeds is unknown, and it is often the larger one."
        )
    text = (
        "Scores differ between seeds, and would differ on other test sentences. The intervals cover both kinds of "
        f"chance: the spread between seeds, and {sentences} for all runs at once. If all of this were repeated, 95 of "
        "100 such intervals would contain the true value."
    )
    if counted > 1:
        text += (
            " With more comparisons, more differences appear by chance. The p values are therefore corrected for "
            f"{counted} comparisons (Holm 1979): 95 of 100 such reports claim only differences that exist. The "
            "intervals are not corrected, so an interval may exclude 0 although the difference is not shown."
        )
    return text


def convergence(analysis: Analysis) -> str | None:
    """Say whether all arms end at about the same score; None if they do not, or it is unknown."""
    same = [one for one in analysis.comparisons[analysis.metric] if one.kind == "difference"]
    if not same or any(verdict(one) != UNCERTAIN for one in same):
        return None
    worst = max(max(abs(one.contrast.low), abs(one.contrast.high)) for one in same)
    if worst > CLOSE:
        return None
    return (
        f"The arms end close together: every interval of a difference to {analysis.baseline} lies within "
        f"{number(worst)} points of 0. How fast they got there is another question: see the curves."
    )
