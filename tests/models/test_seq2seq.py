"""Each cell against its equations, written out here; the encoder's and decoder's promises."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seq2seq.config.choices import CELLS, PEEKY
from seq2seq.config.schema import ModelConfig, Stack, StackConfig
from seq2seq.errors import UserError
from seq2seq.models.bridge import Bridge
from seq2seq.models.build import build_seq2seq, num_parameters, widened
from seq2seq.models.cells.stack import build_recurrent, spectral_radius
from seq2seq.models.decoder import DecoderState, RNNDecoder
from seq2seq.models.init import init_as_book
from seq2seq.models.padding import reverse_padded
from seq2seq.models.seq2seq import Seq2Seq
from tests.conftest import tiny_model

VARIANTS = [
    {"cell": cell, "bidirectional": bidirectional, "num_layers": layers, "reverse": reverse}
    for cell in CELLS
    for bidirectional, layers, reverse in ((False, 1, False), (False, 2, True), (True, 2, True), (True, 1, False))
]
SENTENCES = [[4, 5, 6, 3], [7, 3], [8, 9, 10, 11, 4, 5, 3], [3]]


def rows(sentences: list[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, sentences))
    return torch.tensor([s + [0] * (width - len(s)) for s in sentences]), torch.tensor([len(s) for s in sentences])


def textbook_step(cell: str, weights: list[Tensor], x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One time step of one layer for one sentence, by the equations of Elman, Cho et al. and Hochreiter and
    Schmidhuber.
    """
    w_x, w_h, b_x, b_h = weights
    if cell == "rnn":
        return torch.tanh(w_x @ x + b_x + w_h @ h + b_h), c
    n = len(h)
    if cell == "gru":
        of_x, of_h = w_x @ x + b_x, w_h @ h + b_h
        r = torch.sigmoid(of_x[:n] + of_h[:n])
        z = torch.sigmoid(of_x[n : 2 * n] + of_h[n : 2 * n])
        candidate = torch.tanh(of_x[2 * n :] + r * of_h[2 * n :])
        return (1 - z) * candidate + z * h, c
    gates = w_x @ x + b_x + w_h @ h + b_h
    i, f, g, o = (gates[k * n : (k + 1) * n] for k in range(4))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@pytest.mark.parametrize(
    "options, bridge",
    [
        ({}, "copy"),
        ({"bidirectional": True}, "dense"),
        ({"bidirectional": True, "encoder": StackConfig(hidden_size=128)}, "copy"),
        ({"decoder": StackConfig(num_layers=2)}, "dense"),
        ({"bridge": "zero"}, "zero"),
    ],
)
def test_the_automatic_bridge_copies_where_shapes_agree(options: dict[str, object], bridge: str) -> None:
    assert build_seq2seq(ModelConfig(**options), 6, 6).bridge.kind == bridge


def test_the_bridge_asks_the_encoder_for_its_shape() -> None:
    model = build_seq2seq(ModelConfig(hidden_size=8), 6, 6)
    model.encoder.cell = None  # as of an encoder without cells
    assert Bridge("auto", model.encoder, model.decoder).kind == "dense"
    with pytest.raises(UserError, match=r"model.bridge=copy needs equal .* got \(no cell, 1, 8\) and \(lstm, 1, 8\)"):
        Bridge("copy", model.encoder, model.decoder)
    assert Bridge("hidden_only", model.encoder, model.decoder).kind == "hidden_only"


@pytest.mark.parametrize("cell", CELLS)
def test_two_stacked_layers_equal_the_textbook_equations(cell: str) -> None:
    torch.manual_seed(0)
    rnn = build_recurrent(Stack(cell, 5, 2), 3, dropout=0.0)
    inputs = torch.randn(7, 3)
    expected = list(inputs)
    for layer in range(2):
        weights = [getattr(rnn, f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        h, c, outputs = torch.zeros(5), torch.zeros(5), []
        for x in expected:
            h, c = textbook_step(cell, weights, x, h, c)
            outputs.append(h)
        expected = outputs
    torch.testing.assert_close(rnn(inputs.unsqueeze(0))[0][0], torch.stack(expected))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 3))
