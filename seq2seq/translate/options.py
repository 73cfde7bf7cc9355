"""The decoding settings of a call: a `DecodeConfig`, or keywords."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from seq2seq.config.keys import fields_below
from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError

SEARCH_OF = {name: facts.search for name, _, facts in fields_below(DecodeConfig)}


def settings(default: DecodeConfig, options: DecodeConfig | None, changes: Mapping[str, Any]) -> DecodeConfig:
    """Return the settings of a call.

    Args:
        default: the settings of a call that says nothing.
        options: take the place of ``default``, all of them.
        changes: single settings, by the names of `DecodeConfig`; ``beam=5`` is short for a beam search of size 5.

    Raises:
        TypeError: for a name that is not a setting.
        UserError: for a value out of range, or a setting of another search than the one that is done.
    """
    base = options or default
    if not changes:
        return base
    changes = dict(changes)
    if "beam" in changes:
        changes = {"search": "beam", "beam_size": changes.pop("beam"), **changes}
    unknown = sorted(changes.keys() - SEARCH_OF.keys())
    if unknown:
        raise TypeError(
            f"{unknown[0]} is not a decoding setting; the settings are beam, {', '.join(sorted(SEARCH_OF))}."
        )
    made = dataclasses.replace(base, **changes)
    for name, search in SEARCH_OF.items():
        if name in changes and search not in ("", made.search):
            raise UserError(
                f"decode.{name} is for decode.search={search}, and this is {made.search}; give both, or leave it out."
            )
    return made
