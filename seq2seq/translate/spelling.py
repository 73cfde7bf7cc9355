"""Write hypotheses as text, with the words that stand for their unknown tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from seq2seq.data.sources.base import Source
from seq2seq.data.sources.text import TextSource
from seq2seq.decoding.step import Hypothesis
from seq2seq.tokens.base import EOS, UNK, UNK_SURFACE, Tokenizer, words
from seq2seq.translate.alignment import align, most_attended, words_of_pieces
from seq2seq.translate.reading import Asked
from seq2seq.translate.results import Translation


class Text(NamedTuple):
    """A hypothesis as text."""

    hypothesis: Hypothesis
    text: str
    unknowns: Sequence[str]  # the texts of its unknown tokens


class Speller(NamedTuple):
    """Writes hypotheses.

    Args:
        has_end: whether outputs end with the end symbol.
        copy_unknown: write the most attended source words for unknown tokens.
    """

    source: Source
    tokenizer: Tokenizer  # of the targets
    has_end: bool
    copy_unknown: bool

    def text(self, asked: Sequence[Asked], best: Sequence[Hypothesis]) -> list[str]:
        """The text of one hypothesis of each line."""
        unknowns = [self._unknowns(*pair) for pair in zip(asked, best, strict=True)]
        return self.tokenizer.decode([one.tokens for one in best], unknowns)

    def texts(self, asked: Asked, hypotheses: Sequence[Hypothesis], *, different: bool) -> list[Text]:
        """The texts of the hypotheses of a line.

        Args:
            different: of equal texts only the first.
        """
        unknowns = [self._unknowns(asked, one) for one in hypotheses]
        texts = self.tokenizer.decode([one.tokens for one in hypotheses], unknowns)
        found = [Text(*each) for each in zip(hypotheses, texts, unknowns, strict=True)]
        if not different:
            return found
        first = {text: place for place, text in reversed(list(enumerate(texts)))}
        return [found[place] for place in sorted(first.values())]

    def given(self, asked: Asked, hypothesis: Hypothesis) -> Text:
        """A given translation as text, as it was given."""
        unknowns = self.tokenizer.unknowns(asked.prefix) if UNK in asked.request.prefix else []
        return Text(hypothesis, asked.prefix, unknowns)

    def translation(self, asked: Asked, found: Text, log_prob: float, *, attention: bool) -> Translation:
        """A hypothesis with its scores, and with its attention and alignment if asked for."""
        hypothesis = found.hypothesis
        end = [EOS] if self.has_end else []
        src = self.source.pieces(asked.request.src)
        ended = len(hypothesis.tokens) < asked.request.limit  # and not cut off there
        tgt = self.tokenizer.pieces([*hypothesis.tokens, *(end if ended else [])])
        score = hypothesis.score if hypothesis.normalised is None else hypothesis.normalised
        weights, links = None, None
        if attention and hypothesis.attention is not None:
            weights = hypothesis.attention[:, : len(src)]
            tgt_words = words_of_pieces(self.tokenizer.spell(hypothesis.tokens, found.unknowns))
            links = align(weights, self._src_words(asked), tgt_words)
        return Translation(found.text, log_prob, score, src, tgt, weights, links)

    def _src_words(self, asked: Asked) -> list[range]:
        """The words that each source piece is part of; each position of a source that is not text is one."""
        ids = asked.request.src
        if not isinstance(self.source, TextSource):
            return [range(place, place + 1) for place in range(self.source.size(ids))]
        tokenizer = self.source.tokenizer
        return words_of_pieces(tokenizer.spell(ids, tokenizer.unknowns(asked.line) if UNK in ids else []))

    def _unknowns(self, asked: Asked, hypothesis: Hypothesis) -> list[str]:
        """Replacement texts for the unknown tokens of an output.

        They are the prefix's own words, then, with ``copy_unknown``, the most attended source words.
        """
        if UNK not in hypothesis.tokens:
            return []
        prefix = asked.request.prefix
        unknowns = self.tokenizer.unknowns(asked.prefix) if UNK in prefix else []
        if self.copy_unknown and hypothesis.attention is not None and isinstance(self.source, TextSource):
            written = words(self.source.tokenizer.normalized(asked.line, keep_case=True))
            src_words = self._src_words(asked)
            for place in range(len(prefix), len(hypothesis.tokens)):
                if hypothesis.tokens[place] == UNK:
                    seen = most_attended(hypothesis.attention[place], src_words)
                    unknowns.append(" ".join(written[seen.start : seen.stop]) or UNK_SURFACE)
        return unknowns
