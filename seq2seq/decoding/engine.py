"""Decode token ids: networks, forms of their step, a search, and batches of similar length.

`Engine` knows only ids: `seq2seq.translate.translator.Translator` encodes lines for it, and decodes the ids that it
finds.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from seq2seq.config.schema import DecodeConfig
from seq2seq.data.batches import collate
from seq2seq.data.sources.base import Layout
from seq2seq.data.sources.text import Ids
from seq2seq.decoding.base import Hypothesis, Request
from seq2seq.decoding.batching import by_length, enough_memory, in_batches
from seq2seq.decoding.beam import beam, coverage_of
from seq2seq.decoding.draws import seeds
from seq2seq.decoding.forms.available import build_form, check_form, check_shortlist
from seq2seq.decoding.forms.base import Form
from seq2seq.decoding.forms.composed import EnsembleForm, FusedForm
from seq2seq.decoding.forms.module import ModuleForm
from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.fusion import check_weight
from seq2seq.decoding.greedy import forced, greedy
from seq2seq.decoding.sampling import sample
from seq2seq.decoding.settings import beam_settings, sampling_settings
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.models import threads
from seq2seq.models.build import num_parameters
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, EOS, PAD

Found = TypeVar("Found")
Forms = Sequence[Form]  # of each model


class _Made:
    """Forms made once from the networks, and shared by all threads.

    A copy or a pickle starts empty.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.forms: dict[tuple[bool, bool], Forms] = {}  # by ``decode.int8`` and ``decode.cuda_graphs``

    def __reduce__(self) -> tuple[type[_Made], tuple[()]]:
        return _Made, ()


