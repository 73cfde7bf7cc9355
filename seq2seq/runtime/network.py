"""An exported network: an encoder's pass and a decoder's steps, by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from seq2seq.runtime.sampling import log_softmax
from seq2seq.runtime.sessions import Sessions

ENCODER, STEP = "encoder.onnx", "step.onnx"
FULLNESS = 3 / 4  # share of sentences that are still decoded, below which the memory of the others is dropped
PER_SENTENCE = ("memory", "keys", "mask")  # inputs of a step that the hypotheses of a sentence share
NONE = np.zeros(1, np.int64)
PER_ROW = ("peek", "context")  # that belong to a row, and stay the same


class Columns(NamedTuple):
    """A part of the target vocabulary that a batch is decoded with. A search then numbers tokens by their columns."""

    tokens: np.ndarray  # (columns,), ascending
    allowed: np.ndarray  # (sentences, columns): whether a sentence may choose the token

    def place(self, token: int) -> int:
        """The column of a token that is there."""
        return int(np.searchsorted(self.tokens, token))


class Source(NamedTuple):
    """Arrays that stay the same at every step. Dimension 0 of each is the sentences; all hypotheses share them."""

    size: int
    arrays: dict[str, np.ndarray]  # with attention: memory, keys, mask
    log_allowed: np.ndarray | None = None  # (sentences, columns): 0 for a token that may be chosen, else -inf
    is_shared: bool = False  # whether a search that comes later needs the arrays as they are

    def select(self, sentences: np.ndarray) -> Source:
        """Only these sentences, in ascending order.

        The arrays are tens of megabytes, and fresh memory is dear: unless they are shared, they are moved up in place,
        and this source must not be used any more.
        """
        move = _copied if self.is_shared else _moved_up
        arrays = {name: move(array, sentences) for name, array in self.arrays.items()}
        log_allowed = None if self.log_allowed is None else self.log_allowed[sentences]
        return Source(len(sentences), arrays, log_allowed)


def _copied(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return array[rows]


def _moved_up(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The first rows of an array, after these ascending ones have been moved there."""
    for place, row in enumerate(rows.tolist()):
        if place != row:
            array[place] = array[row]
    return array[: len(rows)]


class Grid(NamedTuple):
    """The rows of a batch arranged by sentence, so that rows of one sentence are queries to one memory.

    A grid has a line for each sentence, and as many places in a line as the most rows that any sentence has.

    Example:
        Rows 0, 2 and 3 belong to sentence 0, row 1 to sentence 2 of three. Free places name row 0.

        >>> Grid.of(np.array([0, 2, 0, 0]), 3)
        Grid(places=array([[0, 2, 3],
               [0, 0, 0],
               [1, 0, 0]]), rows=array([0, 6, 1, 2]))
    """

    places: np.ndarray  # (sentences, width): the row at each place
    rows: np.ndarray  # (n,): the place of each row, counted line by line

    @classmethod
    def of(cls, sentence: np.ndarray, size: int) -> Grid:
        """Arrange rows, given the sentence of each ``(n,)`` and the number of sentences."""
        counts = np.bincount(sentence, minlength=size)
        order = sentence.argsort(kind="stable")
        rank = np.empty_like(sentence)
        rank[order] = np.arange(len(sentence)) - (counts.cumsum() - counts)[sentence[order]]
        width = int(counts.max())
        rows = sentence * width + rank
        places = np.zeros(size * width, np.int64)
        places[rows] = np.arange(len(rows))
        return cls(places.reshape(size, width), rows)


