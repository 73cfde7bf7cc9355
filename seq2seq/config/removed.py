"""Keys of older versions that this one lacks, in the configs of run folders and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from seq2seq.config.checks import plain, shown
from seq2seq.config.tasks import TASKS
from seq2seq.errors import UserError

SIDES = ("encoder", "decoder")


class Gone(UserError):
    """A config asks for what this version lacks."""


class Removed(NamedTuple):
    """A key that is gone, and which of its values ask for nothing but the behaviour that remains."""

    name: str  # below its section, as "encoder.cell"
    kept: Callable[[Any, Mapping[str, Any]], bool]  # kept(value, section)
    now: str  # the behaviour that remains


def _is_cell(value: Any, model: Mapping[str, Any]) -> bool:
    return value is None or value == model.get("cell", "lstm")


REMOVED = {
    "model": (
        Removed(
            "nonlinearity",
            lambda value, model: value == "tanh" or model.get("cell", "lstm") != "rnn",
            "model.cell=rnn is tanh",
        ),
        Removed("encoder.cell", _is_cell, "model.cell is that of both sides"),
        Removed("decoder.cell", _is_cell, "model.cell is that of both sides"),
        Removed(
            "attention_heads",
            lambda value, model: value == 1 or model.get("attention", "none") == "none",
            "attention has one head",
        ),
    ),
}


def with_one_cell(model: Mapping[str, Any], stacks: Sequence[str] = SIDES) -> Mapping[str, Any]:
    """Say with ``cell`` what the removed cells of the sides say, if all stacks have one cell.

    Args:
        model: the section.
        stacks: the sides that the network has.
    """
    sides = {side: model[side] for side in SIDES if isinstance(model.get(side), Mapping) and "cell" in model[side]}
    own = [sides.get(side, {}).get("cell") for side in stacks]
    cells = [model.get("cell", "lstm") if cell is None else cell for cell in own]
    if not sides or not all(isinstance(cell, str) and cell == cells[0] for cell in cells):
        return model
    rest = {side: {key: value for key, value in keys.items() if key != "cell"} for side, keys in sides.items()}
    return {**model, **rest, "cell": cells[0]}


def _in_one_cell(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A whole config whose network, with or without an encoder, is `with_one_cell`."""
    task, model = config.get("task"), config.get("model")
    if not isinstance(model, Mapping) or not isinstance(task, str) or task not in TASKS:
        return config
    return {**config, "model": with_one_cell(model, SIDES if TASKS[task].has_sources else SIDES[1:])}


def without_removed(values: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """Leave out a section's removed keys whose values say the behaviour that remains.

    Args:
        section: its name; empty for a whole config.

    Raises:
        Gone: for a removed key with a value that asks for what is gone.
    """
    if section in ("", "model"):
        values = with_one_cell(values) if section else _in_one_cell(values)
    for removed in REMOVED.get(section, ()):
        inner, _, name = removed.name.rpartition(".")
        holder = values.get(inner) if inner else values
        if not isinstance(holder, Mapping) or name not in holder:
            continue
        if not removed.kept(holder[name], values):
            value = plain(holder[name]) if isinstance(holder[name], str) else shown(holder[name])
            raise Gone(f"{section}.{removed.name}={value} is gone: {removed.now}; train again without it.")
        rest = {key: value for key, value in holder.items() if key != name}
        values = {**values, inner: rest} if inner else rest
    return values