def test_reverse_padded_turns_real_tokens_and_leaves_the_rest(lengths: list[int], extra: int) -> None:
    width = max(lengths) + extra
    table = torch.arange(len(lengths) * width).reshape(len(lengths), width)
    turned = reverse_padded(table, torch.tensor(lengths)).tolist()
    for row, out, length in zip(table.tolist(), turned, lengths, strict=True):
        assert out == row[:length][::-1] + row[length:]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(map(str, o.values())))
def test_encoding_does_not_depend_on_padding_or_neighbours(options: dict[str, object]) -> None:
    model = tiny_model(**options)
    model.encoder.keep_memory = True
    src, lengths = rows(SENTENCES)
    together = model.encoder(src, lengths)
    for i, sentence in enumerate(SENTENCES):
        alone = model.encoder(*rows([sentence]))
        for one, all_ in zip(alone.final, together.final, strict=True):
            torch.testing.assert_close(one[0], all_[i])
        torch.testing.assert_close(alone.memory[0], together.memory[i, : len(sentence)])
        assert together.mask[i].tolist() == [True] * len(sentence) + [False] * (src.shape[1] - len(sentence))
        assert not together.memory[i, len(sentence) :].any()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_reverse_equals_the_plain_encoder_on_a_source_flipped_by_hand(cell: str, bidirectional: bool) -> None:
    plain = tiny_model(cell=cell, bidirectional=bidirectional)
    reverse = tiny_model(cell=cell, bidirectional=bidirectional, reverse=True)
    for encoder in (plain.encoder, reverse.encoder):
        encoder.keep_memory = True
    flipped = [sentence[:-1][::-1] + [3] for sentence in SENTENCES]
    by_hand, by_model = plain.encoder(*rows(flipped)), reverse.encoder(*rows(SENTENCES))
    for one, other in zip(by_hand.final, by_model.final, strict=True):
        torch.testing.assert_close(one, other)
    for i, sentence in enumerate(SENTENCES):  # the memory is in source order again, </s> at its end
        n = len(sentence) - 1
        order = [*reversed(range(n)), n]
        torch.testing.assert_close(by_model.memory[i, : n + 1], by_hand.memory[i, order])


def test_without_an_end_symbol_reverse_turns_the_whole_row_as_the_book_does() -> None:
    plain, reverse = tiny_model(fixed_length=4), tiny_model(fixed_length=4, reverse=True)
    src, lengths = torch.tensor([[4, 5, 6, 7], [8, 4, 4, 4]]), torch.tensor([4, 4])
    torch.testing.assert_close(plain.encoder(src.flip(1), lengths).final, reverse.encoder(src, lengths).final)


@pytest.mark.parametrize("peeky", PEEKY)
@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(map(str, o.values())))
def test_stepwise_decoding_equals_teacher_forcing(options: dict[str, object], peeky: str) -> None:
    model = tiny_model(peeky=peeky, **options).double()
    src, lengths = rows(SENTENCES)
    tgt = torch.randint(1, 12, (len(SENTENCES), 6))
    state = model.encode(src, lengths)
    logits = model(src, lengths, tgt)
    for t in range(tgt.shape[1]):
        log_probs, state = model.decoder.step(tgt[:, t], state)
        torch.testing.assert_close(log_probs, logits[:, t].log_softmax(-1))


