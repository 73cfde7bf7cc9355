"""Exported models beside their checkpoint and beside a Transformer in CTranslate2: speed, and a cold start."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import work
from bench.forked import Forked
from bench.machine import processor
from bench.rounds import ROOT, Program, Turn, interleave, ratios, spread
from bench.worker import Gate
from seq2seq.config.schema import DecodeConfig, MetricsConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers

if TYPE_CHECKING:
    from seq2seq.export.folder import Source

# The network of conf/experiment/multi30k_best.yaml.
NETWORK = ModelConfig(
    cell="lstm",
    hidden_size=512,
    embedding_size=256,
    num_layers=1,
    bidirectional=True,
    attention="general",
    reverse=False,
    peeky="none",
    tie="all",
)
TINY = dataclasses.replace(NETWORK, hidden_size=16, embedding_size=8)
# Words of a source, which its output has two more tokens than. Eight quantiles of Multi30k's; each comes as often, so
# that an engine which forces one length in a call can be given calls of many sentences.
LENGTHS = (7, 9, 10, 11, 13, 15, 17, 23)
FORMS = {
    "torch": "checkpoint, torch, float32",
    "torch-int8": "checkpoint, torch, `--int8`",
    "exported": "exported, float32",
    "exported-int8": "exported, 8 bits",
}
TRANSFORMERS = {"float32": "Transformer, CTranslate2, float32", "int8": "Transformer, CTranslate2, int8"}
BEAMS = {"greedy": 1, "beam": 5}


class Made(NamedTuple):
    """What is measured, on disk."""

    lines: Path
    vocab: int
    sentences: int
    forms: dict[str, Path]  # a checkpoint, or an exported folder


def prepare(root: Path, *, pairs: int, vocab: int, sentences: int, tiny: bool = False) -> Made:
    """Write a network with random weights as a checkpoint and as exported folders, and the lines to translate.

    Args:
        pairs: of the corpus that the vocabulary is taken from.
        sentences: lines that a turn translates.
        tiny: a small network, to try the benchmark.
    """
    from seq2seq.decoding.forms.products import has_int8
    from seq2seq.export.folder import contents
    from seq2seq.files.folders import write_files

    config = TINY if tiny else NETWORK
    untied = dataclasses.replace(config, tie="none")  # the corpus has two vocabularies, of which one is taken
    tokenizer = work.make(root, untied, pairs=pairs, vocab=vocab).tokenizers.tgt
    source = endless(config, Tokenizers(tokenizer, tokenizer))
    forms = {"torch": root / "model.ckpt"}
    save(source, config, forms["torch"])
    if has_int8():
        forms["torch-int8"] = forms["torch"]
    for name, int8 in (("exported", False), ("exported-int8", True)):
        forms[name] = root / name
        shutil.rmtree(forms[name], ignore_errors=True)  # of an earlier run in the same folder
        forms[name].mkdir()
        write_files(contents(source, int8=int8), forms[name])
    lines = write_sources(root / "lines", len(tokenizer), sentences)
    return Made(lines, len(tokenizer), sentences, forms)


def endless(config: ModelConfig, tokenizers: Tokenizers) -> Source:
    """A translator with random weights, whose outputs are all as long as they may be."""
    import torch

    from seq2seq.export.folder import Source
    from seq2seq.models.build import build_seq2seq
    from seq2seq.tokens.base import EOS

    torch.manual_seed(0)
    model = build_seq2seq(config, *map(len, tokenizers)).eval()
    with torch.no_grad():
        model.decoder.output.bias[EOS] = -1e9
    return Source(model, tokenizers, DecodeConfig(max_ratio=1.0, max_extra=1), MetricsConfig())


def save(source: Source, config: ModelConfig, path: Path) -> None:
    """Write a translator as a checkpoint."""
    from seq2seq import checkpoint

    contents = {"state_dict": checkpoint.named_weights(source.network)}
    contents[checkpoint.SECTION] = checkpoint.section(config, source.decode, source.tokenizers)
    checkpoint.save(path, contents)


def write_sources(path: Path, vocab: int, sentences: int) -> Path:
    """Write so many lines; of the first n as many have each of the lengths."""
    import numpy as np

    from seq2seq.files.writing import write_lines

    rng = np.random.default_rng(2)
    lengths = islice(cycle(LENGTHS), sentences)
    write_lines(path, [" ".join(f"w{word}" for word in rng.integers(vocab - 4, size=length)) for length in lengths])
    return path


def searches(made: Made, repetitions: int, *, python: str = "") -> list[str]:
    """The table of sentences a second; the contenders of each search take turns.

    Args:
        python: an interpreter with ctranslate2; without it that is left out.
    """
    turns = {search: _turns(made, search, repetitions, python) for search in BEAMS}
    labels = {name: FORMS[name] for name in made.forms} | (TRANSFORMERS if python else {})
    heads = "".join(f" {search}: sentences/s | of torch, float32 |" for search in ("greedy", "beam of 5"))
    lines = [f"| {processor()} |{heads}", f"| --- |{' ---: |' * 4}"]
    for name, label in labels.items():
        cells = []
        for own in turns.values():
            cells += [spread([turn.rate for turn in own[name]], ",.0f"), _times(own, name, "torch")]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return [*_about(made), "", *lines, "", *_conclusions(made, turns, python)]


def _times(turns: dict[str, list[Turn]], one: str, other: str) -> str:
    """How many times as fast one contender is as another."""
    return spread(ratios(*([turn.rate for turn in turns[name]] for name in (one, other))))


def _turns(made: Made, search: str, repetitions: int, python: str) -> dict[str, list[Turn]]:
    contenders: list[Forked | Program] = []
    with ExitStack() as stack:
        for name, path in made.forms.items():
            work_of = (str(path), str(made.lines), search, "int8" in name)
            contenders.append(stack.enter_context(Forked(name, serve, *work_of)))
        for kind in TRANSFORMERS if python else ():
            words = [str(made.lines), str(made.vocab), str(BEAMS[search]), kind]
            command = [python, "-m", "bench.transformer", *words]
            contenders.append(stack.enter_context(Program(kind, command)))
        units = {one.name: made.sentences for one in contenders}
        warm = {one.name: max(len(LENGTHS), made.sentences // 8) for one in contenders}
        return interleave(contenders, units, repetitions, warm=warm)


def _about(made: Made) -> list[str]:
    return wrap(
        "The network of `multi30k_best` (a bidirectional encoder and a decoder with attention, one LSTM layer each, "
        f"states of 512, embeddings of 256, all tied), random weights, {made.vocab:,} pieces. {made.sentences:,} lines "
        f"of {LENGTHS[0]} to {LENGTHS[-1]} words; each output has two tokens more. Processor time.",
        120,
        break_on_hyphens=False,
    )


def _conclusions(made: Made, turns: dict[str, dict[str, list[Turn]]], python: str) -> list[str]:
    greedy, in_beam = [_times(own, "exported-int8", "exported") for own in turns.values()]
    said = [f"Exported 8 bits are {greedy} times as fast as exported float32 in greedy search, {in_beam} in a beam."]
    if "torch-int8" not in made.forms:
        said.append("torch's `--int8` is left out: this processor has no VNNI.")
    if python:
        greedy, in_beam = [_times(own, "exported-int8", "int8") for own in turns.values()]
        said.append(
            "The Transformer has 4 + 4 layers of width 256, inner layers of 1,024, 4 heads, one shared embedding and "
            "random weights. It gets pieces instead of text, in calls of lines with as many words. Exported 8 bits are "
            f"{greedy} times as fast as its int8 in greedy search, {in_beam} in a beam."
        )
    else:
        said.append("CTranslate2 is left out: `--ctranslate2 PYTHON` names an interpreter that has it.")
    return wrap(" ".join(said), 120, break_on_hyphens=False)


def cold_starts(made: Made, repetitions: int) -> list[str]:
    """The table of what one line costs from a cold start of `seq2seq-translate`."""
    names = [name for name in FORMS if name in made.forms]
    used: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repetitions + (repetitions > 1)):
        for name in names:
            flags = ["--int8"] if name == "torch-int8" else []
            found = _cold_start([str(made.forms[name]), "--threads", "1", *flags])
            used[name].append(found)
    lines = ["| one line, from a cold start | processor, seconds | memory at most |", "| --- | ---: | ---: |"]
    for name in names:
        counted = used[name][-repetitions:]  # without the first, which reads files from the disk
        seconds = spread([one["seconds"] for one in counted])
        peak = max(one["peak_mb"] for one in counted)
        lines.append(f"| {FORMS[name]} | {seconds} | {peak:,.0f} MB |")
    return lines


def _cold_start(words: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.cold", sys.executable, "-m", "seq2seq.cli.translate", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = "w1 w2 w3 w4 w5\n"
    done = subprocess.run(command, input=line, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def serve(gate: Gate, model: str, path: str, search: str, int8: bool) -> None:
    """Translate lines on request, always the same; a unit is a line, from the file's start."""
    from seq2seq.files.lines import read_lines
    from seq2seq.runtime.folder import is_export
    from seq2seq.translate.translator import Translator

    lines = read_lines(path)
    changes: dict[str, Any] = {"search": search, "int8": int8}
    changes |= {"beam_size": BEAMS[search]} if search == "beam" else {}
    load = Translator.from_export if is_export(model) else Translator.from_checkpoint
    translator = load(model, threads=1, **changes)

    def do(count: int) -> tuple[float, float]:
        translator.translate(lines[:count])
        return count, 0.0

    gate.serve(do)
