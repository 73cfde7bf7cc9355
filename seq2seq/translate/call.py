"""One call of a translator: lines in, results out, with the settings of this call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from seq2seq.config.schema import DecodeConfig
from seq2seq.data.sources.base import Source
from seq2seq.decoding.base import Engine, Hypothesis, check_attention
from seq2seq.files.given import as_lines, as_lines_for
from seq2seq.tokens.base import Tokenizer
from seq2seq.translate.reading import Asked, Reader
from seq2seq.translate.results import Results, Translation
from seq2seq.translate.spelling import Speller


class Call(NamedTuple):
    """The parts of a translator, and the settings of a call.

    One string is a list of one line here.

    The methods do the work of those of `Translator` with the same names.
    """

    engine: Engine
    source: Source
    tokenizer: Tokenizer  # of the targets
    reader: Reader
    decode: DecodeConfig

    def translate(self, lines: Sequence[str], prefixes: Sequence[str] | None) -> Results[str]:
        """The best translation of each line."""
        rows, asked, num_cut = self._asked(lines, prefixes)
        found = self._search(asked, 1, attention=False, scores=False)
        outputs = [""] * _count(lines)
        for i, output in zip(rows, self._speller.text(asked, [own[0] for own in found]), strict=True):
            outputs[i] = output
        return Results(outputs, num_cut)

    def n_best(
        self,
        lines: Sequence[str],
        num_best: int,
        prefixes: Sequence[str] | None,
        *,
        attention: bool,
        log_probs: bool,
    ) -> Results[list[Translation]]:
        """Several translations of each line."""
        if num_best < 1:
            raise ValueError(f"num_best must be at least 1; got {num_best}.")
        is_beam, keep = self.decode.search == "beam", attention and self.engine.has_attention
        # Several hypotheses of a beam may be one text, so that all of them are needed.
        width = self.decode.beam_size if is_beam and 1 < num_best <= self.decode.beam_size else num_best
        rows, asked, num_cut = self._asked(lines, prefixes)
        hypotheses = self._search(asked, width, attention=keep)
        speller = self._speller
        texts = [speller.texts(*pair, different=is_beam)[:num_best] for pair in zip(asked, hypotheses, strict=True)]
        own = self._own_log_probs(asked, [[one.hypothesis for one in each] for each in texts], wanted=log_probs)
        found: list[list[Translation]] = [[] for _ in range(_count(lines))]
        for i, one, each, values in zip(rows, asked, texts, own, strict=True):
            pairs = zip(each, values, strict=True)
            found[i] = [speller.translation(one, text, value, attention=keep) for text, value in pairs]
        return Results(found, num_cut)

    def score(self, src: Sequence[str], tgt: Sequence[str], *, attention: bool) -> Results[Translation]:
        """Given translations with their scores."""
        sources, targets = as_lines(src, "src"), as_lines_for(src, tgt, ("src", "tgt"))
        check_attention(self.engine, self.decode, copies=False)
        rows = [i for i, pair in enumerate(zip(sources, targets, strict=True)) if any(one.strip() for one in pair)]
        given = [sources[i] for i in rows], [targets[i] for i in rows]
        asked, num_cut = self.reader.given(*given, self.decode)
        found = [Translation("", 0.0, 0.0, [], []) for _ in sources]
        for i, scored in zip(rows, self._scored(asked, attention and self.engine.has_attention), strict=True):
            found[i] = scored
        return Results(found, num_cut)

    def nll(self, src: Sequence[str], tgt: Sequence[str], *, warn: bool) -> tuple[float, int]:
        """The negative log-likelihood of given translations, and their tokens."""
        pairs = as_lines(src, "src"), as_lines_for(src, tgt, ("src", "tgt"))
        asked, _ = self.reader.given(*pairs, self.decode, warn=warn)
        return self.engine.nll([one.request for one in asked], self.decode)

    @property
    def _speller(self) -> Speller:
        return Speller(self.source, self.tokenizer, not self.engine.fixed_length, self.decode.copy_unknown)

    def _asked(self, given: Sequence[str], prefixes: Sequence[str] | None) -> tuple[list[int], list[Asked], int]:
        """The rows that are not blank, as requests, and the number of lines that were cut."""
        lines = as_lines(given)
        beginnings = [""] * len(lines) if prefixes is None else as_lines_for(given, prefixes)
        check_attention(self.engine, self.decode)
        rows = [i for i, line in enumerate(lines) if line.strip()]
        filled = [lines[i] for i in rows], [beginnings[i] for i in rows]
        return rows, *self.reader.to_translate(*filled, self.decode)

    def _search(
        self, asked: Sequence[Asked], num_best: int, *, attention: bool, scores: bool = True
    ) -> list[list[Hypothesis]]:
        requests, attention = [one.request for one in asked], attention or self.decode.copy_unknown
        return self.engine.search(requests, self.decode, num_best, attention=attention, scores=scores)

    def _own_log_probs(
        self, asked: Sequence[Asked], found: Sequence[Sequence[Hypothesis]], *, wanted: bool = True
    ) -> list[list[float]]:
        return self.engine.own_log_probs([one.request for one in asked], found, self.decode, wanted=wanted)

    def _scored(self, asked: Sequence[Asked], keep: bool) -> list[Translation]:
        """Given translations as a search with the same settings would rank them."""
        ranked = self.decode.search == "beam"
        attention = keep or (ranked and self.decode.coverage_penalty > 0)
        hypotheses = self.engine.force([one.request for one in asked], self.decode, attention=attention)
        own = self._own_log_probs(asked, [[one] for one in hypotheses])
        found, speller = [], self._speller
        for one, hypothesis, (log_prob,) in zip(asked, hypotheses, own, strict=True):
            scored = speller.translation(one, speller.given(one, hypothesis), log_prob, attention=attention)
            if ranked:
                score = self.engine.rank(scored.score, len(scored.tgt_pieces), scored.attention, self.decode)
                scored = scored._replace(score=score)
            found.append(scored if keep else scored._replace(attention=None, links=None))
        return found


def _count(lines: Sequence[str]) -> int:
    return 1 if isinstance(lines, str) else len(lines)
