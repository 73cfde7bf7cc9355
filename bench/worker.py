"""A contender in its own process, with its own memory and allocator; it works on request.

Each line on stdin is a number of units to do; the answer is a line of JSON with the seconds they took and what they
held.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import work

if TYPE_CHECKING:
    from seq2seq.config.schema import DecodeConfig
    from seq2seq.translate.translator import Translator


class Gate:
    """The worker's side of the connection to `bench.rounds`."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] = time.process_time
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as we run)

    def wait(self) -> int:
        """The number of units to do next; the process ends if there are none."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        return int(line)

    def done(self, **figures: float) -> None:
        """Report the time and memory of the units."""
        print(json.dumps({"peak_mb": peak_mb(), **figures}), file=self._answers, flush=True)

    def serve(self, do: Callable[[int], tuple[float, float]]) -> None:
        """Do units by a function that returns how much they held, and the seconds of training in them."""
        while True:
            count = self.wait()
            started = self.clock()
            held, training = do(count)
            self.done(seconds=self.clock() - started, held=held, training=training)


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Terminal(io.TextIOWrapper):
    """A stream that discards its text, and on which a progress bar is drawn."""

    def isatty(self) -> bool:
        return True


def train_seq2seq(gate: Gate, prepared: work.Prepared, root: Path, *, unit: str) -> None:
    """The whole of a training as `seq2seq-train` does it; a unit is a step, or an epoch with its validation."""
    from seq2seq.cli.common import set_up

    set_up()
    from seq2seq.training.callbacks import Stopwatch
    from seq2seq.training.fit import fit

    class Gated(Stopwatch):
        """Waits at the gate between units; it times everything except the waits, and also only the training."""

        left, training, lap, since, tokens_before = 0, 0.0, 0.0, 0.0, 0

        def _answer_and_wait(self) -> None:
            if self.left == 0 and self.since:
                seconds = gate.clock() - self.since
                gate.done(seconds=seconds, held=self.tokens - self.tokens_before, training=self.training)
            if self.left == 0:
                self.left = gate.wait()
                self.tokens_before, self.training = self.tokens, 0.0
                self.since = self.lap = gate.clock()

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if unit == "epoch" or self.tokens == 0:
                self._answer_and_wait()
                self.left -= unit == "epoch"

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            now = gate.clock()
            self.training, self.lap = self.training + now - self.lap, now
            if unit == "step":
                self.left -= 1
                self._answer_and_wait()

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            super().on_validation_end(trainer, pl_module)
            self.lap = gate.clock()

    sys.stderr = _Terminal(open(os.devnull, "wb"))  # noqa: SIM115
    os.environ.setdefault("TERM", "xterm")
    try:
        fit(prepared.config, Path(tempfile.mkdtemp(dir=root)), prepared.folder, prepared.tokenizers, Gated())
    finally:
        sys.stderr = sys.__stderr__  # for what went wrong


def train_plain(gate: Gate, prepared: work.Prepared, *, tutorial: bool) -> None:
    """The same batches in the same order through a loop in torch; they are padded beforehand."""
    import torch

    from bench.plain import Plain, StepByStep, Steps

    torch.set_num_threads(prepared.config.trainer.threads)
    torch.manual_seed(0)
    sizes = [len(one) for one in prepared.tokenizers]
    steps = Steps((StepByStep if tutorial else Plain)(prepared.config.model, *sizes))
    batches = _padded_batches(prepared)

    def do(count: int) -> tuple[float, float]:
        held = 0
        for batch, num_tokens in itertools.islice(batches, count):
            steps.step(batch)
            held += num_tokens
        return held, 0.0

    # What the first steps need beforehand is made here, outside of what is timed.
    batches = itertools.chain(list(itertools.islice(batches, 64)), batches)
    gate.serve(do)


def _padded_batches(prepared: work.Prepared) -> Iterator[tuple[Any, int]]:
    from seq2seq.training.data import TranslationData

    loader = TranslationData(prepared.config, prepared.folder, prepared.tokenizers).train_dataloader()
    for epoch in itertools.count():
        loader.batch_sampler.set_epoch(epoch)
        for batch in loader:
            yield (batch.src, batch.tgt_in, batch.tgt_out), batch.num_tokens


def book_plain(gate: Gate, prepared: work.Prepared) -> None:
    """An epoch of the addition task in a plain torch loop, greedy answers at its end included."""
    import numpy as np
    import torch

    from bench.plain import Plain, Steps, greedy
    from seq2seq.data.arrays import encode_corpus
    from seq2seq.tokens.base import BOS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    corpora = [encode_corpus(prepared.folder, split, prepared.tokenizers) for split in ("train", "valid")]
    train, valid = (
        [torch.from_numpy(np.array(side.ids)).long().view(len(side), -1) for side in corpus] for corpus in corpora
    )
    tgt_in = torch.cat([torch.full((len(train[1]), 1), BOS), train[1][:, :-1]], dim=1)
    model = Plain(prepared.config.model, *(len(one) for one in prepared.tokenizers))
    steps = Steps(model)

    def do(count: int) -> tuple[float, float]:
        training = 0.0
        for _ in range(count):
            started = time.process_time()
            for rows in torch.randperm(len(tgt_in)).split(work.BATCH):
                steps.step((train[0][rows], tgt_in[rows], train[1][rows]))
            training += time.process_time() - started
            (found,) = greedy(model, iter([(valid[0], 4)]))
            (found == valid[1]).all(1).float().mean().item()
        return count, training

    gate.serve(do)


def book_numpy(gate: Gate) -> None:
    """An epoch of the book's own network in NumPy, greedy answers to the validation questions included."""
    import numpy as np

    from seq2seq.data.corpora.synthetic import addition
    from tests.book_layers import Adam, Network, clip, fresh_weights
    from tests.train_book_layers import BATCH, CHARACTERS, MAX_NORM, ids

    pairs = addition(1984, {"train": 45_000, "valid": 2_500, "test": 2_500}, book_exact=True)
    (src, tgt), (valid_src, valid_tgt) = (
        (ids([question for question, _ in pairs[split]]), ids(["_" + answer for _, answer in pairs[split]]))
        for split in ("train", "valid")
    )
    rng = np.random.default_rng(1)
    fresh = fresh_weights(rng, vocab=len(CHARACTERS), embedding=16, hidden=128)
    weights = {name: weight.astype(np.float32) for name, weight in fresh.items()}
    network, adam = Network(weights), Adam(0.001)

    def do(count: int) -> tuple[float, float]:
        for _ in range(count):
            order = rng.permutation(len(src))
            for start in range(0, len(src) - BATCH + 1, BATCH):
                rows = order[start : start + BATCH]
                network.loss(src[rows], tgt[rows, :-1], tgt[rows, 1:])
                grads = network.backward()
                clip(grads, MAX_NORM)
                adam.update(weights, grads)
            (network.greedy(valid_src, CHARACTERS.index("_"), 4) == valid_tgt[:, 1:]).all(axis=1).mean()
        return count, 0.0

    gate.serve(do)


