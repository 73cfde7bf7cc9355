"""Forms that use the network's module, directly or recorded as CUDA graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seq2seq.decoding.forms.graphs import Record, StepGraphs, cuda_graph
from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.step import Step
from seq2seq.models.seq2seq import Seq2Seq


class ModuleForm:
    """The network's own step. Every network has this form."""

    takes_columns = False

    def __init__(self, model: Seq2Seq) -> None:
        self.model = model
        self.step: Step[Any] = model.decoder.step

    @torch.no_grad()
    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Step[Any], Any]:
        """Encode sources; see `Form.start`.

        Raises:
            ValueError: if there are columns.
        """
        if columns is not None:
            raise ValueError("the step of the module chooses from the whole vocabulary; leave out columns.")
        return self.step, self.model.encode(src, src_lengths)


class GraphForm(ModuleForm):
    """The network's step as CUDA graphs, which are kept from batch to batch. One search at a time may use them."""

    def __init__(self, model: Seq2Seq, record: Record = cuda_graph) -> None:
        super().__init__(model)
        self.step = self.graphs = StepGraphs(model.decoder.step, record)
