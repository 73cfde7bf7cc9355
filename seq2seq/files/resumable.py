"""Resumable output files.

The final name appears only when the file is complete; an interrupted write can be resumed. Until then two hidden files
lie beside ``OUT``: ``.OUT.part`` has the output so far, and ``.OUT.part.json`` is the journal. The journal says how
many bytes of the first are safe on the disk, how far the writer had come by then, and with which settings. Both files
are removed when ``OUT`` is complete.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from seq2seq.errors import UserError
from seq2seq.files import packed
from seq2seq.files.writing import (
    created,
    followed,
    hidden_name,
    is_special,
    no_link,
    refuse_long_name,
    said_in_one_line,
)

log = logging.getLogger(__name__)

PART, JOURNAL, DRAFT = ".part", ".part.json", ".part.json.tmp"
JOURNAL_FORMAT = 1
SAVE_SECONDS = 5.0  # a kill loses at most the work of this time, and the current window
MEMBER_BYTES = 1 << 18  # of text in a member of a packed file, at least; the file can be cut between members

Mark = Mapping[str, Any]  # the writer's own record of its place; plain values, for JSON


class Done(NamedTuple):
    """How much of an output is written."""

    num_bytes: int  # of the hidden file
    mark: Mark | None


class Stream:
    """An output that cannot be resumed: stdout, a pipe, a device."""

    mark: Mark | None = None

    def __init__(self, stream: BinaryIO, pack: Callable[[bytes], bytes] | None = None) -> None:
        self._stream, self._pack = stream, pack

    def write(self, data: bytes, mark: Mark) -> None:
        """Write immediately."""
        self._stream.write(data if self._pack is None else self._pack(data))
        self._stream.flush()


class Partial:
    """A regular file that is being written, under its hidden name, which must be locked.

    Args:
        file: that file.
        settings: all values besides the input that decide the contents; plain values, by name.
        resume: continue an earlier write.

    Raises:
        UserError: if the earlier write had other settings, or is damaged.
    """

    def __init__(self, target: Path, file: FileIO, settings: Mapping[str, Any], *, resume: bool) -> None:
        self.target = target
        self._file, self._settings = file, settings
        self._pack = packed.packer(target)
        self._pending = bytearray()  # text of the packed member to come
        self._done = Done(0, None)
        if resume and os.fstat(file.fileno()).st_size:
            self._done = self._go_on()
        else:
            _remove_journal(target)
        file.truncate(self._done.num_bytes)
        file.seek(self._done.num_bytes)
        self._began_at, self._saved_at = self._done, time.monotonic()

    @property
    def mark(self) -> Mark | None:
        """The mark of the last text in the file; None before the first."""
        return self._done.mark

    def write(self, data: bytes, mark: Mark) -> None:
        """Write, to be saved within ``SAVE_SECONDS``.

        Args:
            mark: where the writer is once ``data`` is written; `mark` after a resume.
        """
        if self._pack is not None:
            self._pending += data
            if len(self._pending) < MEMBER_BYTES:
                return
            data = self._pack(bytes(self._pending))
            self._pending.clear()
        self._append(data)
        self._done = Done(self._done.num_bytes + len(data), mark)  # one statement: ctrl-C may come between two
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Make the text so far survive a kill and a power cut."""
        os.fsync(self._file.fileno())
        contents = {"format": JOURNAL_FORMAT, "settings": self._settings, **self._done._asdict()}
        draft = hidden(self.target, DRAFT)
        try:
            with created(draft) as stream:
                stream.write(json.dumps(contents, indent=1).encode())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, hidden(self.target, JOURNAL))
        except OSError:
            draft.unlink(missing_ok=True)  # it may be empty, on a full disk
            raise
        self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Give the file its own name."""
        if self._pack is not None and (self._pending or not self._done.num_bytes):  # no bytes would be no packed file
            self._append(self._pack(bytes(self._pending)))
        os.fsync(self._file.fileno())
        os.replace(hidden(self.target, PART), self.target)
        _sync_folder(self.target.parent)
        _remove_journal(self.target)

    def give_up(self) -> None:
        """Keep the text so far for a resume, if there is any."""
        part = hidden(self.target, PART)
        with suppress(OSError):
            if self.mark is None or not part.exists():  # no text yet, or the output is complete
                part.unlink(missing_ok=True)
                _remove_journal(self.target)
            elif self._done != self._began_at:
                self._save_or_remove(part)
                log.info("%s: the text so far is kept in %s; resume=True continues after it.", self.target, part)

    def _save_or_remove(self, part: Path) -> None:
        """Save; if that fails, as on a full disk, remove text that no journal can resume."""
        try:
            self.save()
        except OSError:
            if not hidden(self.target, JOURNAL).exists():
                part.unlink(missing_ok=True)
            raise

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def _go_on(self) -> Done:
        path = hidden(self.target, JOURNAL)
        try:
            with open(path, "rb", opener=no_link) as stream:
                journal = json.loads(stream.read())
            before, done = dict(journal["settings"]), Done(int(journal["num_bytes"]), dict(journal["mark"]))
            is_sound = journal["format"] == JOURNAL_FORMAT and os.fstat(self._file.fileno()).st_size >= done.num_bytes
        except FileNotFoundError:
            return Done(0, None)  # killed before anything was saved
        except (ValueError, TypeError, KeyError):
            is_sound = False
        if not is_sound:
            raise self.refusal(f"the journal of an earlier call, {path}, is damaged")
        if changed := _changed(before, self._settings):
            raise self.refusal(changed)
        return done

    def refusal(self, reason: str) -> UserError:
        """The error for an output that cannot be resumed."""
        return UserError(f"{self.target} cannot be resumed: {reason}; leave out resume=True to start it again.")


@contextmanager
def open_output(
    target: str | Path | None, settings: Mapping[str, Any], *, resume: bool = False
) -> Iterator[Stream | Partial | None]:
    """Open an output that gets its name on success, and is kept for ``resume`` otherwise.

    Args:
        target: None for stdout. An existing pipe or device is written to directly.
        settings: see `Partial`.

    Yields:
        None if ``resume`` finds the output finished.

    Raises:
        UserError: if the file system refuses, if another process is writing this output, or as `Partial`.
    """
    if target is None:
        yield Stream(sys.stdout.buffer)
        return
    packed.packer(target)  # refused before anything is touched
    refuse_long_name(target)
    target = followed(Path(target))
    if is_special(target):
        with _special(target, resume=resume) as stream:
            yield stream
        return
    with said_in_one_line(target):
        file = _claim(target, resume=resume)
        if file is None:
            _remove_journal(target)  # a kill may have left it, just after the file got its name
            yield None
            return
        with file:
            partial = Partial(target, file, settings, resume=resume)
            try:
                yield partial
                partial.finish()
            except BaseException:
                partial.give_up()
                raise


@contextmanager
def _special(target: Path, *, resume: bool) -> Iterator[Stream]:
    if resume:
        raise UserError(f"{target} is not a regular file, and cannot be resumed; leave out resume=True.")
    with said_in_one_line(target), open(target, "wb") as stream:
        yield Stream(stream, packed.packer(target))


def hidden(target: Path, ending: str) -> Path:
    """A name beside ``target`` that listings leave out."""
    return target.with_name(hidden_name(target.name, ending))


def _claim(target: Path, *, resume: bool) -> FileIO | None:
    """Open and lock the hidden file; None if there is only a finished output.

    The lock is on the file itself. The system releases it when the process ends, also by a kill.
    """
    path = hidden(target, PART)
    if target.is_dir():
        raise UserError(f"{target} is a folder, not an output file; name a file inside it.")
    while True:
        finished = resume and target.exists()
        try:
            file = FileIO(no_link(path, os.O_RDWR | (0 if finished else os.O_CREAT)), "r+")
        except FileNotFoundError:
            if finished:
                return None
            raise
        try:
            _lock(file, target)
            if os.path.samestat(os.fstat(file.fileno()), os.lstat(path)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # another process has finished with it between our opening and locking it


def _lock(file: FileIO, target: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{target} is being written by another process; wait for it, or name another output.") from None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        log.warning("%s: its file system has no locks; let no other process write it.", target)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the settings that differ."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} was {_short(before.get(name))} and is {_short(now.get(name))}" for name in names)


def _short(value: object) -> str:
    return str(value) if len(str(value)) <= 40 else f"{str(value)[:12]}..."


def _remove_journal(target: Path) -> None:
    for ending in (JOURNAL, DRAFT):
        hidden(target, ending).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name survives a power cut too
    finally:
        os.close(descriptor)
