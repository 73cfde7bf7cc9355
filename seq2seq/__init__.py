"""seq2seq: a translation toolkit for recurrent encoder-decoders.

from seq2seq import LanguageModel, Translator
Translator.from_checkpoint("runs/phrasebook/seed-1").translate(["The dog sleeps."])
LanguageModel.from_checkpoint("runs/lm/seed-1").score(["The dog sleeps."]).perplexity
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.language_model import LanguageModel
    from seq2seq.models.seq2seq import Seq2Seq
    from seq2seq.translate.translator import Translator

__version__ = "0.1.0"
__all__ = ["LanguageModel", "Seq2Seq", "Translator", "UserError", "__version__"]

_HOMES = {
    "LanguageModel": "seq2seq.language_model",
    "Seq2Seq": "seq2seq.models.seq2seq",
    "Translator": "seq2seq.translate.translator",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that the help of a command does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'seq2seq' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
