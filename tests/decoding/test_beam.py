"""Beam search against worked examples, every sequence there is, and a slow one that keeps lists."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seq2seq.config.choices import CELLS
from seq2seq.decoding.base import Hypothesis
from seq2seq.decoding.beam import beam
from seq2seq.decoding.greedy import greedy
from seq2seq.decoding.settings import BeamSettings
from seq2seq.models.seq2seq import Seq2Seq
from tests.chains import (
    END,
    START,
    A,
    B,
    Nothing,
    chain_step,
    history,
    history_step,
    nothing,
    plain_beam,
    rank,
    sequences,
)
from tests.conftest import tiny_model

EOS = 3  # of the step function with a history
EVERYTHING = 500  # more than the sequences of up to 5 of 4 tokens
PENALTIES = st.sampled_from([(0.0, 0.0), (0.6, 0.0), (1.0, 0.0), (0.0, 0.3), (1.5, 0.7)])


def search(
    keys: list[int], limits: list[int], how: BeamSettings, *, eos: int | None = EOS, **options: object
) -> list[list[Hypothesis]]:
    return beam(history_step, history(keys), bos=0, eos=eos, max_lengths=limits, settings=how, **options)  # type: ignore[arg-type]


# From the start, a has 0.6 and b 0.4; after a four words are equally likely, and after b one has 0.9.
GARDEN = torch.zeros(8, 8)
GARDEN[7, [0, 1]] = torch.tensor([0.6, 0.4])
GARDEN[0, [3, 4, 5, 6]] = 0.25
GARDEN[1, [3, 4]] = torch.tensor([0.9, 0.1])
GARDEN[3:7, 2] = 1.0


def garden_step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
    return GARDEN[last].log(), state


def test_a_beam_of_two_finds_the_best_path_that_greedy_search_misses() -> None:
    (misled,) = greedy(garden_step, nothing(1), bos=7, eos=2, max_lengths=[9])
    assert (misled.tokens, math.exp(misled.score)) == ([0, 3], pytest.approx(0.6 * 0.25))
    ((found,),) = beam(garden_step, nothing(1), bos=7, eos=2, max_lengths=[9], settings=BeamSettings(2))
    assert (found.tokens, math.exp(found.score)) == ([1, 3], pytest.approx(0.4 * 0.9))


def test_the_n_best_of_a_markov_chain_worked_out_by_hand() -> None:
    # Up to two tokens: </s> 0.1; a </s> 0.21; b </s> 0.1; and cut short a a 0.07, a b 0.42, b a 0.04, b b 0.06.
    how = BeamSettings(size=9, num_best=9)
    (found,) = beam(chain_step, nothing(1), bos=START, eos=END, max_lengths=[2], settings=how)
    assert [h.tokens for h in found] == [[A, B], [A], [], [B], [A, A], [B, B], [B, A]]
    assert [math.exp(h.score) for h in found] == pytest.approx([0.42, 0.21, 0.1, 0.1, 0.07, 0.06, 0.04])
    assert [h.normalised for h in found] == [h.score for h in found]


def test_the_length_of_the_penalty_counts_the_end_symbol() -> None:
    how = BeamSettings(size=9, num_best=9, length_penalty=1.0)
    (found,) = beam(chain_step, nothing(1), bos=START, eos=END, max_lengths=[2], settings=how)
    ranks = {tuple(h.tokens): h.normalised for h in found}
    assert ranks[()] == pytest.approx(math.log(0.1) / (6 / 6))
    assert ranks[(A,)] == pytest.approx(math.log(0.21) / (7 / 6))  # a and </s>
    assert ranks[(A, B)] == pytest.approx(math.log(0.42) / (7 / 6))  # a and b, and then cut


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
    st.data(),
    PENALTIES,
    st.sampled_from([EOS, None]),
    st.sampled_from([1, 2, EVERYTHING]),
)
def test_a_beam_as_wide_as_everything_finds_the_best_of_every_sequence(
    keys: list[int], data: st.DataObject, penalties: tuple[float, float], eos: int | None, num_best: int
) -> None:
    top = 5 if eos is not None and len(keys) == 1 else 4
    limits = data.draw(st.lists(st.integers(1, top), min_size=len(keys), max_size=len(keys)))
    how = BeamSettings(EVERYTHING, num_best, *penalties)
    found = search(keys, limits, how, eos=eos)
    for key, limit, hypotheses in zip(keys, limits, found, strict=True):
        every = {tuple(path.tokens): path for path in sequences(history([key]), 0, eos, limit, how)}
        best = sorted((path.normalised for path in every.values()), reverse=True)[:num_best]
        assert [h.normalised for h in hypotheses] == pytest.approx(best, rel=1e-6)
        assert len({tuple(h.tokens) for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            assert h.score == every[tuple(h.tokens)].score
            assert h.normalised == pytest.approx(every[tuple(h.tokens)].normalised, rel=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=4),
    st.data(),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.6, 1.0, 3.0]),
    st.sampled_from([EOS, None]),
)
def test_a_beam_of_any_width_finds_what_a_search_that_never_stops_early_finds(
    keys: list[int], data: st.DataObject, size: int, length_penalty: float, eos: int | None
) -> None:
    limits = data.draw(st.lists(st.integers(1, 8), min_size=len(keys), max_size=len(keys)))
    how = BeamSettings(size, data.draw(st.integers(1, size)), length_penalty)
    found = search(keys, limits, how, eos=eos)
    for key, limit, hypotheses in zip(keys, limits, found, strict=True):
        plain = plain_beam(history([key]), 0, eos, limit, how)
        assert [(h.tokens, h.score, h.normalised) for h in hypotheses] == plain


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=5), st.data(), st.sampled_from([EOS, None]), PENALTIES)
def test_a_beam_of_one_is_greedy_search(
    keys: list[int], data: st.DataObject, eos: int | None, penalties: tuple[float, float]
) -> None:
    limits = data.draw(st.lists(st.integers(1, 9), min_size=len(keys), max_size=len(keys)))
    one = [h for (h,) in search(keys, limits, BeamSettings(1, 1, *penalties), eos=eos, keep_attention=True)]
    expected = greedy(history_step, history(keys), bos=0, eos=eos, max_lengths=limits, keep_attention=True)
    assert [(h.tokens, h.score) for h in one] == [(h.tokens, h.score) for h in expected]
    for h, e in zip(one, expected, strict=True):
        assert torch.equal(h.attention, e.attention)  # type: ignore[arg-type]


def encoded(model: Seq2Seq) -> tuple[object, list[int]]:
    src = torch.tensor([[4, 5, 6, 3], [7, 8, 3, 0], [9, 3, 0, 0], [4, 4, 10, 3]])
    return model.encode(src, torch.tensor([4, 3, 2, 4])), [9, 7, 8, 9]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_one_is_greedy_search_on_a_network(cell: str, seed: int) -> None:
    model = tiny_model(seed, cell=cell, peeky="both")
    state, limits = encoded(model)
    step = model.decoder.step
    expected = greedy(step, state, bos=2, eos=3, max_lengths=limits)
    found = beam(step, state, bos=2, eos=3, max_lengths=limits, settings=BeamSettings(1, length_penalty=0.6))
    assert [(h.tokens, h.score) for (h,) in found] == [(h.tokens, h.score) for h in expected]


@pytest.mark.parametrize("cell", CELLS)
def test_a_score_is_that_of_stepping_through_the_output(cell: str) -> None:
    model = tiny_model(cell=cell)
    state, limits = encoded(model)
    how = BeamSettings(4, num_best=4, length_penalty=1.0)
    found = beam(model.decoder.step, state, bos=2, eos=3, max_lengths=limits, settings=how)
    for i, hypotheses in enumerate(found):
        assert len(hypotheses) == 4
        for h in hypotheses:
            row, last, score = state.select(torch.tensor([i])), 2, 0.0  # type: ignore[attr-defined]
            scored = h.tokens + [3] * (len(h.tokens) < limits[i])
            for token in scored:
                log_probs, row = model.decoder.step(torch.tensor([last]), row)
                last, score = token, score + log_probs[0, token].item()
            assert h.score == pytest.approx(score, abs=1e-4)
            assert h.normalised == pytest.approx(score / ((5 + len(scored)) / 6), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 8)), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
    PENALTIES,
)
def test_alone_together_and_shuffled_a_row_has_the_same_hypotheses(
    rows: list[tuple[int, int]], order: object, penalties: tuple[float, float]
) -> None:
    how = BeamSettings(4, 3, *penalties)
    together = search([key for key, _ in rows], [limit for _, limit in rows], how)
    assert [search([key], [limit], how)[0] for key, limit in rows] == together
    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    again = search([rows[i][0] for i in shuffled], [rows[i][1] for i in shuffled], how)
    assert again == [together[i] for i in shuffled]


def test_hypotheses_are_sorted_and_never_twice_the_same() -> None:
    found = search(list(range(40)), [7] * 40, BeamSettings(6, 6, length_penalty=0.8))
    for hypotheses in found:
        ranks = [h.normalised for h in hypotheses]
        assert ranks == sorted(ranks, reverse=True)  # type: ignore[type-var]
        assert len({tuple(h.tokens) for h in hypotheses}) == len(hypotheses)
    assert sum(map(len, found)) > 150


def test_without_an_end_symbol_every_hypothesis_has_exactly_its_maximum_length() -> None:
    found = search([5, 6, 7], [4, 1, 6], BeamSettings(3, 3), eos=None)
    assert [{len(h.tokens) for h in hypotheses} for hypotheses in found] == [{4}, {1}, {6}]


def test_a_first_step_has_one_row_for_a_sentence_and_what_cannot_win_leaves_the_batch() -> None:
    sizes = []

    def step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
        sizes.append(len(last))
        return torch.tensor([[0.3, 0.1, 0.6]]).expand(len(last), -1).log(), state

    # </s> ends at 0.6 at once: nothing that is open, 0.3 at most, can be better.
    beam(step, nothing(2), bos=START, eos=END, max_lengths=[9, 9], settings=BeamSettings(3))
    assert sizes == [2]
    # Two are wanted: a (0.3) and b (0.1) take a second step, in which a </s> at 0.18 beats all that is left open.
    sizes.clear()
    beam(step, nothing(2), bos=START, eos=END, max_lengths=[9, 1], settings=BeamSettings(3, num_best=2))
    assert sizes == [2, 2]


@pytest.mark.parametrize("num_best", [1, 2, 3])
def test_what_cannot_win_keeps_its_places_from_what_is_worse(num_best: int) -> None:
    """With a beam of 3, x (0.19) cannot win once </s> has ended at 0.2; were it dropped, another </s>, below x's two
    children (0.095), would end in its place and keep it, and "y z v" (0.6 * 0.99 * 0.49 * 0.95) would find none.
    """
    end, x, y, z, u, v, junk, other, start = range(9)
    chain = torch.zeros(9, 9)
    chain[start, [y, end, x, junk]] = torch.tensor([0.6, 0.2, 0.19, 0.01])
    chain[y, [z, end]] = torch.tensor([0.99, 0.01])
    chain[x, [junk, other]] = 0.5
    chain[z, [u, v]] = torch.tensor([0.51, 0.49])
    chain[u, [junk, other, end]] = torch.tensor([0.4, 0.4, 0.2])
    chain[v, [end, junk]] = torch.tensor([0.95, 0.05])
    chain[[junk, junk, other, other], [end, other, end, junk]] = 0.5
    how = BeamSettings(3, num_best)
    options = {"bos": start, "eos": end, "max_lengths": [8], "settings": how}
    (found,) = beam(lambda last, state: (chain[last].log(), state), nothing(1), **options)  # type: ignore[arg-type]
    assert found[0].tokens == [y, z, v]
    assert found[0].score == pytest.approx(math.log(0.6 * 0.99 * 0.49 * 0.95))


def test_a_length_penalty_keeps_open_what_could_still_win() -> None:
    # </s> at once ranks at log 0.5 = -0.69. After a (0.5), which goes on with certainty, 2 tokens would rank at
    # log 0.5 / (7/6) = -0.59 and 9 at log 0.5 / (14/6) = -0.30.
    lengths = []

    def step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
        lengths.append(len(last))
        after = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]])
        return after[last].log(), state

    def best(limit: int, alpha: float) -> Hypothesis:
        how = BeamSettings(2, length_penalty=alpha)
        ((found,),) = beam(step, nothing(1), bos=START, eos=END, max_lengths=[limit], settings=how)
        return found

    assert best(9, 0.0).tokens == []  # of equals, what ended earlier: nothing that is open can be more than equal
    assert lengths == [1]
    assert best(9, 1.0).tokens == [A] * 9
    assert best(9, 1.0).normalised == pytest.approx(math.log(0.5) / (14 / 6))


def test_equal_scores_are_broken_by_parent_and_token() -> None:
    def step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
        return torch.full((len(last), 100), 0.01).log(), state

    how = BeamSettings(4, 4)
    found = beam(step, nothing(3), bos=0, eos=None, max_lengths=[2] * 3, settings=how)
    assert [[h.tokens for h in hypotheses] for hypotheses in found] == [[[0, 0], [0, 1], [0, 2], [0, 3]]] * 3


def test_attention_is_that_of_the_hypothesis_and_explains_its_rank() -> None:
    keys = list(range(12))
    how = BeamSettings(5, 4, length_penalty=0.7, coverage_penalty=0.4)
    found = search(keys, [6] * 12, how, keep_attention=True)
    for key, hypotheses in zip(keys, found, strict=True):
        for h in hypotheses:
            state, rows = history([key]), []
            for token in [0, *h.tokens][:6]:
                _, state = history_step(torch.tensor([token]), state)
                rows.append(state.attention)
            assert h.attention is not None
            assert torch.equal(h.attention, torch.cat(rows))
            real = h.attention[:, state.mask[0]]
            assert h.normalised == pytest.approx(rank(h.score, len(real), how, real), rel=1e-5)


def test_coverage_prefers_an_output_that_has_looked_at_the_whole_source() -> None:
    class Looking(Nothing):
        attention: Tensor | None = None

        def select(self, rows: Tensor) -> Looking:
            return Looking(self.rows[rows])

    def step(last: Tensor, state: Looking) -> tuple[Tensor, Looking]:
        # a a and b b are equally likely but for a little; the first looks twice at position 0, the second at each.
        table = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.51, 0.49, 0.0]])
        after = Looking(state.rows)
        after.attention = torch.where((last == B).unsqueeze(1), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
        return table[last].log(), after

    def best(beta: float) -> list[int]:
        how = BeamSettings(2, coverage_penalty=beta)
        return beam(step, Looking(torch.arange(1)), bos=START, eos=END, max_lengths=[2], settings=how)[0][0].tokens

    assert best(0.0) == [A, A]
    assert best(0.1) == [B, B]


def test_coverage_without_attention_is_refused() -> None:
    how = BeamSettings(2, coverage_penalty=0.1)
    with pytest.raises(ValueError, match="coverage_penalty needs a model with attention; the state of this one has"):
        beam(chain_step, nothing(1), bos=START, eos=END, max_lengths=[3], settings=how)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=3), st.data(), PENALTIES)
def test_with_prefixes_a_wide_beam_finds_the_best_sequence_that_begins_so(
    keys: list[int], data: st.DataObject, penalties: tuple[float, float]
) -> None:
    limits = data.draw(st.lists(st.integers(1, 4), min_size=len(keys), max_size=len(keys)))
    how = BeamSettings(EVERYTHING, 1, *penalties)
    every = [list(sequences(history([k]), 0, EOS, n, how)) for k, n in zip(keys, limits, strict=True)]
    prefixes = [data.draw(st.sampled_from(paths)).tokens for paths in every]
    prefixes = [prefix[: data.draw(st.integers(0, len(prefix)))] for prefix in prefixes]
    found = search(keys, limits, how, prefixes=prefixes)
    for prefix, paths, (best,) in zip(prefixes, every, found, strict=True):
        fitting = [path for path in paths if path.tokens[: len(prefix)] == prefix]
        assert best.tokens[: len(prefix)] == prefix
        assert best.normalised == pytest.approx(max(path.normalised for path in fitting), rel=1e-6)
        assert best.score == next(path.score for path in fitting if path.tokens == best.tokens)
    one = [h for (h,) in search(keys, limits, BeamSettings(1), prefixes=prefixes)]
    expected = greedy(history_step, history(keys), bos=0, eos=EOS, max_lengths=limits, prefixes=prefixes)
    assert [(h.tokens, h.score) for h in one] == [(h.tokens, h.score) for h in expected]


def test_a_prefix_longer_than_the_maximum_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the prefix of row 1 has 3 tokens, but its maximum length is 2\."):
        search([1, 2], [2, 2], BeamSettings(2), prefixes=[[0], [0, 1, 0]])


def test_no_rows_give_no_hypotheses() -> None:
    assert search([], [], BeamSettings(3)) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 2, "num_best": 3}, "num_best must be from 1 to the beam size, 2; got 3."),
        ({"size": 0}, "num_best must be from 1 to the beam size, 0; got 1."),
        ({"length_penalty": -1.0}, "length_penalty must be at least 0 and finite; got -1.0."),
        ({"coverage_penalty": math.nan}, "coverage_penalty must be at least 0 and finite; got nan."),
    ],
)
def test_a_setting_out_of_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as error:
        BeamSettings(**options)  # type: ignore[arg-type]
    assert str(error.value) == message
