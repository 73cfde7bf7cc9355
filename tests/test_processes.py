"""A forked command does what one in a new interpreter does, to the byte: the tests of the commands rest on it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests import attentive, processes
from tests.conftest import ROOT, SMALL_RUN, Command, contents
from tests.processes import CAN_FORK, PIPE, Process, start
from tests.server import Request

FROZEN = ROOT / "tests" / "data" / "v1.ckpt"
pytestmark = pytest.mark.skipif(not CAN_FORK, reason="every command starts anew here")
TIMES = re.compile(r"\d[\d,.]* s\b|\d[\d,]* (target )?tokens/s|\d+ a second|[^ ]*/runs/small/seed-1")


@pytest.mark.parametrize(
    "name, words, stdin",
    [
        ("average", ["RUN/best.ckpt", "RUN/last.ckpt", "-o", "out"], None),
        ("data", ["addition", "--out", "out", "--train-size", "9", "--valid-size", "3", "--test-size", "3"], None),
        ("evaluate", ["RUN", "--src", "lines", "--ref", "sums"], None),
        ("generate", ["LM", "-n", "3", "--seed", "2"], None),
        ("generate", ["RUN"], None),  # a translator, which is refused
        ("probe", ["RUN", "--sentences", "5", "--steps", "2", "-o", "out"], None),
        ("report", ["RUN", "-o", "out"], None),
        ("translate", ["RUN", "--beam", "3", "--n-best", "2"], b"1+2\n\n\xff\n3+4\n"),
    ],
)
def test_each_command_says_and_writes_the_same(
    command: Command, trained: Path, tmp_path: Path, name: str, words: list[str], stdin: bytes | None
) -> None:
    """These are also the commands' starts in a new interpreter; of training, it is that of `trained`."""
    refused = (name, words) == ("generate", ["RUN"])
    model = attentive.save_language_model(tmp_path / "lm.ckpt") if "LM" in words else ""
    checkpoints = trained / "checkpoints"
    given = [one.replace("RUN/", f"{checkpoints}/").replace("RUN", str(trained)) for one in words]
    given = [str(model) if one == "LM" else one for one in given]
    found = []
    for fresh in (False, True):
        cwd = tmp_path / str(fresh)
        cwd.mkdir()
        (cwd / "lines").write_text("1+2\n3+4\n")
        (cwd / "sums").write_text("3\n7\n")
        done = command(name, *given, stdin=stdin, cwd=cwd, fresh=fresh)
        written = {str(path.relative_to(cwd)): path.read_bytes() for path in cwd.rglob("*") if path.is_file()}
        found.append((done.returncode, without_times(done.stdout), TIMES.sub("", done.stderr), written))
    assert found[0] == found[1]
    assert found[0][0] == (2 if refused else 0)
    assert name != "generate" or refused or str(found[0][1]).count("\n") == 3


def without_times(printed: str) -> object:
    """What a command printed, of which figures that are times are left out."""
    try:
        return {key: value for key, value in json.loads(printed).items() if "second" not in key}
    except ValueError:
        return TIMES.sub("", printed)


def test_training_says_and_writes_the_same(command: Command, trained: Path, tmp_path: Path) -> None:
    done = command("train", "name=small", *SMALL_RUN)
    assert done.returncode == 0, done.stderr
    mine = tmp_path / "runs" / "small" / trained.name
    names = sorted(path.name for path in trained.iterdir())
    assert sorted(path.name for path in mine.iterdir()) == names
    same = ["config.yaml", "test.hyp", "test.ref", "checkpoints/best.ckpt"]
    assert contents(mine, same) == contents(trained, same)


def test_a_fork_ends_by_the_signal_that_it_gets(tmp_path: Path) -> None:
    process = start("translate", FROZEN, cwd=tmp_path, stdin=PIPE, stdout=PIPE, stderr=PIPE, new_session=True)
    assert isinstance(process, Process) and process.stdin is not None and process.stdout is not None
    process.stdin.write(b"1+2\n")
    process.stdin.flush()
    assert process.stdout.readline()
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    with process:
        assert process.wait(60) == process.poll() == -signal.SIGKILL
        assert process.stdout.read() == b""
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_dead_server_is_said_to_be_dead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise the pid would be 0, and a signal to its group would be one to us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(processes, "_server", lambda: ours)
    threading.Thread(target=lambda: (theirs.recv(1 << 17), theirs.close()), daemon=True).start()
    with ours, pytest.raises(AssertionError, match="the server has died"):
        start("data", "--version", cwd=tmp_path)


def test_an_output_that_a_grandchild_keeps_open_takes_too_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = []

    def ask(request: Request, descriptors: list[int]) -> int:
        """Be a process that has ended, and whose child has its output."""
        kept.append(os.dup(descriptors[1]))
        os.write(descriptors[-1], bytes(4))
        return 1

    monkeypatch.setattr(processes, "_ask", ask)
    with start("data", "--version", cwd=tmp_path, stdout=PIPE) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.communicate(timeout=0.1)
        finally:
            os.close(kept[0])


def test_what_a_process_takes_from_its_start_gets_a_new_interpreter(tmp_path: Path) -> None:
    for env, forks in (({}, True), ({"COLUMNS": "90"}, True), ({"LC_ALL": "C"}, False), ({"RANK": "0"}, False)):
        with start("data", "--version", cwd=tmp_path, env=env, stdout=PIPE) as process:
            assert process.communicate()[0].startswith(b"seq2seq ")
        assert isinstance(process, Process) is forks
