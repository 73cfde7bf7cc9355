"""From lines to translated lines, with neither Lightning nor Hydra nor any training file."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq import checkpoint
from seq2seq.beam import BeamSettings, beam
from seq2seq.config import DecodeConfig
from seq2seq.data.batch import Shape, collate, enough_memory, pad
from seq2seq.data.corpus import Tokenizers
from seq2seq.ensemble import EnsembleState, ensemble
from seq2seq.errors import UserError
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.sampling import SamplingSettings, sample
from seq2seq.search import Hypothesis, greedy
from seq2seq.tokenizer import BOS, EOS

log = logging.getLogger(__name__)

WINDOW = 4096  # lines that are sorted by length and decoded together


class Translation(NamedTuple):
    """A line's translation, and how it came about."""

    text: str
    log_prob: float  # of all its tokens, in nats, the end symbol included
    score: float  # that it was ranked by: log_prob, or a beam's, with its penalties
    src_pieces: list[str]  # with the end symbol, where the model has one
    tgt_pieces: list[str]  # likewise, but without it where the output was ended at its greatest length
    attention: Tensor | None = None  # (tgt_pieces, src_pieces): None unless asked for, and there


class Translator:
    """A trained model with its tokenizers: one output line for each input line, and a blank one for a blank one.

    A line's translation depends on that line alone, not on its neighbours, the batch size or the order. The models are
    left in evaluation mode.

    Args:
        model: the network, on the device it is to run on.
        decode: the search, and bounds on the work.
        others: further networks with the same tokenizers, on the same device; the mean of all their probabilities
            decides.

    Example:
        >>> Translator.from_checkpoint("runs/phrasebook/seed-1").translate(["The dog sleeps."])  # doctest: +SKIP
        ['Der Hund schläft.']
    """

    def __init__(
        self,
        model: Seq2Seq,
        tokenizers: Tokenizers,
        decode: DecodeConfig | None = None,
        *,
        others: Sequence[Seq2Seq] = (),
    ) -> None:
        self.model = model
        self.models = (model, *others)
        self.tokenizers = tokenizers
        self.decode = decode or DecodeConfig()
        self.num_cut = 0  # lines longer than decode.max_source since this translator was made

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, device: str = "cpu") -> Translator:
        """Load a checkpoint file, or the best one of a run folder.

        Raises:
            UserError: if there is none, or if it is refused; see `checkpoint.read`.
        """
        return cls.from_checkpoints([path], device=device)

    @classmethod
    def from_checkpoints(cls, paths: Sequence[str | Path], *, device: str = "cpu") -> Translator:
        """Load an ensemble: checkpoints with the same tokenizers. The first one's decoding settings hold.

        Raises:
            UserError: for a checkpoint that is refused, or that does not go with the first one.
        """
        first, *others = (checkpoint.load(path) for path in paths)
        for path, other in zip(paths[1:], others, strict=True):
            if [one.proto for one in other.tokenizers] != [one.proto for one in first.tokenizers]:
                raise UserError(
                    f"{path} has other tokenizers than {paths[0]}; an ensemble needs runs on the same data."
                )
            if other.model.fixed_length != first.model.fixed_length:
                raise UserError(f"{path} and {paths[0]} do not agree on model.fixed_length; leave one of them out.")
        models = [one.model.to(device) for one in (first, *others)]
        return cls(models[0], first.tokenizers, first.decode, others=models[1:])

    def translate(self, lines: Sequence[str]) -> list[str]:
        """Translate lines, in any order of length; blank lines come back blank.

        Raises:
            ValueError: if a line holds a newline.
        """
        rows, _, hypotheses = self._found(lines, 1, attention=False)
        outputs = [""] * len(lines)
        best = self.tokenizers.tgt.decode([own[0].tokens for own in hypotheses])
        for i, output in zip(rows, best, strict=True):
            outputs[i] = output
        return outputs

    def n_best(self, lines: Sequence[str], num_best: int, *, attention: bool = False) -> list[list[Translation]]:
        """Several translations of each line, the best first: fewer where there are no more, none of a blank line.

        A beam gives its ``num_best`` best ones, all different; sampling so many draws, in the order of their
        log-probability, which may be equal; greedy search has one.

        Args:
            num_best: at most the beam's size.
            attention: keep the weights, where the model has attention.

        Raises:
            ValueError: if a line holds a newline, or ``num_best`` is out of range.
        """
        found: list[list[Translation]] = [[] for _ in lines]
        for i, ids, hypotheses in zip(*self._found(lines, num_best, attention=attention), strict=True):
            texts = self.tokenizers.tgt.decode([one.tokens for one in hypotheses])
            found[i] = [self._translation(ids, *pair) for pair in zip(hypotheses, texts, strict=True)]
        return found

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
            with self._enough_memory(batch.shape):
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

    def _found(
        self, lines: Sequence[str], num_best: int, *, attention: bool
    ) -> tuple[list[int], list[list[int]], list[list[Hypothesis]]]:
        """The rows that are not blank, with their ids and hypotheses."""
        rows = [i for i, line in enumerate(lines) if line.strip()]
        ids = self._encode([lines[i] for i in rows])
        return rows, ids, self._search(ids, num_best, attention)

    def _translation(self, ids: Sequence[int], hypothesis: Hypothesis, text: str) -> Translation:
        end = [] if self.model.fixed_length else [EOS]
        src = self.tokenizers.src.pieces([*ids, *end])
        limit = self.decode.max_length(len(src))  # where an output is ended as it is
        tgt = self.tokenizers.tgt.pieces([*hypothesis.tokens, *(end if len(hypothesis.tokens) < limit else [])])
        weights = None if hypothesis.attention is None else hypothesis.attention[:, : len(src)]
        score = hypothesis.score if hypothesis.normalised is None else hypothesis.normalised
        return Translation(text, hypothesis.score, score, src, tgt, weights)

    def _search(self, ids: Sequence[Sequence[int]], num_best: int, attention: bool) -> list[list[Hypothesis]]:
        for model in self.models:
            model.eval()
        found: list[list[Hypothesis]] = [[] for _ in ids]
        lengths = [len(row) + (not self.model.fixed_length) for row in ids]
        order = sorted(range(len(ids)), key=lambda i: lengths[i])
        width = self.decode.beam_size if self.decode.search == "beam" else 1
        for rows in self._batches(order, lengths, width=width):
            longest = max(lengths[i] for i in rows)
            limit = self.model.fixed_length or self.decode.max_length(longest)
            with self._enough_memory(Shape(len(rows) * width, longest, limit)):
                hypotheses = self._search_batch([ids[i] for i in rows], num_best, attention)
            for i, own in zip(rows, hypotheses, strict=True):
                found[i] = own
        return found

    def _enough_memory(self, shape: Shape) -> AbstractContextManager[None]:
        return enough_memory(
            shape,
            f"make decode.batch_tokens (--batch-tokens, now {self.decode.batch_tokens}) smaller",
            alone=f"make decode.max_source (--max-source, now {self.decode.max_source}) smaller",
        )

    def _batches(self, order: Sequence[int], lengths: Sequence[int], *, width: int = 1) -> Iterator[list[int]]:
        """Rows in order, cut where a batch, each row of it ``width`` times, would hold more than
        ``decode.batch_tokens``.
        """
        batch: list[int] = []
        widest = 0
        for row in order:
            widest = max(widest, lengths[row])
            if batch and (len(batch) + 1) * widest * width > self.decode.batch_tokens:
                yield batch
                batch, widest = [], lengths[row]
            batch.append(row)
        if batch:
            yield batch

    @torch.no_grad()
    def _search_batch(self, ids: Sequence[Sequence[int]], num_best: int, attention: bool) -> list[list[Hypothesis]]:
        decode = self.decode
        end = [] if self.model.fixed_length else [EOS]
        sources = [[*row, *end] for row in ids]
        src, src_lengths = pad(sources).to(self.device), torch.tensor([len(row) for row in sources])
        states = tuple(model.encode(src, src_lengths) for model in self.models)
        alone = len(states) == 1
        step: Any = self.model.decoder.step if alone else ensemble([model.decoder.step for model in self.models])
        state: Any = states[0] if alone else EnsembleState(states)
        options: dict[str, Any] = {
            "bos": BOS,
            "eos": None if self.model.fixed_length else EOS,
            "max_lengths": [self.model.fixed_length or decode.max_length(len(row)) for row in sources],
            "device": self.device,
            "keep_attention": attention,
        }
        if decode.search == "beam":
            settings = BeamSettings(decode.beam_size, num_best, decode.length_penalty, decode.coverage_penalty)
            return beam(step, state, settings=settings, **options)
        if decode.search == "sample":
            drawn = [self._sample(step, state, ids, draw, options) for draw in range(num_best)]
            return [sorted(own, key=lambda one: -one.score) for own in zip(*drawn, strict=True)]
        return [[hypothesis] for hypothesis in greedy(step, state, **options)]

    def _sample(
        self, step: Any, state: Any, ids: Sequence[Sequence[int]], draw: int, options: dict[str, Any]
    ) -> list[Hypothesis]:
        """One draw for each row, whose randomness is a function of the seed, the row and the number of the draw."""
        decode = self.decode
        seeds = []
        for row in ids:
            stream = np.array([decode.seed, draw, *row], dtype="<u8").tobytes()
            seeds.append(int.from_bytes(hashlib.sha256(stream).digest()[:8], "little"))
        settings = SamplingSettings(decode.temperature, decode.top_k, decode.top_p)
        return sample(step, state, seeds=seeds, settings=settings, **options)
