"""Detect text in UTF-16 and UTF-32.

Such text is often valid UTF-8 too, with a NUL or a control character at every second place.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from seq2seq.errors import UserError

HEAD = 4096  # bytes that are looked at
FEWEST = 16  # bytes; fewer say too little
MARKS = {  # the longer ones first: that of UTF-32LE begins with that of UTF-16LE
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
NOT_CONTROL = bytes([*b"\t\n\r", *range(32, 256)])
HIGH = {  # places of a character's high bytes, and of its low ones, in four bytes
    "UTF-32LE": ((2, 3), (0,)),
    "UTF-32BE": ((0, 1), (3,)),
    "UTF-16LE": ((1, 3), (0, 2)),
    "UTF-16BE": ((0, 2), (1, 3)),
}


def checked(source: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Pass on the chunks of a text, unless its first bytes are UTF-16 or UTF-32.

    Raises:
        UserError: if they are, naming the encoding.
    """
    for chunk in source:
        if encoding := _found(chunk[:HEAD]):
            raise not_utf8(name, encoding)
        yield chunk
        if chunk:
            break
    yield from source


def not_utf8(name: str, encoding: str) -> UserError:
    """The error for a file in another encoding, whose name is known."""
    return UserError(
        f"{name} is {encoding} text, not UTF-8; convert it, for example with iconv -f {encoding} -t UTF-8."
    )


def marked(head: bytes) -> str | None:
    """The encoding of the byte-order mark at the start of some bytes, UTF-8 excepted."""
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), None)


def _found(head: bytes) -> str | None:
    if len(head) < FEWEST:
        return None
    if (encoding := marked(head)) and _is_plausible(head, encoding):
        return encoding
    places = [head[place::4] for place in range(4)]
    for encoding, (high, low) in HIGH.items():
        has_nul = any(b"\0" in places[i] for i in high)  # the high byte of blanks and line ends
        if has_nul and all(_is_high(places[i]) for i in high) and all(_is_low(places[i]) for i in low):
            return encoding
    return None


def _is_high(data: bytes) -> bool:
    """Whether these may be the high bytes of characters, which are below 32 in most alphabets."""
    return len(data.translate(None, bytes(range(32)))) <= 0.1 * len(data)


def _is_low(data: bytes) -> bool:
    """Whether these may be the low bytes of characters, of which only some alphabets have many below 32."""
    return len(data.translate(None, NOT_CONTROL)) <= 0.7 * len(data)


def _is_plausible(head: bytes, encoding: str) -> bool:
    """Whether the bytes after a mark can be in its encoding; other data may begin with a mark by chance."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return "\n" in text or b"\0" in head
