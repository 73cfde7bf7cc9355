"""One step of one recurrent layer, on a CPU."""

from __future__ import annotations

import functools

from seq2seq.decoding.forms.products import AnyLinear, Build
from seq2seq.models.cells.base import StepWeights


class Cell:
    """One layer of a recurrent stack in one direction: ``step(gates, state) -> state``, each ``(rows, hidden)``.

    `inputs` makes the layer that computes ``gates`` ``(rows, gates)`` from the layer's input; ``step`` may change them
    in place.

    Args:
        bounded_input, bounded_state: whether the layer's input and state are known to lie in [-1, 1].
    """

    def __init__(self, weights: StepWeights, build: Build, *, bounded_input: bool, bounded_state: bool) -> None:
        self.size = weights.recurrent.shape[1]
        self.weight, self.bias = weights.inputs, weights.bias
        self._build, self._bounded_input = build, bounded_input
        recurrent = build(weights.recurrent, weights.recurrent_bias, bounded=bounded_state)
        self.step = functools.partial(weights.step, recurrent)

    def inputs(self) -> AnyLinear:
        """The layer that computes the gates' inputs."""
        return self._build(self.weight, self.bias, bounded=self._bounded_input)
