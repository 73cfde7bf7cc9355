"""Quote the words of a command line so that Hydra or a shell reads plain text literally."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Quote, QuotedString, Sweep
from hydra.errors import HydraException

from seq2seq.cli.common import conf_dir
from seq2seq.config.schema import PATHS, Config

# Keys that hold names and paths. In the other keys of plain text, a comma in a single run is a forgotten -m.
FREE = {"name", *PATHS}
QUOTED = re.compile(r"""\s*('(?:[^\\']|\\.)*'|"(?:[^\\"]|\\.)*")\s*(?=,|$)""", re.DOTALL)


def is_sweep(words: Iterable[str], *, multirun: bool) -> bool:
    """Whether a command trains several runs: by its flag, or by its experiment."""
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key == "hydra.mode" and value.upper() == "MULTIRUN":
            return True
        path = conf_dir() / "experiment" / f"{value}.yaml"
        if key == "experiment" and re.fullmatch(r"\w+", value) and path.is_file():
            multirun |= "mode: MULTIRUN" in path.read_text(encoding="utf-8")
    return multirun


def plain_words(words: Sequence[str], *, many: bool) -> list[str]:
    """Quote plain text in overrides where Hydra would read it differently.

    Quoted text, ``null`` and interpolations (``${...}``) keep Hydra's meaning. With ``many``, so do sweeps: there a
    comma outside of quotes and brackets separates two values, and ``\\,`` is a comma.
    """
    return [_plain_word(word, many=many) for word in words]


def _plain_word(word: str, *, many: bool) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+")
    if not equals or not is_text(name):
        return word
    parsed = _parsed(value)
    if not many:
        forgotten = isinstance(parsed, Sweep) and name not in FREE and not name.startswith("hydra.")
        return word if forgotten else f"{key}={_spelled(value)}"
    if isinstance(parsed, Glob) or (isinstance(parsed, Sweep) and not getattr(parsed, "simple_form", False)):
        return word  # choice(...), range(...), glob(...)
    parts = _parts(value)
    if len(parts) == 1:
        return f"{key}={_spelled(value.replace(_ESCAPED_COMMA, ','))}"
    stripped = [part.strip().replace(_ESCAPED_COMMA, ",") for part in parts]
    return f"{key}={','.join(map(_spelled, stripped))}" if all(stripped) else word


_ESCAPED_COMMA = "\\,"


@functools.cache
def is_text(key: str) -> bool:
    """Whether a key, ours or Hydra's, holds plain text."""
    names = key.split(".")
    section: Any = Config
    if names[0] == "hydra":
        section, names = HydraConf, names[1:]
    for name in names:
        if not dataclasses.is_dataclass(section):
            return False
        section = get_type_hints(section).get(name)
    return section is str or set(get_args(section)) == {str, type(None)}


def text_of(key: str, value: str) -> str:
    """The plain text that an override gives a key; any other value unchanged."""
    parsed = _parsed(value) if is_text(key) else None
    return parsed.text if isinstance(parsed, QuotedString) else parsed if isinstance(parsed, str) else value


class _Unreadable:
    """A value that Hydra's grammar cannot parse."""


def _parsed(value: str) -> Any:
    """The value as Hydra parses it; `_Unreadable` if it cannot."""
    try:
        return OverridesParser.create().parse_override(f"key={value}")._value
    except HydraException:
        return _Unreadable()


def _spelled(text: str) -> str:
    """Spell a text so that Hydra reads it unchanged."""
    parsed = _parsed(text)
    if parsed == text:
        return text
    if (parsed is None or isinstance(parsed, QuotedString)) and text.strip() == text:
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _parts(value: str) -> list[str]:
    """Split a value at its commas, except in quotes, in brackets, or after a backslash."""
    parts, start, depth, at = [], 0, 0, 0
    while at < len(value):
        quoted = QUOTED.match(value, at) if at == start else None
        if quoted:
            at = quoted.end()
            continue
        character = value[at]
        if value.startswith(_ESCAPED_COMMA, at):
            at += 1
        elif character == "," and not depth:
            parts.append(value[start:at])
            start = at + 1
        else:
            depth = max(0, depth + (character in "([{") - (character in ")]}"))
        at += 1
    return [*parts, value[start:]]


def resume_word(folder: Path) -> str:
    """The override that resumes a run, quoted for a shell."""
    word = f"resume={folder}"
    if word.isprintable():
        return shlex.quote(word)
    plain = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\{byte:03o}" for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"
