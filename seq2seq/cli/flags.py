"""Flags that stand for keys of the config, and messages that tell the flag beside a key.

The library's messages name keys and parameters. A command knows which of them it has flags for: its parser keeps them
by their names in messages, and whatever the command says goes through `with_flags`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from seq2seq.config.keys import fields_below
from seq2seq.config.schema import Config

Flags = Mapping[str, str]  # by a name in messages, or by "name=value" where the value decides which flag it is

KEYS = {name: (one, facts) for name, one, facts in fields_below(Config)}
# In parentheses; or a word, without the punctuation behind it; or nothing.
VALUE = r"\([^)]*\)|[^\s;()]*[^\s;(),.:]|(?=[\s;]|$)"
NUMBERS = {"int": (int, "N"), "float": (float, "X")}


def add_key(
    container: argparse._ActionsContainer, key: str, *, flag: str = "", default: Any = None, shown: str = "%(default)s"
) -> dict[str, str]:
    """Add the flag of a key, with the key's own type and meaning, and return its `Flags`.

    A key that is true or false has two flags, such as ``--int8`` and ``--no-int8``, and one if it has a default here.

    Args:
        container: a parser, or a group of one.
        flag: by default the last part of the key's name.
        shown: the default, in the help.
    """
    one, facts = KEYS[key]
    flag = flag or f"--{one.name.replace('_', '-')}"
    meaning = facts.meaning.replace("%", "%%")
    if one.type == "bool" and default is None:
        container.add_argument(flag, action=argparse.BooleanOptionalAction, help=f"{meaning} (default: {shown})")
        return {key: flag, f"{key}=true": flag, f"{key}=false": flag.replace("--", "--no-", 1)}
    if one.type == "bool":
        container.add_argument(flag, action="store_true", help=meaning)
        return {key: flag, f"{key}=true": flag}
    convert, letter = NUMBERS.get(str(one.type), (str, None))
    container.add_argument(flag, type=convert, default=default, metavar=letter, help=f"{meaning} (default: {shown})")
    return {key: flag}


def with_flags(message: str, flags: Flags) -> str:
    """Put the flag of each key and parameter that a message names behind its last mention, which is in the remedy.

    A name without a dot or a space could be any word, so it counts only before a value.

    Example:
        >>> with_flags("use decode.beam_size=3.", {"decode.beam_size": "--beam"})
        'use decode.beam_size=3 (--beam).'
    """
    if not flags:
        return message
    names = sorted({name.partition("=")[0] for name in flags}, key=len, reverse=True)
    # A name inside a path is part of a folder's name.
    pattern = rf"(?:(?<=[\s(])|^)({'|'.join(map(re.escape, names))})(?:=({VALUE}))?(?![\w/=])"
    ends: dict[str, int] = {}  # of the last mention, by flag
    for match in re.finditer(pattern, message):
        name, value = match.groups()
        flag = flags.get(match[0]) or flags.get(name)
        if flag and (value or "." in name or " " in name):
            ends[flag] = match.end()
    for flag, end in sorted(ends.items(), key=lambda item: item[1], reverse=True):
        message = f"{message[:end]} ({flag}){message[end:]}"
    return message
