"""Measure each way of decoding against a plain batched loop over the module, on one thread.

``python -m bench.decoding`` prints a row for each way: sentences a second of the processor's time, and how many times
as many as the plain loop's. Configuration A has random weights, sources and outputs have Multi30k's lengths with 8,000
pieces: an output ends where its row's own length is reached, as a trained network's would.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.config.schema import ModelConfig
from seq2seq.data.batches import pad
from seq2seq.decoding.beam import BeamSettings, beam
from seq2seq.decoding.forms.cpu import CpuForm
from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.greedy import greedy
from seq2seq.models.build import build_seq2seq
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, EOS

VOCAB = 8000
BATCH = 128  # of the plain loop
TOKENS = 8192  # in our batches, the default
SHORTLIST = 1500  # tokens of a batch, of which a row may take 300
MODEL = ModelConfig(
    cell="lstm", hidden_size=512, embedding_size=256, num_layers=2, bidirectional=True, attention="general"
)
# Quantiles of the English training sentences' lengths in pieces, and how much longer the German ones are.
TARGET_LENGTHS = [
    *(4, 7, 8, 8, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 12, 13),
    *(13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 16, 16, 17, 17, 18, 18, 19, 20, 22, 24, 43),
]
LONGER = [-13.3, -3.5, -2.5, -2.4, -1.5, -1.5, -1.4, -1.4, -0.5, -0.5, -0.4]
LONGER += [-0.4, 0.5, 0.6, 0.6, 1.5, 1.6, 2.6, 3.5, 4.6, 18.6]


class Work(NamedTuple):
    """Sources, each with its end symbol, and the lengths of their outputs."""

    src: list[list[int]]
    lengths: list[int]


def draw(num_sentences: int, seed: int = 1) -> Work:
    """Sentences in the order of a file."""
    rng = np.random.default_rng(seed)
    tgt = np.quantile(TARGET_LENGTHS, rng.random(num_sentences)).astype(int)
    longer = np.quantile(LONGER, rng.random(num_sentences)) + 0.56 - 0.01 * tgt
    src = np.clip(tgt + np.round(longer).astype(int), 2, 50)
    return Work([[*rng.integers(4, VOCAB, n).tolist(), EOS] for n in src], (tgt + 1).tolist())


def model() -> Seq2Seq:
    """Configuration A, which never ends an output by itself."""
    torch.manual_seed(0)
    built = build_seq2seq(MODEL, VOCAB, VOCAB).eval()
    with torch.no_grad():
        built.decoder.output.bias[EOS] = -1e9
    return built


@torch.no_grad()
def plain(network: Seq2Seq, work: Work) -> None:
    """Decode batches in the file's order with the whole module, until the last row ends."""
    for start in range(0, len(work.src), BATCH):
        rows = work.src[start : start + BATCH]
        state = network.encode(pad(rows), torch.tensor([len(row) for row in rows]))
        last = torch.full((len(rows), 1), BOS)
        tokens = []
        for _ in range(max(work.lengths[start : start + BATCH])):
            logits, state = network.decoder(last, state)
            last = logits.log_softmax(-1).argmax(-1)
            tokens.append(last)
        torch.cat(tokens, 1).tolist()


def batches(work: Work, most: int, width: int = 1) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Padded sources by length, their lengths, and the lengths of their outputs."""
    order = sorted(range(len(work.src)), key=lambda i: len(work.src[i]))
    start = 0
    for end in range(1, len(order) + 1):
        full = end < len(order) and (end + 1 - start) * len(work.src[order[end]]) * width > most
        if full or end == len(order):
            rows = [work.src[i] for i in order[start:end]]
            yield pad(rows), torch.tensor([len(row) for row in rows]), [work.lengths[i] for i in order[start:end]]
            start = end


def our_step(network: Seq2Seq, work: Work, *, tokens: int = TOKENS) -> None:
    """`greedy` with the module's own step."""
    with torch.no_grad():
        for src, src_lengths, lengths in batches(work, tokens):
            state = network.encode(src, src_lengths)
            greedy(network.decoder.step, state, bos=BOS, eos=EOS, max_lengths=lengths)


def fast(
    form: CpuForm, work: Work, *, tokens: int = TOKENS, scores: bool = False, columns: bool = False, size: int = 1
) -> None:
    """`greedy`, or `beam` where the size is above 1, with the inference form."""
    rng = np.random.default_rng(2)
    for src, src_lengths, lengths in batches(work, tokens, size):
        part = _columns(rng, len(src)) if columns else None
        step, state = form.start(src, src_lengths, columns=part, normalise=scores or size > 1)
        bos = BOS if part is None else part.place(BOS)
        if size == 1:
            greedy(step, state, bos=bos, eos=None, max_lengths=lengths)
        else:
            beam(step, state, bos=bos, eos=None, max_lengths=lengths, settings=BeamSettings(size))


def _columns(rng: np.random.Generator, num_rows: int) -> Columns:
    tokens = np.sort(rng.choice(np.arange(4, VOCAB), SHORTLIST, replace=False))
    allowed = torch.from_numpy(rng.random((num_rows, SHORTLIST + 1)) < 300 / SHORTLIST)
    allowed[:, 0] = False
    return Columns(torch.from_numpy(np.concatenate([[BOS], tokens])), allowed)


def ways(network: Seq2Seq) -> dict[str, Callable[[Work], None]]:
    """The compared ways to decode, the plain loop first."""
    exact, int8 = CpuForm(network), CpuForm(network, int8=True)
    return {
        "plain loop": lambda work: plain(network, work),
        "greedy, the module's step": lambda work: our_step(network, work),
        "greedy": lambda work: fast(exact, work),
        "greedy, with scores": lambda work: fast(exact, work, scores=True),
        "greedy, shortlist": lambda work: fast(exact, work, columns=True),
        "greedy, int8": lambda work: fast(int8, work),
        "greedy, int8, shortlist": lambda work: fast(int8, work, columns=True),
        "beam 5": lambda work: fast(exact, work, size=5),
        "beam 5, shortlist": lambda work: fast(exact, work, size=5, columns=True),
        "beam 5, int8": lambda work: fast(int8, work, size=5),
        "beam 5, int8, shortlist": lambda work: fast(int8, work, size=5, columns=True),
    }


def measure(compared: dict[str, Callable[[Work], None]], work: Work, repetitions: int) -> dict[str, list[float]]:
    """CPU seconds of each way in each turn."""
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for turn in range(repetitions + 1):
        for name, do in compared.items():
            started = time.process_time()
            do(work)
            if turn:  # the first is to warm up
                seconds[name].append(time.process_time() - started)
    return seconds


def table(seconds: dict[str, list[float]], num_sentences: int) -> str:
    """The medians, and the median of the ratios of each turn, as Markdown."""
    base = next(iter(seconds.values()))
    lines = ["| | sentences/s | relative to the plain loop |", "| --- | ---: | ---: |"]
    for name, taken in seconds.items():
        ratio = statistics.median(b / t for b, t in zip(base, taken, strict=True))
        lines.append(f"| {name} | {num_sentences / statistics.median(taken):.0f} | {ratio:.2f} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.decoding", description="Compare ways of decoding.")
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default="", help="compare only ways whose name contains this with the plain loop")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    compared = ways(model())
    chosen = {name: do for i, (name, do) in enumerate(compared.items()) if i == 0 or options.only in name}
    print(table(measure(chosen, draw(options.sentences), options.repetitions), options.sentences))


if __name__ == "__main__":
    main()
