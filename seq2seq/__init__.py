"""seq2seq: a translation toolkit for recurrent encoder-decoders.

from seq2seq import Translator
Translator.from_checkpoint("runs/phrasebook/seed-1").translate(["The dog sleeps."])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq.models.seq2seq import Seq2Seq
    from seq2seq.translate.translator import Translator

__version__ = "0.1.0"
__all__ = ["Seq2Seq", "Translator", "__version__"]

_HOMES = {"Seq2Seq": "seq2seq.models.seq2seq", "Translator": "seq2seq.translate.translator"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the help of a command must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'seq2seq' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
