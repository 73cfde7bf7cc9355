"""The interface of a recurrent stack, and its implementation for torch's own cells.

A new cell is a file beside this one with a subclass of `Stack`, and a word in `seq2seq.models.cells.CELLS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from seq2seq.config import schema
from seq2seq.models.cells.nodes import OnnxCell
from seq2seq.models.cells.packing import pack, unpack

State = tuple[Tensor, ...]
# product(x, onto=None) -> x @ weight.T + bias, or onto + x @ weight.T, which may be computed in place.
Product = Callable[..., Tensor]


class StepWeights(NamedTuple):
    """One layer of a stack in one direction, as weights for single steps.

    The numbers are the weights' own, or copies in another order.

    ``step(recurrent, gates, state) -> state``, each part of a state ``(rows, hidden)``. ``gates`` are
    ``x @ inputs.T + bias`` and may be changed in place; ``recurrent(h)`` is ``h @ recurrent.T + recurrent_bias``.
    """

    inputs: Tensor  # (gates, input)
    bias: Tensor  # (gates,)
    recurrent: Tensor  # (gates, hidden)
    recurrent_bias: Tensor | None  # (gates,); None where it is part of `bias`
    step: Callable[[Product, Tensor, State], State]
    onnx: OnnxCell | None = None  # None for a cell that cannot be exported


class Join(NamedTuple):
    """What stands between a layer and the next one: y = norm(x + cell(x))."""

    residual: bool  # whether x is added
    norm: nn.LayerNorm | None


class Stack(nn.Module):
    """A recurrent stack: layers of one cell, in one or two directions.

    ``forward(x, lengths, state) -> (y, state)``. A new cell sets the attributes and defines `forward`; the methods'
    answers here are those of a stack that has no such matrices and no separate step.

    Shapes:
        x ``(batch, length, input)``; lengths ``(batch,)``, at least 1, on the CPU to spare a device its
        synchronisation, or None where all rows are full; state: `num_states` tensors
        ``(batch, layers, directions * hidden)``, first h, or an empty tuple for zeros. Returns y
        ``(batch, length, directions * hidden)`` and the state after each row's last token. y at padding is not used.
    """

    num_states: int = 1  # tensors in a state: (h,) or (h, c)
    bounded: bool = False  # whether y is known to lie in [-1, 1]
    state_bounded: bool = False  # whether h is, if it starts there
    keeps_state: bool = True  # whether h keeps a share of the h before, and so of the first one
    has_steps: bool = False  # whether `step_weights` is there, and nothing else in a step
    packs: bool = False  # whether x may also be a PackedSequence, and y then is one
    num_layers: int
    hidden_size: int
    bidirectional: bool

    def recurrent_weights(self) -> dict[str, Tensor]:
        """Parameters that multiply the state, by name: what ``weight_dropout`` drops from."""
        return {}

    def recurrent_matrices(self) -> list[Tensor]:
        """Square matrices that carry the state from step to step, one for each layer and direction.

        They are those of the candidate state in a gated cell.
        """
        return []

    def second_biases(self) -> list[nn.Parameter]:
        """Biases that are only added to another one, and would double its learning rate."""
        return []

    def step_weights(self) -> list[list[StepWeights]]:
        """The parts of a single step, by layer and direction; see `has_steps`.

        Raises:
            NotImplementedError: for a cell that does not offer them.
        """
        raise NotImplementedError

    def joins(self) -> list[Join]:
        """What stands after each layer; empty where layers follow each other directly."""
        return []

    def describe(self) -> list[str]:
        """Words that distinguish this stack from others of its size, the cell's name first."""
        return [type(self).__name__.lower()]


class TorchStack(Stack):
    """One of torch's recurrent modules as a `Stack`. A subclass also inherits from that module.

    Args:
        settings: width and layers.
        dropout: probability in [0, 1) between layers.
    """

    has_steps = packs = True
    candidate = 0  # the block of the recurrent weights that makes the candidate state

    def __init__(self, settings: schema.Stack, input_size: int, *, dropout: float, bidirectional: bool) -> None:
        super().__init__(
            input_size,
            settings.hidden_size,
            settings.num_layers,
            batch_first=True,
            # torch warns of dropout that has no place to act
            dropout=dropout if settings.num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )

    def run(self, x: Any, hidden: Any) -> tuple[Any, Any]:
        """Compute torch's ``forward``: packed or padded sequences, states ``(layers * directions, batch, hidden)``."""
        raise NotImplementedError

    def forward(self, x: Any, lengths: Tensor | None = None, state: State = ()) -> tuple[Any, State]:
        y, last = self.run(pack(x, lengths), self._to_torch(state))
        parts = last if isinstance(last, tuple) else (last,)
        return unpack(y, x), tuple(self._from_torch(part) for part in parts)

    def _to_torch(self, state: State) -> Any:
        if not state:
            return None
        if self.bidirectional:
            state = tuple(part.unflatten(2, (2, -1)).flatten(1, 2) for part in state)
        layers_first = tuple(part.transpose(0, 1).contiguous() for part in state)
        return layers_first if len(layers_first) > 1 else layers_first[0]

    def _from_torch(self, part: Tensor) -> Tensor:
        if not self.bidirectional:
            return part.transpose(0, 1)
        layers = part.unflatten(0, (self.num_layers, 2))  # (layers, directions, batch, hidden)
        return layers.permute(2, 0, 1, 3).flatten(2)

    def recurrent_weights(self) -> dict[str, Tensor]:
        return {name: weights for name, weights in self.named_parameters() if "weight_hh" in name}

    def recurrent_matrices(self) -> list[Tensor]:
        first = self.candidate * self.hidden_size
        return [weights[first : first + self.hidden_size] for weights in self.recurrent_weights().values()]

    def second_biases(self) -> list[nn.Parameter]:
        return [bias for name, bias in self.named_parameters() if "bias_hh" in name]

    def step_weights(self) -> list[list[StepWeights]]:
        ways = ("", "_reverse") if self.bidirectional else ("",)
        return [[self._step_weights(f"l{layer}{way}") for way in ways] for layer in range(self.num_layers)]

    def _step_weights(self, suffix: str) -> StepWeights:
        own = dict(self.named_parameters(recurse=False))
        names = ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
        return self.taken_apart(*(own[f"{name}_{suffix}"].detach() for name in names))

    def taken_apart(self, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor) -> StepWeights:
        """One layer's weights, as its step needs them."""
        raise NotImplementedError
