"""Attention against its equations, one position at a time; padding and neighbours change nothing."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from seq2seq.config.choices import CELLS
from seq2seq.config.schema import ModelConfig, StackConfig
from seq2seq.errors import UserError
from seq2seq.models.attention import Attention
from seq2seq.models.decoder import DecoderState
from seq2seq.tokens.base import BOS
from tests.conftest import tiny_model
from tests.models.test_seq2seq import SENTENCES, rows

KINDS = ("dot", "general", "additive")
VARIANTS = list(itertools.product(KINDS, CELLS, (False, True), (False, True)))


def by_hand(attention: Attention, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Context and weights of one query over one source, as the papers write them."""
    scores = []
    for m in memory:
        if attention.kind == "dot":
            scores.append(query @ m)
        elif attention.kind == "general":
            scores.append(query @ (attention.key.weight @ m))
        else:
            of_query = attention.query.weight @ query + attention.query.bias
            scores.append(attention.score[0] @ torch.tanh(of_query + attention.key.weight @ m))
    weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
    return sum(w * m for w, m in zip(weights, memory, strict=True)), weights  # type: ignore[return-value]


@pytest.mark.parametrize("kind", KINDS)
def test_context_and_weights_are_those_of_the_equations(kind: str) -> None:
    torch.manual_seed(1)
    query_size, memory_size = 6, 6 if kind == "dot" else 8
    attention = Attention(kind, query_size, memory_size).double()
    queries, memory = torch.randn(2, 4, query_size).double(), torch.randn(2, 5, memory_size).double()
    lengths = [5, 3]
    mask = torch.tensor([[True] * n + [False] * (5 - n) for n in lengths])
    context, weights = attention(queries, attention.keys(memory), memory, mask)
    for row, length in enumerate(lengths):
        for step in range(4):
            wanted, shares = by_hand(attention, queries[row, step], memory[row, :length])
            torch.testing.assert_close(context[row, step], wanted, rtol=0, atol=1e-12)
            torch.testing.assert_close(weights[row, step, :length], shares, rtol=0, atol=1e-12)
            assert not weights[row, step, length:].any()


@pytest.mark.parametrize("kind, cell, bidirectional, reverse", VARIANTS)
def test_stepwise_decoding_equals_teacher_forcing(kind: str, cell: str, bidirectional: bool, reverse: bool) -> None:
    for peeky, layers in (("none", 1), ("both", 2)):
        model = attentive(kind, cell, bidirectional, reverse, peeky=peeky, num_layers=layers)
        src, lengths = rows(SENTENCES)
        tgt_in = torch.randint(4, 12, (len(SENTENCES), 6))
        with torch.no_grad():
            together = model(src, lengths, tgt_in).log_softmax(-1)
            state = model.encode(src, lengths)
            for t in range(6):
                log_probs, state = model.decoder.step(tgt_in[:, t], state)
                torch.testing.assert_close(log_probs, together[:, t], rtol=0, atol=2e-6)
                assert state.attention is not None
                torch.testing.assert_close(state.attention.sum(1), torch.ones(len(SENTENCES)))


def attentive(kind: str, cell: str, bidirectional: bool, reverse: bool, **options: object) -> torch.nn.Module:
    own = {"encoder": StackConfig(hidden_size=3)} if kind == "dot" and bidirectional else {}
    return tiny_model(
        attention=kind,
        cell=cell,
        bidirectional=bidirectional,
        reverse=reverse,
        **own,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("kind, cell, bidirectional, reverse", VARIANTS)
def test_a_source_is_looked_at_alone_and_in_its_own_order(
    kind: str, cell: str, bidirectional: bool, reverse: bool
) -> None:
    model = attentive(kind, cell, bidirectional, reverse)
    src, lengths = rows(SENTENCES)
    last = torch.full((len(SENTENCES),), BOS)
    with torch.no_grad():
        together, state = model.decoder.step(last, model.encode(src, lengths))
        for i, sentence in enumerate(SENTENCES):
            alone, own = model.decoder.step(last[:1], model.encode(*rows([sentence])))
            torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-5)
            torch.testing.assert_close(own.attention[0], state.attention[i, : len(sentence)], rtol=0, atol=1e-5)
            assert not state.attention[i, len(sentence) :].any()


def test_attention_finds_the_position_that_it_is_made_to_find() -> None:
    """A query that equals one source position's output, many times larger than the others: all weight is there, in
    source order although the encoder reads backwards.
    """
    model = tiny_model(attention="dot", reverse=True)
    src, lengths = rows(SENTENCES[:1])
    with torch.no_grad():
        state = model.encode(src, lengths)
        assert state.memory is not None and state.keys is not None and state.mask is not None
        forward = tiny_model(attention="dot", reverse=False)
        turned = torch.tensor([[6, 5, 4, 3]])  # what the reversing encoder reads of 4 5 6 </s>
        read = forward.encode(turned, lengths).memory
        assert read is not None
        torch.testing.assert_close(state.memory[0, [2, 1, 0, 3]], read[0])
        for position in range(4):
            query = 1e4 * (state.memory[:, position : position + 1] - state.memory.mean(1, keepdim=True))
            _, weights = model.decoder.attention(query, state.keys, state.memory, state.mask)
            assert weights[0, 0, position] > 0.99


def test_every_parameter_of_the_attention_learns() -> None:
    for kind in KINDS:
        model = tiny_model(attention=kind)
        src, lengths = rows(SENTENCES)
        tgt = torch.randint(4, 12, (len(SENTENCES), 5))
        model.loss(src, lengths, tgt, tgt).backward()
        for name, parameter in model.decoder.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), (kind, name)


def test_without_memory_attention_says_what_it_needs() -> None:
    model = tiny_model(attention="general")
    state = DecoderState((torch.zeros(1, 1, 6), torch.zeros(1, 1, 6)))
    with pytest.raises(ValueError, match="a decoder with attention needs the encoder's outputs"):
        model.decoder(torch.tensor([[4]]), state)


def test_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="attention=dot needs equal widths; got 4 and 6"):
        Attention("dot", 4, 6)
    with pytest.raises(UserError, match="model.attention=dot needs a decoder as wide as the encoder's output; got 256"):
        ModelConfig(attention="dot", bidirectional=True)
    with pytest.raises(UserError, match="model.attention=luong is not known; choose from none, dot, general, additive"):
        ModelConfig(attention="luong")
