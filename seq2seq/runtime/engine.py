"""Decode token ids with an exported model: its graphs, a search, and batches of similar length.

It finds what `seq2seq.decoding.engine.Engine` finds with the checkpoint, and needs NumPy and onnxruntime only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from seq2seq.config.schema import DecodeConfig
from seq2seq.decoding.base import Hypothesis, Request
from seq2seq.decoding.batching import in_batches
from seq2seq.decoding.draws import seeds
from seq2seq.decoding.settings import beam_settings, sampling_settings
from seq2seq.errors import UserError
from seq2seq.runtime.beam import beam, coverage_of
from seq2seq.runtime.greedy import forced, greedy
from seq2seq.runtime.network import Columns, Network, NetworkStep, RowState, pad
from seq2seq.runtime.sampling import sample
from seq2seq.runtime.shortlist import Shortlist
from seq2seq.tokens.base import BOS, EOS, PAD


@dataclass(frozen=True, eq=False, repr=False)
class Engine:
    """An exported model that turns token ids into hypotheses.

    Threads and forked processes can share one: only its sessions are made later, when they are first used.

    Args:
        network: the graphs.
        fixed_length: the length of every output of a model without an end symbol, else 0.
        int8: whether its weights are 8-bit integers.
        barred: tokens that sampling does not draw.
        shortlist: the target pieces to choose from, where ``decode.shortlist`` asks for it.
        parameters: those of the network that was exported; 0 where the folder does not tell.
    """

    network: Network
    fixed_length: int = 0
    int8: bool = False
    barred: Sequence[int] = (PAD, BOS)
    shortlist: Shortlist | None = None
    parameters: int = 0

    models: Sequence[Any] = ()  # an exported model has no torch modules
    device: str = "cpu"

    @property
    def has_attention(self) -> bool:
        """Whether there is attention to look at."""
        return self.network.attention

    def fused(self, language_model: Any, weight: float) -> NoReturn:
        """Refuse a language model: exported models do not support fusion.

        Raises:
            UserError: always.
        """
        raise UserError(
            "fusion with a language model needs the checkpoint, and this is an exported model; use the checkpoint."
        )

    def search(
        self,
        requests: Sequence[Request],
        decode: DecodeConfig,
        num_best: int = 1,
        *,
        attention: bool = False,
        scores: bool = True,
    ) -> list[list[Hypothesis]]:
        """Find the best hypotheses of each request.

        Args:
            attention: keep the weights.
            scores: False may leave scores NaN, which makes greedy search faster.

        Raises:
            UserError: if ``decode`` asks for 8 bits, graphs or a shortlist that the folder does not have.
        """
        self.check(decode)
        return in_batches(
            requests,
            [len(one.src) + (not self.fixed_length) for one in requests],
            lambda batch: _Batch(self, batch, decode).search(num_best, attention, scores),
            decode,
            width=decode.beam_size if decode.search == "beam" else 1,
        )

    def force(
        self, requests: Sequence[Request], decode: DecodeConfig, *, attention: bool = False, plain: bool = False
    ) -> list[Hypothesis]:
        """Score the given output of each request by teacher forcing.

        Args:
            plain: without a shortlist.

        Raises:
            UserError: as `search`.
        """
        self.check(decode)
        return in_batches(
            requests,
            [max(len(one.src) + (not self.fixed_length), one.limit) for one in requests],
            lambda batch: _Batch(self, batch, decode, plain=plain).force(attention),
            decode,
        )

    def own_log_probs(
        self,
        requests: Sequence[Request],
        found: Sequence[Sequence[Hypothesis]],
        decode: DecodeConfig,
        *,
        wanted: bool = True,
    ) -> list[list[float]]:
        """The model's own log-probability of each hypothesis: its score."""
        return [[one.score for one in own] for own in found]

    def nll(self, requests: Sequence[Request], decode: DecodeConfig) -> tuple[float, int]:
        """The negative log-likelihood of given outputs, in nats, and the number of tokens that it sums over."""
        own = self.force(requests, decode, plain=True)
        return -math.fsum(one.score for one in own), sum(one.limit for one in requests)

    def rank(self, log_prob: float, length: int, attention: Any, decode: DecodeConfig) -> float:
        """What a beam search would rank a finished hypothesis at; see `BeamSettings.rank`.

        Args:
            length: the log-probabilities in the sum.
            attention: ``(length, real source positions)``; needed where coverage counts.
        """
        coverage = coverage_of(attention) if decode.coverage_penalty else 0.0
        return beam_settings(decode).rank(log_prob, length, coverage)

    def check(self, decode: DecodeConfig) -> None:
        """Refuse settings that an exported model does not support.

        Raises:
            UserError: naming the setting.
        """
        if decode.int8 != self.int8:
            wanted, there = ("8-bit", "32-bit") if decode.int8 else ("32-bit", "8-bit")
            raise UserError(
                f"decode.int8={str(decode.int8).lower()} asks for {wanted} weights, and this export has {there} ones; "
                f"use decode.int8={str(self.int8).lower()}, or export again."
            )
        if decode.cuda_graphs:
            raise UserError(
                "decode.cuda_graphs is for networks on a GPU, and this one is on cpu; use decode.cuda_graphs=false."
            )
        if decode.shortlist and self.shortlist is None:
            raise UserError(
                "decode.shortlist: this export has none; train with trainer.shortlist=10 and export again, or use "
                "decode.shortlist=false."
            )


