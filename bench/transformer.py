"""A Transformer with random weights in CTranslate2, as a contender of `bench.rounds`.

``PYTHON bench/transformer.py LINES VOCAB BEAM TYPE`` needs only ctranslate2 and NumPy, and no other module of this
project. Each line on stdin is a number of lines of the file to translate. They are taken from its start, in calls of
lines with as many words, so that no position is padded. The answer is a line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec

LAYERS, WIDTH, INNER, HEADS = 4, 256, 1024, 4
SPECIAL = ["<unk>", "<s>", "</s>", "<blank>"]


class Weights:
    """Random weights of a specification's parts."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def drawn(self, rows: int, columns: int) -> np.ndarray:
        """A matrix that keeps the size of its inputs."""
        return self.rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    def linear(self, layer: Any, rows: int, columns: int) -> None:
        """Fill a product and its bias."""
        layer.weight, layer.bias = self.drawn(rows, columns), np.zeros(rows, np.float32)

    def norm(self, layer: Any) -> None:
        """Fill a layer norm that changes no scale."""
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def attention(self, layer: Any, *rows: int) -> None:
        """Fill an attention layer, whose products have so many times the width as outputs."""
        self.norm(layer.layer_norm)
        for one, times in zip(layer.linear, rows, strict=True):
            self.linear(one, times * WIDTH, WIDTH)

    def feed_forward(self, layer: Any) -> None:
        """Fill a feed-forward layer."""
        self.norm(layer.layer_norm)
        self.linear(layer.linear_0, INNER, WIDTH)
        self.linear(layer.linear_1, WIDTH, INNER)


def build(vocab: int) -> TransformerSpec:
    """A Transformer that shares one embedding between source, target and output, as Marian's and fairseq's can."""
    spec, weights = TransformerSpec.from_config(LAYERS, HEADS), Weights()
    shared = weights.drawn(vocab, WIDTH)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = shared
    spec.decoder.projection.weight, spec.decoder.projection.bias = shared, np.zeros(vocab, np.float32)
    for stack in (spec.encoder, spec.decoder):
        weights.norm(stack.layer_norm)
        for layer in stack.layer:
            weights.attention(layer.self_attention, 3, 1)
            weights.feed_forward(layer.ffn)
    for layer in spec.decoder.layer:
        weights.attention(layer.attention, 1, 2, 1)
    tokens = [*SPECIAL, *(f"w{i}" for i in range(vocab - len(SPECIAL)))]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    return spec


def load(vocab: int, kind: str) -> ctranslate2.Translator:
    """The Transformer, saved and loaded for one thread."""
    with tempfile.TemporaryDirectory() as folder:
        spec = build(vocab)
        spec.validate()
        spec.optimize()
        spec.save(folder)
        return ctranslate2.Translator(folder, compute_type=kind, intra_threads=1, inter_threads=1)


def calls(lines: Sequence[str]) -> Iterator[list[list[str]]]:
    """The lines as lists of words, in groups with as many words."""
    rows = sorted((line.split() for line in lines), key=len)
    for _, group in groupby(rows, key=len):
        yield list(group)


def translate(translator: ctranslate2.Translator, lines: Sequence[str], beam: int) -> None:
    """Translate, each line into two tokens more than its words.

    Raises:
        RuntimeError: if an output has another length.
    """
    for rows in calls(lines):
        length = len(rows[0]) + 2
        found = translator.translate_batch(
            [[*row, "</s>"] for row in rows],
            beam_size=beam,
            min_decoding_length=length,
            max_decoding_length=length,
        )
        if {len(one.hypotheses[0]) for one in found} != {length}:
            raise RuntimeError(f"outputs of {length} tokens were wanted.")


def main(words: Sequence[str]) -> None:
    """Work on request."""
    path, vocab, beam, kind = words
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    translator = load(int(vocab), kind)
    for request in sys.stdin:
        count = int(request)
        started = time.process_time()
        translate(translator, lines[:count], int(beam))
        seconds = time.process_time() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "held": count, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
