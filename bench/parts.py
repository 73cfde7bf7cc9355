"""The parts of the benchmark: each takes its sizes, does its rounds and returns a table in Markdown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import work
from bench.rounds import ROOT, Contender, Turn, interleave, ratios, spread
from bench.scaling import LENGTH_TOKENS, Factors, measure, tables

COMMANDS = ("data", "train", "evaluate", "translate", "average", "report", "probe")


class Sizes(NamedTuple):
    """How much is measured."""

    repetitions: int = 5
    steps: int = 4  # a turn, of batches of 128 sentences
    sentences: int = 128  # a turn
    corpus: int = 1_000_000
    pairs: int = work.PAIRS
    vocab: int = work.VOCAB
    models: tuple[str, ...] = ("P", "A")
    commands: tuple[str, ...] = COMMANDS
    factors: Factors = Factors()
    ctranslate2: str = ""  # an interpreter that has it


QUICK = Sizes(repetitions=2, steps=2, sentences=64, corpus=100_000)


def train(root: Path, sizes: Sizes) -> list[str]:
    """Target tokens a second, in turns of some steps."""
    lines = ["| | target tokens/s | of the plain loop | of the product's rate | peak memory |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    names = ("plain", "seq2seq", "tutorial")
    for model in sizes.models:
        # The tutorial's loop takes so long that it gets fewer steps.
        units = {"plain": sizes.steps, "seq2seq": sizes.steps, "tutorial": max(1, sizes.steps // 4), "matmul": 5}
        turns = _rounds("train", names, model, root, sizes, units, rate_beside=True)
        prepared = work.make(root, work.MODELS[model], pairs=sizes.pairs, vocab=sizes.vocab)
        per_token = _flops_per_target_token(prepared, sizes.vocab)
        product = [turn.rate for turn in turns["matmul"]]
        for name in names:
            rates = [turn.rate for turn in turns[name]]
            share = [100 * one for one in ratios([rate * per_token for rate in rates], product)]
            peak = max(turn.peak_mb for turn in turns[name])
            of_plain = spread(ratios(rates, [turn.rate for turn in turns["plain"]]))
            label = f"{model}, {_LABELS[name]}"
            lines.append(
                f"| {label} | {spread(rates, ',.0f')} | {of_plain} | {spread(share, '.0f')} % | {peak:,.0f} MB |"
            )
        lines.append(f"| {model}, only the product | {spread([rate / 1e9 for rate in product], '.0f')} GFLOP/s | | | |")
    meanings = "; ".join(f"{name}: {work.MEANINGS[name]}" for name in sizes.models)
    return [f"{meanings}. Embeddings 256, states 512, vocabularies of 8,000.", "", *lines]


_LABELS = {"plain": "plain torch loop", "seq2seq": "seq2seq", "tutorial": "a step at a time"}


def _rounds(
    part: str,
    names: Sequence[str],
    model: str,
    root: Path,
    sizes: Sizes,
    units: dict[str, int],
    *,
    rate_beside: bool = False,
) -> dict[str, list[Turn]]:
    with ExitStack() as stack:
        wanted = [(part, name) for name in names] + ([("matmul", "matmul")] if rate_beside else [])
        contenders = [stack.enter_context(Contender(*one, model, root, sizes.pairs, sizes.vocab)) for one in wanted]
        return interleave(
            contenders, units, sizes.repetitions, warm=None if part == "book" else dict.fromkeys(units, 1)
        )


def _flops_per_target_token(prepared: work.Prepared, vocab: int) -> float:
    from seq2seq.data.arrays import encode_corpus

    corpus = encode_corpus(prepared.folder, "train", prepared.tokenizers)
    src_tokens, tgt_tokens = (int(side.offsets[-1]) + len(side) for side in corpus)
    return work.useful_flops(prepared.config.model, src_tokens, tgt_tokens, vocab) / tgt_tokens


def padding(root: Path, sizes: Sizes) -> list[str]:
    """The share of positions that are padding, in an epoch's batches."""
    import numpy as np

    from seq2seq.data.batches import LengthBatchSampler

    lengths = np.stack(work.draw_lengths(np.random.default_rng(1), work.PAIRS), axis=1) + 1
    lines = ["| batches of | of both sides | of the target |", "| --- | ---: | ---: |"]
    for label, bounds in (("128 sentences", (0, 128)), ("4,096 tokens", (4096, 0)), ("3,000 tokens", (3000, 0))):
        batches = LengthBatchSampler(lengths, batch_tokens=bounds[0], batch_sentences=bounds[1]).batches()
        positions = sum(len(rows) * lengths[rows].max(axis=0) for rows in batches)
        shares = [100 * (1 - lengths.sum() / positions.sum()), 100 * (1 - lengths[:, 1].sum() / positions[1])]
        lines.append(f"| {label} | {shares[0]:.1f} % | {shares[1]:.1f} % |")
    what = "the encoder skips the source's, so only the target's costs time"
    return [f"{work.PAIRS:,} pairs with Multi30k's lengths; {what}.", "", *lines]


