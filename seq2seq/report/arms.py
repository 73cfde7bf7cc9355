"""Find the runs, the settings in which they differ, and their arms."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq import runs
from seq2seq.config.choices import ATTENTIONS, BRIDGES, CELLS, OPTIMIZERS, PEEKY, SCHEDULES, SEARCHES, TIES, TOKENIZERS
from seq2seq.config.removed import Gone
from seq2seq.config.schema import INCIDENTAL, UNCOMPARED, Config
from seq2seq.config.tasks import TASKS
from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines
from seq2seq.files.writing import escaped
from seq2seq.results.probe import Probe
from seq2seq.results.result import Result

# Files that only a run has.
OF_A_RUN = (runs.METRICS, runs.RESULT, runs.CHECKPOINTS)
# Of settings that always change together, the one that names the factor.
TELLING = ("model.reverse", "model.peeky", "model.match_peeky", "data.book_exact", "model.cell", "model.attention")
SHORT: dict[tuple[str, Any], str] = {  # names of arms for values of a setting
    ("model.reverse", True): "reverse",
    ("model.peeky", "both"): "peeky",
    ("model.peeky", "input"): "peeky input",
    ("model.peeky", "output"): "peeky output",
    ("model.match_peeky", True): "wide",
    ("model.bidirectional", True): "bidirectional",
    ("model.attention", "dot"): "dot attention",
    ("model.attention", "general"): "general attention",
    ("model.attention", "additive"): "additive attention",
    ("data.book_exact", True): "book's padding",
    ("model.tie", "decoder"): "tied",
    **{("model.num_layers", count): f"{count} layer{'s' if count > 1 else ''}" for count in range(1, 9)},
}
PLAIN: tuple[Any, ...] = (False, "none", None)  # values that a baseline has, and that go without saying
ORDERS = {  # of values that have one
    "model.peeky": PEEKY,
    "model.cell": CELLS,
    "model.attention": ATTENTIONS,
    "model.bridge": BRIDGES,
    "model.tie": TIES,
    "tokenizer.type": TOKENIZERS,
    "optim.algorithm": OPTIMIZERS,
    "optim.schedule": SCHEDULES,
    "decode.search": SEARCHES,
}


class Run(NamedTuple):
    """One finished run, read from its folder."""

    folder: Path
    config: Config
    settings: dict[str, Any]  # the config, its keys with dots
    result: Result
    curve: list[dict[str, float]]
    sources: list[str]
    references: list[str]
    hypotheses: list[str]
    probe: Probe | None
    line_nll: list[float]  # of a language model, which has no sources and no hypotheses
    samples: list[str]  # generated lines

    @property
    def seed(self) -> int:
        return self.config.seed


class Missing(NamedTuple):
    """A run that is missing: a sweep planned it, or other arms have its seed."""

    name: str
    reason: str


class Factor(NamedTuple):
    """A setting in which the runs differ; ``others`` always change with it."""

    key: str
    values: tuple[Any, ...]  # the plainest first
    others: tuple[str, ...]


class Arm(NamedTuple):
    """The runs that differ only in their seed."""

    name: str
    values: dict[str, Any]  # by the factors' keys
    runs: tuple[Run, ...]  # by seed


class Sweep(NamedTuple):
    """The contents of a report. The first arm, with the plainest settings, is the baseline."""

    factors: tuple[Factor, ...]
    arms: tuple[Arm, ...]
    missing: tuple[Missing, ...]


def read_sweep(roots: Sequence[Path]) -> Sweep:
    """The runs in these folders and below.

    Raises:
        UserError: if no run is finished, or if a file of a finished one cannot be read.
    """
    folders = find(roots)
    if not any(map(runs.is_finished, folders)):
        where = ", ".join(map(str, roots))
        raise UserError(f"{where}: no finished run there; name folders below which seq2seq-train left some.")
    return sweep_of(folders)


def sweep_of(folders: Sequence[Path]) -> Sweep:
    """The runs of these folders; at least one must be finished.

    Raises:
        UserError: if a file of a finished one cannot be read.
    """
    found, gone = _read_runs(sorted(folder for folder in folders if runs.is_finished(folder)))
    tasks = {run.config.task: run.folder for run in found}
    if len(tasks) > 1:
        (one, first), (other, second) = sorted(tasks.items())
        raise UserError(f"{first} is a run of task={one}, {second} of task={other}; name runs of one task.")
    absent = sorted(folder for folder in folders if not runs.is_finished(folder))
    missing = [*gone, *(Missing(folder.name, _why_missing(folder)) for folder in absent)]
    factors = _factors(found)
    arms = _arms(found, factors)
    unequal = _unequal_seeds(arms)
    return Sweep(factors, arms, tuple(missing if len(unequal) <= len(missing) else [*missing, *unequal]))


def find(roots: Sequence[Path]) -> list[Path]:
    """Find the folders of all runs, with those that a sweep planned and did not begin.

    Raises:
        UserError: if a root is not a folder.
    """
    found: list[Path] = []
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is not a folder; name the folder of a sweep, or of a run.")
        inside = sorted(path.parent for path in root.rglob(runs.CONFIG))
        begun = {folder for folder in inside if any((folder / name).exists() for name in OF_A_RUN)}
        above = {parent for folder in inside for parent in folder.parents}
        # A run holds no other; what holds some, and nothing that a run has, is a folder with a config.yaml of its own.
        found += [one for one in inside if not set(one.parents) & begun and (one in begun or one not in above)]
        for plan in sorted(root.rglob(runs.PLAN)):
            found += [plan.parent / name for name in runs.read_plan(plan.parent)]
    return list(dict.fromkeys(found))


def _why_missing(folder: Path) -> str:
    reason = runs.read_error(folder)
    if reason:
        return f"failed: {reason}"
    if not (folder / runs.CONFIG).is_file():
        return "planned, not begun"
    rows = runs.read_metrics(folder)
    return f"begun, not finished (epoch {rows[-1]['epoch']:.0f})" if rows else "begun, not finished"


def _read_runs(folders: Sequence[Path]) -> tuple[list[Run], list[Missing]]:
    """Read finished runs, and list those whose networks this version cannot build.

    Raises:
        UserError: if none can be built, or if a file cannot be read.
    """
    found, gone = [], {}
    for folder in folders:
        try:
            found.append(_read_run(folder))
        except Gone as error:
            gone[folder] = error
    if gone and not found:
        raise next(iter(gone.values()))
    said = {folder: str(error).removeprefix(f"{folder / runs.CONFIG}: ") for folder, error in gone.items()}
    return found, [Missing(folder.name, reason.rstrip(".")) for folder, reason in said.items()]


def _read_run(folder: Path) -> Run:
    config, result = runs.read_config(folder), Result.read(folder / runs.RESULT)
    assert result is not None
    lines: dict[str, list[str]] = {}
    for name in TASKS[config.task].files:
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} has no {name}; delete its {runs.RESULT} and give the run's command again to score it."
            )
        lines[name] = read_lines(folder / name)
    counts = [len(one) for one in lines.values()]
    if len(set(counts)) > 1:
        raise UserError(f"{folder}: its test files have {', '.join(map(str, counts))} lines; train again.")
    return Run(
        folder=folder,
        config=config,
        settings=flat(dataclasses.asdict(config)),
        result=result,
        curve=_curve(folder, config),
        sources=lines.get(runs.SOURCES, []),
        references=lines[runs.REFERENCES],
        hypotheses=lines.get(runs.HYPOTHESES, []),
        probe=Probe.read(folder / runs.PROBE),
        line_nll=runs.numbers(folder / runs.LINE_NLL, lines.get(runs.LINE_NLL, [])),
        samples=read_lines(folder / runs.SAMPLES) if (folder / runs.SAMPLES).is_file() else [],
    )


def _curve(folder: Path, config: Config) -> list[dict[str, float]]:
    """The validations; one inside an epoch gets a fractional epoch."""
    rows, share = runs.read_metrics(folder), config.trainer.validate_every
    if share >= 1:
        return rows
    numbered = (
        (row, count) for _, own in itertools.groupby(rows, lambda row: row["epoch"]) for count, row in enumerate(own, 1)
    )
    return [row | {"epoch": row["epoch"] - 1 + min(1.0, count * share)} for row, count in numbered]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one, with dots in the keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            plain = escaped(value) if isinstance(value, str) else value  # a font has no bytes of a path
            found[prefix + key] = tuple(value) if isinstance(value, list) else plain
    return found


def _factors(found: Sequence[Run]) -> tuple[Factor, ...]:
    """The settings that differ; those that divide the runs equally are one factor."""
    every = list(dict.fromkeys(key for run in found for key in run.settings))
    differing = [key for key in every if len(_values(found, key)) > 1]
    keys = [key for key in differing if key not in UNCOMPARED]
    for key in differing:  # runs that would be the same: what else tells them apart?
        if not _tells_apart(found, keys) and key not in (*keys, "seed", *INCIDENTAL):
            keys.append(key)
    alike: dict[tuple[int, ...], list[str]] = {}
    for key in keys:
        values = _values(found, key)
        alike.setdefault(tuple(_index(values, run.settings.get(key)) for run in found), []).append(key)
    factors = []
    for group in alike.values():
        key, *others = sorted(group, key=lambda one: (TELLING.index(one) if one in TELLING else 99, group.index(one)))
        factors.append(Factor(key, tuple(_values(found, key)), tuple(others)))
    return tuple(sorted(factors, key=lambda one: TELLING.index(one.key) if one.key in TELLING else 99))


def _values(found: Iterable[Run], key: str) -> list[Any]:
    """The different values of a setting, plain ones first, independent of the runs' order."""
    values: list[Any] = []
    for run in found:
        value = run.settings.get(key)
        if not any(_same(value, other) for other in values):
            values.append(value)
    order = ORDERS.get(key, ())

    def rank(value: Any) -> tuple[bool, int, bool, float, str]:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        place = order.index(value) if value in order else len(order)
        return not any(_same(value, one) for one in PLAIN), place, not number, value if number else 0.0, str(value)

    return sorted(values, key=rank)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; a boolean equals only a boolean."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _index(values: Sequence[Any], value: Any) -> int:
    return next(i for i, one in enumerate(values) if _same(one, value))


