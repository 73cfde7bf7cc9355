"""Our commands as processes of their own: forked from one that has imported what they need, or started anew.

A start takes two to four seconds of a processor, of which nearly all goes into imports; a fork takes a few hundredths.
What a process takes from its start -- an environment variable read by an import, the locale, the seed of ``hash()`` --
needs a new interpreter: ``fresh=True``. It also gets one where a variable differs that is not known to be read later.
"""

from __future__ import annotations

import atexit
import functools
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

from tests.server import Request

ROOT = Path(__file__).resolve().parent.parent
READ_LATE = {"PYTEST_CURRENT_TEST", "COLUMNS", "HYDRA_FULL_ERROR", "NO_COLOR", "SACREBLEU_SEED", "TERM"}
CAN_FORK = sys.platform == "linux"
PIPE = subprocess.PIPE
SECONDS = 300

File = int | IO[Any] | None
Started: TypeAlias = "Process | subprocess.Popen[bytes]"


class Process:
    """A forked command, with what `subprocess.Popen` has for bytes."""

    def __init__(self, request: Request, stdin: File, stdout: File, stderr: File) -> None:
        self.args = [request.module, *request.words]
        self.returncode: int | None = None
        theirs: list[int] = []
        ours: list[IO[bytes] | None] = []
        passed: list[int] = []
        for number, given in enumerate((stdin, stdout, stderr)):
            if given == PIPE:
                ends = os.pipe()
                passed.append(ends[number > 0])
                theirs.append(ends[number > 0])
                ours.append(os.fdopen(ends[number == 0], "rb" if number else "wb"))
            elif given == subprocess.DEVNULL:
                passed.append(os.open(os.devnull, os.O_RDWR))
                theirs.append(passed[-1])
                ours.append(None)
            else:
                theirs.append(number if given is None else given if isinstance(given, int) else given.fileno())
                ours.append(None)
        self.stdin, self.stdout, self.stderr = ours
        self._status, status = os.pipe()
        self.pid = _ask(request, [*theirs, status])
        for one in (*passed, status):
            os.close(one)

    def poll(self) -> int | None:
        return self._end(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._end(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def _end(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            said = os.read(self._status, 4)
            os.close(self._status)
            assert said, "the server has died"
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(said, "little"))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        until = None if timeout is None else time.monotonic() + timeout
        read: dict[IO[bytes], bytes] = {}
        threads = [
            threading.Thread(target=lambda stream=stream: read.update({stream: stream.read()}), daemon=True)
            for stream in (self.stdout, self.stderr)
            if stream is not None
        ]
        threads.append(threading.Thread(target=self._feed, args=(input,), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(None if until is None else max(0, until - time.monotonic()))
        self.wait(None if until is None else max(0, until - time.monotonic()))
        if any(thread.is_alive() for thread in threads):  # a child of its own keeps them open
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        out, err = (b"" if stream is None else read[stream] for stream in (self.stdout, self.stderr))
        return out, err

    def _feed(self, content: bytes | None) -> None:
        if self.stdin is None:
            return
        with suppress(BrokenPipeError):
            self.stdin.write(content or b"")
        with suppress(BrokenPipeError):
            self.stdin.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self.wait()


@functools.cache
def _server() -> socket.socket:
    """The channel to this process's server, which starts at the first call and ends with us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.server", str(theirs.fileno())],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        env=_first_environment(),
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    atexit.register(lambda: (ours.close(), server.wait()))
    return ours


_lock = threading.Lock()


def _ask(request: Request, descriptors: list[int]) -> int:
    with _lock:
        channel = _server()
        socket.send_fds(channel, [pickle.dumps(request)], descriptors)
        said = channel.recv(4)
        assert said, "the server has died"
        return int.from_bytes(said, "little")


@functools.cache
def _first_environment() -> Mapping[str, str]:
    """The variables with which the server starts."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def start(
    name: str,
    *words: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: File = None,
    stdout: File = None,
    stderr: File = None,
    new_session: bool = False,
    file_bytes: int | None = None,
    fresh: bool = False,
) -> Started:
    """Start one of our commands.

    Args:
        name: Of its module in seq2seq.cli; or, with dots, of any module that is a program.
        env: Variables beside those of this process.
        new_session: Make it the head of a process group of its own.
        file_bytes: It can write no file beyond that size, as on a full disk.
        fresh: In a new interpreter.
    """
    module = name if "." in name else f"seq2seq.cli.{name}"
    texts, environment = tuple(map(str, words)), _environment(env or {})
    known = _first_environment()
    differ = {one for one in known.keys() | environment.keys() if known.get(one) != environment.get(one)}
    if CAN_FORK and not fresh and differ <= READ_LATE:
        request = Request(module, texts, str(cwd), environment, new_session, file_bytes)
        return Process(request, stdin, stdout, stderr)
    command = [sys.executable, "-m", module, *texts]
    if file_bytes is not None:
        command = ["bash", "-c", f'ulimit -f {file_bytes // 1024}; exec "$@"', "bash", *command]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=new_session
    )


def run(
    name: str,
    *words: object,
    cwd: Path,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end; bytes that are not UTF-8 come as surrogates."""
    given = None if stdin is None else PIPE
    process = start(name, *words, cwd=cwd, env=env, stdin=given, stdout=PIPE, stderr=PIPE, fresh=fresh)
    with process:
        try:
            said = process.communicate(stdin, timeout=SECONDS)
        except BaseException:
            process.kill()
            raise
    out, err = (one.decode("utf-8", "surrogateescape") for one in said)
    assert process.returncode is not None
    return subprocess.CompletedProcess([name, *map(str, words)], process.returncode, out, err)
