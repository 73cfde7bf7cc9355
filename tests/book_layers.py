"""The layers and networks of Saito (2018), "Deep Learning from Scratch 2", ch. 7, in NumPy, gradients by hand.

An answer to compare the package's with that shares no code with it, and nothing with torch. A weight is
``(inputs, outputs)`` and acts on rows: ``x @ W + b``. A layer remembers its last forward pass for ``backward``, which
takes the loss's gradient at the layer's output, fills ``grads`` and returns the gradient at its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = dict[str, Array]


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


class Layer:
    """Weights, and as many gradients of the same names after ``backward``."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.grads: Weights = {}


class Embedding(Layer):
    """Rows of the table W: ids ``(batch, time)`` to vectors ``(batch, time, width)``."""

    def forward(self, ids: Array) -> Array:
        self.ids = ids
        return self.weights["W"][ids]

    def backward(self, d_vectors: Array) -> None:
        grad = np.zeros_like(self.weights["W"])
        np.add.at(grad, self.ids, d_vectors)  # an id that comes twice adds up
        self.grads = {"W": grad}


class Affine(Layer):
    """``x @ W + b`` at every time step."""

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.weights["W"] + self.weights["b"]

    def backward(self, d_out: Array) -> Array:
        self.grads = {"W": np.einsum("bti,bto->io", self.x, d_out), "b": d_out.sum((0, 1))}
        return d_out @ self.weights["W"].T