def decode_seq2seq(gate: Gate, prepared: work.Prepared, *, search: str, int8: bool, batch: int) -> None:
    """Translations of the test text, each a token longer than its source, by `Translator`; a unit is a sentence."""
    from seq2seq.config.schema import DecodeConfig

    decode = DecodeConfig(search=search, beam_size=5, max_ratio=1.0, max_extra=1, int8=int8)
    translator = endless_translator(prepared, decode)
    lines = _test_lines(prepared)

    def do(count: int) -> tuple[float, float]:
        wanted = list(itertools.islice(lines, count))
        for start in range(0, count, batch or count):
            translator.translate(wanted[start : start + (batch or count)])
        return count, 0.0

    gate.serve(do)


def endless_translator(prepared: work.Prepared, decode: DecodeConfig) -> Translator:
    """One with random weights, whose outputs are all as long as they may be."""
    import torch

    from seq2seq.decoding.engine import Engine
    from seq2seq.models.build import build_seq2seq
    from seq2seq.tokens.base import EOS
    from seq2seq.translate.translator import Translator

    torch.set_num_threads(prepared.config.trainer.threads)
    torch.manual_seed(0)
    model = build_seq2seq(prepared.config.model, *(len(one) for one in prepared.tokenizers))
    with torch.no_grad():
        model.decoder.output.bias[EOS] = -1e9
    return Translator(Engine([model], trained=True), prepared.tokenizers, decode)


def decode_plain(gate: Gate, prepared: work.Prepared) -> None:
    """The same by a loop over the module, batches of 128 as they come."""
    import torch

    from bench.plain import Plain, greedy
    from seq2seq.data.batches import pad
    from seq2seq.tokens.base import EOS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Plain(prepared.config.model, *(len(one) for one in prepared.tokenizers))
    lines = _test_lines(prepared)

    def do(count: int) -> tuple[float, float]:
        ids = [[*row, EOS] for row in prepared.tokenizers.src.encode(list(itertools.islice(lines, count)))]
        parts = [ids[start : start + work.BATCH] for start in range(0, count, work.BATCH)]
        found = greedy(model, ((pad(part), max(map(len, part)) + 1) for part in parts))
        rows = [row.tolist() for part in found for row in part]
        prepared.tokenizers.tgt.decode([row[: len(src) + 1] for row, src in zip(rows, ids, strict=True)])
        return count, 0.0

    gate.serve(do)


def _test_lines(prepared: work.Prepared) -> Iterator[str]:
    from seq2seq.files.lines import read_lines

    return itertools.cycle(read_lines(prepared.folder / "test.src"))


def matmul(gate: Gate) -> None:
    """The machine's rate in the product of the output layer, into memory that is there; a unit is a product."""
    import torch

    torch.set_num_threads(1)
    inputs, weight = torch.randn(14 * work.BATCH, 512), torch.randn(work.VOCAB, 512)
    logits = inputs @ weight.t()

    def do(count: int) -> tuple[float, float]:
        for _ in range(count):
            torch.mm(inputs, weight.t(), out=logits)
        return count * 2.0 * logits.numel() * 512, 0.0

    gate.serve(do)


def main(words: Sequence[str]) -> None:
    """``python -m bench.worker PART CONTENDER MODEL ROOT PAIRS VOCAB``"""
    part, contender, model, root, pairs, vocab = words
    gate = Gate()
    folder = Path(root)
    if part == "matmul":
        matmul(gate)
    if part == "book":
        if contender == "numpy":
            book_numpy(gate)
        prepared = work.addition(folder)
        if contender == "plain":
            book_plain(gate, prepared)
        train_seq2seq(gate, prepared, folder, unit="epoch")
    prepared = work.make(folder, work.MODELS[model], pairs=int(pairs), vocab=int(vocab))
    if part == "decode":
        if contender == "plain":
            decode_plain(gate, prepared)
        search, int8 = "beam" if "beam" in contender else "greedy", "int8" in contender
        decode_seq2seq(gate, prepared, search=search, int8=int8, batch=1 if contender == "single" else 0)
    if contender == "seq2seq":
        train_seq2seq(gate, prepared, folder, unit="step")
    train_plain(gate, prepared, tutorial=contender == "tutorial")


if __name__ == "__main__":
    main(sys.argv[1:])
