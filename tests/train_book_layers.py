"""Train the book's networks in NumPy, as an independent answer to ``experiment=book_addition``.

    python -m tests.train_book_layers SEED [none|both] [forward|reverse] [ours|script] [EPOCHS]

prints the exact match on held-out questions after each epoch, of which there are 25; about three minutes on one core.
With "script" the first weights and the order of the rows are those that the book's script draws, whoever runs it, after
its data loader has called ``numpy.random.seed(1984)``; the questions, which it reads from a file, are drawn from SEED.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from seq2seq.data.corpora.synthetic import addition
from tests.book_layers import Adam, Array, Network, clip, fresh_weights

CHARACTERS = "_0123456789+ "  # by their ids
CHARACTERS_OF_SCRIPT = "16+75 _920384"  # as they come in its file
ROWS, BATCH, MAX_NORM = 50_000, 128, 5.0


def ids(lines: list[str], characters: str = CHARACTERS) -> Array:
    return np.array([[characters.index(character) for character in line] for line in lines])


def i_f_g_o(weight: Array) -> Array:
    """The gates of the book's weights, which lie in the order f, g, i, o, in that of `LSTM`."""
    f, g, i, o = np.split(weight, 4, axis=1)
    return np.concatenate([i, f, g, o], axis=1)


def main(seed: int, peeky: str = "none", direction: str = "forward", draws: str = "ours", epochs: str = "25") -> None:
    script = draws == "script"
    characters = CHARACTERS_OF_SCRIPT if script else CHARACTERS
    pairs = addition(seed if script else 1984, {"train": 45000, "valid": 2500, "test": 2500}, book_exact=True)
    held_out = pairs["valid"] + (pairs["test"] if script else [])
    (src, tgt), (valid_src, valid_tgt) = (
        (ids([question for question, _ in part], characters), ids(["_" + answer for _, answer in part], characters))
        for part in (pairs["train"], held_out)
    )
    # The two kinds of generator have in common what is drawn from them here.
    rng: Any = np.random.RandomState(1984) if script else np.random.default_rng(seed)
    if script:
        rng.shuffle(np.arange(ROWS))  # its split of the file into training and test set
    fresh = fresh_weights(rng, vocab=len(characters), embedding=16, hidden=128, peeky=peeky)
    if script:
        fresh |= {name: i_f_g_o(fresh[name]) for name in fresh if name.endswith((".W_x", ".W_h"))}
    weights = {name: weight.astype(np.float32) for name, weight in fresh.items()}
    network, adam = Network(weights, peeky=peeky, reverse=direction == "reverse"), Adam(0.001)
    order = np.arange(len(src))
    for epoch in range(1, int(epochs) + 1):
        drawn = rng.permutation(len(src))
        order = order[drawn] if script else drawn  # the script shuffles what it shuffled before
        for start in range(0, len(src) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            network.loss(src[rows], tgt[rows, :-1], tgt[rows, 1:])
            grads = network.backward()
            clip(grads, MAX_NORM)
            adam.update(weights, grads)
        out = network.greedy(valid_src, characters.index("_"), 4)
        right = (out == valid_tgt[:, 1:]).all(axis=1).mean()
        print(f"seed {seed}  peeky {peeky}  {direction}  epoch {epoch}  exact match {100 * right:.2f} %", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
