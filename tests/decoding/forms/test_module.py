"""Each form computes the network's steps, and the form of a network follows from what its parts offer."""

from __future__ import annotations

import logging

import pytest
import torch

from seq2seq.decoding.forms import available
from seq2seq.decoding.forms.available import build_form
from seq2seq.decoding.forms.base import Form
from seq2seq.decoding.forms.cpu import CpuForm
from seq2seq.decoding.forms.module import GraphForm, ModuleForm
from seq2seq.decoding.forms.state import Columns, Grid
from seq2seq.models.decoder import RNNDecoder
from tests.conftest import tiny_model
from tests.decoding.forms.test_graphs import again

SRC, LENGTHS = torch.tensor([[4, 5, 3], [6, 3, 0]]), torch.tensor([3, 2])


@torch.no_grad()
def test_all_forms_take_the_networks_steps() -> None:
    model = tiny_model(attention="general")
    forms: list[Form] = [ModuleForm(model), GraphForm(model, again), CpuForm(model)]
    last, found = torch.tensor([2, 2]), []
    for form in forms:
        step, state = form.start(SRC, LENGTHS)
        first, state = step(last, state)
        second, _ = step(last + 3, state.select(torch.tensor([1, 0])))
        found.append((first, second))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=2e-5, rtol=2e-5)


def test_only_a_form_that_takes_columns_is_given_some() -> None:
    model = tiny_model()
    columns = Columns(torch.tensor([2, 3]), torch.ones(2, 2, dtype=torch.bool))
    assert CpuForm.takes_columns
    for form in (ModuleForm(model), GraphForm(model, again)):
        assert not form.takes_columns
        with pytest.raises(ValueError, match="chooses from the whole vocabulary; leave out columns"):
            form.start(SRC, LENGTHS, columns=columns)


class Other(RNNDecoder):
    """A decoder that may compute something else."""


def test_a_network_without_a_cpu_form_is_decoded_by_its_module_and_one_line_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    available._say_once.cache_clear()
    caplog.set_level(logging.INFO, logger="seq2seq")
    assert type(build_form(tiny_model())) is CpuForm
    assert type(build_form(tiny_model(), cuda_graphs=True)) is GraphForm
    assert not caplog.records
    other = tiny_model()
    other.decoder.__class__ = Other
    for model in (tiny_model(layer_norm=True), other, other, tiny_model().double()):
        assert type(build_form(model)) is ModuleForm
    cell, double = (record.message for record in caplog.records)
    assert cell.endswith(
        "slower than the CPU form: its decoder, or the cell of that, does not offer its step in parts."
    )
    assert double.endswith("it is not in float32 on a CPU.")


def test_a_grid_by_hand() -> None:
    grid = Grid.of(torch.tensor([0, 2, 0, 0]), 3)
    assert grid.places is not None and grid.places.tolist() == [0, 6, 1, 2] and grid.width == 3
    rows = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    spread = grid.spread(rows, 3)
    assert spread.squeeze(2).tolist() == [[1, 3, 4], [0, 0, 0], [2, 0, 0]]
    assert torch.equal(grid.collect(spread), rows)
    assert Grid.of(torch.tensor([0, 1]), 2) == Grid()
