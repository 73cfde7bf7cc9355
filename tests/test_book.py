"""The package's networks against those of Saito (2018), "Deep Learning from Scratch 2", ch. 7, written out in NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.config.choices import CELLS, PEEKY
from seq2seq.config.schema import ModelConfig, OptimConfig
from seq2seq.decoding.greedy import greedy
from seq2seq.models.build import build_seq2seq
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS
from seq2seq.training.optimiser import build_optimizer
from tests import book_layers as book

SRC_VOCAB, TGT_VOCAB, HIDDEN, EMBEDDING, TGT_LENGTH = 11, 9, 6, 5, 4
LR = 1e-3
ARMS = list(itertools.product(("none", "both"), (False, True)))  # peeky, reverse: the book's four networks
ALL_ARMS = list(itertools.product(CELLS, PEEKY, (False, True)))

Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # src, src_lengths, tgt_in, tgt_out


def build(
    cell: str,
    peeky: str,
    reverse: bool,
    *,
    hidden: int = HIDDEN,
    embedding: int = EMBEDDING,
    vocabs: tuple[int, int] = (SRC_VOCAB, TGT_VOCAB),
) -> Seq2Seq:
    """Our network in the book's form, with the book's first weights."""
    config = ModelConfig(
        cell=cell,
        peeky=peeky,
        reverse=reverse,
        bridge="hidden_only",
        fixed_length=TGT_LENGTH,
        init="book",
        hidden_size=hidden,
        embedding_size=embedding,
    )
    torch.manual_seed(0)
    return build_seq2seq(config, *vocabs)


def randomise(model: Seq2Seq) -> Seq2Seq:
    """Weights so large, both biases among them, that a mistake in any path would show in the output; all to be learnt,
    in float64.
    """
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.requires_grad_(True).normal_(std=0.5)
    return model


def freeze_second_bias(model: Seq2Seq) -> Seq2Seq:
    """torch's recurrent layers have two biases that add up, and an optimiser would take its step with each of them; the
    book's have one.
    """
    for name, parameter in model.named_parameters():
        if "bias_hh" in name:
            assert not parameter.any()
            parameter.requires_grad_(False)
    return model


def random_batch(seed: int, size: int = 7, src_length: int = 7) -> Batch:
    """Sentences of one length, without padding, unknown or end."""
    generator = torch.Generator().manual_seed(seed)
    src = torch.randint(4, SRC_VOCAB, (size, src_length), generator=generator)
    tgt = torch.randint(4, TGT_VOCAB, (size, TGT_LENGTH), generator=generator)
    tgt_in = torch.cat([torch.full((size, 1), BOS), tgt[:, :-1]], dim=1)
    return src, torch.full((size,), src_length), tgt_in, tgt


def for_book(batch: Batch) -> tuple[book.Array, book.Array, book.Array]:
    src, _, tgt_in, tgt_out = batch
    return src.numpy(), tgt_in.numpy(), tgt_out.numpy()


def as_book(model: Seq2Seq, *, grads: bool = False) -> book.Weights:
    """Our weights, or their gradients, in the book's layout: inputs by outputs, one bias, the summary's rows first."""

    def array(parameter: Tensor) -> book.Array:
        chosen = parameter.grad if grads else parameter
        assert chosen is not None
        return chosen.detach().double().numpy().T.copy()

    decoder, width = model.decoder, model.decoder.hidden_size
    found = {"src.W": array(model.encoder.embedding.weight).T, "tgt.W": array(decoder.embedding.weight).T}
    for part, rnn, peeks in (("encoder", model.encoder.rnn, False), ("decoder", decoder.rnn, decoder.peek_input)):
        found[f"{part}.W_x"] = np.roll(array(rnn.weight_ih_l0), width * peeks, axis=0)
        found[f"{part}.W_h"] = array(rnn.weight_hh_l0)
        found[f"{part}.b"] = array(rnn.bias_ih_l0)
        if isinstance(rnn, torch.nn.GRU):
            found[f"{part}.b_h"] = array(rnn.bias_hh_l0)
        elif not grads:
            found[f"{part}.b"] += array(rnn.bias_hh_l0)
    found["output.W"] = np.roll(array(decoder.output.weight), width * decoder.peek_output, axis=0)
    found["output.b"] = array(decoder.output.bias)
    return found


def largest_difference(ours: book.Weights, theirs: book.Weights) -> float:
    assert set(ours) == set(theirs)
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


# The book's side on its own: every backward pass against differences of the forward pass.


@pytest.mark.parametrize("cell", CELLS)
def test_each_cells_backward_pass_equals_central_differences(cell: str) -> None:
    rng = np.random.default_rng(0)
    gates = 3 * book.CELLS[cell].num_gates
    weights = {"W_x": rng.normal(size=(2, gates)), "W_h": rng.normal(size=(3, gates)), "b": rng.normal(size=gates)}
    if cell == "gru":
        weights["b_h"] = rng.normal(size=gates)
    layer = book.CELLS[cell](weights)
    xs, h, d_hs = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 3)), rng.normal(size=(4, 5, 3))

    def total() -> float:
        return float((layer.forward(xs, h) * d_hs).sum())

    total()
    d_xs = layer.backward(d_hs)
    pairs = [(d_xs, xs), (layer.d_start, h), *((layer.grads[name], weights[name]) for name in weights)]
    for grad, array in pairs:
        np.testing.assert_allclose(grad, book.numerical_gradient(total, array), rtol=0, atol=1e-8)


def test_the_affine_layers_backward_pass_equals_central_differences() -> None:
    rng = np.random.default_rng(0)
    layer = book.Affine({"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)})
    x, d_out = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4))

    def total() -> float:
        return float((layer.forward(x) * d_out).sum())

    total()
    for grad, array in [(layer.backward(d_out), x), *((layer.grads[name], layer.weights[name]) for name in "Wb")]:
        np.testing.assert_allclose(grad, book.numerical_gradient(total, array), rtol=0, atol=1e-8)


def test_the_embeddings_backward_pass_adds_up_an_id_that_comes_again() -> None:
    layer = book.Embedding({"W": np.zeros((4, 2))})
    layer.forward(np.array([[1, 3, 1]]))
    layer.backward(np.array([[[1.0, 2.0], [5.0, 6.0], [10.0, 20.0]]]))
    assert layer.grads["W"].tolist() == [[0, 0], [11, 22], [0, 0], [5, 6]]


def test_the_softmax_losss_backward_pass_equals_central_differences() -> None:
    rng = np.random.default_rng(0)
    layer, logits, targets = book.SoftmaxLoss(), rng.normal(size=(2, 3, 5)), rng.integers(5, size=(2, 3))
    numerical = book.numerical_gradient(lambda: layer.forward(logits, targets), logits)
    layer.forward(logits, targets)
    np.testing.assert_allclose(layer.backward(), numerical, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("peeky", PEEKY)
def test_each_networks_backward_pass_equals_central_differences(cell: str, peeky: str) -> None:
    model = randomise(build(cell, peeky, True, hidden=2, embedding=2))
    network = book.Network(weights := as_book(model), cell=cell, peeky=peeky, reverse=True)
    batch = for_book(random_batch(0, size=2, src_length=3))
    network.loss(*batch)
    grads = network.backward()
    assert set(grads) == set(weights)
    for name, grad in grads.items():
        numerical = book.numerical_gradient(lambda: network.loss(*batch), weights[name])
        np.testing.assert_allclose(grad, numerical, rtol=0, atol=1e-9, err_msg=name)


# Ours against the book's.


@pytest.mark.parametrize("cell, peeky, reverse", ALL_ARMS)
def test_forward_pass_and_every_gradient_equal_the_books(cell: str, peeky: str, reverse: bool) -> None:
    model = randomise(build(cell, peeky, reverse))
    network = book.Network(as_book(model), cell=cell, peeky=peeky, reverse=reverse)
    src, lengths, tgt_in, tgt_out = batch = random_batch(0)
    state = model.encode(src, lengths)
    summary = network.encode(src.numpy())
    np.testing.assert_allclose(state.hidden[0][:, 0].detach(), summary, rtol=0, atol=1e-13)
    assert not any(c.any() for c in state.hidden[1:])  # an LSTM's c does not cross
    logits = model(src, lengths, tgt_in)
    np.testing.assert_allclose(logits.detach(), network.decode(tgt_in.numpy(), summary, summary), rtol=0, atol=1e-13)
    loss = F.cross_entropy(logits.flatten(0, 1), tgt_out.flatten())
    assert loss.item() == pytest.approx(network.loss(*for_book(batch)), abs=1e-13)
    loss.backward()
    assert largest_difference(as_book(model, grads=True), network.backward()) < 1e-13


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell, peeky, reverse", ALL_ARMS)
def test_the_training_loss_and_its_gradients_equal_the_books_to_single_precision(
    cell: str, peeky: str, reverse: bool, dtype: torch.dtype
) -> None:
    """`Seq2Seq.loss` takes logits to float32 and sums: here it is divided as a training step divides it."""
    model = randomise(build(cell, peeky, reverse)).to(dtype)
    network = book.Network(as_book(model), cell=cell, peeky=peeky, reverse=reverse)
    batch = random_batch(0)
    loss = model.loss(*batch) / batch[-1].numel()
    assert loss.item() == pytest.approx(network.loss(*for_book(batch)), rel=1e-6)
    loss.backward()
    assert largest_difference(as_book(model, grads=True), network.backward()) < 1e-6


@pytest.mark.parametrize("cell, peeky, reverse", ALL_ARMS)
def test_greedy_output_of_fixed_length_equals_the_books(cell: str, peeky: str, reverse: bool) -> None:
    model = randomise(build(cell, peeky, reverse, hidden=32)).eval()
    network = book.Network(as_book(model), cell=cell, peeky=peeky, reverse=reverse)
    src, lengths, _, _ = random_batch(0, size=50)
    with torch.no_grad():
        state = model.encode(src, lengths)
    found = greedy(model.decoder.step, state, bos=BOS, eos=None, max_lengths=[TGT_LENGTH] * len(src))
    outputs = [hypothesis.tokens for hypothesis in found]
    assert outputs == network.greedy(src.numpy(), BOS, TGT_LENGTH).tolist()
    assert len(set(map(tuple, outputs))) > 10  # the source matters


TORCHS = OptimConfig(lr=LR)
BOOKS = OptimConfig(lr=LR, eps=1e-7, eps_hat=True)


def train_both(
    peeky: str, reverse: bool, adam: book.Adam, settings: OptimConfig, *, max_norm: float, num_steps: int = 5
) -> tuple[book.Weights, book.Weights, list[float]]:
    """The weights after the same steps on the same batches from the book's first weights, by our optimiser and
    clipping and by the book's; and the gradient norms that were clipped.
    """
    model = freeze_second_bias(build("lstm", peeky, reverse)).double()
    network = book.Network(weights := as_book(model), peeky=peeky, reverse=reverse)
    optimizer = build_optimizer(settings, model)
    norms = []
    for step in range(1, num_steps + 1):
        src, lengths, tgt_in, tgt_out = batch = random_batch(step)
        optimizer.zero_grad()
        F.cross_entropy(model(src, lengths, tgt_in).flatten(0, 1), tgt_out.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        network.loss(*for_book(batch))
        grads = network.backward()
        norms.append(book.clip(grads, max_norm))
        adam.update(weights, grads)
    return as_book(model), weights, norms


@pytest.mark.parametrize("max_norm", [5.0, 0.05])
@pytest.mark.parametrize("peeky, reverse", ARMS)
def test_five_clipped_steps_of_adam_equal_its_equations(peeky: str, reverse: bool, max_norm: float) -> None:
    adam = book.Adam(LR, eps=1e-8, correct_eps=True)
    ours, theirs, norms = train_both(peeky, reverse, adam, TORCHS, max_norm=max_norm)
    assert largest_difference(ours, theirs) < 1e-13
    assert all((norm > max_norm) == (max_norm == 0.05) for norm in norms)  # the book's 5.0 does nothing so early


@pytest.mark.parametrize("max_norm", [5.0, 0.05])
@pytest.mark.parametrize("peeky, reverse", ARMS)
def test_five_steps_with_eps_hat_equal_the_books(peeky: str, reverse: bool, max_norm: float) -> None:
    ours, theirs, _ = train_both(peeky, reverse, book.Adam(LR), BOOKS, max_norm=max_norm)
    assert largest_difference(ours, theirs) < 1e-13


def test_eps_hat_counts_the_steps_of_what_has_gradients() -> None:
    """The first parameter is an encoder's, which has none where the bridge is zero."""
    model = torch.nn.ParameterDict({"idle": torch.zeros(2), "weight": torch.zeros(2)})
    optimizer = build_optimizer(BOOKS, model)
    for _ in range(3):
        model["weight"].grad = torch.ones(2)
        optimizer.step()
    assert optimizer.param_groups[0]["eps"] == pytest.approx(1e-7 / math.sqrt(1 - 0.999**3))