@dataclass(frozen=True, eq=False, repr=False)
class Engine:
    """Trained networks that turn token ids into hypotheses.

    Nothing on it changes after it is made, so threads can share one. The settings of a search go in with each call. The
    networks are left in evaluation mode.

    Args:
        models: the networks, on the device that they run on, with the same vocabularies. Of several, the mean of their
            probabilities decides.
        shortlist: the target pieces to choose from, where ``decode.shortlist`` asks for it.
        trained: whether the weights stay as they are. Then the forms made for decoding are cached.
        threads: torch's number of threads while the engine works; 0 leaves it as it is. In a process forked from the
            one that made the engine it is always 1.
        language_model, weight: see `fused`.
        source: the layout of the requests' sources; by default that of token ids.

    Example:
        >>> engine = Engine([model], trained=True)  # doctest: +SKIP
        >>> request = Request(src=[17, 4, 9], prefix=[], limit=20)  # doctest: +SKIP
        >>> engine.search([request], DecodeConfig(search="beam"))[0][0].tokens  # doctest: +SKIP
        [8, 15, 6]
    """

    models: Sequence[Seq2Seq]
    shortlist: Shortlist | None = None
    trained: bool = False
    threads: int = 0
    language_model: RNNLanguageModel | None = None
    weight: float = 0.0
    source: Layout | None = None
    _made: _Made = field(default_factory=_Made)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))
        threads.survive_forks()

    def fused(self, language_model: RNNLanguageModel, weight: float) -> Engine:
        """Return an engine whose searches also use a language model; see `fusion.fuse`.

        Raises:
            UserError: if the weight is out of range.
        """
        check_weight(weight)
        return dataclasses.replace(self, language_model=language_model.to(self.device).eval(), weight=weight)

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return next(self.models[0].parameters()).device

    @property
    def parameters(self) -> int:
        """The trained parameters of all networks together."""
        return sum(map(num_parameters, self.models))

    @property
    def fixed_length(self) -> int:
        """The length of every output of networks without an end symbol, else 0."""
        return self.models[0].fixed_length

    @property
    def layout(self) -> Layout:
        """How sources lie in a batch."""
        return self.source or Ids(end_symbol=not self.fixed_length)

    @property
    def has_attention(self) -> bool:
        """Whether every network has attention."""
        return all(model.decoder.attention is not None for model in self.models)

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
            UserError: if ``decode`` asks for a form that is not available; see `available.check_form`.
        """
        form = self._form(decode)
        return self._in_batches(
            requests,
            self._src_lengths(requests),
            lambda batch: _Batch(self, batch, form, decode).search(num_best, attention, scores),
            decode,
            width=decode.beam_size if decode.search == "beam" else 1,
        )

    def force(
        self, requests: Sequence[Request], decode: DecodeConfig, *, attention: bool = False, plain: bool = False
    ) -> list[Hypothesis]:
        """Score the given output of each request by teacher forcing.

        Args:
            plain: use the networks as they are, without the forms of ``decode`` and without the language model.

        Raises:
            UserError: as `search`.
        """
        form = _together([ModuleForm(model) for model in self.models]) if plain else self._form(decode)
        return self._in_batches(
            requests,
            [max(size, one.limit) for size, one in zip(self._src_lengths(requests), requests, strict=True)],
            lambda batch: _Batch(self, batch, form, decode).force(attention),
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
        """The networks' own log-probability of each hypothesis.

        It is the hypothesis's score, or with a language model the result of a further pass over the outputs.

        Args:
            wanted: False leaves it NaN where that pass would be needed.
        """
        if self.language_model is None or not self.weight:
            return [[one.score for one in own] for own in found]
        if not wanted:
            return [[math.nan for _ in own] for own in found]
        end = [] if self.fixed_length else [EOS]
        outputs = [
            request._replace(prefix=[*one.tokens, *(end if len(one.tokens) < request.limit else [])])
            for request, own in zip(requests, found, strict=True)
            for one in own
        ]
        form = _together(self._forms(decode))
        values = iter(
            self._in_batches(
                outputs,
                [max(size, len(one.prefix)) for size, one in zip(self._src_lengths(outputs), outputs, strict=True)],
                lambda batch: _Batch(self, batch, form, decode).own_log_probs(),
                decode,
            )
        )
        return [[next(values) for _ in own] for own in found]

    @torch.no_grad()
    def nll(self, requests: Sequence[Request], decode: DecodeConfig) -> tuple[float, int]:
        """The negative log-likelihood of given outputs, in nats, and the number of tokens that it sums over.

        A language model has no say in it, since fused scores are no likelihood.
        """
        if len(self.models) > 1:
            own = self.force(requests, decode, plain=True)
            return -math.fsum(one.score for one in own), sum(one.limit for one in requests)
        model, layout = self.models[0].eval(), self.layout
        sizes = [layout.size(one.src) for one in requests]
        order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prefix), sizes[i]))
        lengths = [max(size, len(one.prefix)) for size, one in zip(sizes, requests, strict=True)]
        total, num_tokens = 0.0, 0
        for rows in by_length(order, lengths, decode.batch_tokens):
            src, tgt = [requests[i].src for i in rows], [requests[i].prefix for i in rows]
            batch = collate(src, tgt, rows, end_symbol=not self.fixed_length, layout=layout).to(self.device)
            with threads.using(self.threads), enough_memory(batch.shape, decode):
                total += model.loss(batch.src, batch.src_lengths, batch.tgt_in, batch.tgt_out).item()
            num_tokens += batch.num_tokens
        return total, num_tokens

    def _src_lengths(self, requests: Sequence[Request]) -> list[int]:
        """The positions of each source in a batch."""
        layout = self.layout
        return [layout.size(one.src) + (not self.fixed_length) for one in requests]

    def rank(self, log_prob: float, length: int, attention: Tensor | None, decode: DecodeConfig) -> float:
        """What a beam search would rank a finished hypothesis at; see `BeamSettings.rank`.

        Args:
            length: the log-probabilities in the sum.
            attention: ``(length, real source positions)``; needed where coverage counts.
        """
        coverage = coverage_of(attention) if decode.coverage_penalty else 0.0
        return beam_settings(decode).rank(log_prob, length, coverage)

    def _in_batches(
        self,
        requests: Sequence[Request],
        lengths: Sequence[int],
        work: Callable[[list[Request]], list[Found]],
        decode: DecodeConfig,
        *,
        width: int = 1,
    ) -> list[Found]:
        """Return the result of ``work`` for each request; see `batching.in_batches`."""
        for model in self.models:
            model.eval()

        def in_turn(batch: list[Request]) -> list[Found]:
            # A graph's tensors are used by one search at a time.
            turn = self._made.lock if decode.cuda_graphs else nullcontext()
            with turn, threads.using(self.threads):
                return work(batch)

        return in_batches(requests, lengths, in_turn, decode, width=width)

    def _form(self, decode: DecodeConfig) -> Form:
        """The form of all models together, and of the language model.

        Raises:
            UserError: as `_forms`.
        """
        form = _together(self._forms(decode))
        return form if self.language_model is None else FusedForm(form, self.language_model, self.weight)

    def _forms(self, decode: DecodeConfig) -> Forms:
        """The form of each model.

        Raises:
            UserError: without a shortlist that ``decode`` asks for, and as `check_form`.
        """
        if decode.shortlist:
            check_shortlist(self.shortlist)
        if decode.shortlist and self.language_model is not None:
            raise UserError(
                "decode.shortlist and fusion with a language model do not go together; leave out the language model, "
                "or use decode.shortlist=false."
            )
        for model in self.models:
            check_form(decode, model, self.device.type)
        key = decode.int8, decode.cuda_graphs
        # A graph reads weights where they are; the other forms copy them.
        if not self.trained and not decode.cuda_graphs:
            return self._new_forms(*key)
        with self._made.lock:
            if key not in self._made.forms:
                self._made.forms[key] = self._new_forms(*key)
            return self._made.forms[key]

    def _new_forms(self, int8: bool, cuda_graphs: bool) -> Forms:
        return [build_form(model, int8=int8, cuda_graphs=cuda_graphs) for model in self.models]


class _Batch:
    """Requests that are decoded together, with one form of all that decides."""

    def __init__(self, engine: Engine, requests: Sequence[Request], form: Form, decode: DecodeConfig) -> None:
        self.engine, self.requests, self.form, self.decode = engine, requests, form, decode
        self.columns: Columns | None = None  # the pieces to choose from; None for all
        self.symbols: dict[str, Any] = {
            "bos": BOS,
            "eos": None if engine.fixed_length else EOS,
            "device": engine.device,
        }
        self.prefixes = [one.prefix for one in requests]

    def search(self, num_best: int, attention: bool, scores: bool) -> list[list[Hypothesis]]:
        """The hypotheses of each request, the best first."""
        self._choose_columns()
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
        self._choose_columns()
        found = forced(*self._start(), self.prefixes, **self.symbols, keep_attention=attention)
        return [self._spelled_out(one) for one in found]

    def own_log_probs(self) -> list[float]:
        """The networks' log-probabilities of outputs that hold their end symbol, if there is one."""
        return [one.score for one in forced(*self._start(), self.prefixes, **{**self.symbols, "eos": None})]

    def _choose_columns(self) -> None:
        """Restrict the batch to its shortlist, if there is one."""
        shortlist = self.engine.shortlist
        if not self.decode.shortlist or shortlist is None or not self.form.takes_columns:
            return
        columns = self.columns = shortlist.columns([one.src for one in self.requests], self.prefixes)
        for name in ("bos", "eos"):
            if self.symbols[name] is not None:
                self.symbols[name] = columns.place(self.symbols[name])
        self.prefixes = [[columns.place(token) for token in prefix] for prefix in self.prefixes]

    @torch.no_grad()
    def _start(self, *, normalise: bool = True) -> tuple[Any, Any]:
        """The step function and its first state; see `Form.start`."""
        src, src_lengths = self.engine.layout.collate([one.src for one in self.requests])
        return self.form.start(src.to(self.engine.device), src_lengths, columns=self.columns, normalise=normalise)

    def _run(self, step: Any, state: Any, num_best: int, options: dict[str, Any]) -> list[list[Hypothesis]]:
        """The search that ``decode.search`` names."""
        decode = self.decode
        if decode.search == "beam":
            return beam(step, state, settings=beam_settings(decode, num_best), **options)
        if decode.search == "sample":
            masked = [PAD, BOS] if self.columns is None else []  # a shortlist masks them itself
            options["settings"] = sampling_settings(decode, masked)
            contents = [self.engine.layout.content(one.src) for one in self.requests]
            each = [seeds(contents, decode.seed, draw) for draw in range(num_best)]
            drawn = [sample(step, state, seeds=own, **options) for own in each]
            return [sorted(own, key=lambda one: -one.score) for own in zip(*drawn, strict=True)]
        return [[hypothesis] for hypothesis in greedy(step, state, **options)]

    def _spelled_out(self, hypothesis: Hypothesis) -> Hypothesis:
        """The hypothesis with the vocabulary's own token ids."""
        if self.columns is None:
            return hypothesis
        return hypothesis._replace(tokens=self.columns.tokens[hypothesis.tokens].tolist())


def _together(forms: Forms) -> Form:
    return forms[0] if len(forms) == 1 else EnsembleForm(forms)
