"""Each kind of dropout against what it should be, worked out by hand; layers one by one against torch's own stack."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.config.choices import CELLS, PEEKY
from seq2seq.config.schema import ModelConfig, Stack
from seq2seq.errors import UserError
from seq2seq.models.build import build_seq2seq
from seq2seq.models.cells.stack import LayerByLayer, build_recurrent
from seq2seq.models.dropout import Dropout, LockedDropout, WordDropout, drop_weights
from seq2seq.tokens.base import BOS, EOS, PAD, UNK
from tests.conftest import tiny_model
from tests.models.test_seq2seq import SENTENCES, rows

LENGTHS = [3, 7, 1, 5]
KINDS = {
    "locked": {"locked_dropout": True, "dropout": 0.4, "embedding_dropout": 0.3},
    "weights": {"weight_dropout": 0.4},
    "words as zero": {"src_word_dropout": 0.4, "tgt_word_dropout": 0.4},
    "words as unk": {"src_word_dropout": 0.4, "tgt_word_dropout": 0.4, "word_dropout_kind": "unk"},
    "memory": {"memory_dropout": 0.4},
}
ALL: dict[str, Any] = {**KINDS["locked"], **KINDS["weights"], **KINDS["words as zero"], **KINDS["memory"]}
SHAPES = list(itertools.product(CELLS, (False, True), (False, True), PEEKY))


def sequences(width: int = 6) -> Tensor:
    torch.manual_seed(3)
    return torch.randn(len(LENGTHS), max(LENGTHS), width)


def packed(inputs: Tensor) -> Any:
    return pack_padded_sequence(inputs, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)


@pytest.mark.parametrize("p", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_of_units_each_by_itself(p: float, dtype: torch.dtype) -> None:
    dropout, inputs = Dropout(p), torch.ones(101, 7, 301, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    outputs = dropout(inputs)
    outputs.sum().backward()
    assert inputs.grad is not None and torch.equal(inputs.grad, outputs)  # the factor of each
    values = outputs.unique().tolist()
    assert values == pytest.approx([0, 1 / (1 - p)], rel=0.01 if dtype == torch.bfloat16 else 1e-3)
    dropped = (outputs == 0).double().flatten()
    spread = (p * (1 - p)) ** 0.5
    assert abs(dropped.mean() - p) < 5 * spread / len(dropped) ** 0.5
    for distance in (1, 2, 3, 4, 301):  # four units share a random number
        both = (dropped[distance:] * dropped[:-distance]).mean()
        assert abs(both - p**2) < 8 * spread / len(dropped) ** 0.5


@pytest.mark.parametrize("p", [0.99999, 0.999999, 1 - 1e-12])
def test_dropout_of_nearly_all_is_finite(p: float) -> None:
    outputs = Dropout(p)(torch.ones(10_000))
    assert outputs.isfinite().all()
    assert (outputs != 0).sum() < 20


def test_dropout_is_drawn_from_the_seed_and_off_in_evaluation() -> None:
    dropout, inputs = Dropout(0.5), sequences()
    torch.manual_seed(0)
    first, second = dropout(inputs), dropout(inputs)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(dropout(inputs), first)
    assert torch.equal(Dropout(0.0)(inputs), inputs)
    dropout.eval()
    assert torch.equal(dropout(inputs), inputs)


@pytest.mark.parametrize("is_packed", [False, True])
def test_locked_dropout_drops_the_same_units_at_all_positions(is_packed: bool) -> None:
    dropout, ones = LockedDropout(0.4), torch.ones(4, 7, 50)
    torch.manual_seed(0)
    if is_packed:
        dropped, _ = pad_packed_sequence(dropout(packed(ones)), batch_first=True)
    else:
        dropped = dropout(ones)
    for row, length in zip(dropped, LENGTHS, strict=True):
        assert torch.equal(row[:length], row[:1].expand(length, -1))
    assert sorted(dropped[:, 0].unique().tolist()) == pytest.approx([0, 1 / 0.6])
    assert not torch.equal(dropped[0, 0], dropped[1, 0])


def test_locked_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    dropout, inputs = LockedDropout(0.4), sequences()[:1]
    torch.manual_seed(0)
    mean = dropout(inputs.repeat(4000, 1, 1)).mean(0, keepdim=True)
    torch.testing.assert_close(mean, inputs, rtol=0.06, atol=0)  # its standard deviation is 1.3 % of the value
    dropout.eval()
    assert torch.equal(dropout(inputs), inputs)


@pytest.mark.parametrize("kind", ["zero", "unk"])
def test_word_dropout_hides_whole_tokens_but_no_special_ones(kind: str) -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(30, 5)
    tokens = torch.randint(EOS + 1, 30, (8, 40))
    tokens[:, 0], tokens[:, 10], tokens[:, 20], tokens[:, 30:] = BOS, UNK, EOS, PAD
    dropout = WordDropout(0.3, kind)
    embedded, whole = dropout(embedding, tokens), embedding(tokens)
    special = tokens <= EOS
    assert torch.equal(embedded[special], whole[special])
    found, plain = embedded[~special], whole[~special]
    gone = torch.zeros(5) if kind == "zero" else embedding.weight[UNK]
    kept = plain / 0.7 if kind == "zero" else plain
    hidden = (found == gone).all(dim=1)
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.09)  # three standard deviations of 224 draws
    torch.testing.assert_close(found[~hidden], kept[~hidden])
    dropout.eval()
    assert torch.equal(dropout(embedding, tokens), whole)


def test_word_dropout_keeps_the_mean_and_hidden_tokens_get_no_gradient() -> None:
    embedding, tokens = nn.Embedding(9, 3), torch.arange(4, 9).unsqueeze(0)
    dropout = WordDropout(0.4)
    torch.manual_seed(0)
    mean = dropout(embedding, tokens.repeat(4000, 1)).mean(0, keepdim=True)
    torch.testing.assert_close(mean, embedding(tokens), rtol=0.06, atol=0)
    embedded = dropout(embedding, tokens)
    embedded.sum().backward()
    hidden = ~embedded[0].any(dim=1)
    assert 0 < hidden.sum() < 5
    assert torch.equal(embedding.weight.grad[4:], torch.where(hidden, 0.0, 1 / 0.6).unsqueeze(1).expand(5, 3))


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("options", [{}, {"layer_norm": True}], ids=["fused", "layer by layer"])
@pytest.mark.parametrize("cell", CELLS)
def test_weight_dropout_is_the_stack_with_some_recurrent_weights_taken_away(
    cell: str, options: dict[str, Any], is_packed: bool
) -> None:
    torch.manual_seed(1)
    rnn = build_recurrent(Stack(cell, 5, 2, **options), 6, dropout=0.0, bidirectional=True)
    inputs = packed(sequences()) if is_packed else sequences()
    by_hand, masks = copy.deepcopy(rnn), {}
    torch.manual_seed(2)
    for name, weights in by_hand.named_parameters():
        if "weight_hh" in name:
            masks[name] = F.dropout(torch.ones_like(weights), 0.4)
            with torch.no_grad():
                weights.mul_(masks[name])
    wanted, wanted_states = by_hand(inputs)
    torch.manual_seed(2)
    found, states = drop_weights(rnn, 0.4, inputs)
    for one, other in zip(flat((found, states)), flat((wanted, wanted_states)), strict=True):
        torch.testing.assert_close(one, other)
    flat(found)[0].sum().backward()
    flat(wanted)[0].sum().backward()
    for (name, mine), other in zip(rnn.named_parameters(), by_hand.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None
        torch.testing.assert_close(mine.grad, other.grad * masks.get(name, 1.0))
    assert len(masks) == 4 and all(0 < (mask == 0).float().mean() < 0.7 for mask in masks.values())
    again = flat(rnn(inputs))[0]  # the weights themselves are whole
    assert torch.equal(flat(drop_weights(rnn.eval(), 0.4, inputs))[0], again)


def flat(outputs: Any) -> list[Tensor]:
    """The tensors of what a recurrent stack returns."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if hasattr(outputs, "batch_sizes"):
        return [outputs.data]
    return [tensor for part in outputs for tensor in flat(part)]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_layers_one_by_one_are_torchs_own_stack(cell: str, bidirectional: bool, is_packed: bool) -> None:
    torch.manual_seed(1)
    stack = Stack(cell, 5, 3)
    fused = build_recurrent(stack, 6, dropout=0.0, bidirectional=bidirectional)
    assert isinstance(fused, nn.RNNBase)
    layered = LayerByLayer(stack, 6, dropout=0.0, bidirectional=bidirectional)
    with torch.no_grad():
        for index, layer in enumerate(layered.layers):
            for name, weights in layer.named_parameters():
                weights.copy_(getattr(fused, name.replace("_l0", f"_l{index}")))
    inputs = packed(sequences()) if is_packed else sequences()
    state = torch.randn(len(LENGTHS), 3, 5 * (1 + bidirectional))
    for hidden in ((), (state, -state)[: fused.num_states]):
        for mine, other in zip(flat(layered(inputs, None, hidden)), flat(fused(inputs, None, hidden)), strict=True):
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("residual, layer_norm", [(True, False), (False, True), (True, True)])
def test_residual_connections_and_layer_normalisation_by_hand(residual: bool, layer_norm: bool) -> None:
    torch.manual_seed(1)
    stack = Stack("gru", 5, 3, residual=residual, layer_norm=layer_norm)
    layered = build_recurrent(stack, 5, dropout=0.0)
    assert isinstance(layered, LayerByLayer)
    with torch.no_grad():
        for weights in layered.norms.parameters():
            weights.copy_(torch.randn(5))
    found, states = layered(sequences(5))
    x = sequences(5)
    for index, (layer, norm) in enumerate(zip(layered.layers, layered.norms, strict=True)):
        out, last = layer(x)
        torch.testing.assert_close(states[0][:, index], last[0][:, 0])
        x = x + out if residual and index else out
        if layer_norm:
            mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
            x = (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(found, x)


def test_dropout_between_layers_is_locked_too() -> None:
    """Layers that hand on their input show it: with weights of 0 and a residual sum, all that is left is dropout."""
    stack = Stack("rnn", 40, 2, locked_dropout=True)
    layered = build_recurrent(stack, 6, dropout=0.5)
    assert isinstance(layered, LayerByLayer)
    with torch.no_grad():
        for name, weights in layered.named_parameters():
            weights.zero_()
            if name == "layers.0.bias_ih_l0":
                weights.fill_(1.0)
        layered.layers[1].weight_ih_l0.copy_(torch.eye(40))
        torch.manual_seed(0)
        outputs, _ = layered(torch.zeros(3, 5, 6))
    assert torch.equal(outputs, outputs[:, :1].expand(3, 5, 40))
    kept = torch.tanh(torch.tanh(torch.tensor(1.0)) / 0.5).item()
    assert sorted(outputs.unique().tolist()) == pytest.approx([0, kept])
    assert not torch.equal(outputs[0], outputs[1])
    torch.testing.assert_close(layered.eval()(torch.zeros(1, 1, 6))[0], torch.full((1, 1, 40), 1.0).tanh().tanh())


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_dropout_changes_the_names_of_weights_or_an_evaluation(kind: str) -> None:
    src, lengths = rows(SENTENCES)
    plain, other = tiny_model(attention="general"), tiny_model(attention="general", **KINDS[kind])
    assert plain.state_dict().keys() == other.state_dict().keys()
    with torch.no_grad():
        wanted = plain(src, lengths, src)
        assert torch.equal(other(src, lengths, src), wanted)
        other.train()
        assert not torch.equal(other(src, lengths, src), wanted)
        torch.manual_seed(4)
        once = other(src, lengths, src)
        torch.manual_seed(4)
        assert torch.equal(other(src, lengths, src), once)  # a function of the seed


@pytest.mark.parametrize("cell, bidirectional, reverse, peeky", SHAPES)
def test_everything_together_decodes_step_by_step_as_it_trains(
    cell: str, bidirectional: bool, reverse: bool, peeky: str
) -> None:
    options = {**ALL, "residual": True, "layer_norm": True, "num_layers": 2, "attention": "general"}
    model = tiny_model(cell=cell, bidirectional=bidirectional, reverse=reverse, peeky=peeky, **options).double()
    src, lengths = rows(SENTENCES)
    tgt = torch.randint(4, 12, (len(SENTENCES), 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model(src, lengths, tgt).log_softmax(-1)
        state = model.encode(src, lengths)
        for t in range(6):
            log_probs, state = model.decoder.step(tgt[:, t], state)
            torch.testing.assert_close(log_probs, together[:, t], rtol=0, atol=1e-10)
        for row, sentence in enumerate(SENTENCES):  # padding and neighbours change nothing
            alone = model(*rows([sentence]), tgt[row : row + 1]).log_softmax(-1)
            torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-10)
    model.train()
    model.loss(src, lengths, tgt, tgt).backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.parameters())


def test_the_encoders_outputs_are_dropped_and_its_last_state_is_not() -> None:
    model = tiny_model(attention="dot", memory_dropout=0.5, locked_dropout=True)
    src, lengths = rows(SENTENCES)
    wanted = model.encoder(src, lengths)
    found = model.train().encoder(src, lengths)
    assert torch.equal(found.final[0], wanted.final[0])
    real = wanted.memory != 0
    shares = found.memory[real] / wanted.memory[real]
    assert sorted(shares.round(decimals=4).unique().tolist()) == [0, 2]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weight_dropout": 1.0}, r"model.weight_dropout=1 is out of range; it must be in \[0, 1\)"),
        ({"src_word_dropout": -0.1}, r"model.src_word_dropout=-0.1 is out of range; it must be in \[0, 1\)"),
        ({"tgt_word_dropout": 2.0}, r"model.tgt_word_dropout=2 is out of range; it must be in \[0, 1\)"),
        ({"memory_dropout": 1.5}, r"model.memory_dropout=1.5 is out of range; it must be in \[0, 1\)"),
        ({"word_dropout_kind": "mask"}, r"model.word_dropout_kind=mask is not known; choose from zero, unk"),
    ],
)
def test_what_is_out_of_range_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModelConfig(**options)


def test_a_single_layer_with_nothing_between_layers_stays_one_fused_call() -> None:
    model = build_seq2seq(ModelConfig(**ALL, residual=True), 9, 9)
    assert isinstance(model.encoder.rnn, nn.LSTM) and isinstance(model.decoder.rnn, nn.LSTM)
