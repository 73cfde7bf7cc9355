"""Find the comparisons that a sweep's arms allow: differences, controls and interactions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from seq2seq.report.arms import Arm, Factor, Sweep, short, shown


class Question(NamedTuple):
    """A comparison to make."""

    kind: str  # "difference" (to the baseline), "control", "within", "interaction" or "three-way"
    title: str
    weights: dict[str, float]  # by arm


class Grid(NamedTuple):
    """Two factors with two values each; all other settings but ``held`` are the baseline's.

    ``arms[i][j]`` has value i of the first factor and value j of the second.
    """

    factors: tuple[Factor, Factor]
    arms: tuple[tuple[Arm, Arm], tuple[Arm, Arm]]
    held: Factor | None = None  # a third one, with the baseline's value and the one that all four arms have


def grids_of(sweep: Sweep, arms: Sequence[Arm]) -> tuple[Grid, ...]:
    """All grids of two factors, each with the baseline's value and another one, whose four arms exist.

    All other factors have the baseline's values. Then the same grids follow with another value of a later factor.
    """
    base = arms[0].values
    by_values = {tuple(map(str, arm.values.values())): arm for arm in arms}
    changed = [
        [factor._replace(values=(base[factor.key], value)) for value in factor.values if value != base[factor.key]]
        for factor in sweep.factors
    ]
    found = []
    for (_, ones), (place, others) in itertools.combinations(enumerate(changed), 2):
        later: list[Factor | None] = [None, *itertools.chain(*changed[place + 1 :])]
        for first, second, held in itertools.product(ones, others, later):
            values = base | ({held.key: held.values[1]} if held else {})
            four = [
                by_values.get(tuple(map(str, (values | {first.key: a, second.key: b}).values())))
                for a, b in itertools.product(first.values, second.values)
            ]
            plain, right, below, both = four
            if plain and right and below and both:
                found.append(Grid((first, second), ((plain, right), (below, both)), held))
    return tuple(found)


def questions_of(arms: Sequence[Arm], grids: Sequence[Grid]) -> list[Question]:
    """The comparisons to make, without repeats."""
    base = arms[0]
    asked = [Question("difference", f"{arm.name} − {base.name}", _difference(arm, base)) for arm in arms[1:]]
    within = [(arm, grid.arms[0][0]) for grid in grids if grid.held for arm in (*grid.arms[0][1:], *grid.arms[1])]
    for kind, pairs in (("control", _controls(arms)), ("within", within)):
        for arm, plain in pairs:
            known = [one.weights for one in asked]
            if _difference(arm, plain) not in known and _difference(plain, arm) not in known:
                asked.append(Question(kind, f"{arm.name} − {plain.name}", _difference(arm, plain)))
    for grid in grids:
        title = " × ".join(map(_change, grid.factors))
        title += f" ({_change(grid.held)})" if grid.held else ""
        asked.append(Question("interaction", title, _weights(grid)))
    for grid, alike in itertools.product(grids, grids):
        if grid.held and not alike.held and grid.factors == alike.factors:
            weights = _weights(grid) | {name: -weight for name, weight in _weights(alike).items()}
            asked.append(Question("three-way", " × ".join(map(_change, (*grid.factors, grid.held))), weights))
    return asked


def _difference(arm: Arm, plain: Arm) -> dict[str, float]:
    return {arm.name: 1.0, plain.name: -1.0}


def _weights(grid: Grid) -> dict[str, float]:
    """Weights of an interaction: both - first - second + neither."""
    (plain, second), (first, both) = grid.arms
    return {both.name: 1.0, first.name: -1.0, second.name: -1.0, plain.name: 1.0}


def _change(factor: Factor) -> str:
    """Name a grid's change: "reverse", or "gru (not rnn)" if the plain value has a name too."""
    plain, value = factor.values
    name = short(factor.key, value) or f"{factor.key.rpartition('.')[2]}={shown(value)}"
    before = short(factor.key, plain)
    return f"{name} (not {before})" if before else name


def _controls(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Pairs of an arm with peeky and the one without it, widened to as many parameters."""
    pairs = []
    for arm, wide in itertools.product(arms, arms):
        if not wide.values.get("model.match_peeky") or arm.values.get("model.peeky") != "both":
            continue
        different = {key for key in arm.values if arm.values[key] != wide.values[key]}
        if different == {"model.peeky", "model.match_peeky"}:
            pairs.append((arm, wide))
    return pairs
