"""Build recurrent stacks, and layers with residual connections, normalisation or locked dropout between them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.config import schema
from seq2seq.models.cells import CELLS
from seq2seq.models.cells.base import Join, Stack, State, StepWeights
from seq2seq.models.cells.packing import elementwise, pack, unpack
from seq2seq.models.dropout import build_dropout


def build_recurrent(settings: schema.Stack, input_size: int, *, dropout: float, bidirectional: bool = False) -> Stack:
    """Build a stack of the cell that the settings name.

    It is one fused call where only dropout stands between the layers. ``dropout`` acts between layers, as in Zaremba et
    al. (2014), https://arxiv.org/abs/1409.2329.
    """
    between = settings.residual or (settings.locked_dropout and dropout > 0)
    if settings.layer_norm or (between and settings.num_layers > 1):
        return LayerByLayer(settings, input_size, dropout=dropout, bidirectional=bidirectional)
    return CELLS[settings.cell](settings, input_size, dropout=dropout, bidirectional=bidirectional)


class LayerByLayer(Stack):
    """A stack with one fused call for each layer: x' = norm(x + rnn(dropout(x))).

    The sum (residual connections; not around the first layer, whose input has another width) and the norm (layer
    normalisation of each layer's outputs) are there where the settings ask for them. So is dropout of the same units at
    all positions. States are neither summed nor normalised.

    Source:
        Residual connections: Wu et al. (2016), https://arxiv.org/abs/1609.08144, section 3.1. Layer normalisation: Ba
        et al. (2016), https://arxiv.org/abs/1607.06450.
    """

    def __init__(self, settings: schema.Stack, input_size: int, *, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        self.num_layers, self.hidden_size, self.bidirectional = settings.num_layers, settings.hidden_size, bidirectional
        width = settings.hidden_size * (2 if bidirectional else 1)
        one = dataclasses.replace(settings, num_layers=1)
        layers = [
            CELLS[settings.cell](one, width if layer else input_size, dropout=0.0, bidirectional=bidirectional)
            for layer in range(settings.num_layers)
        ]
        first = layers[0]
        self.num_states, self.state_bounded, self.keeps_state = first.num_states, first.state_bounded, first.keeps_state
        self.packs = first.packs
        self.residual, self.layer_norm = settings.residual, settings.layer_norm
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width) if self.layer_norm else nn.Identity() for _ in layers)
        self.dropout = build_dropout(dropout, locked=settings.locked_dropout)

    def forward(self, x: Any, lengths: Tensor | None = None, state: State = ()) -> tuple[Any, State]:
        y, finals = pack(x, lengths) if self.packs else x, []
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            before = y
            y, final = layer(
                self._drop(before) if index else before, lengths, tuple(one[:, index : index + 1] for one in state)
            )
            if self.residual and index:
                y = elementwise(torch.add, before, y)
            y = elementwise(norm, y)
            finals.append(final)
        return unpack(y, x), tuple(torch.cat(layers, 1) for layers in zip(*finals, strict=True))

    def _drop(self, sequences: Any) -> Any:
        if isinstance(self.dropout, nn.Dropout):
            return elementwise(self.dropout, sequences)
        return self.dropout(sequences)

    def recurrent_weights(self) -> dict[str, Tensor]:
        return {
            f"layers.{index}.{name}": weights
            for index, layer in enumerate(self._stacks())
            for name, weights in layer.recurrent_weights().items()
        }

    def recurrent_matrices(self) -> list[Tensor]:
        return [matrix for layer in self._stacks() for matrix in layer.recurrent_matrices()]

    def step_weights(self) -> list[list[StepWeights]]:
        return [ways for layer in self._stacks() for ways in layer.step_weights()]

    def joins(self) -> list[Join]:
        return [
            Join(self.residual and index > 0, norm if isinstance(norm, nn.LayerNorm) else None)
            for index, norm in enumerate(self.norms)
        ]

    def describe(self) -> list[str]:
        return [
            *next(self._stacks()).describe(),
            *["residual"] * self.residual,
            *["layer_norm"] * self.layer_norm,
        ]

    def _stacks(self) -> Iterator[Stack]:
        for layer in self.layers:
            assert isinstance(layer, Stack)
            yield layer


@torch.no_grad()
def spectral_radius(module: nn.Module) -> float:
    """Compute the largest absolute eigenvalue of a network's recurrent matrices.

    It is NaN where there are no such matrices, or one is not finite. A gradient that goes back t steps shrinks or grows
    with its t-th power, apart from the nonlinearity (Pascanu et al. 2013, https://arxiv.org/abs/1211.5063).
    """
    matrices = [matrix for stack in _outermost(module) for matrix in stack.recurrent_matrices()]
    if not all(matrix.isfinite().all() for matrix in matrices):
        return math.nan  # LAPACK would not survive it
    radii = [float(torch.linalg.eigvals(matrix.float().cpu()).abs().max()) for matrix in matrices]
    return max(radii, default=math.nan)


def _outermost(module: nn.Module) -> Iterator[Stack]:
    """Find the stacks of a network; a stack's own layers are not listed again."""
    if isinstance(module, Stack):
        yield module
        return
    for child in module.children():
        yield from _outermost(child)
