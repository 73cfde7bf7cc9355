"""What the measuring machine is."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

INSTRUCTIONS = {"avx2": "AVX2", "avx_vnni": "AVX-VNNI", "avx512_vnni": "AVX-512 VNNI", "amx_int8": "AMX"}


def processor() -> str:
    """The name of the processor, and which of its instruction sets matter to 8-bit products."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    return described(info)


def described(info: str) -> str:
    """The same from the text of /proc/cpuinfo.

    Example:
        >>> described("model name : A chip\\nflags : fpu avx2 avx512_vnni\\n")
        'A chip (AVX2, AVX-512 VNNI)'
    """
    named = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", info, re.MULTILINE)
    there = set(flags[1].split()) if flags else set()
    sets = [name for flag, name in INSTRUCTIONS.items() if flag in there]
    name = named[1] if named else platform.machine()
    return f"{name} ({', '.join(sets)})" if sets else name


def has_module(python: str, module: str) -> bool:
    """Whether an interpreter can import a module."""
    try:
        return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0
    except OSError:
        return False
