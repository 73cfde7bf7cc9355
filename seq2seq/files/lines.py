r"""Read line-aligned text files.

A line ends at "\n" and nowhere else: U+2028, U+0085, vertical tabs, form feeds and NUL are ordinary
characters of a line. Files are UTF-8; one that is packed is known by its first bytes, whatever its name. The
reader removes two things that editors of other systems add: a byte-order mark at the start of the file and one
"\r" before a "\n". Every other text is returned as it was written.
"""

import codecs
import errno
import hashlib
import itertools
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seq2seq.errors import UserError
from seq2seq.files import encoding, packed
from seq2seq.files.chunks import PAUSE, SIZE, chunks
from seq2seq.files.writing import too_long

BOM = "\ufeff"
TO_NEWLINES, WITHOUT_RETURNS = r"tr '\r' '\n'", r"tr -d '\r'"  # filters of the shell


def iter_lines(path: str | Path) -> Iterator[str]:
    """Iterate over the lines of a text file; errors are raised at the line that has them.

    Raises:
        UserError: if the file cannot be read or unpacked, or is not UTF-8.
    """
    for number, raw in enumerate(iter_raw_lines(path), start=1):
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, raw, error) from None


def iter_raw_lines(source: str | Path | BinaryIO, name: str = "the stream") -> Iterator[bytes]:
    """Iterate over lines as bytes, without line ends and byte-order mark.

    Args:
        name: of a stream, for messages.

    Raises:
        UserError: if the file cannot be read or unpacked, or is UTF-16 or UTF-32.
    """
    return itertools.chain.from_iterable(iter_groups(source, name))


def iter_groups(source: str | Path | BinaryIO, name: str = "the stream") -> Iterator[list[bytes]]:
    """As `iter_raw_lines`, in groups of lines that were read together.

    An empty group says that there is nothing more to read for the moment; see `chunks.chunks`.
    """
    if isinstance(source, (str, Path)):
        with _opened(source) as stream:
            yield from iter_groups(stream, str(source))
        return
    rest: list[bytes] = []  # of a line whose end has not come yet
    is_first = True
    for chunk in encoding.checked(packed.unpacked(chunks(source), name), name):
        *ended, last = chunk.split(b"\n")
        if ended:
            ended[0] = b"".join([*rest, ended[0]])
            rest = []
            if is_first:
                ended[0], is_first = ended[0].removeprefix(codecs.BOM_UTF8), False
        if last:
            rest.append(last)
        if ended or chunk == PAUSE:
            yield [line.removesuffix(b"\r") for line in ended]
    if line := b"".join(rest).removeprefix(codecs.BOM_UTF8 if is_first else b""):
        yield [line]


def not_utf8(path: str | Path, number: int, raw: bytes, error: UnicodeDecodeError) -> UserError:
    """The error for a line that is not UTF-8."""
    if number == 1 and (other := encoding.marked(raw)):
        return encoding.not_utf8(str(path), other)
    bad = f"the byte 0x{raw[error.start]:02x} at offset {error.start}"
    if (kind := packed.ending_of(path)) is not None and packed.kind_of(_head(path)) is None:
        return UserError(
            f"{path} is neither a {kind.name} file nor UTF-8: line {number} has {bad}; copy or download it again."
        )
    return UserError(
        f"{path} is not UTF-8: line {number} has {bad}; convert the file, for example with iconv -t UTF-8."
    )


def _head(path: str | Path) -> bytes:
    """The first bytes of a regular file."""
    if not os.path.isfile(path):
        return b""
    with _opened(path) as stream:
        return stream.read(512)


def read_lines(path: str | Path) -> list[str]:
    """All lines of a text file; see `iter_lines`."""
    return list(iter_lines(path))


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes; errors of the file system become a `UserError`."""
    try:
        with open(path, "rb") as stream:
            yield stream
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: OSError) -> UserError:
    if not str(path):
        return UserError("the name of a text file is empty; give one.")
    if error.errno == errno.ENAMETOOLONG:
        return too_long(path)
    if Path(path).is_dir():
        return UserError(f"{path} is a folder, not a text file; name a file inside it.")
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist; check the path, which is relative to {os.getcwd()}.")
    return UserError(f"{path} cannot be read: {error.strerror or error}; check the file and its permissions.")


def refuse_line_ends(path: str | Path, lines: Sequence[str]) -> None:
    r"""Refuse a text whose lines do not end in "\n" or "\r\n".

    Old Macs end lines in "\r"; two conversions for DOS end them in "\r\r\n". A second byte-order mark is refused too,
    since it would become part of the first line.

    Raises:
        UserError: naming the file and a command that mends it.
    """
    if len(lines) == 1 and "\r" in lines[0]:
        raise UserError(
            f"{path} has carriage returns in place of line ends; convert it, for example with "
            f"{_through(path, TO_NEWLINES)}."
        )
    ends = [number for number, line in enumerate(lines, start=1) if line.endswith("\r")]
    if ends:
        more = f" (and {len(ends) - 1} more)" if len(ends) > 1 else ""
        raise UserError(
            f"{path}: line {ends[0]}{more} ends in an extra carriage return, as if converted for DOS twice; remove "
            f"them, for example with {_through(path, WITHOUT_RETURNS)}."
        )
    if lines and lines[0].startswith(BOM):
        raise UserError(f"{path} begins with two byte-order marks; remove one, for example with tail -c +4.")


def _through(path: str | Path, filter: str) -> str:
    """A shell command that sends the text of a file through a filter."""
    quoted = shlex.quote(str(path))
    kind = packed.kind_of(_head(path))
    return f"{filter} < {quoted} > NEW" if kind is None else f"{kind.tool} < {quoted} | {filter} > NEW"


def sha256_file(path: str | Path, *, unpacked: bool = False) -> str:
    """The SHA-256 of a file in hexadecimal; with ``unpacked``, of a packed file's text.

    Raises:
        UserError: if the file cannot be read, or unpacked.
    """
    digest = hashlib.sha256()
    with _opened(path) as stream:
        pieces = packed.unpacked(chunks(stream), str(path)) if unpacked else iter(lambda: stream.read(SIZE), b"")
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def refuse_unstable(name: str, lines: Sequence[str]) -> None:
    """Refuse lines that would not be read back unchanged from a file.

    Raises:
        ValueError: for the first one that would not.
    """
    for number, line in enumerate(lines, start=1):
        if "\n" in line:
            problem = "holds a newline"
        elif line.endswith("\r"):
            problem = "ends in a carriage return"
        elif number == 1 and line.startswith(BOM):
            problem = "starts with a byte-order mark"
        else:
            continue
        raise ValueError(f"{name}: line {number} {problem}, which a text file cannot give back: {line[:60]!r}.")
