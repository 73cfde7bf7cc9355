"""A folder appears whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.errors import UserError
from seq2seq.files.folders import appearing, write_files

KILLED = """
import os, signal, sys
from pathlib import Path
from seq2seq.files.folders import appearing, write_files

with appearing(Path(sys.argv[1]), lambda folder: None) as place:
    write_files({"a": b"new"}, place)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def make(folder: Path, content: bytes) -> None:
    with appearing(folder, lambda folder: None) as place:
        write_files({"a": content}, place)
        assert content == b"old" or (folder / "a").read_bytes() == b"old"


def test_a_folder_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    make(folder, b"old")
    make(folder, b"new")
    assert (folder / "a").read_bytes() == b"new"
    assert os.listdir(folder.parent) == ["out"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_killed_process_changes_nothing_of_that_name(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "out"
    if is_there:
        make(folder, b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert folder.exists() == is_there
    if is_there:
        assert (folder / "a").read_bytes() == b"old"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with appearing(tmp_path / "out", lambda folder: None) as place:
            write_files({"a": b"new"}, place)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not os.listdir(tmp_path)


def test_what_is_not_to_be_replaced_is_refused_before_and_after(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        if folder.exists():
            raise UserError("it is there.")

    def come_late() -> None:
        with appearing(tmp_path / "out", check) as place:
            write_files({"a": b"new"}, place)
            (tmp_path / "out").mkdir()  # by another process

    with pytest.raises(UserError):
        come_late()
    assert os.listdir(tmp_path) == ["out"] and not os.listdir(tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file cannot be written to: "), appearing(tmp_path / "file" / "out", print):
        pass
