"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from seq2seq.files.writing import hidden_name, make_folder, refuse_long_name, said_in_one_line


@contextmanager
def appearing(folder: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """Make a folder that gets its name only if the block succeeds; otherwise it is removed.

    The block gets a hidden folder beside it. A killed process leaves that one behind.

    Args:
        check: refuses a folder that must not be replaced. It is called before the block and after it.

    Raises:
        UserError: if the file system refuses.
    """
    refuse_long_name(folder)
    check(folder)
    target = Path(os.path.abspath(folder))
    make_folder(target.parent)
    temporary = target.with_name(hidden_name(target.name, f".{uuid.uuid4().hex[:8]}.tmp"))
    try:
        with said_in_one_line(folder):
            temporary.mkdir()
            yield temporary
            check(folder)
            _rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, folder: Path) -> None:
    """Give the finished folder its name, in place of an old one."""
    old = temporary.with_name(hidden_name(temporary.name, ".old"))
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(temporary, folder)
    except OSError:
        with suppress(OSError):
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write new files into a folder, and see that they reach the disk."""
    for name, content in files.items():
        with open(folder / name, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
