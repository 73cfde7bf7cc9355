"""Greedy search on a Markov chain whose answers are worked out by hand, and on networks with random weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seq2seq.decoding.greedy import forced, greedy
from seq2seq.decoding.prefixes import force
from seq2seq.decoding.step import gather_attention, likeliest
from tests.chains import END, START, A, B, Nothing, chain_step, history, history_step, nothing
from tests.conftest import tiny_model


def test_greedy_follows_the_most_probable_step_of_a_markov_chain() -> None:
    (found,) = greedy(chain_step, nothing(1), bos=START, eos=END, max_lengths=[9])
    assert found.tokens == [A, B]
    assert found.score == pytest.approx(math.log(0.7 * 0.6 * 0.5))


def test_each_row_stops_at_its_own_maximum_length() -> None:
    found = greedy(chain_step, nothing(3), bos=START, eos=END, max_lengths=[1, 2, 3])
    assert [h.tokens for h in found] == [[A], [A, B], [A, B]]
    assert [math.exp(h.score) for h in found] == pytest.approx([0.7, 0.42, 0.21])


def test_without_an_end_symbol_every_output_has_exactly_its_maximum_length() -> None:
    found = greedy(chain_step, nothing(2), bos=START, eos=None, max_lengths=[5, 3])
    assert [len(h.tokens) for h in found] == [5, 3]


def test_given_outputs_have_the_probabilities_of_their_steps() -> None:
    given = [[A, B], [], [B, A]]
    found = forced(chain_step, nothing(3), given, bos=START, eos=END)
    for tokens, one in zip(given, found, strict=True):
        steps = zip([START, *tokens], [*tokens, END], strict=True)
        wanted = sum(chain_step(torch.tensor([last]), nothing(1))[0][0, token].item() for last, token in steps)
        assert one.tokens == tokens
        assert one.score == pytest.approx(wanted)


def test_a_given_output_without_an_end_symbol_is_not_empty() -> None:
    (found,) = forced(chain_step, nothing(1), [[A]], bos=START, eos=None)
    assert found.score == pytest.approx(math.log(0.7))
    with pytest.raises(ValueError, match="an output without an end symbol has one token at least; got an empty one"):
        forced(chain_step, nothing(2), [[A], []], bos=START, eos=None)


def test_finished_rows_leave_the_batch() -> None:
    sizes = []

    def step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
        sizes.append(len(last))
        return chain_step(last, state)

    greedy(step, nothing(4), bos=START, eos=END, max_lengths=[1, 2, 2, 9])
    assert sizes == [4, 3, 1]


def test_no_rows_give_no_hypotheses() -> None:
    assert greedy(chain_step, nothing(0), bos=START, eos=END, max_lengths=[]) == []


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


def test_a_prefix_is_followed_and_is_part_of_output_and_score() -> None:
    found = greedy(chain_step, nothing(3), bos=START, eos=END, max_lengths=[9, 9, 2], prefixes=[[B], [], [B, A]])
    assert [h.tokens for h in found] == [[B], [A, B], [B, A]]
    assert [math.exp(h.score) for h in found] == pytest.approx([0.2 * 0.5, 0.7 * 0.6 * 0.5, 0.2 * 0.2])


def test_a_prefix_may_take_the_end_symbol_s_place() -> None:
    (found,) = greedy(chain_step, nothing(1), bos=START, eos=END, max_lengths=[9], prefixes=[[A, B, B]])
    assert found.tokens == [A, B, B]
    assert math.exp(found.score) == pytest.approx(0.7 * 0.6 * 0.3 * 0.5)


@pytest.mark.parametrize(
    "prefixes, message",
    [
        ([[A, B, A], []], "the prefix of row 0 has 3 tokens, but its maximum length is 2."),
        ([[], [A, END]], "the prefix of row 1 holds the end symbol, 2: nothing can follow it."),
        ([[], [A, -1]], "the prefix of row 1 holds token -1; tokens are numbers from 0 up."),
        ([[A]], "each row needs one prefix, which may be empty; got 1 for 2 rows."),
        (
            [[], [A, 7]],
            "the prefix of row 1 holds token 7, which is impossible there: "
            "it has probability 0 or is not among the 3 of the vocabulary.",
        ),
    ],
)
def test_a_prefix_that_no_output_can_have_is_refused(prefixes: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError) as error:
        greedy(chain_step, nothing(2), bos=START, eos=END, max_lengths=[2, 9], prefixes=prefixes)
    assert str(error.value) == message


def test_a_forced_token_of_probability_0_is_refused_and_a_free_row_is_left_as_it_is() -> None:
    log_probs, rows = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]).log(), torch.tensor([4, 6])
    forced = force(log_probs, torch.tensor([1, -1]), rows)
    assert torch.equal(forced.exp(), torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.25, 0.75]]))
    with pytest.raises(ValueError, match="the prefix of row 6 holds token 0, which is impossible there"):
        force(log_probs, torch.tensor([1, 0]), rows)


def test_greedy_returns_the_attention_of_each_step_where_asked() -> None:
    keys = range(6)
    found = greedy(history_step, history(keys), bos=0, eos=3, max_lengths=[5] * 6, keep_attention=True)
    assert len({len(h.tokens) for h in found}) > 1
    for key, hypothesis in zip(keys, found, strict=True):
        state, rows = history([key]), []
        for token in [0, *hypothesis.tokens][:5]:
            _, state = history_step(torch.tensor([token]), state)
            rows.append(state.attention)
        assert hypothesis.attention is not None
        assert torch.equal(hypothesis.attention, torch.cat(rows))
    assert greedy(history_step, history([1]), bos=0, eos=3, max_lengths=[5])[0].attention is None
    assert greedy(chain_step, nothing(1), bos=3, eos=2, max_lengths=[5], keep_attention=True)[0].attention is None


def test_attention_is_gathered_along_each_path() -> None:
    steps = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0]])]
    first, second = gather_attention(steps, [[1, 0], [0]])
    assert first is not None and first.tolist() == [[3.0, 4.0], [5.0, 6.0]]
    assert second is not None and second.tolist() == [[1.0, 2.0]]
    assert gather_attention([], [[], []]) == [None, None]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=4), st.integers(1, 14))
def test_the_likeliest_are_those_of_a_stable_sort(rows: list[list[int]], count: int) -> None:
    log_probs = torch.tensor(rows).log()  # 0, impossible, among them
    values, tokens = likeliest(log_probs, count)
    for row, row_values, row_tokens in zip(log_probs.tolist(), values.tolist(), tokens.tolist(), strict=True):
        order = sorted(range(12), key=lambda i: -row[i])[:count]
        assert row_values == [row[i] for i in order]
        possible = [i for i in order if row[i] > -math.inf]
        assert row_tokens[: len(possible)] == possible
