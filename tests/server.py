"""Forks our commands from a process that has imported what they need: ``python -m tests.server FD``; see processes.py.

A fork has its own pid, session, folder, environment, files and signals, and its interpreter ends as any other does. It
shares with its siblings only what a process has from its imports, and the seed of ``hash()``.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import logging
import os
import pickle
import pkgutil
import random
import resource
import runpy
import select
import socket
import sys
import threading
from typing import Any, NamedTuple

COMMANDS = ("average", "data", "evaluate", "generate", "probe", "report", "train", "translate")
LATE = (  # what our code imports in its functions, or a library in its own
    "hydra._internal.hydra",
    "hydra._internal.core_plugins.basic_launcher",
    "hydra._internal.core_plugins.basic_sweeper",
    "lightning",
    "numpy",
    "sacrebleu",
    "sentencepiece",
    "torch",
    "torch.utils.data",
)
FEW_BYTES = 1 << 17


class Request(NamedTuple):
    """A command to fork; the descriptors of stdin, stdout, stderr and of where its status is written come with it."""

    module: str
    words: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    new_session: bool
    file_bytes: int | None


def preload() -> None:
    """Import everything but the commands themselves, which each fork runs as ``__main__``, and start no thread."""
    environment = dict(os.environ)
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as `set_up` does before torch is there
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy would start a thread for each core when it is imported
    import seq2seq

    ours = [one.name for one in pkgutil.walk_packages(seq2seq.__path__, "seq2seq.") if not one.ispkg]
    if importlib.util.find_spec("onnx") is None:
        ours = [name for name in ours if not name.startswith("seq2seq.export.")]
    commands = {f"seq2seq.cli.{name}" for name in COMMANDS}
    for name in (*LATE, *(one for one in ours if one not in commands)):
        importlib.import_module(name)
    os.environ.clear()
    os.environ.update(environment)


def serve(channel: socket.socket) -> Request | None:
    """Fork a process for each request, and write its status where that asks for it.

    Returns:
        In the fork, what it has to run; in the server None, at the end of the channel.
    """
    running: dict[int, tuple[int, int]] = {}  # by descriptor of a process: its pid, and where its status goes
    while True:
        for ready in select.select([channel, *running], [], [])[0]:
            if ready is not channel:
                pid, status = running.pop(ready)
                os.write(status, os.waitpid(pid, 0)[1].to_bytes(4, "little"))
                os.close(status)
                os.close(ready)
                continue
            message, descriptors, _, _ = socket.recv_fds(channel, FEW_BYTES, 4)
            if not message:
                return None
            request: Request = pickle.loads(message)
            assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1
            pid = os.fork()
            if not pid:
                channel.close()
                become(request, descriptors)
                for one in (*descriptors, *running, *(where for _, where in running.values())):
                    os.close(one)
                return request
            running[os.pidfd_open(pid)] = pid, descriptors.pop()
            for one in descriptors:
                os.close(one)
            channel.send(pid.to_bytes(4, "little"))


def become(request: Request, descriptors: list[int]) -> None:
    """Make of this process what a new interpreter would be."""
    if request.new_session:
        os.setsid()
    if request.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request.file_bytes, request.file_bytes))
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.env)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    old = sys.stderr
    sys.stdin = sys.__stdin__ = standard(0, "<stdin>", sys.stdin)
    sys.stdout = sys.__stdout__ = standard(1, "<stdout>", sys.stdout)
    sys.stderr = sys.__stderr__ = standard(2, "<stderr>", sys.stderr)
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(sys.stderr)
    sys.path[0] = os.getcwd()
    sys.argv = [sys.argv[0], *request.words]
    sys.orig_argv = [sys.executable, "-m", request.module, *request.words]
    sys.modules.pop(request.module, None)  # it may be there for a sibling's sake, and runs as __main__
    random.seed()
    sys.modules["numpy"].random.seed()


def standard(number: int, name: str, like: Any) -> Any:
    """A standard stream, as the interpreter makes it at its start."""
    stream = open(  # noqa: SIM115 (for as long as we run)
        number, "w" if number else "r", encoding=like.encoding, errors=like.errors, newline="\n", closefd=False
    )
    stream.buffer.raw.name = name
    if number:
        stream.reconfigure(line_buffering=number == 2 or stream.isatty())
    return stream


if __name__ == "__main__":
    preload()
    gc.collect()
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
