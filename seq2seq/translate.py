"""From lines to translated lines, with neither Lightning nor Hydra nor any training file."""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seq2seq import checkpoint
from seq2seq.config import DecodeConfig
from seq2seq.data import text
from seq2seq.data.batch import collate, pad
from seq2seq.data.corpus import Tokenizers
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.search import Hypothesis, greedy
from seq2seq.tokenizer import BOS, EOS

log = logging.getLogger(__name__)

WINDOW = 4096  # lines that are sorted by length and decoded together


class Translator:
    """A trained model with its tokenizers: one output line for each input line, and a blank one for a blank one.

    A line's translation depends on that line alone, not on its neighbours, the batch size or the order. The model is
    left in evaluation mode.

    Args:
        model: the network, on the device it is to run on.
        decode: bounds on the work.

    Example:
        >>> Translator.from_checkpoint("runs/phrasebook/seed-1").translate(["The dog sleeps."])  # doctest: +SKIP
        ['Der Hund schläft.']
    """

    def __init__(self, model: Seq2Seq, tokenizers: Tokenizers, decode: DecodeConfig | None = None) -> None:
        self.model = model
        self.tokenizers = tokenizers
        self.decode = decode or DecodeConfig()
        self.num_cut = 0  # lines longer than decode.max_source since this translator was made

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, device: str = "cpu") -> Translator:
        """Load a checkpoint file, or the best one of a run folder.

        Raises:
            UserError: if there is none, or if it is refused; see `checkpoint.read`.
        """
        loaded = checkpoint.load(path)
        return cls(loaded.model.to(device), loaded.tokenizers, loaded.decode)

    def translate(self, lines: Sequence[str]) -> list[str]:
        """Translate lines, in any order of length; blank lines come back blank.

        Raises:
            ValueError: if a line holds a newline.
        """
        rows = [i for i, line in enumerate(lines) if line.strip()]
        ids = self._encode([lines[i] for i in rows])
        hypotheses = self._search(ids)
        outputs = [""] * len(lines)
        for i, output in zip(rows, self.tokenizers.tgt.decode([h.tokens for h in hypotheses]), strict=True):
            outputs[i] = output
        return outputs

    def stream(self, lines: Iterable[str], *, window: int = WINDOW) -> Iterator[list[str]]:
        """Translate lines as they come, in order, a window at a time; memory is bounded by the window."""
        iterator = iter(lines)
        while chunk := list(itertools.islice(iterator, window)):
            yield self.translate(chunk)

    @torch.no_grad()
    def nll(self, src: Sequence[str], tgt: Sequence[str]) -> tuple[float, int]:
        """Teacher-forced negative log-likelihood of given translations, in nats, and the tokens it is the sum over.

        Pairs with a blank source count like all others here: the model is asked, as in training.
        """
        src_ids, tgt_ids = self.tokenizers.src.encode(src), self.tokenizers.tgt.encode(tgt)
        order = sorted(range(len(src_ids)), key=lambda i: (len(tgt_ids[i]), len(src_ids[i])))
        total, num_tokens = 0.0, 0
        self.model.eval()
        for rows in self._batches(order, [max(len(s), len(t)) for s, t in zip(src_ids, tgt_ids, strict=True)]):
            src_rows, tgt_rows = [src_ids[i] for i in rows], [tgt_ids[i] for i in rows]
            batch = collate(src_rows, tgt_rows, rows, end_symbol=not self.model.fixed_length).to(self.device)
            total += self.model.loss(batch.src, batch.src_lengths, batch.tgt_in, batch.tgt_out).item()
            num_tokens += batch.num_tokens
        return total, num_tokens

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def _encode(self, lines: Sequence[str]) -> list[list[int]]:
        limit = self.decode.max_source
        ids = self.tokenizers.src.encode(lines)
        cut = [i for i, row in enumerate(ids) if len(row) > limit]
        for i in cut:
            log.warning("a line of %d tokens is cut to its first %d: %.40s...", len(ids[i]), limit, lines[i])
            ids[i] = ids[i][:limit]
        self.num_cut += len(cut)
        return ids

    def _search(self, ids: Sequence[Sequence[int]]) -> list[Hypothesis]:
        self.model.eval()
        found: list[Hypothesis] = [Hypothesis([], 0.0)] * len(ids)
        lengths = [len(row) + (not self.model.fixed_length) for row in ids]
        order = sorted(range(len(ids)), key=lambda i: lengths[i])
        for rows in self._batches(order, lengths):
            for i, hypothesis in zip(rows, self._greedy([ids[i] for i in rows]), strict=True):
                found[i] = hypothesis
        return found

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows in order, cut where a batch would hold more than ``decode.batch_tokens``."""
        batch: list[int] = []
        widest = 0
        for row in order:
            widest = max(widest, lengths[row])
            if batch and (len(batch) + 1) * widest > self.decode.batch_tokens:
                yield batch
                batch, widest = [], lengths[row]
            batch.append(row)
        if batch:
            yield batch

    @torch.no_grad()
    def _greedy(self, ids: Sequence[Sequence[int]]) -> list[Hypothesis]:
        end = [] if self.model.fixed_length else [EOS]
        sources = [[*row, *end] for row in ids]
        src = pad(sources).to(self.device)
        state = self.model.encode(src, torch.tensor([len(row) for row in sources]))
        limits = [self.model.fixed_length or self.decode.max_length(len(row)) for row in sources]
        eos = None if self.model.fixed_length else EOS
        return greedy(self.model.decoder.step, state, bos=BOS, eos=eos, max_lengths=limits, device=self.device)


class FileReport(NamedTuple):
    """What happened to a file."""

    num_lines: int
    num_cut: int  # lines longer than decode.max_source
    num_replaced: int  # lines with bytes that are no UTF-8
    seconds: float


def translate_file(
    translator: Translator,
    source: str | Path | None,
    target: str | Path | None,
    *,
    window: int = WINDOW,
    strict: bool = False,
) -> FileReport:
    r"""Translate a file, or stdin, to a file, or stdout: line i of the output is the translation of line i of the
    input.

    Lines end at "\n" alone. A carriage return before it belongs to the line's end and is left out, as is a byte-order
    mark at the file's start. A named output appears whole or not at all; both sides may be ``.gz``. Progress is shown
    on stderr, if that is a terminal.

    Args:
        source, target: None for stdin and stdout.
        window: lines in memory at a time.
        strict: refuse bytes that are no UTF-8, instead of replacing them.

    Raises:
        UserError: if a file cannot be read or written, or for bad UTF-8 with ``strict``.
    """
    started = time.perf_counter()
    cut_before = translator.num_cut
    num_lines = 0
    lines = _Lines(sys.stdin.buffer if source is None else source, strict=strict)
    with ExitStack() as stack:
        out = sys.stdout.buffer if target is None else stack.enter_context(text.writing(target))
        bar = stack.enter_context(_progress_bar())
        task = bar.add_task(lines.name, total=None)
        for outputs in translator.stream(lines, window=window):
            out.write("".join(output + "\n" for output in outputs).encode("utf-8"))
            out.flush()
            num_lines += len(outputs)
            bar.advance(task, len(outputs))
    return FileReport(num_lines, translator.num_cut - cut_before, lines.num_replaced, time.perf_counter() - started)


class _Lines:
    """The lines of a file or a stream as text, counting those that were no UTF-8."""

    def __init__(self, source: str | Path | BinaryIO, *, strict: bool) -> None:
        self.source, self.strict = source, strict
        self.name = str(source) if isinstance(source, (str, Path)) else "stdin"
        self.num_replaced = 0

    def __iter__(self) -> Iterator[str]:
        for number, raw in enumerate(text.iter_raw_lines(self.source), start=1):
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                if self.strict:
                    raise text.not_utf8(self.name, number, raw, error) from None
                self.num_replaced += 1
                yield raw.decode("utf-8", "replace")


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.speed:.0f} lines/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
