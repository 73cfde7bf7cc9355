"""``python -m bench.cold COMMAND ...``: run a command, and print the processor's seconds and its most memory as JSON.

A process of its own, because Linux counts the memory of the process that starts a command as the command's. It must
therefore stay small: it imports only the standard library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys


def main(command: list[str]) -> None:
    """Run the command with this process's stdin, and measure it.

    Raises:
        SystemExit: with the command's exit status, if that is not 0.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}))


if __name__ == "__main__":
    main(sys.argv[1:])
