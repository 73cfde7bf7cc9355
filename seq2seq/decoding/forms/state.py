"""The state of a decoder's step on a CPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FULLNESS = 3 / 4  # share of sentences that are still decoded, below which the memory of the others is dropped


class PerSentence(NamedTuple):
    """Tensors that stay the same at every step.

    Dimension 0 of each is the sentences; all hypotheses share them.
    """

    memory: Tensor | None = None  # (sentences, src_length, memory)
    mask: Tensor | None = None  # (sentences, src_length), True at real positions
    keys: Tensor | None = None  # (sentences, src_length, hidden)
    log_allowed: Tensor | None = None  # (sentences, columns): 0 for a token that may be chosen, else -inf

    @property
    def size(self) -> int:
        """The number of sentences; 0 if there are no such tensors."""
        return next((len(one) for one in self if one is not None), 0)

    def select(self, sentences: Tensor) -> PerSentence:
        """Only these sentences."""
        return PerSentence(*(None if one is None else one.index_select(0, sentences) for one in self))


class Grid(NamedTuple):
    """The rows of a batch arranged by sentence, to query its memory together.

    A grid has a line for each sentence, and as many places in a line as the most rows that any sentence has.

    Example:
        Four rows belong to sentences 0, 2, 0, 0, of three that there are:

        ========== ===== ===== =====
        sentence 0 row 0 row 2 row 3
        sentence 1
        sentence 2 row 1
        ========== ===== ===== =====

        Counted line by line, rows 0 to 3 are at places 0, 6, 1, 2:

        >>> Grid.of(torch.tensor([0, 2, 0, 0]), 3)
        Grid(places=tensor([0, 6, 1, 2]), width=3)
    """

    places: Tensor | None = None  # (batch,), place of each row; None where row i is the only one of sentence i
    width: int = 1  # places in a line

    @classmethod
    def of(cls, sentence: Tensor, size: int) -> Grid:
        """Arrange rows, given the sentence of each ``(batch,)`` and the number of sentences."""
        if len(sentence) == size and torch.equal(sentence, torch.arange(size)):
            return cls()
        counts = torch.bincount(sentence, minlength=size)
        order = sentence.argsort(stable=True)
        rank = torch.empty_like(sentence)
        rank[order] = torch.arange(len(sentence)) - (counts.cumsum(0) - counts)[sentence[order]]
        width = int(counts.max())
        return cls(sentence * width + rank, width)

    def spread(self, rows: Tensor, size: int) -> Tensor:
        """Put rows ``(batch, ...)`` in their places: ``(size, width, ...)``, with zeros at free places."""
        if self.places is not None:
            spread = rows.new_zeros(size * self.width, rows.shape[1])
            spread[self.places] = rows
            rows = spread
        return rows.view(size, self.width, -1)

    def collect(self, grid: Tensor) -> Tensor:
        """Undo `spread`."""
        rows = grid.flatten(0, 1)
        return rows if self.places is None else rows.index_select(0, self.places)


class CpuState(NamedTuple):
    """The state for the next step.

    Dimension 0 of every tensor is the batch, except in `per_sentence`.
    """

    hidden: tuple[tuple[Tensor, ...], ...]  # of each layer, (h,) or (h, c), each (batch, hidden)
    per_sentence: PerSentence
    sentence: Tensor  # (batch,), index into `per_sentence`
    grid: Grid = Grid()
    context: Tensor | None = None  # (batch, hidden), the encoder's summary for the output layer
    peek: Tensor | None = None  # (batch, gates): the summary's part of the first layer's gates
    attention: Tensor | None = None  # (batch, src_length): the weights of the step that led here

    @property
    def mask(self) -> Tensor | None:
        """(batch, src_length), True at real positions; None without attention."""
        return None if self.per_sentence.mask is None else self.per_sentence.mask[self.sentence]

    def select(self, rows: Tensor) -> CpuState:
        """Select and reorder rows; a row may be repeated or dropped."""

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
        return picked._rearrange() if self.per_sentence.size and len(rows) else picked

    def _rearrange(self) -> CpuState:
        """Drop sentences without rows, if there are many, and arrange the rows again."""
        per_sentence, sentence = self.per_sentence, self.sentence
        left = torch.unique(sentence)
        if len(left) < FULLNESS * per_sentence.size:
            per_sentence, sentence = per_sentence.select(left), torch.searchsorted(left, sentence)
        grid = Grid.of(sentence, per_sentence.size)
        return self._replace(per_sentence=per_sentence, sentence=sentence, grid=grid)


class Columns(NamedTuple):
    """A part of the target vocabulary for one batch.

    A search then numbers tokens by their columns.
    """

    tokens: Tensor  # (columns,), ascending
    allowed: Tensor  # (sentences, columns): whether a sentence may choose the token

    def place(self, token: int) -> int:
        """The column of a token that is there."""
        return int(torch.searchsorted(self.tokens, token))
