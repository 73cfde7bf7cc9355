"""Keys of older versions that this one lacks, in the configs of run folders and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from seq2seq.config.checks import plain, shown
from seq2seq.errors import UserError


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


def without_removed(values: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """Leave out a section's removed keys whose values say the behaviour that remains.

    Raises:
        UserError: for a removed key with a value that asks for what is gone.
    """
    for removed in REMOVED.get(section, ()):
        inner, _, name = removed.name.rpartition(".")
        holder = values.get(inner) if inner else values
        if not isinstance(holder, Mapping) or name not in holder:
            continue
        if not removed.kept(holder[name], values):
            value = plain(holder[name]) if isinstance(holder[name], str) else shown(holder[name])
            raise UserError(f"{section}.{removed.name}={value} is gone: {removed.now}; train again without it.")
        rest = {key: value for key, value in holder.items() if key != name}
        values = {**values, inner: rest} if inner else rest
    return values
