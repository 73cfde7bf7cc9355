"""What a batch costs with and without subword sampling and loader processes.

``python -m bench.loading`` prints a row for each setting: milliseconds of the training process's processor time, and of
the clock, that a batch of 4,096 tokens of the phrasebook takes. Nothing is trained, so the clock shows how fast batches
can come at best. Figures are medians over the passes, the least and the greatest in brackets.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.rounds import spread
from seq2seq.data.arrays import Corpus, TokenArray, Tokenizers, write_tokens
from seq2seq.data.batches import BatchLoader, LengthBatchSampler
from seq2seq.data.corpora.phrasebook.generate import generate
from seq2seq.data.sources.text import TextSource
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train

PIECES = 2000
SAMPLING = (0.0, 0.1)
WORKERS = (0, 1, 2)


def prepare(folder: Path, num_pairs: int) -> tuple[Corpus, Tokenizers]:
    """Write the ids of so many pairs of the phrasebook, in BPE learnt from them, into a folder."""
    sides = zip(*generate(1, {"train": num_pairs})["train"], strict=True)
    tokenizers, arrays = [], []
    for name, lines in zip(("src", "tgt"), sides, strict=True):
        tokenizers.append(Pieces(train(lines, type="bpe", vocab_size=PIECES)))
        write_tokens(folder / name, tokenizers[-1].encode(lines))
        arrays.append(TokenArray(folder / name))
    return Corpus(*arrays), Tokenizers(*tokenizers)


def measure(loader: BatchLoader, passes: int) -> tuple[list[float], list[float]]:
    """Processor and clock time in milliseconds for a batch, in each of so many passes after a first one."""
    own, clock = [], []
    for _ in range(passes + 1):
        started = time.process_time(), time.perf_counter()
        num_batches = sum(1 for _ in loader)
        own.append(1000 * (time.process_time() - started[0]) / num_batches)
        clock.append(1000 * (time.perf_counter() - started[1]) / num_batches)
    return own[1:], clock[1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30_000, help="pairs of the phrasebook (default: 30,000)")
    parser.add_argument("--passes", type=int, default=5, help="passes over them (default: 5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus, tokenizers = prepare(Path(folder), arguments.pairs)
        sides = [TextSource({}, one, end_symbol=True) for one in tokenizers]
        lengths = np.stack([side.lengths() for side in corpus], axis=1) + 1
        print("| `tokenizer.sampling` | `data.num_workers` | training process, ms | clock, ms |")
        print("| ---: | ---: | ---: | ---: |")
        for sampling, num_workers in itertools.product(SAMPLING, WORKERS):
            sampler = LengthBatchSampler(lengths, batch_tokens=4096, seed=1)
            loader = BatchLoader(corpus, sampler, num_workers=num_workers, sampling=sampling, sides=sides)
            own, clock = measure(loader, arguments.passes)
            print(f"| {sampling:g} | {num_workers} | {spread(own, '.1f')} | {spread(clock, '.1f')} |", flush=True)


if __name__ == "__main__":
    main()
