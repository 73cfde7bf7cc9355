"""Our LSTM against torch's: outputs, states and every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from seq2seq.config.schema import Stack
from seq2seq.models.cells import lstm as module
from seq2seq.models.cells.lstm import LSTM, _Layer

LENGTHS = [3, 5, 1, 5]


def lstm(
    input_size: int, hidden_size: int, *, layers: int = 1, bidirectional: bool = False, dropout: float = 0.0
) -> LSTM:
    settings = Stack("lstm", hidden_size, layers)
    return LSTM(settings, input_size, dropout=dropout, bidirectional=bidirectional)


def run(rnn: nn.LSTM, inputs: Tensor, *, packed: bool, hidden: Any, lengths: list[int] = LENGTHS) -> list[Tensor]:
    """Outputs, last states, and the gradients at inputs, first states and weights of a sum of all of them."""
    leaves = [inputs, *(hidden or ()), *rnn.parameters()]
    given: Any = inputs
    if packed:
        given = pack_padded_sequence(inputs, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    torch.manual_seed(7)  # for dropout
    outputs, states = rnn.run(given, hidden) if isinstance(rnn, LSTM) else rnn(given, hidden)
    found = [outputs.data if packed else outputs, *states]
    weighted = [(one * torch.linspace(-1, 2, one.numel()).view(one.shape)).sum() for one in found]
    return [*found, *torch.autograd.grad(torch.stack(weighted).sum(), leaves)]


@pytest.fixture(autouse=True)
def _of_any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE", 1)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize(
    "layers, bidirectional, dropout", [(1, False, 0.0), (1, True, 0.0), (3, True, 0.0), (2, False, 0.5), (2, True, 0.5)]
)
def test_everything_is_as_in_torch(
    packed: bool, with_state: bool, layers: int, bidirectional: bool, dropout: float
) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"bidirectional": bidirectional, "dropout": dropout}
    ours = lstm(3, 4, layers=layers, **options).double()
    theirs = nn.LSTM(3, 4, batch_first=True, num_layers=layers, **options).double()
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(len(LENGTHS), max(LENGTHS), 3, dtype=torch.float64, requires_grad=True)
    shape = (layers * (1 + bidirectional), len(LENGTHS), 4)
    hidden = (
        tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2)) if with_state else None
    )
    mine, other = (run(rnn, inputs, packed=packed, hidden=hidden) for rnn in (ours, theirs))
    torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backwards", [False, True])
def test_gradients_are_those_of_differences(backwards: bool) -> None:
    torch.manual_seed(0)
    shapes = ((6, 2), (3, 2), (3, 2), (8, 2), (8, 2), (8,), (8,))
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *one: _Layer.apply(*one, [3, 2, 1], backwards), given)


def test_packed_sentences_of_one_length_are_as_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    ours, theirs = lstm(3, 4, bidirectional=True), nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randn(4, 5, 3, requires_grad=True)
    expected = run(theirs, inputs, packed=True, hidden=None, lengths=[5] * 4)
    for width in (1, 100):  # by our own layers, and by torch's without packing
        monkeypatch.setattr(module, "DENSE", width)
        torch.testing.assert_close(run(ours, inputs, packed=True, hidden=None, lengths=[5] * 4), expected)


def test_without_gradients_it_is_torch_itself() -> None:
    rnn = lstm(3, 4)
    inputs = torch.randn(2, 5, 3)
    with torch.no_grad():
        assert torch.equal(rnn(inputs)[0], nn.LSTM.forward(rnn, inputs)[0])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, True)])
def test_mixed_precision_is_as_near_to_the_exact_as_its_products(
    packed: bool, layers: int, bidirectional: bool
) -> None:
    torch.manual_seed(0)
    rnn = lstm(8, 16, layers=layers, bidirectional=bidirectional)
    inputs = torch.randn(len(LENGTHS), max(LENGTHS), 8, requires_grad=True)
    exact = run(rnn, inputs, packed=packed, hidden=None)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = run(rnn, inputs, packed=packed, hidden=None)
    assert [one.dtype for one in mixed] == [torch.float32] * len(mixed)
    for one, other in zip(exact, mixed, strict=True):
        assert not torch.equal(one, other)
        assert (one - other).norm() < 0.02 * one.norm()  # bfloat16 has 8 significant bits


def test_a_low_precision_first_state_gets_a_gradient_of_its_type() -> None:
    rnn = lstm(3, 4)
    hidden = tuple(torch.zeros(2, 1, 4, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = rnn(torch.randn(2, 5, 3), None, hidden)
    outputs.sum().backward()
    for one in hidden:
        assert one.grad is not None and one.grad.dtype == torch.bfloat16 and one.grad.any()


def test_frozen_weights_get_no_gradient() -> None:
    rnn = lstm(3, 4)
    rnn.bias_hh_l0.requires_grad_(False)
    rnn(torch.randn(2, 5, 3))[0].sum().backward()
    assert rnn.bias_hh_l0.grad is None
    assert rnn.bias_ih_l0.grad is not None