def _tells_apart(found: Sequence[Run], keys: Sequence[str]) -> bool:
    known = [(run.seed, *(str(run.settings.get(key)) for key in keys)) for run in found]
    return len(set(known)) == len(known)


def _arms(found: Sequence[Run], factors: Sequence[Factor]) -> tuple[Arm, ...]:
    grouped: dict[tuple[int, ...], list[Run]] = {}
    for run in found:
        position = tuple(_index(factor.values, run.settings.get(factor.key)) for factor in factors)
        grouped.setdefault(position, []).append(run)
    arms = []
    for position in sorted(
        grouped, key=lambda one: (sum(index > 0 for index in one), [index == 0 for index in one], one)
    ):
        values = {factor.key: factor.values[index] for factor, index in zip(factors, position, strict=True)}
        group = sorted(grouped[position], key=lambda run: run.seed)
        _refuse_twins(group)
        arms.append(Arm("", values, tuple(group)))
    return tuple(arm._replace(name=name) for arm, name in zip(arms, _names(arms, factors), strict=True))


def _refuse_twins(group: Sequence[Run]) -> None:
    for one, other in itertools.pairwise(group):
        if one.seed == other.seed:
            raise UserError(
                f"{one.folder} and {other.folder} are the same experiment with the same seed; leave one of them out."
            )


