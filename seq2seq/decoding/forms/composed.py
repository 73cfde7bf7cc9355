"""Forms made of forms: an ensemble, and a translator with a language model beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from seq2seq.decoding.ensemble import EnsembleState, ensemble
from seq2seq.decoding.forms.base import Form
from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.fusion import FusedState, fuse
from seq2seq.decoding.step import Step
from seq2seq.models.language_model import RNNLanguageModel


class EnsembleForm:
    """Several forms whose mean probability decides; see `ensemble`. Its log-probabilities are always normalised."""

    def __init__(self, members: Sequence[Form]) -> None:
        self.members = members
        self.takes_columns = all(form.takes_columns for form in members)

    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Step[Any], Any]:
        """Encode sources with each member; see `Form.start`."""
        started = [form.start(src, src_lengths, columns=columns) for form in self.members]
        return ensemble([step for step, _ in started]), EnsembleState(tuple(state for _, state in started))


class FusedForm:
    """A form fused with a language model; see `fuse`. The sums are never normalised."""

    takes_columns = False  # the language model chooses from the whole vocabulary

    def __init__(self, translator: Form, language_model: RNNLanguageModel, weight: float) -> None:
        self.translator, self.language_model, self.weight = translator, language_model, weight

    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Step[Any], Any]:
        """Encode sources; the language model begins with its zero state. See `Form.start`."""
        step, state = self.translator.start(src, src_lengths, columns=columns)
        heard = self.language_model.zero_state(len(src))
        return fuse(step, self.language_model.step, self.weight), FusedState(state, heard)
