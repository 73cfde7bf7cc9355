"""Recorded steps against the step itself: on a CPU, where work that is recorded is done again, and on a GPU if there is
one, where it is a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seq2seq.decoding.base import Hypothesis
from seq2seq.decoding.beam import beam
from seq2seq.decoding.forms import available, graphs
from seq2seq.decoding.forms.graphs import Outputs, Record, StepGraphs, cuda_graph
from seq2seq.decoding.forms.module import GraphForm
from seq2seq.decoding.greedy import greedy
from seq2seq.decoding.settings import BeamSettings
from seq2seq.errors import UserError
from seq2seq.models.decoder import DecoderState
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, EOS
from seq2seq.translate.translator import Translator
from tests.attentive import load, save
from tests.conftest import LINES, tiny_model


def again(work: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], None]]:
    """As a graph does: whatever was computed while recording is overwritten in place by each replay."""
    log_probs, state = outputs = work()

    def replay() -> None:
        fresh_log_probs, fresh = work()
        log_probs.copy_(fresh_log_probs)
        for own, one in zip(state.hidden, fresh.hidden, strict=True):
            own.copy_(one)
        if state.attention is not None and fresh.attention is not None:
            state.attention.copy_(fresh.attention)

    return outputs, replay


RECORDERS: list[tuple[str, Record]] = [("cpu", again)]
RECORDERS += [("cuda", cuda_graph)] if torch.cuda.is_available() else []
NETWORKS = [
    {"attention": "general", "peeky": "both"},
    {"attention": "additive", "cell": "gru", "bidirectional": True, "num_layers": 2},
    {"attention": "dot", "hidden_size": 8},
    {"cell": "rnn", "peeky": "input"},
]


def batch(model: Seq2Seq, lengths: list[int], seed: int) -> DecoderState:
    generator = torch.Generator().manual_seed(seed)
    src = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        src[row, :length] = torch.randint(4, 12, (length,), generator=generator)
    return model.encode(src.to(next(model.parameters()).device), torch.tensor(lengths))


def searched(step: object, state: DecoderState, kind: str, device: str) -> list[Hypothesis]:
    bounds = [3 + row % 5 for row in range(len(state.hidden[0]))]
    options = {"bos": BOS, "eos": EOS, "max_lengths": bounds, "device": device, "keep_attention": True}
    if kind == "greedy":
        return greedy(step, state, **options)  # type: ignore[arg-type]
    found = beam(step, state, settings=BeamSettings(3, 2, 1.0, 0.0), **options)  # type: ignore[arg-type]
    return [one for row in found for one in row]


@pytest.mark.parametrize(("device", "record"), RECORDERS)
@pytest.mark.parametrize("network", range(len(NETWORKS)))
@pytest.mark.parametrize("kind", ["greedy", "beam"])
@torch.no_grad()
def test_a_search_finds_the_same_with_recorded_steps(kind: str, network: int, device: str, record: Record) -> None:
    model = tiny_model(network, **NETWORKS[network]).to(device)
    recorded = StepGraphs(model.decoder.step, record)
    # Longer and shorter batches by turns, so that each meets what the one before it has left behind.
    for seed, lengths in enumerate([[9, 3, 17, 1, 30], [2, 1], [5] * 7, [33, 4], [1, 1, 1], [9, 3, 17, 1, 30]]):
        plain = searched(model.decoder.step, batch(model, lengths, seed), kind, device)
        ours = searched(recorded, batch(model, lengths, seed), kind, device)
        for one, other in zip(ours, plain, strict=True):
            assert one.tokens == other.tokens
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert (one.attention is None) == (model.decoder.attention is None)
            if one.attention is not None:
                torch.testing.assert_close(one.attention, other.attention)
    rows = {shape[0] for shape in recorded.recorded}
    assert rows <= {1, 2, 4, 8, 16, 32}
    assert {shape[1] for shape in recorded.recorded} <= ({0} if model.decoder.attention is None else {16, 32, 48})


@torch.no_grad()
def test_a_step_that_has_enough_to_compute_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(attention="general")
    recorded = StepGraphs(model.decoder.step, again)
    monkeypatch.setattr(graphs, "POSITIONS", 31)
    for rows, shapes in ((1, {(1, 16)}), (2, {(1, 16)})):
        state = batch(model, [9] * rows, 0)
        log_probs, after = recorded(torch.full((rows,), BOS), state)
        expected, other = model.decoder.step(torch.full((rows,), BOS), state)
        torch.testing.assert_close([log_probs, *after.hidden], [expected, *other.hidden])
        assert set(recorded.recorded) == shapes


@torch.no_grad()
def test_what_a_step_returns_outlives_the_next_one() -> None:
    model = tiny_model(attention="general")
    recorded = StepGraphs(model.decoder.step, again)
    state = batch(model, [4, 6], 0)
    log_probs, after = recorded(torch.tensor([BOS, BOS]), state)
    assert after.attention is not None
    kept: list[Tensor] = [one.clone() for one in (log_probs, *after.hidden, after.attention)]
    recorded(torch.tensor([5, 7]), after)
    assert all(map(torch.equal, kept, (log_probs, *after.hidden, after.attention)))


def test_a_translator_uses_them_where_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"decode.cuda_graphs is for networks on a GPU, and this one is on cpu; use"):
        load(path, cuda_graphs=True).translate(LINES)
    plain = load(path).translate(LINES)
    monkeypatch.setattr(available, "GRAPHED", ("cpu",))
    made: list[GraphForm] = []

    def graph_form(model: Seq2Seq) -> GraphForm:
        made.append(GraphForm(model, again))
        return made[-1]

    monkeypatch.setattr(available, "GraphForm", graph_form)
    translator = load(path, cuda_graphs=True)
    assert translator.translate(LINES) == plain
    assert translator.translate(LINES) == plain
    (form,) = made
    assert form.graphs.recorded
    ensemble = Translator.from_checkpoint(path, save(tmp_path / "b.ckpt", seed=1))
    ensemble = ensemble.with_options(load(path, cuda_graphs=True, search="beam", beam_size=3).decode)
    without = Translator.from_checkpoint(path, tmp_path / "b.ckpt")
    without = without.with_options(load(path, search="beam", beam_size=3).decode)
    assert ensemble.translate(LINES) == without.translate(LINES)
