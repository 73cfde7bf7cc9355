"""A form: a way to compute a network's steps."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.step import Step


class Form(Protocol):
    """A way to compute a network's steps.

    Examples are its module, prepared weights on a CPU, and CUDA graphs.
    """

    takes_columns: bool  # whether `start` takes ``columns``

    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Step[Any], Any]:
        """Encode sources: ``start(src, src_lengths) -> (step, state)``, for any search.

        Args:
            src, src_lengths: as for `Seq2Seq.encode`.
            columns: the tokens to choose from. The step then numbers tokens by their columns, and log-probabilities are
                normalised over these.
            normalise: False lets log-probabilities lack a constant for each row, for a search that only takes the
                highest.
        """
