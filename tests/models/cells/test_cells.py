"""What every cell promises, whichever it is: the table, the interface, and single steps."""

from __future__ import annotations

import itertools

import pytest
import torch

from seq2seq.config import schema
from seq2seq.models.cells import CELLS
from seq2seq.models.cells.base import Stack
from seq2seq.models.cells.stack import build_recurrent

LENGTHS = torch.tensor([3, 5, 1, 5])
KINDS = [*CELLS, "relu"]
MORE = [{}, {"residual": True}, {"layer_norm": True}]

pytestmark = pytest.mark.usefixtures("relu_cell")


def stack(cell: str, *, bidirectional: bool = False, **options: bool) -> Stack:
    torch.manual_seed(0)
    settings = schema.Stack(cell, 4, 2, **options)
    return build_recurrent(settings, 3, dropout=0.0, bidirectional=bidirectional).double()


@pytest.fixture(params=itertools.product(KINDS, MORE, [False, True]), ids=str)
def every_stack(request: pytest.FixtureRequest, relu_cell: None) -> Stack:
    """A stack of each kind, with each option, in one direction and in two."""
    cell, options, bidirectional = request.param
    return stack(cell, bidirectional=bidirectional, **options)


def test_the_choices_of_the_config_are_the_table() -> None:
    assert (*schema.CELLS, "relu") == tuple(CELLS)


def test_a_row_has_the_outputs_and_states_of_its_true_length(every_stack: Stack) -> None:
    rnn = every_stack
    width = 4 * (1 + rnn.bidirectional)
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    first = tuple(torch.rand(4, 2, width, dtype=torch.float64) for _ in range(rnn.num_states))
    for state in ((), first):
        y, last = rnn(x, LENGTHS, state)
        assert y.shape == (4, 5, width) and [one.shape for one in last] == [(4, 2, width)] * rnn.num_states
        for row, length in enumerate(LENGTHS.tolist()):
            own, own_last = rnn(x[row : row + 1, :length], None, tuple(one[row : row + 1] for one in state))
            torch.testing.assert_close(y[row : row + 1, :length], own)
            torch.testing.assert_close(tuple(one[row : row + 1] for one in last), own_last)


def test_bounded_stacks_are_bounded(every_stack: Stack) -> None:
    rnn = every_stack
    with torch.no_grad():
        for weights in rnn.parameters():
            weights.mul_(100)
        y, last = rnn(torch.randn(4, 5, 3, dtype=torch.float64), LENGTHS)
    assert rnn.bounded <= bool((y.abs() <= 1).all())
    assert rnn.state_bounded == bool((last[0].abs() <= 1).all())


@pytest.mark.parametrize("cell", KINDS)
def test_steps_by_parts_are_the_stack(cell: str) -> None:
    rnn = stack(cell)
    if not rnn.has_steps:
        pytest.skip("this cell has no separate step")
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    y, last = rnn(x)
    for layer, (part,) in enumerate(rnn.step_weights()):
        state = (torch.zeros(4, 4, dtype=torch.float64),) * rnn.num_states
        outputs = []

        def recurrent(h: torch.Tensor, onto: torch.Tensor | None = None, part=part) -> torch.Tensor:  # type: ignore[no-untyped-def]
            product = h @ part.recurrent.T
            if onto is not None:
                return onto + product
            return product if part.recurrent_bias is None else product + part.recurrent_bias

        for step in x.unbind(1):
            state = part.step(recurrent, step @ part.inputs.T + part.bias, state)
            outputs.append(state[0])
        x = torch.stack(outputs, 1)
        torch.testing.assert_close(state, tuple(one[:, layer] for one in last))
    torch.testing.assert_close(x, y)


@pytest.mark.parametrize("options", MORE, ids=str)
@pytest.mark.parametrize("cell", KINDS)
def test_weights_that_a_stack_names_are_its_own(cell: str, options: dict[str, bool]) -> None:
    rnn = stack(cell, bidirectional=True, **options)
    own = dict(rnn.named_parameters())
    assert all(own[name] is weights for name, weights in rnn.recurrent_weights().items())
    assert [matrix.shape for matrix in rnn.recurrent_matrices()] == [(4, 4)] * 4
    assert rnn.describe()[0] == cell
