"""Atomic writes and locks: a file appears whole or not at all."""

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from seq2seq.errors import UserError
from seq2seq.files import packed


def escaped(words: str) -> str:
    r"""Escape the bytes of a path that are not UTF-8, as in ``\udcff``."""
    return words.encode("utf-8", "backslashreplace").decode("utf-8")


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    r"""Write lines, each with a "\n"; the file appears whole or not at all.

    The text is written unchanged. So a line that ends in "\r", or a first line that starts with a byte-order
    mark, loses it when `iter_lines` reads the file; `write_splits` refuses those.

    Raises:
        ValueError: if a line holds a "\n", which would make it two.
        UserError: if the file cannot be written.
    """
    with writing(path) as stream:
        for number, line in enumerate(lines, start=1):
            if "\n" in line:
                raise ValueError(f"{path}: line {number} holds a newline and would become two lines: {line[:60]!r}.")
            stream.write(line.encode("utf-8") + b"\n")


@contextmanager
def writing(path: str | Path) -> Iterator[BinaryIO]:
    """As `replacing`, and pack the file if its name says so.

    Raises:
        UserError: also for a name whose packer is not written.
    """
    packed.packer(path)  # refused before anything is touched
    with replacing(Path(path)) as raw, packed.packing(raw, path) as stream:
        yield stream


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets the name ``path`` only on success.

    An existing pipe or device (``/dev/null``) is written to directly. A link stays a link.

    Raises:
        UserError: if it is a folder, or the file system refuses.
    """
    refuse_long_name(path)
    path = followed(path)
    with said_in_one_line(path):
        if is_special(path):
            with open(path, "wb") as stream:
                yield stream
        else:
            with _renamed(path) as stream:
                yield stream


def followed(path: Path) -> Path:
    """The target of a link; any other path unchanged."""
    return Path(os.path.realpath(path)) if path.is_symlink() and not is_special(path) else path


def is_special(path: Path) -> bool:
    """Whether a path exists but cannot be replaced by a new file.

    Such are devices, pipes, and what this process has open, as ``/dev/stdout``.
    """
    if not path.exists():
        return False
    while path.is_symlink():
        folder = os.path.realpath(path.parent)
        if folder.startswith("/proc/"):
            return True
        path = Path(folder, os.readlink(path))
    return not path.is_file() and not path.is_dir()


LONGEST_NAME = 255  # bytes, of most file systems


def hidden_name(name: str, ending: str) -> str:
    """A hidden name beside ``name``; a long one is cut, with its checksum."""
    raw = os.fsencode(f".{name}{ending}")
    if len(raw) <= LONGEST_NAME:
        return os.fsdecode(raw)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name[:40]}-{digest}{ending}"


def refuse_long_name(path: str | Path) -> None:
    """Refuse a name that is too long for the file system.

    Raises:
        UserError: for such a name.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise too_long(path) from None


def too_long(path: str | Path) -> UserError:
    """The error for a name that is longer than the file system allows."""
    name = max(Path(path).parts, key=len, default="")
    return UserError(f"{name[:40]}... is too long for a file's name ({len(os.fsencode(name))} bytes); shorten it.")


def no_link(path: str | Path, flags: int) -> int:
    """Open a file with a predictable name, unless it is a link or has a second name.

    Someone may have put the link there to have another file overwritten.

    Raises:
        UserError: for a link, a special file, or a file with a second name.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise _planted(path) from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise _planted(path)
    return descriptor


def _planted(path: str | Path) -> UserError:
    return UserError(f"{path} is a link or a special file, not a hidden file of seq2seq; remove it.")


def refuse_planted(path: Path) -> None:
    """Refuse a lock file that is a link or not a regular file.

    Older versions of filelock would empty the file that the link points to.

    Raises:
        UserError: if it is.
    """
    if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
        raise _planted(path)


def created(path: Path) -> BinaryIO:
    """Create a file in place of an old one of its name; a link is replaced, not followed."""
    path.unlink(missing_ok=True)
    return open(path, "xb")


@contextmanager
def said_in_one_line(path: Path) -> Iterator[None]:
    """Turn errors of the file system into a `UserError`, except for a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise too_long(path) from None
        reason = error.strerror or error
        raise UserError(f"{path} cannot be written: {reason}; check its folder and the free space.") from None


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise UserError(f"{path} is a folder, not an output file; name a file inside it.")
    temporary = path.with_name(hidden_name(path.name, f".{uuid.uuid4().hex[:8]}.tmp"))
    try:
        with created(temporary) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def make_folder(folder: Path, *, without: Iterable[str] = ()) -> Path:
    """Make a folder and its parents; remove the files named in ``without``.

    Raises:
        UserError: if the file system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in without:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise too_long(folder) from None
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be written to: {reason}; name another folder.") from None
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a data folder, which must exist.

    Raises:
        UserError: if the file system refuses.
    """
    refuse_planted(folder / ".lock")
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be written to: {reason}; make it so, or name another data.root.") from None
    try:
        yield
    finally:
        lock.release()
