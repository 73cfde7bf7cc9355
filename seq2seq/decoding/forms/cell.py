"""One step of a recurrent layer on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seq2seq.decoding.forms.products import AnyLinear, Build

KNOWN_STACKS = (nn.LSTM, nn.GRU, nn.RNN)


class Cell:
    """One layer of a recurrent stack in one direction: from gates' inputs and state to state.

    ``inputs`` has what the layer's input adds to the gates, ``recurrent`` what its state does; biases are in the first,
    but for a GRU, whose reset gate stands between them.
    """

    def __init__(
        self, stack: nn.RNNBase, suffix: str, build: Build, *, bounded_input: bool, bounded_state: bool
    ) -> None:
        own = dict(stack.named_parameters(recurse=False))
        self.kind = stack.mode  # LSTM, GRU, RNN_TANH, RNN_RELU
        self.size = stack.hidden_size
        weights = [own[f"weight_{part}_{suffix}"].detach() for part in ("ih", "hh")]
        biases = [own[f"bias_{part}_{suffix}"].detach() for part in ("ih", "hh")]
        if self.kind == "LSTM":  # torch has i f g o; with g last, one call does the sigmoids
            weights, biases = ([self._g_last(one) for one in ones] for ones in (weights, biases))
        if self.kind != "GRU":
            biases = [biases[0] + biases[1], None]  # type: ignore[list-item]
        self.weight, self.bias = weights[0], biases[0]
        self._build, self._bounded_input = build, bounded_input
        self.recurrent = build(weights[1], biases[1], bounded=bounded_state)

    def _g_last(self, rows: Tensor) -> Tensor:
        i, f, g, o = rows.split(self.size)
        return torch.cat([i, f, o, g])

    def inputs(self) -> AnyLinear:
        """The layer that makes the gates' inputs."""
        return self._build(self.weight, self.bias, bounded=self._bounded_input)

    def step(self, gates: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The next (h,) or (h, c), each ``(rows, hidden)``; the gates' inputs may be changed in place."""
        h, size = state[0], self.size
        if self.kind == "GRU":
            recurrent = self.recurrent(h)
            reset, update = gates[:, : 2 * size].add_(recurrent[:, : 2 * size]).sigmoid_().chunk(2, 1)
            new = gates[:, 2 * size :].addcmul_(reset, recurrent[:, 2 * size :]).tanh_()
            return (torch.lerp(new, h, update),)
        gates = self.recurrent(h, gates)
        if self.kind == "LSTM":
            i, f, o = gates[:, : 3 * size].sigmoid_().chunk(3, 1)
            c = (state[1] * f).addcmul_(i, gates[:, 3 * size :].tanh_())
            return c.tanh().mul_(o), c
        return (gates.tanh_() if self.kind == "RNN_TANH" else gates.relu_(),)


def is_bounded(stack: nn.Module) -> bool:
    """Whether a stack's outputs are all in [-1, 1]."""
    return stack.mode != "RNN_RELU"
