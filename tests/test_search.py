"""Greedy search on a Markov chain whose answers are worked out by hand, and on networks with random weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from seq2seq.search import greedy
from tests.conftest import tiny_model

A, B, END = 0, 1, 2
CHAIN = torch.tensor(  # from a, b, end, start (3) to a, b, end
    [[0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.7, 0.2, 0.1]]
)


class Nothing(NamedTuple):
    """The state of a chain: how many rows are still there."""

    rows: Tensor

    def select(self, rows: Tensor) -> Nothing:
        return Nothing(self.rows[rows])


def chain_step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
    assert len(last) == len(state.rows)
    return CHAIN[last].log(), state


def test_greedy_follows_the_most_probable_step_of_a_markov_chain() -> None:
    (found,) = greedy(chain_step, Nothing(torch.arange(1)), bos=3, eos=END, max_lengths=[9])
    assert found.tokens == [A, B]
    assert found.score == pytest.approx(math.log(0.7 * 0.6 * 0.5))


def test_each_row_stops_at_its_own_maximum_length() -> None:
    found = greedy(chain_step, Nothing(torch.arange(3)), bos=3, eos=END, max_lengths=[1, 2, 3])
    assert [h.tokens for h in found] == [[A], [A, B], [A, B]]
    assert [math.exp(h.score) for h in found] == pytest.approx([0.7, 0.42, 0.21])


def test_without_an_end_symbol_every_output_has_exactly_its_maximum_length() -> None:
    found = greedy(chain_step, Nothing(torch.arange(2)), bos=3, eos=None, max_lengths=[5, 3])
    assert [len(h.tokens) for h in found] == [5, 3]


def test_finished_rows_leave_the_batch() -> None:
    sizes = []

    def step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
        sizes.append(len(last))
        return chain_step(last, state)

    greedy(step, Nothing(torch.arange(4)), bos=3, eos=END, max_lengths=[1, 2, 2, 9])
    assert sizes == [4, 3, 1]


def test_no_rows_give_no_hypotheses() -> None:
    assert greedy(chain_step, Nothing(torch.arange(0)), bos=3, eos=END, max_lengths=[]) == []


def test_a_greedy_score_is_that_of_teacher_forcing_on_its_output() -> None:
    model = tiny_model(peeky="both")
    src, lengths = torch.tensor([[4, 5, 6, 3], [7, 8, 3, 0]]), torch.tensor([4, 3])
    found = greedy(model.decoder.step, model.encode(src, lengths), bos=2, eos=3, max_lengths=[8, 8])
    for i, hypothesis in enumerate(found):
        tokens = hypothesis.tokens + ([3] if len(hypothesis.tokens) < 8 else [])
        tgt_in, tgt_out = torch.tensor([[2, *tokens[:-1]]]), torch.tensor([tokens])
        if 0 in tokens:
            continue  # pad, which random weights may emit, counts for nothing in a loss
        nll = model.loss(src[i : i + 1, : lengths[i]], lengths[i : i + 1], tgt_in, tgt_out)
        assert hypothesis.score == pytest.approx(-nll.item(), abs=1e-4)
