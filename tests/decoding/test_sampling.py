"""Samples against exact distributions, worked out by hand or summed over every sequence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config.choices import CELLS
from seq2seq.decoding.base import Hypothesis
from seq2seq.decoding.greedy import greedy
from seq2seq.decoding.sampling import sample
from seq2seq.decoding.settings import SamplingSettings
from tests.chains import CHAIN, END, START, A, B, Nothing, chain_step, history, history_step, nothing
from tests.conftest import tiny_model

MANY = 20_000


def draws(num: int, limit: int, how: SamplingSettings, prefix: Sequence[int] = ()) -> list[Hypothesis]:
    """Samples of the Markov chain, with seeds from 0 up."""
    return sample(
        chain_step,
        nothing(num),
        bos=START,
        eos=END,
        max_lengths=[limit] * num,
        seeds=range(num),
        settings=how,
        prefixes=[prefix] * num,
    )


def exact(transitions: torch.Tensor, limit: int, start: int = START) -> dict[tuple[int, ...], float]:
    """The probability of each output of a Markov chain."""
    found: dict[tuple[int, ...], float] = {}

    def grow(tokens: tuple[int, ...], last: int, prob: float) -> None:
        if last == END or len(tokens) == limit:
            found[tokens] = found.get(tokens, 0) + prob
            return
        for token, share in enumerate(transitions[last].tolist()):
            if share:
                grow(tokens if token == END else (*tokens, token), token, prob * share)

    grow((), start, 1.0)
    return found


def assert_drawn_from(found: Sequence[Hypothesis], expected: dict[tuple[int, ...], float]) -> None:
    """Pearson's chi-square is within five standard deviations of its mean, and nothing impossible was drawn."""
    counts = Counter(tuple(h.tokens) for h in found)
    assert set(counts) <= set(expected)
    assert min(expected.values()) * len(found) > 5
    assert sum(expected.values()) == pytest.approx(1)
    chi = sum((counts[key] - len(found) * p) ** 2 / (len(found) * p) for key, p in expected.items())
    freedom = len(expected) - 1
    assert chi < freedom + 5 * math.sqrt(2 * freedom)


def test_samples_have_the_distribution_of_the_chain() -> None:
    assert_drawn_from(draws(MANY, 3, SamplingSettings()), exact(CHAIN, 3))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_raises_probabilities_to_its_inverse(temperature: float) -> None:
    powers = CHAIN ** (1 / temperature)
    expected = exact(powers / powers.sum(1, keepdim=True), 2)
    assert_drawn_from(draws(MANY, 2, SamplingSettings(temperature)), expected)


# From a, b, end, start: the two likeliest of each row, by hand.
TOP_2 = torch.tensor([[0.0, 2 / 3, 1 / 3], [0.0, 3 / 8, 5 / 8], [1.0, 0.0, 0.0], [7 / 9, 2 / 9, 0.0]])
# The smallest sets that reach 0.65: b, end; end, b; a; a.
REACH_065 = torch.tensor([[0.0, 2 / 3, 1 / 3], [0.0, 3 / 8, 5 / 8], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])

# Without b: a and end share what is left.
WITHOUT_B = torch.tensor([[1 / 4, 0.0, 3 / 4], [2 / 7, 0.0, 5 / 7], [1.0, 0.0, 0.0], [7 / 8, 0.0, 1 / 8]])


@pytest.mark.parametrize(
    "how, transitions",
    [
        (SamplingSettings(barred=[B]), WITHOUT_B),
        (SamplingSettings(barred=[B], top_k=2), WITHOUT_B),
        (SamplingSettings(top_k=2), TOP_2),
        (SamplingSettings(top_k=9), CHAIN),
        (SamplingSettings(top_p=0.65), REACH_065),
        (SamplingSettings(top_k=2, top_p=0.65), REACH_065),
        (SamplingSettings(top_k=2, top_p=0.99), TOP_2),
    ],
)
def test_what_is_cut_off_is_never_drawn_and_the_rest_keeps_its_ratios(
    how: SamplingSettings, transitions: torch.Tensor
) -> None:
    assert_drawn_from(draws(MANY, 2, how), exact(transitions, 2))


def test_top_p_comes_after_the_temperature() -> None:
    # At temperature 1/2 the start's 0.7, 0.2, 0.1 become 49, 4 and 1 of 54: a alone reaches 0.9.
    found = draws(200, 1, SamplingSettings(temperature=0.5, top_p=0.9))
    assert {tuple(h.tokens) for h in found} == {(A,)}
    assert len({tuple(h.tokens) for h in draws(200, 1, SamplingSettings(top_p=0.9))}) == 2


def test_top_p_may_need_more_tokens_than_are_looked_at_first() -> None:
    probs = torch.cat([torch.full((300,), 2.0), torch.full((600,), 1.0)])[torch.randperm(900)] / 1200

    def step(last: torch.Tensor, state: Nothing) -> tuple[torch.Tensor, Nothing]:
        return probs.expand(len(last), -1).log(), state

    how = SamplingSettings(top_p=0.7502)  # reached by the 300 of 2/1200 and the first 301 of the rest
    num = 8000
    found = sample(step, nothing(num), bos=0, eos=None, max_lengths=[1] * num, seeds=range(num), settings=how)
    rare = (probs < 1.5 / 1200).nonzero().squeeze(1).tolist()
    expected = set(range(900)) - set(rare[301:])
    assert {h.tokens[0] for h in found} == expected


