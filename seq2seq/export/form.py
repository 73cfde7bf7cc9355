"""An exported network as a form of the step, for searches in torch: what the export is verified with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.step import Step
from seq2seq.export.network import ENCODER, STEP
from seq2seq.runtime.sessions import load_onnxruntime

OUTPUTS = ("log_probs", "attention")  # that are no part of the next state


class OnnxState(NamedTuple):
    """The inputs of the next step, by their names; dimension 0 of each is the batch."""

    values: dict[str, np.ndarray]
    attention: Tensor | None = None

    def select(self, rows: Tensor) -> OnnxState:
        """The state of these rows of the batch, in this order."""
        chosen = rows.numpy()
        attention = None if self.attention is None else self.attention[rows]
        return OnnxState({name: value[chosen] for name, value in self.values.items()}, attention)


class OnnxForm:
    """The graphs of a folder, computed by onnxruntime with one thread. Every row has a memory of its own.

    Args:
        folder: has the files that `network.graphs` makes.
    """

    takes_columns = False

    def __init__(self, folder: Path) -> None:
        encoder = folder / ENCODER
        self.encoder = session(encoder) if encoder.exists() else None
        self.decoder = session(folder / STEP)
        self.inputs = {one.name: one.shape for one in self.decoder.get_inputs()}
        self.outputs = [one.name for one in self.decoder.get_outputs() if one.name != "logits"]

    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Step[OnnxState], OnnxState]:
        """Encode sources; see `Form.start`."""
        assert self.encoder is not None
        names = [one.name for one in self.encoder.get_outputs()]
        values = self.encoder.run(names, {"src": src.numpy(), "lengths": src_lengths.numpy()})
        return self.step, OnnxState(dict(zip(names, values, strict=True)))

    def zero_state(self, rows: int) -> OnnxState:
        """The state before the first token of a language model."""
        widths = {name: shape[1] for name, shape in self.inputs.items() if name != "last"}
        return OnnxState({name: np.zeros((rows, width), np.float32) for name, width in widths.items()})

    def step(self, last: Tensor, state: OnnxState) -> tuple[Tensor, OnnxState]:
        """Take one step; see `seq2seq.decoding.step.Step`."""
        feeds = {**state.values, "last": last.numpy()}
        if "rows" in self.inputs:
            rows = np.arange(len(last))
            feeds |= {"rows": rows, "places": rows[:, None]}
        found = dict(zip(self.outputs, self.decoder.run(self.outputs, feeds), strict=True))
        attention = torch.from_numpy(found["attention"]) if "attention" in found else None
        new = {name.removeprefix("next_"): value for name, value in found.items() if name not in OUTPUTS}
        return torch.from_numpy(found["log_probs"]), OnnxState(state.values | new, attention)


def session(graph: Path | bytes) -> Any:
    """Load a graph for one thread of this processor."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    given = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
