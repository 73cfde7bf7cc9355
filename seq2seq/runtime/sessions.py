"""Sessions of onnxruntime, made on first use and in each process separately."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.errors import UserError, require

ALLOCATION_FAILED = "Failed to allocate memory"  # in what onnxruntime says


class Sessions:
    """The graphs of a folder as functions of arrays.

    Threads share a session. A process that was forked makes its own: a lock that another thread of its parent held
    would stay locked in it.

    Args:
        paths: the file of each graph.
        threads: threads of a matrix product; 0 takes all processors.

    Raises:
        UserError: if onnxruntime is not installed; when a graph is first used, if onnxruntime cannot load it.
    """

    def __init__(self, paths: Mapping[str, Path], threads: int = 1) -> None:
        require("an exported model", "runtime", "onnxruntime")
        self.paths, self.threads = dict(paths), threads
        self._made: dict[tuple[int, str], Any] = {}

    def __reduce__(self) -> tuple[type[Sessions], tuple[dict[str, Path], int]]:
        return Sessions, (self.paths, self.threads)  # a copy or a pickle makes its own

    def run(self, graph: str, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Compute some outputs of a graph.

        Raises:
            MemoryError: if there is not enough memory.
            UserError: if a forged graph fails.
        """
        session = self._made.get((os.getpid(), graph)) or self._make(graph)
        try:
            return session.run(outputs, inputs, _run_options())
        except Exception as error:  # onnxruntime's exceptions have no class in common but this one
            if ALLOCATION_FAILED in str(error):
                raise MemoryError(str(error)) from None
            raise self._refusal(graph, error) from None

    def _make(self, graph: str) -> Any:
        onnxruntime = load_onnxruntime()

        path = self.paths[graph]
        try:
            # Without enable_fallback=0 it prints errors on stdout, and tries once more.
            session = onnxruntime.InferenceSession(
                path, _options(self.threads), providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # as above
            raise self._refusal(graph, error) from None
        return self._made.setdefault((os.getpid(), graph), session)  # of two threads the first one's stays

    def _refusal(self, graph: str, error: Exception) -> UserError:
        """The error for a graph that onnxruntime does not load, or cannot compute."""
        onnxruntime = load_onnxruntime()

        problem = " ".join(str(error).split())[:200].rstrip(".")
        return UserError(
            f"{self.paths[graph]} is refused by onnxruntime {onnxruntime.__version__}: {problem}; export the model "
            "again, or upgrade onnxruntime."
        )


def load_onnxruntime() -> Any:
    """Import onnxruntime without its telemetry, which would start a thread."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def _options(threads: int) -> Any:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False  # a batch's shape changes from step to step, and each would be kept
    options.log_severity_level = 4  # errors are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _run_options() -> Any:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    return options
