"""Read byte streams in chunks.

An empty chunk means that a pipe or a terminal has nothing to read at the moment.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from typing import BinaryIO

SIZE = 1 << 17  # bytes of a chunk at most; more than a BufferedReader holds
PAUSE = b""
PAUSE_SECONDS = 0.03  # a writer that is quiet for so long may be waiting for an answer


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Read a stream to its end.

    A chunk of a pipe, a socket or a terminal holds the bytes that are available. `PAUSE` follows a chunk if no byte
    came for ``PAUSE_SECONDS`` after it. A regular file has no pauses.
    """
    waits = _may_wait(stream)
    while chunk := stream.read1(SIZE):  # type: ignore[attr-defined]
        yield chunk
        if waits and not _is_ready(stream):
            yield PAUSE


def _may_wait(stream: BinaryIO) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # not a file of the system
        return False


def _is_ready(stream: BinaryIO) -> bool:
    try:
        return bool(select.select([stream], [], [], PAUSE_SECONDS)[0])
    except (OSError, ValueError):  # a system that cannot tell
        return True
