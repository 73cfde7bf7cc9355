"""A program for `tests.translate.test_files`: translate a file in a process that is killed again and again.

usage: python -m tests.killed_files SOURCE TARGET WINDOW SEED; prints how often it was killed, and after how many
different numbers of saved lines.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from seq2seq.files import resumable
from seq2seq.translate.files import translate_file
from tests.translate.test_translator import translator

resumable.SAVE_SECONDS = 0.0  # every window is saved
resumable.MEMBER_BYTES = 200


def saved_lines(target: Path) -> int:
    """How far the journal says that the output is."""
    try:
        return json.loads(resumable.hidden(target, resumable.JOURNAL).read_bytes())["mark"]["lines"]
    except FileNotFoundError:
        return 0


def is_over(child: int, target: Path, rng: random.Random, pace: float) -> bool:
    """Let a process live for a random while, in which it saves a window or none; every second time, one that starts
    only when it has saved something.
    """
    before, deadline = saved_lines(target), time.monotonic() + 10 * rng.randrange(2)
    while time.monotonic() < deadline and saved_lines(target) == before:
        time.sleep(0.0005)
    time.sleep(rng.expovariate(2 / pace))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def main(source: str, target: Path, window: int, seed: int) -> None:
    """Fork, kill at a random moment, and so on until a process has finished."""
    torch.set_num_threads(1)
    model = translator()
    scratch = target.with_name(f"scratch{target.suffix}")
    begun = time.monotonic()
    whole = translate_file(model, source, scratch, window=window)
    pace = (time.monotonic() - begun) / (whole.num_lines / window)  # seconds for a window, on this machine
    scratch.unlink()
    rng = random.Random(seed)
    kills: list[int] = []
    while True:
        child = os.fork()
        if not child:
            translate_file(model, source, target, window=window, resume=True)
            os._exit(0)
        if is_over(child, target, rng, pace):
            break
        kills.append(saved_lines(target))
    print(len(kills), len(set(kills)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