def test_top_k_keeps_the_lower_of_equal_tokens() -> None:
    def step(last: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
        return torch.full((len(last), 50), 0.02).log(), state

    found = sample(
        step,  # type: ignore[arg-type]
        nothing(300),
        bos=0,
        eos=None,
        max_lengths=[1] * 300,
        seeds=range(300),
        settings=SamplingSettings(top_k=3),
    )
    assert {h.tokens[0] for h in found} == {0, 1, 2}


@pytest.mark.parametrize("number, possible", [(0.0, {1}), (0.25, {1, 3}), (0.999999, {3})])
def test_a_number_on_a_border_never_draws_an_impossible_token(
    monkeypatch: pytest.MonkeyPatch, number: float, possible: set[int]
) -> None:
    def step(last: torch.Tensor, state: Nothing) -> tuple[torch.Tensor, Nothing]:
        return torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).log(), state

    monkeypatch.setattr("seq2seq.decoding.draws.random.Random", lambda seed: SimpleNamespace(random=lambda: number))
    (found,) = sample(step, nothing(1), bos=0, eos=None, max_lengths=[1], seeds=[0])
    assert set(found.tokens) <= possible and len(found.tokens) == 1  # exp(log(0.25)) may lie beside 0.25


def test_scores_are_those_of_the_model_whatever_it_was_drawn_from() -> None:
    log_probs = {tokens: math.log(p) for tokens, p in exact(CHAIN, 3).items()}
    for how in (SamplingSettings(), SamplingSettings(3.0), SamplingSettings(0.3, top_k=2), SamplingSettings(0.0)):
        for h in draws(100, 3, how):
            assert h.score == pytest.approx(log_probs[tuple(h.tokens)], abs=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "how", [SamplingSettings(0.0), SamplingSettings(1e-9), SamplingSettings(1e-310), SamplingSettings(top_k=1)]
)
def test_a_temperature_of_zero_and_a_single_choice_are_greedy_search(cell: str, how: SamplingSettings) -> None:
    model = tiny_model(cell=cell)
    state = model.encode(torch.tensor([[4, 5, 6, 3], [7, 8, 3, 0]]), torch.tensor([4, 3]))
    expected = greedy(model.decoder.step, state, bos=2, eos=3, max_lengths=[9, 6])
    found = sample(model.decoder.step, state, bos=2, eos=3, max_lengths=[9, 6], seeds=[1, 2], settings=how)
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 8), st.integers(0, 2**64)), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from([SamplingSettings(), SamplingSettings(0.7, 3, 0.9)]),
)
def test_a_row_s_sample_is_a_function_of_the_row_and_its_seed(
    rows: list[tuple[int, int, int]], order: object, how: SamplingSettings
) -> None:
    def run(rows: list[tuple[int, int, int]]) -> list[Hypothesis]:
        keys, limits, seeds = (list(column) for column in zip(*rows, strict=True))
        return sample(history_step, history(keys), bos=0, eos=3, max_lengths=limits, seeds=seeds, settings=how)

    together = run(rows)
    assert [run([row])[0] for row in rows] == together
    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert run([rows[i] for i in shuffled]) == [together[i] for i in shuffled]


def test_a_longer_limit_goes_on_from_the_same_sample() -> None:
    def run(limit: int) -> list[Hypothesis]:
        return sample(history_step, history(range(20)), bos=0, eos=None, max_lengths=[limit] * 20, seeds=range(20))

    assert [h.tokens for h in run(4)] == [h.tokens[:4] for h in run(30)]
    assert len({tuple(h.tokens) for h in run(30)}) == 20


def test_seeds_differ_and_repeat() -> None:
    def run(seeds: Sequence[int]) -> list[list[int]]:
        found = sample(history_step, history([7] * 50), bos=0, eos=None, max_lengths=[20] * 50, seeds=seeds)
        return [h.tokens for h in found]

    assert len(set(map(tuple, run(range(50))))) == 50
    assert len(set(map(tuple, run([3] * 50)))) == 1


def test_after_a_prefix_samples_have_the_distribution_of_what_can_follow() -> None:
    found = draws(MANY, 3, SamplingSettings(), prefix=[B])
    expected = {(B, *tokens): p for tokens, p in exact(CHAIN, 2, start=B).items()}
    assert_drawn_from(found, expected)
    for h in found[:100]:
        assert h.score == pytest.approx(math.log(0.2 * expected[tuple(h.tokens)]), abs=1e-5)


def test_a_prefix_longer_than_the_maximum_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the prefix of row 0 has 3 tokens, but its maximum length is 2\."):
        draws(1, 2, SamplingSettings(), prefix=[A, A, B])


def test_attention_is_that_of_the_steps_taken() -> None:
    found = sample(history_step, history([1, 2]), bos=0, eos=3, max_lengths=[5, 6], seeds=[0, 1], keep_attention=True)
    for key, limit, h in zip([1, 2], [5, 6], found, strict=True):
        state, rows = history([key]), []
        for token in [0, *h.tokens][:limit]:
            _, state = history_step(torch.tensor([token]), state)
            rows.append(state.attention)
        assert torch.equal(h.attention, torch.cat(rows))  # type: ignore[arg-type]


def test_each_row_needs_a_seed() -> None:
    with pytest.raises(ValueError, match="each row needs one seed; got 1 for 2 rows"):
        sample(chain_step, nothing(2), bos=START, eos=END, max_lengths=[3, 3], seeds=[0])


def test_no_rows_give_no_samples() -> None:
    assert sample(chain_step, nothing(0), bos=START, eos=END, max_lengths=[], seeds=[]) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": -0.5}, "temperature must be at least 0 and finite; got -0.5."),
        ({"top_k": -1}, "top_k must be at least 0, which keeps all; got -1."),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1; got 0.0."),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1; got 1.5."),
    ],
)
def test_a_setting_out_of_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as error:
        SamplingSettings(**options)  # type: ignore[arg-type]
    assert str(error.value) == message