@pytest.mark.parametrize("cell, gates", [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_peeky_adds_exactly_the_weights_that_read_the_summary(cell: str, gates: int) -> None:
    def count(peeky: str) -> int:
        return sum(p.numel() for p in tiny_model(cell=cell, peeky=peeky).parameters())

    hidden, vocab = 6, 12
    assert count("input") - count("none") == gates * hidden * hidden
    assert count("output") - count("none") == hidden * vocab
    assert count("both") - count("none") == gates * hidden * hidden + hidden * vocab


def test_the_books_peeky_model_has_44_6_percent_more_parameters() -> None:
    """In the book's sizes (13 characters, embedding 16, hidden 128), with the one bias that it has for each gate."""
    counts = []
    for peeky in ("none", "both"):
        model = build_seq2seq(ModelConfig(hidden_size=128, embedding_size=16, peeky=peeky), 13, 13)
        counts.append(sum(p.numel() for name, p in model.named_parameters() if "bias_hh" not in name))
    assert counts[1] / counts[0] - 1 == pytest.approx(0.446, abs=0.0005)


@pytest.mark.parametrize("peeky", PEEKY)
def test_every_steps_logits_depend_on_the_summary_only_with_peeky(peeky: str) -> None:
    model = tiny_model(peeky=peeky)
    state = model.encode(*rows(SENTENCES))
    context = state.context.detach().requires_grad_()
    hidden = tuple(h.detach() for h in state.hidden)
    logits, _ = model.decoder(torch.randint(4, 12, (4, 5)), DecoderState(hidden, context))
    for t in range(5):
        (gradient,) = torch.autograd.grad(logits[:, t].square().sum(), context, retain_graph=True, allow_unused=True)
        assert (gradient is None) == (peeky == "none")
        if gradient is not None:
            assert (gradient != 0).any(dim=1).all()


def test_the_summary_is_the_top_layer_of_the_decoders_first_hidden_state() -> None:
    for options in ({"num_layers": 2}, {"num_layers": 2, "bidirectional": True}, {"bridge": "hidden_only"}):
        state = tiny_model(peeky="both", **options).encode(*rows(SENTENCES))
        assert torch.equal(state.context, state.hidden[0][:, -1])


def test_a_peeky_decoder_without_a_summary_says_so() -> None:
    decoder = tiny_model(peeky="both").decoder
    with pytest.raises(ValueError, match="needs the encoder's summary; got a state without context"):
        decoder(torch.tensor([[4]]), decoder.zero_state(1))


def test_a_decoder_without_an_encoder_is_a_language_model() -> None:
    decoder = tiny_model().decoder
    tokens = torch.randint(4, 12, (2, 6))
    whole, _ = decoder(tokens, decoder.zero_state(2))
    first, state = decoder(tokens[:, :3], decoder.zero_state(2))
    second, _ = decoder(tokens[:, 3:], state.detach())
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


@pytest.mark.parametrize("here", CELLS)
@pytest.mark.parametrize("there", CELLS)
def test_a_dense_bridge_joins_any_two_stacks(there: str, here: str) -> None:
    encoder = tiny_model(cell=there, num_layers=2, bidirectional=True).encoder
    decoder = tiny_model(cell=here, num_layers=3, hidden_size=7).decoder
    model = Seq2Seq(encoder, Bridge("dense", encoder, decoder), decoder)
    state = model.encode(*rows(SENTENCES))
    assert [tuple(h.shape) for h in state.hidden] == [(4, 3, 7)] * (2 if here == "lstm" else 1)
    logits = model(*rows(SENTENCES), torch.full((4, 2), 5))
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_bridges_hand_over_what_they_say() -> None:
    final = (torch.randn(3, 2, 4), torch.randn(3, 2, 4))
    model = tiny_model(cell="lstm", num_layers=2, hidden_size=4)
    kinds = ("copy", "hidden_only", "zero")
    copy, hidden, zero = (Bridge(kind, model.encoder, model.decoder)(final) for kind in kinds)
    assert all(torch.equal(a, b) for a, b in zip(copy, final, strict=True))
    assert torch.equal(hidden[0], final[0])
    assert not hidden[1].any()
    assert [h.any().item() for h in zero] == [False, False]
    assert hidden[1].shape == zero[0].shape == (3, 2, 4)


@pytest.mark.parametrize("peeky", PEEKY)
@pytest.mark.parametrize("tie", ["none", "decoder", "all"])
def test_tied_weights_are_one_tensor_and_still_decode(tie: str, peeky: str) -> None:
    model = tiny_model(tie=tie, peeky=peeky)
    assert (model.decoder.output.weight is model.decoder.embedding.weight) == (tie != "none")
    assert (model.encoder.embedding is model.decoder.embedding) == (tie == "all")
    model(*rows(SENTENCES), torch.full((4, 3), 5)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_tie_all_needs_one_vocabulary() -> None:
    with pytest.raises(ValueError, match="needs one vocabulary for both sides; got 9 and 12 pieces"):
        build_seq2seq(ModelConfig(tie="all"), 9, 12)


def test_loss_is_the_summed_cross_entropy_of_real_tokens() -> None:
    model = tiny_model(vocab=9)
    src, lengths = rows([[4, 5, 3], [6, 3]])
    tgt_in, tgt_out = torch.tensor([[2, 4, 5], [2, 7, 0]]), torch.tensor([[4, 5, 3], [7, 3, 0]])
    log_probs = model(src, lengths, tgt_in).log_softmax(-1)
    by_hand = -sum(log_probs[i, t, tgt_out[i, t]] for i, t in itertools.product(range(2), range(3)) if tgt_out[i, t])
    torch.testing.assert_close(model.loss(src, lengths, tgt_in, tgt_out), by_hand)
    smooth = -sum(
        0.9 * log_probs[i, t, tgt_out[i, t]] + 0.1 * log_probs[i, t].mean()
        for i, t in itertools.product(range(2), range(3))
        if tgt_out[i, t]
    )
    torch.testing.assert_close(model.loss(src, lengths, tgt_in, tgt_out, label_smoothing=0.1), smooth)


def test_r_drop_is_nothing_without_dropout_and_adds_a_divergence_with_it() -> None:
    src, lengths = rows([[4, 5, 3], [6, 3]])
    batch = (src, lengths, torch.tensor([[2, 4, 5], [2, 7, 0]]), torch.tensor([[4, 5, 3], [7, 3, 0]]))
    plain = tiny_model(vocab=9).train()
    torch.testing.assert_close(plain.loss(*batch, r_drop=5.0), plain.loss(*batch))
    model = tiny_model(vocab=9, dropout=0.5).train()

    def loss(weight: float) -> torch.Tensor:
        torch.manual_seed(1)  # equal masks for all weights
        return model.loss(*batch, r_drop=weight)

    divergence = loss(2.0) - loss(1.0)
    assert divergence > 0
    torch.testing.assert_close(loss(5.0), loss(1.0) + 4 * divergence)
    model.eval()
    torch.testing.assert_close(model.loss(*batch, r_drop=5.0), model.loss(*batch))


def test_dropout_acts_on_embeddings_between_layers_and_before_the_output() -> None:
    model = build_seq2seq(ModelConfig(num_layers=2, dropout=0.5, embedding_dropout=0.25, hidden_size=6), 12, 12)
    assert (model.encoder.rnn.dropout, model.decoder.rnn.dropout) == (0.5, 0.5)
    assert (model.encoder.lookup.units.p, model.decoder.lookup.units.p, model.decoder.dropout.p) == (0.25, 0.25, 0.5)
    src, lengths = rows(SENTENCES)
    model.train()
    assert not torch.equal(model(src, lengths, src), model(src, lengths, src))
    model.eval()
    assert torch.equal(model(src, lengths, src), model(src, lengths, src))


def test_the_books_weights_have_the_books_spread() -> None:
    torch.manual_seed(0)
    model = build_seq2seq(ModelConfig(hidden_size=128, embedding_size=64, init="book", peeky="both"), 500, 500)
    assert model.encoder.embedding.weight[1:].std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.encoder.embedding.weight[0].any()
    assert model.encoder.rnn.weight_ih_l0.std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert model.decoder.rnn.weight_ih_l0.std().item() == pytest.approx((64 + 128) ** -0.5, rel=0.05)
    assert model.decoder.rnn.weight_hh_l0.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert model.decoder.output.weight.std().item() == pytest.approx(256**-0.5, rel=0.05)
    assert not any(p.any() for name, p in model.named_parameters() if "bias" in name)


def test_initialising_as_the_book_touches_nothing_but_weights() -> None:
    decoder = RNNDecoder(torch.nn.Embedding(7, 4), Stack("gru", 3, 1))
    init_as_book(decoder)
    assert decoder.embedding.weight.abs().sum() > 0  # an embedding without padding keeps row 0


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_selecting_rows_of_a_state_is_indexing_all_its_tensors(data: st.DataObject) -> None:
    state = DecoderState(
        (torch.randn(4, 2, 3), torch.randn(4, 2, 3)),
        context=torch.randn(4, 3),
        memory=torch.randn(4, 5, 3),
        mask=torch.rand(4, 5) > 0.5,
        keys=torch.randn(4, 5, 2),
        attention=torch.rand(4, 5),
    )
    picked = data.draw(st.lists(st.integers(0, 3), max_size=6))
    selected = state.select(torch.tensor(picked, dtype=torch.long))
    for mine, other in zip([*selected.hidden, *selected[1:]], [*state.hidden, *state[1:]], strict=True):
        assert torch.equal(mine, other[picked])


@pytest.mark.parametrize("cell, block", [("rnn", 0), ("gru", 2), ("lstm", 2)])
def test_the_spectral_radius_is_that_of_the_matrix_that_carries_the_state(cell: str, block: int) -> None:
    """A rotation by any angle, shrunk to 0.7, has two eigenvalues of this size; the other gates do not count."""
    stack = build_recurrent(Stack(cell, 2, 2), 3, dropout=0.0)
    angle = torch.tensor(0.9)
    rotation = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    with torch.no_grad():
        for layer, size in enumerate((0.5, 0.7)):
            weights = getattr(stack, f"weight_hh_l{layer}")
            weights.fill_(9.0)
            weights[2 * block : 2 * block + 2] = size * rotation
    assert spectral_radius(stack) == pytest.approx(0.7, abs=1e-6)


def test_a_network_that_is_not_finite_has_no_spectral_radius() -> None:
    """LAPACK takes the process with it when it is asked."""
    stack = build_recurrent(Stack("gru", 2, 1), 3, dropout=0.0)
    with torch.no_grad():
        stack.weight_hh_l0[5, 1] = float("nan")
    assert math.isnan(spectral_radius(stack))
    assert math.isnan(spectral_radius(torch.nn.Linear(2, 2)))


@pytest.mark.parametrize("options", [{}, {"tie": "decoder"}, {"bidirectional": True, "num_layers": 2}, {"cell": "gru"}])
def test_a_control_is_as_large_as_the_network_with_peeky(options: dict[str, object]) -> None:
    sizes = {"hidden_size": 64, "embedding_size": 16, **options}
    wide = widened(ModelConfig(match_peeky=True, **sizes), 20, 30)  # type: ignore[arg-type]
    assert wide.hidden_size > 64 and not wide.match_peeky and wide.peeky == "none"
    peeky = num_parameters(build_seq2seq(ModelConfig(peeky="both", **sizes), 20, 30))  # type: ignore[arg-type]
    mine = num_parameters(build_seq2seq(wide, 20, 30))
    narrower = dataclasses.replace(wide, hidden_size=wide.hidden_size - 1)
    wider = dataclasses.replace(wide, hidden_size=wide.hidden_size + 1)
    others = [num_parameters(build_seq2seq(one, 20, 30)) for one in (narrower, wider)]
    assert abs(mine - peeky) <= min(abs(other - peeky) for other in others)
    assert widened(ModelConfig(), 20, 30) == ModelConfig()
