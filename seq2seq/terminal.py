"""Show text from files to people without letting it steer the terminal."""

from __future__ import annotations

import re
import sys

# Control characters (C0, DEL, C1), line and paragraph separators, what changes the direction of the text around it,
# and lone surrogates, which no encoding has.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STEERING_A_LINE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The same, without the bytes of a path that is not UTF-8, as ``os.fsdecode`` spells them.
_STEERING_A_PIPE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udc7f\udd00-\udfff]")


def printable(text: object, *, lines: bool = False) -> str:
    r"""Escape every character that could steer a terminal: ``\x1b``, ``\u202e``.

    Args:
        lines: leave newlines and tabs.
    """
    return (_STEERING_A_LINE if lines else _STEERING).sub(_escaped, str(text))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def show(text: object) -> None:
    """Print lines for people on stdout.

    A pipe gets the bytes of a path unchanged, a terminal gets them escaped.
    """
    steering = _STEERING_A_LINE if sys.stdout.isatty() else _STEERING_A_PIPE
    print(steering.sub(_escaped, str(text)))