def _names(arms: Sequence[Arm], factors: Sequence[Factor]) -> list[str]:
    """Short names if they are unique, else every factor with its value."""
    if len(arms) == 1:
        return [arms[0].runs[0].config.name]
    names = []
    for arm in arms:
        settings = arm.runs[0].settings
        parts = [short(key, value) for key, value in arm.values.items()]
        parts += [SHORT.get((key, settings.get(key)), "") for factor in factors for key in factor.others]
        names.append(" + ".join(filter(None, parts)) or "baseline")
    if len(set(names)) == len(names):
        return names
    names = [" ".join(f"{key}={shown(value)}" for key, value in arm.values.items()) for arm in arms]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]


def short(key: str, value: Any) -> str:
    """The part of an arm's name for a value; empty for a plain value."""
    if isinstance(value, bool) or value in ("none", None) or (key, value) in SHORT:
        last = key.removeprefix("model.").replace("_", " ")
        return SHORT.get((key, value), last if value is True else "")
    if isinstance(value, str):
        return value
    return f"{key.rpartition('.')[2].replace('_', ' ')} {shown(value)}"


def shown(value: Any) -> str:
    """A value as written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _unequal_seeds(arms: Sequence[Arm]) -> list[Missing]:
    seeds = sorted({run.seed for arm in arms for run in arm.runs})
    return [
        Missing(f"{arm.name}, seed {seed}", "missing, while other arms have this seed")
        for arm in arms
        for seed in seeds
        if seed not in [run.seed for run in arm.runs]
    ]
