"""Encode lines, prefixes and given translations as requests to an engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from seq2seq.config.schema import DecodeConfig
from seq2seq.data.sources.base import Bounded, Source
from seq2seq.data.sources.text import TextSource
from seq2seq.decoding.engine import Request
from seq2seq.errors import UserError
from seq2seq.tokens.base import Tokenizer
from seq2seq.tokens.bounded import refuse_endless
from seq2seq.tokens.detect import FormWatch

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A line, and the request that it becomes."""

    line: str
    prefix: str  # of a given translation the whole
    request: Request


class Reader:
    """Encodes lines.

    Args:
        tokenizer: of the targets.
        fixed_length: the model's; 0 where it has an end symbol.
    """

    def __init__(self, source: Source, tokenizer: Tokenizer, fixed_length: int) -> None:
        self._source, self._tokenizer, self._fixed = source, tokenizer, fixed_length
        self._watch = FormWatch(source.tokenizer) if isinstance(source, TextSource) else None

    def to_translate(
        self, lines: Sequence[str], prefixes: Sequence[str], decode: DecodeConfig
    ) -> tuple[list[Asked], int]:
        """Lines to translate, and how many were cut.

        An output has room for its prefix and ``decode.max_extra`` tokens after it.

        Raises:
            UserError: if a prefix is endless, or has no room in ``model.fixed_length``.
        """
        fixed = self._fixed
        asked = []
        refuse_endless(prefixes, "prefix")
        prefix_ids = self._tokenizer.encode([prefix if prefix.strip() else "" for prefix in prefixes])
        encoded, num_cut = self._encode(lines, decode.max_source)
        for (line, item, _), prefix, own in zip(encoded, prefixes, prefix_ids, strict=True):
            size = self._source.size(item)
            limit = fixed or max(decode.max_length(size + 1), len(own) + decode.max_extra if own else 0)
            asked.append(Asked(line, prefix, Request(item, own, limit)))
            if fixed and len(own) > fixed:
                raise UserError(
                    f"the prefix {prefix[:40]!r} has {len(own)} tokens, but model.fixed_length={fixed}; shorten it."
                )
        return asked, num_cut

    def given(
        self, src: Sequence[str], tgt: Sequence[str], decode: DecodeConfig, *, warn: bool = True
    ) -> tuple[list[Asked], int]:
        """Pairs to score, and how many sources were cut. A whole translation is a prefix.

        Args:
            warn: log a warning of each line that is cut.

        Raises:
            UserError: if a translation is endless, or ``model.fixed_length`` does not allow a pair.
        """
        fixed = self._fixed
        asked = []
        refuse_endless(tgt, "reference")
        encoded, num_cut = self._encode(src, decode.max_source, warn=warn)
        for (line, item, _), text, own in zip(encoded, tgt, self._tokenizer.encode(tgt), strict=True):
            if fixed and (not self._source.size(item) or len(own) != fixed):
                problem = f"has {len(own)} tokens" if self._source.size(item) else "has a blank source"
                raise UserError(
                    f"the reference {text[:40]!r} {problem}, but model.fixed_length={fixed} allows {fixed} tokens for "
                    "a source that is not blank, and nothing else; leave it out."
                )
            asked.append(Asked(line, text, Request(item, own, len(own) + (not fixed))))
        return asked, num_cut

    def _encode(self, lines: Sequence[str], limit: int, *, warn: bool = True) -> tuple[list[Bounded], int]:
        """The part of each line that is read, with at most ``limit`` positions, and how many lines were cut."""
        source = self._source
        encoded = source.bounded(lines, limit)
        if self._watch is not None:
            self._watch.look([one.line for one in encoded])
        num_cut = 0
        for i, one in enumerate(encoded):
            size = source.size(one.item)
            if one.is_whole and size <= limit:
                continue
            count = f"{size}" if one.is_whole else f"more than {size}"
            kept = source.cut(one.item, limit)
            if warn:
                log.warning("a line of %s tokens is cut to its first %d: %.40s...", count, source.size(kept), one.line)
            num_cut += 1
            encoded[i] = one._replace(item=kept)
        return encoded, num_cut