class RowState(NamedTuple):
    """All that the next step needs. Dimension 0 of every array is the batch, except in `source`."""

    hidden: dict[str, np.ndarray]  # by the names of the graph's inputs, each (batch, width)
    constant: dict[str, np.ndarray]  # likewise
    source: Source
    sentence: np.ndarray  # (batch,), index into `source`
    grid: Grid
    attention: np.ndarray | None = None  # (batch, src_length): the weights of the step that led here

    @property
    def mask(self) -> np.ndarray | None:
        """(batch, src_length), True at real positions; None without attention."""
        mask = self.source.arrays.get("mask")
        return None if mask is None else mask[self.sentence]

    def shared(self) -> RowState:
        """This state for several searches; otherwise the first one uses it up."""
        return self._replace(source=self.source._replace(is_shared=True))

    def select(self, rows: np.ndarray) -> RowState:
        """The state of these rows of the batch, in this order; a row may come twice or not at all.

        This state must not be used any more, unless it is `shared`.
        """
        source, sentence = self.source, self.sentence[rows]
        (left,) = np.bincount(sentence, minlength=source.size).nonzero()
        if len(left) < FULLNESS * source.size:
            source, sentence = source.select(left), np.searchsorted(left, sentence)
        return RowState(
            {name: array.take(rows, 0) for name, array in self.hidden.items()},
            {name: array.take(rows, 0) for name, array in self.constant.items()},
            source,
            sentence,
            Grid.of(sentence, source.size) if len(rows) else self.grid,
            None if self.attention is None else self.attention.take(rows, 0),
        )


NetworkStep = Callable[[np.ndarray, RowState], tuple[np.ndarray, RowState]]


class Network(NamedTuple):
    """The two graphs of a folder.

    Args:
        states: the names of the decoder's states.
        constant: which of `PER_ROW` the step takes.
        attention: whether the decoder looks back at the source.
        scores_some: whether the step has the input ``scored``: of how many rows log-probabilities are wanted.
    """

    sessions: Sessions
    states: tuple[str, ...]
    constant: tuple[str, ...]
    attention: bool
    scores_some: bool = False

    def start(
        self, src: np.ndarray, lengths: np.ndarray, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[NetworkStep, RowState]:
        """Encode sources: ``start(src, lengths) -> (step, state)``, for any search.

        Args:
            src: ``(batch, length)``, filled up with pad. lengths: ``(batch,)``.
            columns: the tokens to choose from. The step then numbers tokens by their columns, and log-probabilities are
                normalised over these.
            normalise: False lets log-probabilities lack a constant for each row, for a search that only takes the
                highest.
        """
        return self._step(columns, normalise), self._encode(src, lengths, columns)

    def _encode(self, src: np.ndarray, lengths: np.ndarray, columns: Columns | None) -> RowState:
        shared = PER_SENTENCE if self.attention else ()
        names = [*self.states, *self.constant, *shared]
        found = self.sessions.run(ENCODER, names, {"src": src, "lengths": lengths})
        made = dict(zip(names, found, strict=True))
        log_allowed = None if columns is None else np.where(columns.allowed, np.float32(0), np.float32(-np.inf))
        sentence = np.arange(len(src))
        return RowState(
            {name: made[name] for name in self.states},
            {name: made[name] for name in self.constant},
            Source(len(src), {name: made[name] for name in shared}, log_allowed),
            sentence,
            Grid.of(sentence, len(src)),
        )

    def _step(self, columns: Columns | None, normalise: bool) -> NetworkStep:
        by_graph = normalise and columns is None
        names = ["log_probs" if by_graph else "logits", *(f"next_{name}" for name in self.states)]
        names += ["attention"] if self.attention else []
        constant = {"scored": NONE} if self.scores_some and not by_graph else {}

        def step(last: np.ndarray, state: RowState) -> tuple[np.ndarray, RowState]:
            tokens = last if columns is None else columns.tokens[last]
            inputs = {"last": tokens, **state.hidden, **state.constant, **constant}
            if self.attention:
                inputs |= {**state.source.arrays, "places": state.grid.places, "rows": state.grid.rows}
            found, *rest = self.sessions.run(STEP, names, inputs)
            if columns is not None and state.source.log_allowed is not None:
                found = found[:, columns.tokens] + state.source.log_allowed[state.sentence]
                found = log_softmax(found) if normalise else found
            hidden = dict(zip(self.states, rest, strict=False))
            return found, state._replace(hidden=hidden, attention=rest[-1] if self.attention else None)

        return step


def pad(rows: Sequence[Sequence[int]], filler: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids as one array ``(rows, longest)``, filled up, and their lengths ``(rows,)``."""
    lengths = np.array([len(row) for row in rows], np.int64)
    padded = np.full((len(rows), int(lengths.max())), filler, np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = [one for row in rows for one in row]
    return padded, lengths