class _Batch:
    """Requests that are decoded together.

    Args:
        plain: without a shortlist.
    """

    def __init__(
        self, engine: Engine, requests: Sequence[Request], decode: DecodeConfig, *, plain: bool = False
    ) -> None:
        self.engine, self.requests, self.decode = engine, requests, decode
        self.prefixes = [one.prefix for one in requests]
        self.symbols: dict[str, Any] = {"bos": BOS, "eos": None if engine.fixed_length else EOS}
        self.columns: Columns | None = None  # the pieces to choose from; None for all
        if decode.shortlist and engine.shortlist is not None and not plain:
            self._choose_columns(engine.shortlist)

    def search(self, num_best: int, attention: bool, scores: bool) -> list[list[Hypothesis]]:
        """The hypotheses of each request, the best first."""
        without = not scores and self.decode.search == "greedy"
        step, state = self._start(normalise=not without)
        options = {
            **self.symbols,
            "max_lengths": [one.limit for one in self.requests],
            "prefixes": self.prefixes,
            "keep_attention": attention,
        }
        found = [[self._spelled_out(one) for one in own] for own in self._run(step, state, num_best, options)]
        return [[one._replace(score=math.nan) for one in own] for own in found] if without else found

    def force(self, attention: bool) -> list[Hypothesis]:
        """The given outputs with their scores."""
        found = forced(*self._start(), self.prefixes, **self.symbols, keep_attention=attention)
        return [self._spelled_out(one) for one in found]

    def _choose_columns(self, shortlist: Shortlist) -> None:
        """Let the batch choose from its shortlist, and count its tokens by their places there."""
        columns = self.columns = shortlist.columns([one.src for one in self.requests], self.prefixes)
        for name in ("bos", "eos"):
            if self.symbols[name] is not None:
                self.symbols[name] = columns.place(self.symbols[name])
        self.prefixes = [[columns.place(token) for token in prefix] for prefix in self.prefixes]

    def _start(self, *, normalise: bool = True) -> tuple[NetworkStep, RowState]:
        """The step function, and its first state."""
        end = [] if self.engine.fixed_length else [EOS]
        src, lengths = pad([[*one.src, *end] for one in self.requests], PAD)
        return self.engine.network.start(src, lengths, columns=self.columns, normalise=normalise)

    def _run(
        self, step: NetworkStep, state: RowState, num_best: int, options: dict[str, Any]
    ) -> list[list[Hypothesis]]:
        """The search that ``decode.search`` names."""
        decode = self.decode
        if decode.search == "beam":
            return beam(step, state, settings=beam_settings(decode, num_best), **options)
        if decode.search == "sample":
            masked = self.engine.barred if self.columns is None else []  # a shortlist masks them itself
            options["settings"] = sampling_settings(decode, masked)
            contents = [np.array(one.src, dtype="<u8").tobytes() for one in self.requests]  # as `Ids.content`
            each = [seeds(contents, decode.seed, draw) for draw in range(num_best)]
            drawn = [sample(step, state.shared(), seeds=own, **options) for own in each]
            return [sorted(own, key=lambda one: -one.score) for own in zip(*drawn, strict=True)]
        return [[hypothesis] for hypothesis in greedy(step, state, **options)]

    def _spelled_out(self, hypothesis: Hypothesis) -> Hypothesis:
        """The hypothesis with the vocabulary's own token ids."""
        if self.columns is None:
            return hypothesis
        tokens: np.ndarray = self.columns.tokens[hypothesis.tokens] if hypothesis.tokens else np.zeros(0, np.int64)
        return hypothesis._replace(tokens=tokens.tolist())
