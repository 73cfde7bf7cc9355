"""From lines to translated lines, with neither Lightning nor Hydra nor any training file."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from seq2seq import checkpoint
from seq2seq.config.schema import DecodeConfig, MetricsConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.batches import Shape, collate, enough_memory, pad
from seq2seq.decoding.beam import BeamSettings, beam
from seq2seq.decoding.ensemble import EnsembleState, ensemble
from seq2seq.decoding.forms.available import check_form, check_shortlist, usable
from seq2seq.decoding.forms.cpu import Inference, is_known
from seq2seq.decoding.forms.graphs import StepGraphs, cuda_graph
from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.fusion import FusedState, check_weight, fuse
from seq2seq.decoding.greedy import forced, greedy
from seq2seq.decoding.sampling import SamplingSettings, sample
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.decoding.step import Hypothesis
from seq2seq.errors import UserError
from seq2seq.files.given import as_lines, as_lines_for
from seq2seq.language_model import LanguageModel
from seq2seq.models import threads
from seq2seq.models.build import num_parameters
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, EOS, PAD, UNK, UNK_SURFACE, words
from seq2seq.tokens.bounded import Encoded, encode, refuse_endless
from seq2seq.tokens.detect import FormWatch
from seq2seq.tokens.load import same_pieces
from seq2seq.translate.alignment import Link, align, most_attended, words_of_pieces

log = logging.getLogger(__name__)

WINDOW = 4096  # lines that are sorted by length and decoded together

Found = TypeVar("Found")


class Translation(NamedTuple):
    """A line's translation, and how it came about."""

    text: str
    log_prob: float  # the translator's own, of all its tokens, in nats, the end symbol included
    score: float  # that it was ranked by: log_prob, after `fuse` the sum with the language model's; a beam's penalised
    src_pieces: list[str]  # with the end symbol, where the model has one
    tgt_pieces: list[str]  # likewise, but without it where the output was ended at its greatest length
    attention: Tensor | None = None  # (tgt_pieces, src_pieces): None unless asked for, and there
    links: list[Link] | None = None  # of words, where there is attention; see `alignment.align`

    @property
    def per_token(self) -> float:
        """The mean log-probability of its tokens; 0 where there are none."""
        return self.log_prob / len(self.tgt_pieces) if self.tgt_pieces else 0.0


class _Asked(NamedTuple):
    """A line as a search gets it."""

    line: str
    ids: list[int]  # without the end symbol
    prefix: str
    prefix_ids: list[int]
    limit: int  # most target tokens, the end symbol included


class _Text(NamedTuple):
    """A hypothesis as text."""

    hypothesis: Hypothesis
    text: str
    unknowns: Sequence[str]