@pytest.mark.parametrize("peeky, reverse", ARMS)
def test_with_torchs_eps_weights_of_tiny_gradients_move_further_than_in_the_book(peeky: str, reverse: bool) -> None:
    """The book's first embeddings are so small that recurrent weights get gradients of 1e-6; its eps outweighs them."""
    ours, theirs, _ = train_both(peeky, reverse, book.Adam(LR), TORCHS, max_norm=5.0)
    assert LR < largest_difference(ours, theirs) < 5 * LR  # of the 5 * LR that a weight can move
    assert np.abs(ours["output.b"] - theirs["output.b"]).max() < 1e-6  # of gradients of 1e-2


def test_the_books_first_step_is_a_gradient_over_itself_and_32_eps() -> None:
    grads, weights = {"W": np.array([1e-8, 1e-6, -1e-4, 1.0])}, {"W": np.zeros(4)}
    book.Adam(LR).update(weights, grads)
    by_hand = -LR * grads["W"] / (np.abs(grads["W"]) + 1e-7 / math.sqrt(0.001))
    np.testing.assert_allclose(weights["W"], by_hand, rtol=1e-9)


@pytest.mark.parametrize("max_norm", [1.0, 5.0, 100.0])
def test_clipping_by_the_books_rate_equals_torchs(max_norm: float) -> None:
    grads = {name: np.random.default_rng(0).normal(size=shape) for name, shape in (("a", (3, 4)), ("b", (5,)))}
    parameters = [torch.nn.Parameter(torch.zeros(grad.shape, dtype=torch.float64)) for grad in grads.values()]
    for parameter, grad in zip(parameters, grads.values(), strict=True):
        parameter.grad = torch.tensor(grad)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    assert book.clip(grads, max_norm) == pytest.approx(norm.item(), rel=1e-14)
    for parameter, grad in zip(parameters, grads.values(), strict=True):
        np.testing.assert_allclose(parameter.grad, grad, rtol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("peeky", PEEKY)
def test_first_weights_are_normal_with_the_books_spread(cell: str, peeky: str) -> None:
    """Mean, standard deviation and the share within one of it, each within 4.5 of its own standard errors."""
    weights = as_book(build(cell, peeky, False, hidden=64, embedding=48, vocabs=(400, 300)))
    for name, weight in weights.items():
        if name.split(".")[1].startswith("b"):
            assert not weight.any()
            continue
        embedding = name in ("src.W", "tgt.W")
        drawn = weight[1:] if embedding else weight  # the row of padding is 0
        spread = 0.01 if embedding else 1 / math.sqrt(len(weight))
        units, share, error = drawn / spread, math.erf(math.sqrt(0.5)), 4.5 / math.sqrt(drawn.size)
        assert abs(units.mean()) < error, name
        assert abs(units.std() - 1) < error / math.sqrt(2), name
        assert abs((np.abs(units) < 1).mean() - share) < error * math.sqrt(share * (1 - share)), name


def test_peeky_has_44_6_percent_more_parameters_in_the_books_sizes() -> None:
    sizes = []
    for peeky in ("none", "both"):
        rng = np.random.default_rng(0)
        theirs = book.fresh_weights(rng, vocab=13, embedding=16, hidden=128, peeky=peeky)
        ours = as_book(build("lstm", peeky, False, hidden=128, embedding=16, vocabs=(13, 13)))
        assert {name: weight.shape for name, weight in ours.items()} == {k: w.shape for k, w in theirs.items()}
        sizes.append(sum(weight.size for weight in theirs.values()))
    assert sizes == [150573, 217773]
    assert round(100 * (sizes[1] / sizes[0] - 1), 1) == 44.6