def book(root: Path, sizes: Sizes) -> list[str]:
    """Seconds of an epoch of the book's addition task, and milliseconds of a step."""
    names = ("numpy", "plain", "seq2seq")
    sizes = sizes._replace(repetitions=min(sizes.repetitions, 3))
    turns = _rounds("book", names, "P", root, sizes, dict.fromkeys(names, 1))
    steps = -(-45_000 // work.BATCH)
    lines = ["| | an epoch with its validation | of the book's | a step |", "| --- | ---: | ---: | ---: |"]
    labels = {"numpy": "the book's layers in NumPy", "plain": "plain torch loop", "seq2seq": "seq2seq"}
    for name in names:
        seconds = [turn.seconds for turn in turns[name]]
        of_book = spread(ratios(seconds, [turn.seconds for turn in turns["numpy"]]))
        step = "" if name == "numpy" else f"{spread([1000 * turn.training / steps for turn in turns[name]])} ms"
        lines.append(f"| {labels[name]} | {spread(seconds)} s | {of_book} | {step} |")
    return lines


def decode(root: Path, sizes: Sizes) -> list[str]:
    """Sentences a second in configuration A, outputs as long as their sources."""
    names = ("plain", "greedy", "int8", "beam", "beam-int8", "single")
    units = dict.fromkeys(names, sizes.sentences) | {"single": max(1, sizes.sentences // 8)}
    turns = _rounds("decode", names, sizes.models[-1], root, sizes, units)
    labels = {"plain": "plain module loop, batches of 128", "greedy": "seq2seq, greedy", "beam": "seq2seq, beam of 5"}
    labels |= {"int8": "seq2seq, greedy, `--int8`", "beam-int8": "seq2seq, beam of 5, `--int8`"}
    labels["single"] = "seq2seq, greedy, a line at a time"
    lines = ["| | sentences/s | of the plain loop | peak memory |", "| --- | ---: | ---: | ---: |"]
    for name in names:
        rates = [turn.rate for turn in turns[name]]
        of_plain = spread(ratios(rates, [turn.rate for turn in turns["plain"]]))
        peak = max(turn.peak_mb for turn in turns[name])
        lines.append(f"| {labels[name]} | {spread(rates, ',.0f')} | {of_plain} | {peak:,.0f} MB |")
    times = []
    for pair in (("greedy", "beam"), ("int8", "beam-int8")):
        times.append(spread(ratios(*([turn.rate for turn in turns[name]] for name in pair))))
    return [*lines, "", f"A beam of 5 takes {times[0]} times as long as greedy search, with `--int8` {times[1]}."]


def start(root: Path, sizes: Sizes) -> list[str]:
    """Seconds from the shell to the answer, of the clock."""
    import torch

    from seq2seq import checkpoint
    from seq2seq.models.build import build_seq2seq

    prepared = work.make(root, work.MODELS["P"], pairs=sizes.pairs, vocab=sizes.vocab)
    torch.manual_seed(0)
    model = build_seq2seq(prepared.config.model, *(len(one) for one in prepared.tokenizers))
    contents = {"state_dict": checkpoint.named_weights(model)}
    contents[checkpoint.SECTION] = checkpoint.section(
        prepared.config.model, prepared.config.decode, prepared.tokenizers
    )
    checkpoint.save(root / "start.ckpt", contents)
    translated = "`seq2seq-translate`, one line"
    commands = {f"`seq2seq-{name} --help`": [f"seq2seq.cli.{name}", "--help"] for name in sizes.commands}
    commands[translated] = ["seq2seq.cli.translate", str(root / "start.ckpt"), "--threads", "1"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(1 + min(3, sizes.repetitions)):
        for name, words in commands.items():
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", *words],
                input="w1 w2 w3\n",
                text=True,
                check=True,
                capture_output=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            seconds[name].append(time.perf_counter() - started)
    lines = ["| | seconds |", "| --- | ---: |"]
    return lines + [f"| {name} | {spread(values[1:])} |" for name, values in seconds.items()]


def corpus(root: Path, sizes: Sizes) -> list[str]:
    """A training's start with many pairs: in a process of its own, twice, of which the second is a warm start."""
    answers = []
    for _ in range(2):
        words = [sys.executable, "-m", "bench.corpus", str(root / "corpus"), str(sizes.corpus)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        answers.append(json.loads(done.stdout))
    warm = answers[-1]
    lines = ["| | |", "| --- | ---: |", f"| pairs | {sizes.corpus:,} |"]
    lines += [f"| {name} | {value:.1f} s |" for name, value in warm["seconds"].items()]
    return [*lines, f"| most memory resident at the first step | {warm['peak_mb']:,.0f} MB |"]


def export(root: Path, sizes: Sizes) -> list[str]:
    """Sentences a second of a checkpoint, its exports and CTranslate2's Transformer, and one line from a cold start."""
    from bench import exported

    pairs, tiny = min(sizes.pairs, 2000), "tiny" in sizes.models
    made = exported.prepare(root / "export", pairs=pairs, vocab=sizes.vocab, sentences=4 * sizes.sentences, tiny=tiny)
    repetitions = min(sizes.repetitions, 3)
    searched = exported.searches(made, repetitions, python=sizes.ctranslate2)
    return [*searched, "", *exported.cold_starts(made, repetitions)]


def scaling(root: Path, sizes: Sizes) -> list[str]:
    """Target tokens a second by threads, batch, length and vocabulary; the picture is left below the root."""
    from bench.picture import picture

    curves = measure(
        root,
        sizes.factors,
        models=sizes.models,
        repetitions=min(sizes.repetitions, 3),
        pairs=sizes.pairs,
        vocab=sizes.vocab,
    )
    (root / PICTURES["scaling"]).write_text(picture(curves), encoding="utf-8")
    meanings = "; ".join(f"{name}: {work.MEANINGS[name]}" for name in sizes.models)
    about = (
        "Target tokens a second: of the clock where threads are varied, of the processor's time elsewhere. "
        f"{meanings}. "
        f"Fixed otherwise: one thread, batches of {work.BATCH} sentences, Multi30k's lengths, vocabularies of "
        f"{sizes.vocab:,}. Where the length is varied, all targets have that one, and a batch has {LENGTH_TOKENS:,} "
        "target tokens."
    )
    image = f"![Target tokens a second by threads, batch, length and vocabulary]({PICTURES['scaling']})"
    return [about, "", image, "", *tables(curves)]


PARTS = {"train": train, "padding": padding, "book": book, "decode": decode, "start": start, "corpus": corpus}
PARTS |= {"export": export, "scaling": scaling}
PICTURES = {"scaling": "scaling.svg"}  # that a part leaves below its root
HEADINGS = {
    "train": "Training",
    "padding": "Padding",
    "book": "A small network: the book's addition task",
    "decode": "Decoding, configuration A",
    "start": "Start-up",
    "corpus": "A large corpus",
    "export": "Exported models",
    "scaling": "How speed scales",
}
