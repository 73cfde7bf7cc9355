"""What a decoder's step on a CPU needs, and what is the same at all steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FULLNESS = 3 / 4  # share of the sentences that are still decoded, below which the others' memory is left behind


class Source(NamedTuple):
    """What is the same at every step. Dimension 0 of every tensor is the sentences."""

    memory: Tensor | None = None  # (sentences, src_length, memory)
    mask: Tensor | None = None  # (sentences, src_length), True at real positions
    keys: Tensor | None = None  # (sentences, src_length, hidden)
    barred: Tensor | None = None  # (sentences, columns): 0 for a token that may be chosen, else -inf

    def select(self, sentences: Tensor) -> Source:
        """These sentences alone."""
        return Source(*(None if one is None else one.index_select(0, sentences) for one in self))

    def __bool__(self) -> bool:
        return any(one is not None for one in self)


class InferenceState(NamedTuple):
    """All that the next step needs; dimension 0 of every tensor is the batch, but for those of the source."""

    hidden: tuple[tuple[Tensor, ...], ...]  # of each layer, (h,) or (h, c), each (batch, hidden)
    source: Source
    sentence: Tensor  # (batch,), into the source
    places: Tensor | None = None  # (batch,), into a grid of sentences times `width`; None where they are the batch
    width: int = 1  # most rows of one sentence
    context: Tensor | None = None  # (batch, hidden), the encoder's summary for the output layer
    peek: Tensor | None = None  # (batch, gates): what the summary adds to the first layer's
    attention: Tensor | None = None  # (batch, src_length): the weights of the step that led here

    @property
    def mask(self) -> Tensor | None:
        """(batch, src_length), True at real positions; None without attention."""
        return None if self.source.mask is None else self.source.mask[self.sentence]

    def select(self, rows: Tensor) -> InferenceState:
        """The state of these rows of the batch, in this order; a row may come twice or not at all."""

        def pick(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.index_select(0, rows)

        hidden = tuple(tuple(one.index_select(0, rows) for one in layer) for layer in self.hidden)
        picked = self._replace(
            hidden=hidden,
            sentence=self.sentence[rows],
            context=pick(self.context),
            peek=pick(self.peek),
            attention=pick(self.attention),
        )
        return picked._rearrange() if self.source and len(rows) else picked

    def _rearrange(self) -> InferenceState:
        """With the source of the sentences that are left, and each row's place beside them."""
        source, sentence = self.source, self.sentence
        size = len(next(one for one in source if one is not None))
        left = torch.unique(sentence)
        if len(left) < FULLNESS * size:
            source, sentence, size = source.select(left), torch.searchsorted(left, sentence), len(left)
        if len(sentence) == size and torch.equal(sentence, torch.arange(size)):
            return self._replace(source=source, sentence=sentence, places=None, width=1)
        counts = torch.bincount(sentence, minlength=size)
        order = sentence.argsort(stable=True)
        rank = torch.empty_like(sentence)
        rank[order] = torch.arange(len(sentence)) - (counts.cumsum(0) - counts)[sentence[order]]
        width = int(counts.max())
        return self._replace(source=source, sentence=sentence, places=sentence * width + rank, width=width)


class Columns(NamedTuple):
    """A part of the target vocabulary that a batch is decoded with; a search then knows its tokens by their place."""

    tokens: Tensor  # (columns,), ascending
    allowed: Tensor  # (sentences, columns): which of them each sentence may choose

    def place(self, token: int) -> int:
        """Where a token that is there stands."""
        return int(torch.searchsorted(self.tokens, token))
