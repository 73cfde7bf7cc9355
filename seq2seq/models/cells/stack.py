"""What encoder and decoder share: building a recurrent stack, and setting its first weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seq2seq.config.schema import Stack
from seq2seq.models.cells.lstm import LSTM
from seq2seq.models.dropout import build_dropout


def build_recurrent(
    stack: Stack, input_size: int, *, dropout: float, bidirectional: bool = False
) -> nn.RNNBase | LayerByLayer:
    """A stack of cells: ``rnn`` (Elman 1990), ``gru`` (Cho et al. 2014) or ``lstm`` (Hochreiter and Schmidhuber 1997);
    torch's own, which is one fused call, where nothing stands between the layers but dropout.

    ``dropout`` acts between layers, as in Zaremba et al. (2014), https://arxiv.org/abs/1409.2329.
    """
    between = stack.residual or (stack.locked_dropout and dropout > 0)
    if stack.layer_norm or (between and stack.num_layers > 1):
        return LayerByLayer(stack, input_size, dropout=dropout, bidirectional=bidirectional)
    return _fused(stack, input_size, dropout=dropout, bidirectional=bidirectional)


class LayerByLayer(nn.Module):
    """A recurrent stack as one fused call for each layer, with what torch's own has no place for between them:
    x' = norm(x + rnn(dropout(x))).

    The sum (residual connections; not around the first layer, whose input has another width) and the norm (layer
    normalisation of each layer's outputs) are there where the stack asks for them, and so is dropout of the same units
    at all positions. States are as in torch's own stack, and neither summed nor normalised.

    Shapes:
        inputs ``(batch, length, input_size)`` or packed, hidden ``(layers * directions, batch, hidden)`` or, for an
        LSTM, two of them; returns outputs ``(batch, length, directions * hidden)`` or packed, and the last states.

    Source:
        Residual connections: Wu et al. (2016), https://arxiv.org/abs/1609.08144, section 3.1. Layer normalisation: Ba
        et al. (2016), https://arxiv.org/abs/1607.06450.
    """

    def __init__(self, stack: Stack, input_size: int, *, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        width = stack.hidden_size * (2 if bidirectional else 1)
        one = dataclasses.replace(stack, num_layers=1)
        self.bidirectional = bidirectional
        self.residual = stack.residual
        self.layers = nn.ModuleList(
            _fused(one, width if layer else input_size, dropout=0.0, bidirectional=bidirectional)
            for layer in range(stack.num_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) if stack.layer_norm else nn.Identity() for _ in self.layers)
        self.dropout = build_dropout(dropout, locked=stack.locked_dropout)

    def forward(self, inputs: Any, hidden: Any = None) -> tuple[Any, Any]:
        outputs, finals = inputs, []
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            before = outputs
            outputs, final = layer(self._drop(before) if index else before, self._of_layer(hidden, index))
            if self.residual and index:
                outputs = _elementwise(torch.add, before, outputs)
            outputs = _elementwise(norm, outputs)
            finals.append(final if isinstance(final, tuple) else (final,))
        states = tuple(torch.cat(layers) for layers in zip(*finals, strict=True))
        return outputs, states if len(states) == 2 else states[0]

    def _drop(self, sequences: Any) -> Any:
        if isinstance(self.dropout, nn.Dropout):
            return _elementwise(self.dropout, sequences)
        return self.dropout(sequences)

    def _of_layer(self, hidden: Any, layer: int) -> Any:
        if hidden is None:
            return None
        directions = 2 if self.bidirectional else 1
        rows = slice(layer * directions, (layer + 1) * directions)
        return tuple(state[rows] for state in hidden) if isinstance(hidden, tuple) else hidden[rows]


def _elementwise(function: Callable[..., Tensor], *sequences: Any) -> Any:
    """A function of vectors, of padded or packed sequences of them."""
    first = sequences[0]
    if isinstance(first, PackedSequence):
        return first._replace(data=function(*(one.data for one in sequences)))
    return function(*sequences)


def _fused(stack: Stack, input_size: int, *, dropout: float, bidirectional: bool) -> nn.RNNBase:
    sizes = {"input_size": input_size, "hidden_size": stack.hidden_size, "num_layers": stack.num_layers}
    options = {
        "batch_first": True,
        "dropout": dropout if stack.num_layers > 1 else 0.0,  # torch warns of dropout that has no place to act
        "bidirectional": bidirectional,
    }
    if stack.cell == "lstm":
        return LSTM(**sizes, **options)
    if stack.cell == "gru":
        return nn.GRU(**sizes, **options)
    return nn.RNN(**sizes, nonlinearity=stack.nonlinearity, **options)


@torch.no_grad()
def spectral_radius(module: nn.Module) -> float:
    """The largest absolute eigenvalue of the recurrent matrices that carry the state, over layers and directions; NaN
    where nothing is recurrent, or not finite.

    Those of the candidate state in a gated cell, the only ones in a plain one. There a gradient that goes back t steps
    shrinks or grows with its t-th power, but for the nonlinearity (Pascanu et al. 2013,
    https://arxiv.org/abs/1211.5063).
    """
    matrices = []
    for stack in module.modules():
        if isinstance(stack, nn.RNNBase):
            size = stack.hidden_size
            first = 0 if isinstance(stack, nn.RNN) else 2 * size  # torch stacks the gates: r z n, and i f g o
            named = stack.named_parameters()
            matrices += [weights[first : first + size] for name, weights in named if "weight_hh" in name]
    if not all(matrix.isfinite().all() for matrix in matrices):
        return math.nan  # LAPACK would not survive it
    radii = [float(torch.linalg.eigvals(matrix.float().cpu()).abs().max()) for matrix in matrices]
    return max(radii, default=math.nan)
