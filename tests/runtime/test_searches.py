"""The searches in NumPy find what those with torch find: the same tokens, scores, ranks and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.decoding import beam as torch_beam
from seq2seq.decoding import greedy as torch_greedy
from seq2seq.decoding import sampling as torch_sampling
from seq2seq.decoding import step as torch_step
from seq2seq.decoding.base import Hypothesis
from seq2seq.decoding.settings import BeamSettings, SamplingSettings
from seq2seq.runtime import beam, greedy, sampling
from seq2seq.runtime.network import Grid
from seq2seq.runtime.step import likeliest
from tests.chains import History, history, history_step

EOS = 3
KEYS = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)
ENDS = st.sampled_from([EOS, None])


class Arrays(NamedTuple):
    """The state of a step function with torch, for a search in NumPy."""

    inner: History

    @property
    def attention(self) -> np.ndarray | None:
        return None if self.inner.attention is None else self.inner.attention.numpy()

    @property
    def mask(self) -> np.ndarray:
        return self.inner.mask.numpy()

    def select(self, rows: np.ndarray) -> Arrays:
        return Arrays(self.inner.select(torch.from_numpy(rows)))


def step(last: np.ndarray, state: Arrays) -> tuple[np.ndarray, Arrays]:
    log_probs, inner = history_step(torch.from_numpy(last), state.inner)
    return log_probs.numpy(), Arrays(inner)


def possible_prefixes(keys: Sequence[int], limits: Sequence[int], data: st.DataObject) -> list[list[int]]:
    """Beginnings of what greedy search finds, so that they have a probability."""
    outputs = torch_greedy.greedy(history_step, history(keys), bos=0, eos=EOS, max_lengths=limits)
    return [one.tokens[: data.draw(st.integers(0, len(one.tokens)))] for one in outputs]


def assert_same(found: Sequence[Hypothesis], expected: Sequence[Hypothesis]) -> None:
    assert [(h.tokens, h.score) for h in found] == [(h.tokens, h.score) for h in expected]
    for h, e in zip(found, expected, strict=True):
        assert h.normalised == (None if e.normalised is None else pytest.approx(e.normalised, rel=1e-6))
        assert (h.attention is None) == (e.attention is None)
        assert h.attention is None or np.array_equal(h.attention, e.attention.numpy())


@settings(max_examples=60, deadline=None)
@given(KEYS, st.data(), ENDS, st.booleans())
def test_greedy_search_and_teacher_forcing(
    keys: list[int], data: st.DataObject, eos: int | None, attention: bool
) -> None:
    limits = data.draw(st.lists(st.integers(1, 9), min_size=len(keys), max_size=len(keys)))
    prefixes = possible_prefixes(keys, limits, data)
    options: dict[str, object] = {"bos": 0, "eos": eos, "keep_attention": attention}
    rest = {"max_lengths": limits, "prefixes": prefixes, **options}
    expected = torch_greedy.greedy(history_step, history(keys), **rest)  # type: ignore[arg-type]
    assert_same(greedy.greedy(step, Arrays(history(keys)), **rest), expected)  # type: ignore[arg-type]
    outputs = [one.tokens or [1] for one in expected]
    again = torch_greedy.forced(history_step, history(keys), outputs, **options)  # type: ignore[arg-type]
    assert_same(greedy.forced(step, Arrays(history(keys)), outputs, **options), again)  # type: ignore[arg-type]


@settings(max_examples=120, deadline=None)
@given(
    KEYS,
    st.data(),
    st.integers(1, 7),
    st.sampled_from([(0.0, 0.0), (0.6, 0.0), (1.0, 0.0), (0.0, 0.3), (1.5, 0.7)]),
    ENDS,
    st.booleans(),
)
def test_beam_search(
    keys: list[int],
    data: st.DataObject,
    size: int,
    penalties: tuple[float, float],
    eos: int | None,
    attention: bool,
) -> None:
    limits = data.draw(st.lists(st.integers(1, 8), min_size=len(keys), max_size=len(keys)))
    options = {
        "bos": 0,
        "eos": eos,
        "max_lengths": limits,
        "settings": BeamSettings(size, data.draw(st.integers(1, size)), *penalties),
        "prefixes": possible_prefixes(keys, limits, data),
        "keep_attention": attention,
    }
    expected = torch_beam.beam(history_step, history(keys), **options)  # type: ignore[arg-type]
    found = beam.beam(step, Arrays(history(keys)), **options)  # type: ignore[arg-type]
    for own, theirs in zip(found, expected, strict=True):
        assert_same(own, theirs)


@settings(max_examples=100, deadline=None)
@given(
    KEYS,
    st.data(),
    st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    st.integers(0, 4),
    st.sampled_from([0.2, 0.7, 1.0]),
)
def test_sampling_draws_the_same(
    keys: list[int], data: st.DataObject, temperature: float, top_k: int, top_p: float
) -> None:
    limits = data.draw(st.lists(st.integers(1, 8), min_size=len(keys), max_size=len(keys)))
    options: dict[str, object] = {
        "bos": 0,
        "eos": EOS,
        "max_lengths": limits,
        "seeds": data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(keys), max_size=len(keys))),
        "settings": SamplingSettings(temperature, top_k, top_p),
        "prefixes": [[] for _ in keys],
        "keep_attention": False,
    }
    expected = torch_sampling.sample(history_step, history(keys), **options)  # type: ignore[arg-type]
    assert_same(sampling.sample(step, Arrays(history(keys)), **options), expected)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(1, 2000), st.integers(1, 9), st.integers(2, 400), st.integers(0, 10**6))
def test_the_likeliest_are_those_of_torch_whose_lower_tokens_come_first(
    rows: int, size: int, count: int, levels: int, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, levels, (rows, size)).astype(np.float32)
    values[values == 0] = -np.inf
    found, places = likeliest(values, count)
    order = np.argsort(-values, 1, kind="stable")[:, :count]
    assert np.array_equal(found, np.take_along_axis(values, order, 1))
    assert np.array_equal(places[found > -np.inf], order[found > -np.inf])
    theirs = torch_step.likeliest(torch.from_numpy(values), count)
    assert np.array_equal(places[found > -np.inf], theirs[1].numpy()[found > -np.inf])


def test_a_large_vocabulary_is_drawn_from_as_with_torch() -> None:
    """With many tokens the sets of top_k and top_p are found another way."""
    logits = torch.randn(1000, 3000, generator=torch.Generator().manual_seed(0)) * 2
    log_probs, numbers = logits.log_softmax(1), torch.rand(1000, dtype=torch.double)
    for how in (SamplingSettings(), SamplingSettings(0.5, 7, 0.9, (0, 2)), SamplingSettings(2.0, 0, 0.8)):
        expected = torch_sampling._draw(log_probs, numbers, how)
        found = sampling._draw(log_probs.numpy(), numbers.numpy(), how)
        assert np.array_equal(found, expected.numpy())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(6, 8))
def test_a_grid_has_each_row_at_its_sentence(sentences: list[int], size: int) -> None:
    places, rows = Grid.of(np.array(sentences), size)
    assert places.shape[0] == size
    assert np.array_equal(places.ravel()[rows], np.arange(len(sentences)))
    assert np.array_equal(rows // places.shape[1], sentences)


def test_a_prefix_of_probability_zero_is_refused() -> None:
    def certain(last: np.ndarray, state: Arrays) -> tuple[np.ndarray, Arrays]:
        return np.array([[0.0, -math.inf]], np.float32), state

    options: dict[str, object] = {"bos": 0, "eos": None, "max_lengths": [2], "prefixes": [[1]]}
    with pytest.raises(ValueError, match="a prefix holds a token of probability 0: 1"):
        greedy.greedy(certain, Arrays(history([1])), **options)  # type: ignore[arg-type]
