"""Ensembles against mean probabilities worked out by hand, and against a single model."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seq2seq.config.choices import CELLS
from seq2seq.decoding.beam import beam
from seq2seq.decoding.ensemble import EnsembleState, ensemble
from seq2seq.decoding.greedy import greedy
from seq2seq.decoding.sampling import sample
from seq2seq.decoding.settings import BeamSettings
from tests.chains import CHAIN, END, START, A, B, Nothing, chain_step, history, history_step, nothing
from tests.conftest import tiny_model

OTHER = torch.tensor([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.0, 1.0, 0.0], [0.1, 0.8, 0.1]])
SRC, LENGTHS = torch.tensor([[4, 5, 6, 3], [7, 8, 3, 0]]), torch.tensor([4, 3])


def other_step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
    return OTHER[last].log(), state


def mean_step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
    return ((CHAIN + OTHER) / 2)[last].log(), state


def two(num_rows: int) -> EnsembleState:
    return EnsembleState((nothing(num_rows), nothing(num_rows)))


def test_probabilities_are_the_mean_of_the_members() -> None:
    log_probs, _ = ensemble([chain_step, other_step])(torch.tensor([A, END, START]), two(3))
    expected = torch.tensor([[0.3, 0.45, 0.25], [0.5, 0.5, 0.0], [0.4, 0.5, 0.1]])
    assert torch.allclose(log_probs.exp(), expected)
    assert log_probs[1, 2] == -math.inf


def test_members_that_disagree_meet_in_the_middle() -> None:
    # The first begins with a, the second with b; together b has (0.2 + 0.8) / 2, and then a has (0.2 + 0.8) / 2.
    (found,) = greedy(ensemble([chain_step, other_step]), two(1), bos=START, eos=END, max_lengths=[2])
    assert found.tokens == [B, A]
    assert math.exp(found.score) == pytest.approx(0.25)


def test_every_search_takes_an_ensemble_for_one_model() -> None:
    step, limits, how = ensemble([chain_step, other_step]), [1, 5, 3], BeamSettings(3, 2, length_penalty=0.6)
    both, one = two(3), nothing(3)
    for together, alone in zip(
        beam(step, both, bos=START, eos=END, max_lengths=limits, settings=how),
        beam(mean_step, one, bos=START, eos=END, max_lengths=limits, settings=how),
        strict=True,
    ):
        assert [h.tokens for h in together] == [h.tokens for h in alone]
        assert [h.normalised for h in together] == pytest.approx([h.normalised for h in alone], abs=1e-5)
    drawn = sample(step, both, bos=START, eos=END, max_lengths=limits, seeds=[1, 2, 3])
    expected = sample(mean_step, one, bos=START, eos=END, max_lengths=limits, seeds=[1, 2, 3])
    assert [h.tokens for h in drawn] == [h.tokens for h in expected]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num", [1, 2, 3])
def test_a_model_with_itself_is_that_model(cell: str, num: int) -> None:
    model = tiny_model(cell=cell)
    step, state = model.decoder.step, model.encode(SRC, LENGTHS)
    members = EnsembleState((state,) * num)
    alone, _ = step(torch.tensor([2, 5]), state)
    together, _ = ensemble([step] * num)(torch.tensor([2, 5]), members)
    assert torch.allclose(alone, together, rtol=0, atol=1e-6)
    how = BeamSettings(4, 4, length_penalty=0.6)
    expected = beam(step, state, bos=2, eos=3, max_lengths=[9, 7], settings=how)
    found = beam(ensemble([step] * num), members, bos=2, eos=3, max_lengths=[9, 7], settings=how)
    for left, right in zip(found, expected, strict=True):
        assert [h.tokens for h in left] == [h.tokens for h in right]
        assert [h.score for h in left] == pytest.approx([h.score for h in right], abs=1e-5)


def test_models_of_different_cells_and_sizes_decide_together() -> None:
    models = [tiny_model(1, cell="lstm"), tiny_model(2, cell="gru", hidden_size=9)]
    state = EnsembleState(tuple(model.encode(SRC, LENGTHS) for model in models))
    step = ensemble([model.decoder.step for model in models])
    log_probs, after = step(torch.tensor([2, 2]), state)
    probs = [model.decoder.step(torch.tensor([2, 2]), model.encode(SRC, LENGTHS))[0].exp() for model in models]
    assert torch.allclose(log_probs.exp(), (probs[0] + probs[1]) / 2)
    swapped = after.select(torch.tensor([1, 0]))
    assert torch.equal(swapped.members[1].hidden[0], after.members[1].hidden[0].flip(0))  # type: ignore[attr-defined]


def test_attention_is_the_mean_where_all_have_it() -> None:
    first, second = history([0, 1]), history([2, 4])
    both = EnsembleState((first, second._replace(mask=first.mask)))
    assert both.attention is None
    _, both = ensemble([history_step, history_step])(torch.tensor([0, 0]), both)
    left, right = (member.attention for member in both.members)  # type: ignore[attr-defined]
    assert both.attention is not None and both.mask is not None
    assert torch.equal(both.attention, (left + right) / 2)
    assert torch.equal(both.mask, first.mask)
    assert EnsembleState((both.members[0], nothing(2))).attention is None
    assert EnsembleState((both.members[0], history([1, 1], src_length=5))).attention is None


def test_members_need_one_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"members of an ensemble need one target vocabulary; got sizes \[3, 4\]"):
        ensemble([chain_step, history_step])(torch.tensor([0]), EnsembleState((nothing(1), history([1]))))


def test_nobody_is_no_ensemble() -> None:
    with pytest.raises(ValueError, match="an ensemble needs at least one member; got none"):
        ensemble([])