class Translator:
    """A trained model with its tokenizers: one output line for each input line, and a blank one for a blank one.

    A line's translation depends on that line alone, not on its neighbours, the batch size or the order. The models are
    left in evaluation mode.

    Lines are given as a list, a tuple, or an array or Series of strings. One string is one line, and its result stands
    alone, outside of a list. Anything else is a TypeError.

    Args:
        model: the network, on the device it is to run on.
        decode: the search, and bounds on the work.
        others: further networks with the same tokenizers, on the same device; the mean of all their probabilities
            decides.
        shortlist: the target pieces to choose from, where ``decode.shortlist`` asks for it.
        trained: whether the weights stay as they are, so that what is made of them for decoding can be kept.
        metrics: how `evaluate.evaluate` is to score it.

    Attributes:
        threads: torch's number of threads while this translator works; 0 leaves it as it is. A small network from a
            checkpoint has 1. In a process forked from the one that made the translator it is always 1.

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
        shortlist: Shortlist | None = None,
        trained: bool = False,
        metrics: MetricsConfig | None = None,
    ) -> None:
        self.model = model
        self.models = (model, *others)
        self.tokenizers = tokenizers
        self.decode = decode or DecodeConfig()
        self.language_model: RNNLanguageModel | None = None  # that has a say, after `fuse`
        self.language_model_weight = 0.0
        self.shortlist = shortlist
        self.trained = trained
        self.metrics = metrics or MetricsConfig()
        self._forms: tuple[bool, list[Inference | None]] | None = None  # as `_inference` made them, with its int8
        self._graphs: list[StepGraphs] = []  # of each model, where ``decode.cuda_graphs`` asks for them
        self._watch = FormWatch(tokenizers.src)
        self.num_cut = 0  # lines longer than decode.max_source since this translator was made
        self.threads = 0
        threads.survive_forks()

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, device: str = "cpu") -> Translator:
        """Load a checkpoint file, or the best one of a run folder.

        Forms of decoding that it was trained with and that this machine does not have are left out, with a warning; see
        `forms.usable`.

        Raises:
            UserError: if there is none, or if it is refused; see `checkpoint.read`.
        """
        return cls.from_checkpoints([path], device=device)

    @classmethod
    def from_checkpoints(
        cls, paths: Sequence[str | Path], *, device: str = "cpu", forms: Mapping[str, bool] | None = None
    ) -> Translator:
        """Load an ensemble: checkpoints with the same tokenizers. The first one's decoding settings hold.

        Args:
            forms: ``int8``, ``cuda_graphs`` or ``shortlist``, in place of the first one's; of those that are on,
                decoding refuses what is not available here.

        Raises:
            UserError: for a checkpoint that is refused, or that does not go with the first one.
        """
        first, *others = (checkpoint.load(path) for path in paths)
        for path, other in zip(paths[1:], others, strict=True):
            if not all(map(same_pieces, other.tokenizers, first.tokenizers)):
                raise UserError(
                    f"{path} has other tokenizers than {paths[0]}; an ensemble needs runs on the same data."
                )
            if other.model.fixed_length != first.model.fixed_length:
                raise UserError(f"{path} and {paths[0]} do not agree on model.fixed_length; leave one of them out.")
        models = [one.model.to(device) for one in (first, *others)]
        decode = usable(first.decode, models, shortlist=first.shortlist, asked=forms or {}, name=str(paths[0]))
        made = cls(
            models[0],
            first.tokenizers,
            decode,
            others=models[1:],
            shortlist=first.shortlist,
            trained=True,
            metrics=first.metrics,
        )
        made.threads = threads.of_network(sum(map(num_parameters, models)))
        return made

    def fuse(self, language_model: LanguageModel, weight: float, *, name: str = "the language model") -> None:
        """Let a language model have a say in each step of a search; see `fusion.fuse`. It is left in evaluation mode.

        Args:
            name: of the language model, for messages.

        Raises:
            UserError: if its pieces are not the target's, or the weight is out of range.
        """
        if not same_pieces(language_model.tokenizer, self.tokenizers.tgt):
            sizes = f"{len(language_model.tokenizer)} and {len(self.tokenizers.tgt)}"
            raise UserError(
                f"{name} has other pieces than the translator's target side ({sizes}); train it with tokenizer.like= "
                "and the translator's run."
            )
        try:
            check_weight(weight)
        except ValueError as error:
            raise UserError(str(error)) from None
        self.language_model, self.language_model_weight = language_model.model.to(self.device).eval(), weight

    @overload
    def translate(self, lines: str, *, prefixes: str | None = None) -> str: ...  # type: ignore[overload-overlap]

    @overload
    def translate(self, lines: Sequence[str], *, prefixes: Sequence[str] | None = None) -> list[str]: ...

    def translate(self, lines: Sequence[str], *, prefixes: Sequence[str] | None = None) -> str | list[str]:
        """Translate lines, in any order of length; blank lines come back blank.

        A line longer than ``decode.max_source`` tokens is cut; how far one that is far longer is read, `bounded.encode`
        says. A prefix is never cut, and the work grows with its length.

        Args:
            prefixes: what the translations begin with, a text for each line, "" for no such; a blank line's does not
                count. Its last piece is complete: what follows is a new piece, of a new word or of the same.

        Raises:
            TypeError: if a line or a prefix is not a string.
            ValueError: if a line or a prefix holds a newline, or if there is not one prefix for each line.
            UserError: if a prefix has no room in ``model.fixed_length``, or is endless; if ``decode.copy_unknown`` or
                ``decode.coverage_penalty`` has no attention.
        """
        rows, asked, hypotheses = self._found(lines, 1, attention=False, prefixes=prefixes, scores=False)
        outputs = [""] * (1 if isinstance(lines, str) else len(lines))
        best = [own[0] for own in hypotheses]
        unknowns = [self._unknowns(*pair) for pair in zip(asked, best, strict=True)]
        texts = self.tokenizers.tgt.decode([one.tokens for one in best], unknowns)
        for i, output in zip(rows, texts, strict=True):
            outputs[i] = output
        return outputs[0] if isinstance(lines, str) else outputs

    @overload
    def n_best(  # type: ignore[overload-overlap]
        self,
        lines: str,
        num_best: int,
        *,
        attention: bool = ...,
        prefixes: str | None = ...,
        log_probs: bool = ...,
    ) -> list[Translation]: ...

    @overload
    def n_best(
        self,
        lines: Sequence[str],
        num_best: int,
        *,
        attention: bool = ...,
        prefixes: Sequence[str] | None = ...,
        log_probs: bool = ...,
    ) -> list[list[Translation]]: ...

    def n_best(
        self,
        lines: Sequence[str],
        num_best: int,
        *,
        attention: bool = False,
        prefixes: Sequence[str] | None = None,
        log_probs: bool = True,
    ) -> list[Translation] | list[list[Translation]]:
        """Several translations of each line, the best first: fewer where there are no more, none of a blank line.

        A beam gives the ``num_best`` best texts that it holds, all different: of a text that it has in several
        segmentations, the likeliest. Sampling gives so many draws, in the order of their log-probability, which may be
        equal; greedy search has one.

        Args:
            num_best: at least 1, and at most the beam's size.
            attention: keep the weights, where the model has attention.
            prefixes: as for `translate`.
            log_probs: False leaves ``log_prob`` NaN after `fuse`, which spares a further pass over the outputs.

        Raises:
            TypeError: as `translate`.
            ValueError: as `translate`, or if ``num_best`` is out of range.
            UserError: as `translate`.
        """
        if num_best < 1:
            raise ValueError(f"num_best must be at least 1; got {num_best}.")
        keep = attention and self.has_attention
        width = num_best
        if self.decode.search == "beam" and 1 < num_best <= self.decode.beam_size:
            width = self.decode.beam_size  # several of them may be one text
        rows, asked, hypotheses = self._found(lines, width, attention=keep, prefixes=prefixes)
        chosen = [self._different(*pair)[:num_best] for pair in zip(asked, hypotheses, strict=True)]
        own = self._own_log_probs(asked, [[one.hypothesis for one in texts] for texts in chosen], wanted=log_probs)
        found: list[list[Translation]] = [[] for _ in range(1 if isinstance(lines, str) else len(lines))]
        for i, one, texts, values in zip(rows, asked, chosen, own, strict=True):
            found[i] = [
                self._translation(one, *text, value, attention=keep) for text, value in zip(texts, values, strict=True)
            ]
        return found[0] if isinstance(lines, str) else found

    @overload
    def score(self, src: str, tgt: str, *, attention: bool = ...) -> Translation: ...  # type: ignore[overload-overlap]

    @overload
    def score(self, src: Sequence[str], tgt: Sequence[str], *, attention: bool = ...) -> list[Translation]: ...

    def score(
        self, src: Sequence[str], tgt: Sequence[str], *, attention: bool = False
    ) -> Translation | list[Translation]:
        """Given translations with their log-probabilities, by teacher forcing: those that `n_best` would have them at,
        if it found them in the same pieces.

        A blank translation of a blank line, which the model is not asked for, has log-probability 0 and no pieces; any
        other pair is put to the model. Lines longer than ``decode.max_source`` are cut, as for `translate`; the given
        translations are not.

        Args:
            attention: keep the weights, where the model has attention.

        Raises:
            UserError: if ``model.fixed_length`` does not allow a pair, if a translation is endless, or if
                ``decode.coverage_penalty`` has no attention.
            TypeError: if a line is not a string.
            ValueError: if a line holds a newline, or if there is not one translation for each line.
        """
        sources, targets = as_lines(src, "src"), as_lines_for(src, tgt, ("src", "tgt"))
        self._check_attention(copies=False)
        rows = [i for i, pair in enumerate(zip(sources, targets, strict=True)) if any(one.strip() for one in pair)]
        asked = self._ask_for_given([sources[i] for i in rows], [targets[i] for i in rows])
        found = [Translation("", 0.0, 0.0, [], []) for _ in sources]
        for i, scored in zip(rows, self._scored(asked, attention and self.has_attention), strict=True):
            found[i] = scored
        return found[0] if isinstance(src, str) else found

    def _scored(self, asked: Sequence[_Asked], keep: bool) -> list[Translation]:
        """Given translations as a search with the same settings would rank them."""
        ranked = self.decode.search == "beam"
        attention = keep or (ranked and self.decode.coverage_penalty > 0)
        hypotheses = self._force(asked, self._inference(), attention)
        own = self._own_log_probs(asked, [[one] for one in hypotheses])
        found = []
        for one, hypothesis, (log_prob,) in zip(asked, hypotheses, own, strict=True):
            unknowns = self.tokenizers.tgt.unknowns(one.prefix) if UNK in one.prefix_ids else []
            text = _Text(hypothesis, one.prefix, unknowns)
            scored = self._translation(one, *text, log_prob, attention=attention)
            if ranked:
                score = self._beam_settings(1).rank(scored.score, len(scored.tgt_pieces), scored.attention)
                scored = scored._replace(score=score)
            found.append(scored if keep else scored._replace(attention=None, links=None))
        return found

    @torch.no_grad()
    def nll(self, src: Sequence[str], tgt: Sequence[str], *, warn: bool = True) -> tuple[float, int]:
        """Teacher-forced negative log-likelihood of given translations, in nats, and the tokens it is the sum over.

        Pairs with a blank source count like all others here: the model is asked, as in training. Lines longer than
        ``decode.max_source`` are cut, as for `translate`; the given translations are not. A language model has no say,
        whose part is no likelihood. Two strings are one pair.

        Args:
            warn: warn of lines that are cut, and count them; not where they were translated before.

        Raises:
            UserError: if ``model.fixed_length`` does not allow a pair, or if a translation is endless.
            TypeError: if a line is not a string.
            ValueError: if a line holds a newline, or if there is not one translation for each line.
        """
        asked = self._ask_for_given(as_lines(src, "src"), as_lines_for(src, tgt, ("src", "tgt")), warn=warn)
        if len(self.models) > 1:
            own = self._force(asked, None, False)
            return -math.fsum(one.score for one in own), sum(one.limit for one in asked)
        src_ids, tgt_ids = [one.ids for one in asked], [one.prefix_ids for one in asked]
        order = sorted(range(len(src_ids)), key=lambda i: (len(tgt_ids[i]), len(src_ids[i])))
        total, num_tokens = 0.0, 0
        self.model.eval()
        for rows in self._batches(order, [max(len(s), len(t)) for s, t in zip(src_ids, tgt_ids, strict=True)]):
            src_rows, tgt_rows = [src_ids[i] for i in rows], [tgt_ids[i] for i in rows]
            batch = collate(src_rows, tgt_rows, rows, end_symbol=not self.model.fixed_length).to(self.device)
            with threads.using(self.threads), self._enough_memory(batch.shape):
                total += self.model.loss(batch.src, batch.src_lengths, batch.tgt_in, batch.tgt_out).item()
            num_tokens += batch.num_tokens
        return total, num_tokens

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def normalization(self) -> str:
        """The Unicode form of what it reads and writes; "none" if text is taken as it is."""
        return self.tokenizers.src.normalization

    @property
    def has_attention(self) -> bool:
        """Whether every model has attention."""
        return all(model.decoder.attention is not None for model in self.models)

    def require_attention(self, what: str) -> None:
        """Refuse what cannot be done without attention.

        Raises:
            UserError: if a model has none.
        """
        if not self.has_attention:
            whose = "a model of this ensemble" if len(self.models) > 1 else "this one"
            raise UserError(
                f"{what} needs a model with attention, and {whose} has none; train one with model.attention=general."
            )

    def _check_attention(self, *, copies: bool = True) -> None:
        """Refuse settings that need attention, where a model has none."""
        if copies and self.decode.copy_unknown:
            self.require_attention("decode.copy_unknown (--copy-unknown)")
        if self.decode.search == "beam" and self.decode.coverage_penalty:
            self.require_attention("decode.coverage_penalty (--coverage-penalty)")

    def _encode(self, lines: Sequence[str], *, warn: bool = True) -> list[Encoded]:
        """What is read of each line, with at most ``decode.max_source`` ids."""
        limit = self.decode.max_source
        encoded = encode(self.tokenizers.src, lines, limit)
        self._watch.look([one.line for one in encoded])
        for i, one in enumerate(encoded):
            if one.is_whole and len(one.ids) <= limit:
                continue
            count = f"{len(one.ids)}" if one.is_whole else f"more than {len(one.ids)}"
            kept = one.ids[:limit]
            if warn:
                log.warning("a line of %s tokens is cut to its first %d: %.40s...", count, len(kept), one.line)
                self.num_cut += 1
            encoded[i] = one._replace(ids=kept)
        return encoded

    def _found(
        self,
        given: Sequence[str],
        num_best: int,
        *,
        attention: bool,
        prefixes: Sequence[str] | None,
        scores: bool = True,
    ) -> tuple[list[int], list[_Asked], list[list[Hypothesis]]]:
        """The rows that are not blank, as they are searched, with their hypotheses."""
        lines = as_lines(given)
        beginnings = [""] * len(lines) if prefixes is None else as_lines_for(given, prefixes)
        self._check_attention()
        rows = [i for i, line in enumerate(lines) if line.strip()]
        asked = self._ask([lines[i] for i in rows], [beginnings[i] for i in rows])
        return rows, asked, self._search(asked, num_best, attention or self.decode.copy_unknown, scores)

    def _ask(self, lines: Sequence[str], prefixes: Sequence[str]) -> list[_Asked]:
        """What to search for; an output has room for its prefix, and ``decode.max_extra`` tokens after it."""
        decode, fixed = self.decode, self.model.fixed_length
        asked = []
        refuse_endless(prefixes, "prefix")
        prefix_ids = self.tokenizers.tgt.encode([prefix if prefix.strip() else "" for prefix in prefixes])
        for (line, ids, _), prefix, own in zip(self._encode(lines), prefixes, prefix_ids, strict=True):
            limit = fixed or max(decode.max_length(len(ids) + 1), len(own) + decode.max_extra if own else 0)
            asked.append(_Asked(line, ids, prefix, own, limit))
            if fixed and len(own) > fixed:
                raise UserError(
                    f"the prefix {prefix[:40]!r} has {len(own)} tokens, but model.fixed_length={fixed}; shorten it."
                )
        return asked

    def _ask_for_given(self, src: Sequence[str], tgt: Sequence[str], *, warn: bool = True) -> list[_Asked]:
        """Whole translations as prefixes, with room for the end symbol alone."""
        fixed = self.model.fixed_length
        asked = []
        refuse_endless(tgt, "reference")
        encoded = self._encode(src, warn=warn)
        for (line, ids, _), text, own in zip(encoded, tgt, self.tokenizers.tgt.encode(tgt), strict=True):
            if fixed and (not ids or len(own) != fixed):
                problem = f"has {len(own)} tokens" if ids else "has a blank source"
                raise UserError(
                    f"the reference {text[:40]!r} {problem}, but model.fixed_length={fixed} allows {fixed} tokens for "
                    "a source that is not blank, and nothing else; leave it out."
                )
            asked.append(_Asked(line, ids, text, own, len(own) + (not fixed)))
        return asked

    def _different(self, asked: _Asked, hypotheses: Sequence[Hypothesis]) -> list[_Text]:
        """The texts of the hypotheses of a line; of equal ones from a beam the first."""
        unknowns = [self._unknowns(asked, one) for one in hypotheses]
        texts = self.tokenizers.tgt.decode([one.tokens for one in hypotheses], unknowns)
        found = [_Text(*each) for each in zip(hypotheses, texts, unknowns, strict=True)]
        if self.decode.search != "beam":
            return found
        first = {text: place for place, text in reversed(list(enumerate(texts)))}
        return [found[place] for place in sorted(first.values())]

    def _own_log_probs(
        self, asked: Sequence[_Asked], found: Sequence[Sequence[Hypothesis]], *, wanted: bool = True
    ) -> list[list[float]]:
        """The translator's own log-probability of each hypothesis: its score, or after `fuse` that of one more pass."""
        if self.language_model is None or not self.language_model_weight:
            return [[one.score for one in own] for own in found]
        if not wanted:
            return [[math.nan for _ in own] for own in found]
        end = [] if self.model.fixed_length else [EOS]
        outputs = [
            line._replace(prefix_ids=[*one.tokens, *(end if len(one.tokens) < line.limit else [])])
            for line, own in zip(asked, found, strict=True)
            for one in own
        ]
        forms = self._inference()
        values = iter(
            self._in_batches(
                outputs,
                [max(len(one.ids) + len(end), len(one.prefix_ids)) for one in outputs],
                lambda batch: self._own_batch(batch, forms),
            )
        )
        return [[next(values) for _ in own] for own in found]

    def _own_batch(self, asked: Sequence[_Asked], forms: Sequence[Inference | None]) -> list[float]:
        step, state = self._start(asked, forms, fused=False)
        symbols = {**self._symbols, "eos": None}  # which is one of the tokens here, where it stands
        return [one.score for one in forced(step, state, [one.prefix_ids for one in asked], **symbols)]

    def _translation(
        self,
        asked: _Asked,
        hypothesis: Hypothesis,
        text: str,
        unknowns: Sequence[str],
        log_prob: float,
        *,
        attention: bool,
    ) -> Translation:
        end = [] if self.model.fixed_length else [EOS]
        src = self.tokenizers.src.pieces([*asked.ids, *end])
        ended = len(hypothesis.tokens) < asked.limit  # and not cut off there
        tgt = self.tokenizers.tgt.pieces([*hypothesis.tokens, *(end if ended else [])])
        score = hypothesis.score if hypothesis.normalised is None else hypothesis.normalised
        weights, links = None, None
        if attention and hypothesis.attention is not None:
            weights = hypothesis.attention[:, : len(src)]
            tgt_words = words_of_pieces(self.tokenizers.tgt.spell(hypothesis.tokens, unknowns))
            links = align(weights, self._src_words(asked), tgt_words)
        return Translation(text, log_prob, score, src, tgt, weights, links)

    def _src_words(self, asked: _Asked) -> list[range]:
        """The words that each source piece is part of."""
        tokenizer = self.tokenizers.src
        unknowns = tokenizer.unknowns(asked.line) if UNK in asked.ids else []
        return words_of_pieces(tokenizer.spell(asked.ids, unknowns))

    def _unknowns(self, asked: _Asked, hypothesis: Hypothesis) -> list[str]:
        """What to write for the unknowns of an output: a prefix's as they were given, and the others, if they are to be
        copied, as the source words that were looked at most.
        """
        if UNK not in hypothesis.tokens:
            return []
        unknowns = self.tokenizers.tgt.unknowns(asked.prefix) if UNK in asked.prefix_ids else []
        if self.decode.copy_unknown and hypothesis.attention is not None:
            written = words(self.tokenizers.src.normalized(asked.line, keep_case=True))
            src_words = self._src_words(asked)
            for place in range(len(asked.prefix_ids), len(hypothesis.tokens)):
                if hypothesis.tokens[place] == UNK:
                    seen = most_attended(hypothesis.attention[place], src_words)
                    unknowns.append(" ".join(written[seen.start : seen.stop]) or UNK_SURFACE)
        return unknowns

    def _search(self, asked: Sequence[_Asked], num_best: int, attention: bool, scores: bool) -> list[list[Hypothesis]]:
        forms = self._inference()
        width = self.decode.beam_size if self.decode.search == "beam" else 1
        return self._in_batches(
            asked,
            [len(one.ids) + (not self.model.fixed_length) for one in asked],
            lambda batch: self._search_batch(batch, forms, num_best, attention, scores),
            width=width,
        )

    def _force(
        self, asked: Sequence[_Asked], forms: Sequence[Inference | None] | None, attention: bool
    ) -> list[Hypothesis]:
        """Given outputs; without ``forms`` by the networks as they are, whatever decoding makes of them."""
        return self._in_batches(
            asked,
            [max(len(one.ids) + (not self.model.fixed_length), one.limit) for one in asked],
            lambda batch: self._force_batch(batch, forms, attention),
        )

    def _in_batches(
        self,
        asked: Sequence[_Asked],
        lengths: Sequence[int],
        work: Callable[[list[_Asked]], list[Found]],
        *,
        width: int = 1,
    ) -> list[Found]:
        """What ``work`` makes of each of a batch, for batches of similar length."""
        for model in self.models:
            model.eval()
        found: dict[int, Found] = {}
        order = sorted(range(len(asked)), key=lambda i: lengths[i])
        for rows in self._batches(order, lengths, width=width):
            batch = [asked[i] for i in rows]
            shape = Shape(len(rows), max(lengths[i] for i in rows), max(one.limit for one in batch))
            with threads.using(self.threads), self._enough_memory(shape, width):
                found.update(zip(rows, work(batch), strict=True))
        return [found[i] for i in range(len(asked))]

    def _enough_memory(self, shape: Shape, width: int = 1) -> AbstractContextManager[None]:
        decode = self.decode
        beam = f", or decode.beam_size (--beam, now {decode.beam_size})" if width > 1 else ""
        return enough_memory(
            shape,
            f"make decode.batch_tokens (--batch-tokens, now {decode.batch_tokens}) smaller{beam}",
            single=f"make decode.max_source (--max-source, now {decode.max_source}) smaller{beam}",
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

    def _inference(self) -> list[Inference | None]:
        """The inference form of each model; None of one that has none, whose own step is taken.

        Raises:
            UserError: for no shortlist, and as `check_form`.
        """
        int8 = self.decode.int8
        if self.decode.shortlist:
            check_shortlist(self.shortlist)
        if self.decode.shortlist and self.language_model is not None:
            raise UserError(
                "decode.shortlist (--shortlist) and a language model (--lm) do not go together; leave out --lm, or use "
                "--no-shortlist."
            )
        for model in self.models:
            check_form(self.decode, model, self.device.type)
        if self._forms is None or self._forms[0] != int8 or not self.trained:
            forms = [Inference(model, int8=int8) if is_known(model) else None for model in self.models]
            self._forms = int8, forms
        return self._forms[1]

    def _steps(self) -> Sequence[Any]:
        """The step of each model, as it is or from a graph."""
        steps = [model.decoder.step for model in self.models]
        if not self.decode.cuda_graphs:
            return steps
        check_form(self.decode, self.model, self.device.type)
        self._graphs = self._graphs or [StepGraphs(step, cuda_graph) for step in steps]
        return self._graphs

    @torch.no_grad()
    def _start(
        self,
        asked: Sequence[_Asked],
        forms: Sequence[Inference | None] | None = None,
        columns: Columns | None = None,
        *,
        normalise: bool = True,
        fused: bool = True,
    ) -> tuple[Any, Any]:
        """The step function of all models together, and the state that it starts from.

        Args:
            forms: the models' inference forms; the model itself takes the place of one that is None. Without any there
                is no language model either.
            columns, normalise: for `Inference.start`.
            fused: let the language model have its say, if there is one.
        """
        end = [] if self.model.fixed_length else [EOS]
        sources = [[*one.ids, *end] for one in asked]
        steps = self._steps()
        src, src_lengths = pad(sources).to(self.device), torch.tensor([len(row) for row in sources])
        started: list[Any] = [
            (step, model.encode(src, src_lengths))
            if form is None
            else form.start(src, src_lengths, columns=columns, normalise=normalise)
            for model, step, form in zip(self.models, steps, forms or [None] * len(self.models), strict=True)
        ]
        step, state = started[0]
        if len(started) > 1:
            step, state = ensemble([one for one, _ in started]), EnsembleState(tuple(one for _, one in started))
        if self.language_model is None or forms is None or not fused:
            return step, state
        heard = self.language_model.zero_state(len(sources))
        return fuse(step, self.language_model.step, self.language_model_weight), FusedState(state, heard)

    def _search_batch(
        self,
        asked: Sequence[_Asked],
        forms: Sequence[Inference | None],
        num_best: int,
        attention: bool,
        scores: bool,
    ) -> list[list[Hypothesis]]:
        columns, symbols, prefixes = self._columns(asked, forms)
        alone = len(forms) == 1 and self.language_model is None
        without = not scores and self.decode.search == "greedy" and alone
        step, state = self._start(asked, forms, columns, normalise=not without)
        options = {
            **symbols,
            "max_lengths": [one.limit for one in asked],
            "prefixes": prefixes,
            "keep_attention": attention,
        }
        barred = [PAD, BOS] if columns is None else []  # from which a shortlist bars them
        found = self._run(step, state, asked, num_best, options, barred)
        found = [[_spelled_out(one, columns) for one in own] for own in found]
        return [[one._replace(score=math.nan) for one in own] for own in found] if without else found

    def _run(
        self,
        step: Any,
        state: Any,
        asked: Sequence[_Asked],
        num_best: int,
        options: dict[str, Any],
        barred: Sequence[int],
    ) -> list[list[Hypothesis]]:
        """The search that ``decode.search`` names; ``barred`` are tokens that no sample has."""
        decode = self.decode
        if decode.search == "beam":
            return beam(step, state, settings=self._beam_settings(num_best), **options)
        if decode.search == "sample":
            ids = [one.ids for one in asked]
            options = {
                **options,
                "settings": SamplingSettings(decode.temperature, decode.top_k, decode.top_p, barred),
            }
            drawn = [self._sample(step, state, ids, draw, options) for draw in range(num_best)]
            return [sorted(own, key=lambda one: -one.score) for own in zip(*drawn, strict=True)]
        return [[hypothesis] for hypothesis in greedy(step, state, **options)]

    def _force_batch(
        self, asked: Sequence[_Asked], forms: Sequence[Inference | None] | None, attention: bool
    ) -> list[Hypothesis]:
        columns, symbols, outputs = self._columns(asked, forms or [None])
        found = forced(*self._start(asked, forms, columns), outputs, **symbols, keep_attention=attention)
        return [_spelled_out(one, columns) for one in found]

    def _columns(
        self, asked: Sequence[_Asked], forms: Sequence[Inference | None]
    ) -> tuple[Columns | None, dict[str, Any], list[list[int]]]:
        """The pieces that a batch is to choose from, None for all; and the symbols and prefixes as numbers of those."""
        symbols, prefixes = self._symbols, [one.prefix_ids for one in asked]
        if not self.decode.shortlist or self.shortlist is None or None in forms:
            return None, symbols, prefixes
        columns = self.shortlist.columns([one.ids for one in asked], prefixes)
        symbols |= {name: columns.place(symbols[name]) for name in ("bos", "eos") if symbols[name] is not None}
        return columns, symbols, [[columns.place(token) for token in prefix] for prefix in prefixes]

    @property
    def _symbols(self) -> dict[str, Any]:
        return {"bos": BOS, "eos": None if self.model.fixed_length else EOS, "device": self.device}

    def _beam_settings(self, num_best: int) -> BeamSettings:
        decode = self.decode
        return BeamSettings(decode.beam_size, num_best, decode.length_penalty, decode.coverage_penalty)

    def _sample(
        self, step: Any, state: Any, ids: Sequence[Sequence[int]], draw: int, options: dict[str, Any]
    ) -> list[Hypothesis]:
        """One draw for each row, whose randomness is a function of the seed, the row and the number of the draw."""
        seeds = []
        for row in ids:
            stream = np.array([self.decode.seed, draw, *row], dtype="<u8").tobytes()
            seeds.append(int.from_bytes(hashlib.sha256(stream).digest()[:8], "little"))
        return sample(step, state, seeds=seeds, **options)


def _spelled_out(hypothesis: Hypothesis, columns: Columns | None) -> Hypothesis:
    """A hypothesis in the vocabulary's own numbers."""
    return hypothesis if columns is None else hypothesis._replace(tokens=columns.tokens[hypothesis.tokens].tolist())
