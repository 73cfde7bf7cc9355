"""How speed scales with threads, batch size, sentence length and vocabulary: one of them is varied at a time."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import work
from bench.forked import Forked
from bench.rounds import interleave, spread
from bench.worker import Gate, endless_translator, train_plain, train_seq2seq
from seq2seq.config.schema import DecodeConfig
from seq2seq.files.lines import iter_lines

LENGTH_TOKENS = 2000  # of a batch's targets, where their length is varied
LENGTH_BATCHES = 8  # of that corpus: as many for each length, so that their order and kinds of sources are the same


class Factors(NamedTuple):
    """The values of each factor. The others are then 1 thread, batches of 128, Multi30k's lengths and 8,000 pieces."""

    threads: tuple[int, ...] = (1, 2)  # no more than there are cores
    batch: tuple[int, ...] = (16, 32, 64, 128, 256)  # sentences
    length: tuple[int, ...] = (5, 10, 20, 40)  # tokens of each target, the end symbol included
    vocab: tuple[int, ...] = (2_000, 4_000, 8_000, 16_000, 32_000)  # pieces a side


NAMES = {"threads": "threads", "batch": "sentences in a batch", "length": "target tokens in a sentence"}
NAMES |= {"vocab": "pieces in a vocabulary"}


class Point(NamedTuple):
    """One setting."""

    threads: int
    batch: int
    length: int  # 0 for Multi30k's
    vocab: int

    @classmethod
    def where(cls, factor: str, value: int, vocab: int) -> Point:
        """The setting with this value of one factor, and the usual values of the others."""
        varied = {factor: value}
        if factor == "length":
            varied["batch"] = LENGTH_TOKENS // value
        return cls(threads=1, batch=work.BATCH, length=0, vocab=vocab)._replace(**varied)

    @property
    def sentences(self) -> int:
        """Sentences in a turn: equally many for each batch size, but at least one batch."""
        return self.batch if self.length else max(self.batch, work.BATCH)

    @property
    def steps(self) -> int:
        """Training steps in a turn."""
        return self.sentences // self.batch

    def prepare(self, root: Path, model: str, pairs: int) -> work.Prepared:
        """The dataset, made if it is missing, and an experiment without validations."""
        if self.length:
            pairs = LENGTH_BATCHES * self.batch
        folder = root / f"scaling-{self.vocab}-{self.length}"
        made = work.make(folder, work.MODELS[model], pairs=pairs, vocab=self.vocab, tokens=self.length)
        trainer = dataclasses.replace(made.config.trainer, threads=self.threads, validate_every=1e6)
        data = dataclasses.replace(made.config.data, batch_sentences=self.batch)
        return made._replace(config=dataclasses.replace(made.config, data=data, trainer=trainer))


class Line(NamedTuple):
    """A measurement that is made at every point of a factor."""

    model: str
    kind: str  # seq2seq, plain, greedy or int8

    @property
    def label(self) -> str:
        return f"{self.model}, {_LABELS[self.kind]}"


_LABELS = {"seq2seq": "training", "plain": "training, plain loop", "greedy": "greedy", "int8": "greedy, `--int8`"}
Rates = dict[int, list[float]]  # at each value of a factor: of each repetition, in target tokens a second
Curves = dict[str, dict[str, Rates]]  # by the factor and the label of a line


def measure(root: Path, factors: Factors, *, models: Sequence[str], repetitions: int, pairs: int, vocab: int) -> Curves:
    """All points of a factor take turns, one network's training or decoding at a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    factors = factors._replace(threads=tuple(count for count in factors.threads if count <= cores))
    curves: Curves = {}
    for factor, values in factors._asdict().items():
        points = {value: Point.where(factor, value, vocab) for value in values}
        for point in points.values():
            point.prepare(root, models[0], pairs)
        curves[factor] = {}
        for group in _groups(models):
            started = time.monotonic()
            curves[factor] |= _take_turns(root, factor, points, group, repetitions, pairs)
            names = " and ".join(line.label for line in group)
            print(f"{NAMES[factor]}: {names} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
    return curves


def _groups(models: Sequence[str]) -> list[list[Line]]:
    """Training of each network, the plain loop only beside the first, the fastest one; decoding."""
    from seq2seq.decoding.forms.products import has_int8

    groups = [[Line(model, "seq2seq")] for model in models]
    groups[0].append(Line(models[0], "plain"))
    return [*groups, [Line(models[-1], name) for name in ("greedy", "int8") if name == "greedy" or has_int8()]]


def _take_turns(
    root: Path, factor: str, points: dict[int, Point], lines: Sequence[Line], repetitions: int, pairs: int
) -> dict[str, Rates]:
    places = {f"{line.label}, {factor} {value}": (line, value) for value in points for line in lines}
    units, contenders = {}, []
    with ExitStack() as stack:
        for name, (line, value) in places.items():
            point = points[value]
            units[name] = point.steps if line.kind in ("seq2seq", "plain") else 1
            forked = Forked(name, _work, line, point, root, pairs, wall_clock=factor == "threads")
            contenders.append(stack.enter_context(forked))
        turns = interleave(contenders, units, repetitions, warm=dict.fromkeys(units, 1))
    rates: dict[str, Rates] = {line.label: {} for line in lines}
    for name, (line, value) in places.items():
        rates[line.label][value] = [turn.rate for turn in turns[name]]
    return rates


def _work(gate: Gate, line: Line, point: Point, root: Path, pairs: int) -> None:
    """One contender."""
    prepared = point.prepare(root, line.model, pairs)
    if line.kind == "seq2seq":
        train_seq2seq(gate, prepared, root, unit="step")
    elif line.kind == "plain":
        train_plain(gate, prepared, tutorial=False)
    else:
        _decode(gate, prepared, point, int8=line.kind == "int8")


def _decode(gate: Gate, prepared: work.Prepared, point: Point, *, int8: bool) -> None:
    """A turn's first lines of the test text, sorted by length and cut into batches, as often as is asked."""
    ratio, extra = (0.0, point.length) if point.length else (1.0, 1)  # of the outputs' length and the source's
    decode = DecodeConfig(max_ratio=ratio, max_extra=extra, int8=int8, batch_tokens=2**30)
    translator = endless_translator(prepared, decode)
    first = itertools.islice(iter_lines(prepared.folder / "test.src"), point.sentences)
    lines = sorted(first, key=lambda line: len(line.split()))
    tokens = sum(decode.max_length(len(ids) + 1) for ids in prepared.tokenizers.src.encode(lines))

    def do(count: int) -> tuple[float, float]:
        for _ in range(count):
            for start in range(0, len(lines), point.batch):
                translator.translate(lines[start : start + point.batch])
        return float(count * tokens), 0.0

    gate.serve(do)


def tables(curves: Curves) -> list[str]:
    """A table for each factor, in Markdown."""
    lines: list[str] = []
    for factor, by_label in curves.items():
        values = next(iter(by_label.values()))
        lines += ["", f"| {NAMES[factor]} | {' | '.join(by_label)} |", f"| ---: |{' ---: |' * len(by_label)}"]
        for value in values:
            cells = " | ".join(spread(rates[value], ",.0f") for rates in by_label.values())
            lines.append(f"| {value:,} | {cells} |")
    return lines[1:]