class Recurrent(Layer):
    """A cell over time, from a given h; an LSTM's c starts at 0 unless one is given.

    A cell reads ``of_x = x W_x + b`` and ``of_h = h W_h`` (a GRU's with a bias ``b_h`` of its own, on which its reset
    gate acts). Its step returns the next h and c and what its backward step needs, which makes gradients at
    ``(of_x, of_h, h, c)`` of those at the next h and c; that at h is for the path around W_h alone.

    Shapes:
        xs ``(batch, time, inputs)``, h and c ``(batch, hidden)``; returns all h ``(batch, time, hidden)``. After a
        backward pass ``d_start`` is the gradient at the given h.
    """

    num_gates: ClassVar[int]

    def step(self, of_x: Array, of_h: Array, h: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        raise NotImplementedError

    def step_back(self, d_h: Array, d_c: Array, kept: tuple[Array, ...]) -> tuple[Array, Array, Array, Array]:
        raise NotImplementedError

    def forward(self, xs: Array, h: Array, c: Array | None = None) -> Array:
        w = self.weights
        self.xs, self.before, self.kept = xs, [], []
        c = np.zeros_like(h) if c is None else c
        hs = []
        for x in xs.swapaxes(0, 1):
            self.before.append(h)
            h, c, kept = self.step(x @ w["W_x"] + w["b"], h @ w["W_h"] + w.get("b_h", 0), h, c)
            self.kept.append(kept)
            hs.append(h)
        self.h, self.c = h, c
        return np.stack(hs, axis=1)

    def backward(self, d_hs: Array) -> Array:
        w = self.weights
        self.grads = {name: np.zeros_like(weight) for name, weight in w.items()}
        d_xs, d_h, d_c = np.empty_like(self.xs), np.zeros_like(self.h), np.zeros_like(self.c)
        for t in reversed(range(len(self.kept))):
            d_of_x, d_of_h, d_around, d_c = self.step_back(d_hs[:, t] + d_h, d_c, self.kept[t])
            d_xs[:, t] = d_of_x @ w["W_x"].T
            d_h = d_of_h @ w["W_h"].T + d_around
            self.grads["W_x"] += self.xs[:, t].T @ d_of_x
            self.grads["W_h"] += self.before[t].T @ d_of_h
            self.grads["b"] += d_of_x.sum(0)
            if "b_h" in w:
                self.grads["b_h"] += d_of_h.sum(0)
        self.d_start = d_h
        return d_xs


class RNN(Recurrent):
    """``h' = tanh(of_x + of_h)``."""

    num_gates = 1

    def step(self, of_x: Array, of_h: Array, h: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        after = np.tanh(of_x + of_h)
        return after, c, (after,)

    def step_back(self, d_h: Array, d_c: Array, kept: tuple[Array, ...]) -> tuple[Array, Array, Array, Array]:
        (after,) = kept
        d_sum = d_h * (1 - after**2)
        return d_sum, d_sum, np.zeros_like(d_h), d_c


class GRU(Recurrent):
    """``h' = (1 - z) n + z h`` with ``n = tanh(of_x + r of_h)``: the reset gate acts on W_h's product, as in torch."""

    num_gates = 3

    def step(self, of_x: Array, of_h: Array, h: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        (x_r, x_z, x_n), (h_r, h_z, h_n) = (np.split(a, 3, axis=1) for a in (of_x, of_h))
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h, c, (r, z, n, h_n, h)

    def step_back(self, d_h: Array, d_c: Array, kept: tuple[Array, ...]) -> tuple[Array, Array, Array, Array]:
        r, z, n, h_n, h = kept
        d_n = d_h * (1 - z) * (1 - n**2)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = d_n * h_n * r * (1 - r)
        d_of_x, d_of_h = (np.concatenate([d_r, d_z, last], axis=1) for last in (d_n, d_n * r))
        return d_of_x, d_of_h, d_h * z, d_c


class LSTM(Recurrent):
    """``c' = f c + i g``, ``h' = o tanh(c')``; the gates lie in the order i, f, g, o, which is torch's."""

    num_gates = 4

    def step(self, of_x: Array, of_h: Array, h: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        a_i, a_f, a_g, a_o = np.split(of_x + of_h, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        after = f * c + i * g
        squashed = np.tanh(after)
        return o * squashed, after, (i, f, g, o, c, squashed)

    def step_back(self, d_h: Array, d_c: Array, kept: tuple[Array, ...]) -> tuple[Array, Array, Array, Array]:
        i, f, g, o, c, squashed = kept
        d_after = d_c + d_h * o * (1 - squashed**2)
        d_i, d_f, d_g, d_o = d_after * g, d_after * c, d_after * i, d_h * squashed
        parts = [d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g**2), d_o * o * (1 - o)]
        d_sum = np.concatenate(parts, axis=1)
        return d_sum, d_sum, np.zeros_like(d_h), d_after * f


CELLS: dict[str, type[Recurrent]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


class SoftmaxLoss:
    """Cross-entropy in nats, averaged over batch and time."""

    def forward(self, logits: Array, targets: Array) -> float:
        exps = np.exp(logits - logits.max(-1, keepdims=True))
        self.probs, self.targets = exps / exps.sum(-1, keepdims=True), targets
        return float(-np.log(np.take_along_axis(self.probs, targets[..., None], -1)).mean())

    def backward(self) -> Array:
        hits = np.arange(self.probs.shape[-1]) == self.targets[..., None]
        return (self.probs - hits) / self.targets.size


class Network:
    """Encoder and decoder of one layer each; the encoder's last h is the decoder's first; nothing else is handed on.

    With ``peeky`` that h also stands before the decoder's input ("input"), before the output layer's ("output") or
    before both, at every step: "none" is the book's Seq2seq, "both" its PeekySeq2seq. With ``reverse`` the encoder
    reads the whole row from its end.

    Args:
        weights: by "part.name" for the parts src, encoder, tgt, decoder, output; see `fresh_weights`.
    """

    def __init__(self, weights: Weights, *, cell: str = "lstm", peeky: str = "none", reverse: bool = False) -> None:
        def part(name: str) -> Weights:
            return {key.split(".")[1]: weight for key, weight in weights.items() if key.startswith(f"{name}.")}

        self.src, self.tgt, self.output = Embedding(part("src")), Embedding(part("tgt")), Affine(part("output"))
        self.encoder, self.decoder = CELLS[cell](part("encoder")), CELLS[cell](part("decoder"))
        self.softmax = SoftmaxLoss()
        self.peek_input, self.peek_output = peeky in ("input", "both"), peeky in ("output", "both")
        self.reverse = reverse

    def encode(self, src: Array) -> Array:
        """The encoder's last h, ``(batch, hidden)``."""
        vectors = self.src.forward(src[:, ::-1] if self.reverse else src)
        start = np.zeros((len(src), len(self.encoder.weights["W_h"])), dtype=vectors.dtype)
        return self.encoder.forward(vectors, start)[:, -1]

    def decode(self, tgt_in: Array, summary: Array, h: Array, c: Array | None = None) -> Array:
        """Logits ``(batch, time, vocabulary)``; h and c are the decoder's state before its first step."""
        shown = np.repeat(summary[:, None], tgt_in.shape[1], axis=1)
        inputs = self.tgt.forward(tgt_in)
        hs = self.decoder.forward(np.concatenate([shown, inputs], -1) if self.peek_input else inputs, h, c)
        return self.output.forward(np.concatenate([shown, hs], -1) if self.peek_output else hs)

    def loss(self, src: Array, tgt_in: Array, tgt_out: Array) -> float:
        """Cross-entropy in nats, averaged over batch and time."""
        summary = self.encode(src)
        return self.softmax.forward(self.decode(tgt_in, summary, summary), tgt_out)

    def backward(self) -> Weights:
        """The gradient of the last `loss` at every weight, by "part.name"."""
        width = self.encoder.h.shape[1]
        d_hs = self.output.backward(self.softmax.backward())
        d_summary = np.zeros_like(self.encoder.h)
        if self.peek_output:
            d_summary, d_hs = d_summary + d_hs[..., :width].sum(1), d_hs[..., width:]
        d_inputs = self.decoder.backward(d_hs)
        if self.peek_input:
            d_summary, d_inputs = d_summary + d_inputs[..., :width].sum(1), d_inputs[..., width:]
        self.tgt.backward(d_inputs)
        d_encoded = np.zeros((*self.src.ids.shape, width), dtype=d_hs.dtype)
        d_encoded[:, -1] = d_summary + self.decoder.d_start
        self.src.backward(self.encoder.backward(d_encoded))
        parts = {"src": self.src, "encoder": self.encoder, "tgt": self.tgt}
        parts |= {"decoder": self.decoder, "output": self.output}
        return {f"{part}.{name}": grad for part, layer in parts.items() for name, grad in layer.grads.items()}

    def greedy(self, src: Array, start: int, length: int) -> Array:
        """The most probable token at each of ``length`` steps from ``start``, ``(batch, length)``."""
        summary = h = self.encode(src)
        c, last, out = np.zeros_like(h), np.full((len(src), 1), start), []
        for _ in range(length):
            last = self.decode(last, summary, h, c).argmax(-1)
            h, c = self.decoder.h, self.decoder.c
            out.append(last)
        return np.concatenate(out, axis=1)


def fresh_weights(
    rng: np.random.Generator, *, vocab: int, embedding: int, hidden: int, cell: str = "lstm", peeky: str = "none"
) -> Weights:
    """First weights as in the book: embeddings from N(0, 0.01^2), others from N(0, 1/inputs), one bias a gate, at 0."""
    gates = CELLS[cell].num_gates * hidden
    peek_input, peek_output = peeky in ("input", "both"), peeky in ("output", "both")
    weights = {}
    for side, stack, inputs in (("src", "encoder", embedding), ("tgt", "decoder", embedding + peek_input * hidden)):
        weights[f"{side}.W"] = 0.01 * rng.standard_normal((vocab, embedding))
        weights[f"{stack}.W_x"] = rng.standard_normal((inputs, gates)) / np.sqrt(inputs)
        weights[f"{stack}.W_h"] = rng.standard_normal((hidden, gates)) / np.sqrt(hidden)
        weights[f"{stack}.b"] = np.zeros(gates)
    features = hidden * (1 + peek_output)
    weights["output.W"] = rng.standard_normal((features, vocab)) / np.sqrt(features)
    weights["output.b"] = np.zeros(vocab)
    return weights


def clip(grads: Weights, max_norm: float) -> float:
    """Scale all gradients, in place, so that their common norm is at most about ``max_norm``; returns what it was."""
    norm = float(np.sqrt(sum((grad**2).sum() for grad in grads.values())))
    rate = max_norm / (norm + 1e-6)
    if rate < 1:
        for grad in grads.values():
            grad *= rate
    return norm


class Adam:
    """Kingma and Ba (2015), in the order of the end of their section 2: both corrections in the step size.

    ``m`` and ``v`` are running means of the gradient and its square. With ``correct_eps`` eps joins the corrected root,
    as in their Algorithm 1 and in torch; without it, as in the book, the root as it is, so that it weighs
    1 / sqrt(1 - beta2^t) times as much: 32 times at the first step.
    """

    def __init__(self, lr: float, *, eps: float = 1e-7, correct_eps: bool = False) -> None:
        self.lr, self.eps, self.correct_eps = lr, eps, correct_eps
        self.beta1, self.beta2 = 0.9, 0.999
        self.steps = 0
        self.m: Weights = {}
        self.v: Weights = {}

    def update(self, weights: Weights, grads: Weights) -> None:
        """One step, in place."""
        self.steps += 1
        correction = np.sqrt(1 - self.beta2**self.steps)
        rate = self.lr * correction / (1 - self.beta1**self.steps)
        eps = self.eps * (correction if self.correct_eps else 1)
        for name, grad in grads.items():
            m, v = self.m.get(name, 0 * grad), self.v.get(name, 0 * grad)
            self.m[name] = m = m + (1 - self.beta1) * (grad - m)
            self.v[name] = v = v + (1 - self.beta2) * (grad**2 - v)
            weights[name] -= rate * m / (np.sqrt(v) + eps)


def numerical_gradient(function: Callable[[], float], array: Array, width: float = 1e-5) -> Array:
    """Central differences of ``function`` at each entry of ``array``, which it reads; the error falls with width^2."""
    grad = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + width
        above = function()
        array[index] = kept - width
        grad[index] = (above - function()) / (2 * width)
        array[index] = kept
    return grad
