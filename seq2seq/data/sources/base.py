"""The `Source` of a run: from the lines of a file to the tensors of a batch.

A new source is a file beside this one with a subclass of `Source`, and a word in `seq2seq.data.sources.SOURCES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from seq2seq.files.lines import read_lines
from seq2seq.tokens.base import Tokenizer


class Layout(Protocol):
    """How the items of a source lie in a batch: all that decoding asks for."""

    def size(self, item: Any) -> int:
        """The number of positions of an item, without an end symbol that `collate` adds."""

    def collate(self, items: Any) -> tuple[Tensor, Tensor]:
        """The items as tensors: the padded batch, and the lengths ``(batch,)`` on the CPU."""

    def content(self, item: Any) -> bytes:
        """The item as bytes, which decide how an output is sampled for it."""


class Rows(Protocol):
    """The items of a split, one for each line. `TokenArray` is one whose items stay on the disk."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Any:
        """Some of the items, as `Layout.collate` takes them."""

    def lengths(self) -> np.ndarray:
        """The size of each item, as int32."""


class Bounded(NamedTuple):
    """A line with its item, or with the item of as much of a far too long line as is needed."""

    line: str
    item: Any
    is_whole: bool


class Source(ABC):
    """The source side of pairs. A raw source is a line of text, whatever it stands for.

    It may be a sentence, a row of numbers or the name of a picture, so files, options and the order of results are the
    same for all of them. A subclass defines the abstract methods.

    Args:
        state: what `learn` returned, also from a checkpoint, which may come from elsewhere. So check it.
        tokenizer: of the source side. A source that is not text does not use it.
        end_symbol: whether the network has end symbols (``model.fixed_length=0``). Only text needs one.

    Raises:
        UserError, ValueError, TypeError, KeyError: for a state that `learn` does not write.
    """

    gives: str  # "ids" or "vectors", or a word of your own; an encoder says in `EncoderKind.reads` what it takes
    is_text: bool = False  # whether the source side has a tokenizer
    input_size: int  # the number of different ids, the width of a vector, or what else an encoder has to know

    @abstractmethod
    def __init__(self, state: Mapping[str, Any], tokenizer: Tokenizer, *, end_symbol: bool = True) -> None: ...

    @classmethod
    def learn(cls, folder: Path) -> dict[str, Any]:
        """Learn from the training data of a prepared dataset; return plain values and tensors for the checkpoint."""
        return {}

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the values to build it from again."""

    @abstractmethod
    def encode(self, lines: Sequence[str]) -> list[Any]:
        """Turn lines into items.

        Raises:
            UserError: for a line that is not such a source.
        """

    @abstractmethod
    def size(self, item: Any) -> int: ...

    @abstractmethod
    def collate(self, items: Any) -> tuple[Tensor, Tensor]: ...

    def content(self, item: Any) -> bytes:
        return np.ascontiguousarray(item).tobytes()

    def read(self, folder: Path, split: str) -> list[str]:
        """Read the lines of a split of a prepared dataset."""
        return read_lines(folder / f"{split}.src")

    def rows(self, folder: Path, split: str) -> Rows:
        """Read and encode a split of a prepared dataset."""
        return Listed(self, self.encode(self.read(folder, split)))

    def drawn(self, items: Any, amount: float, seed: int) -> Any:
        """Vary the items of a training batch at random, as a function of ``seed`` (``tokenizer.sampling`` above 0)."""
        return items

    def bounded(self, lines: Sequence[str], limit: int) -> list[Bounded]:
        """Encode lines of which the caller keeps at most ``limit`` positions, with `cut`."""
        return [Bounded(line, item, True) for line, item in zip(lines, self.encode(lines), strict=True)]

    def cut(self, item: Any, limit: int) -> Any:
        """The first ``limit`` positions of an item."""
        return item[:limit]

    def pieces(self, item: Any) -> list[str]:
        """A name for each position of the encoder's memory, for people to look at."""
        return [str(position) for position in range(1, self.size(item) + 1)]


class Listed:
    """Items in a list, as `Rows`."""

    def __init__(self, layout: Layout, items: Sequence[Any]) -> None:
        self._items = items
        self._lengths = np.fromiter(map(layout.size, items), np.int32, len(items))

    def __len__(self) -> int:
        return len(self._items)

    def take(self, rows: np.ndarray) -> list[Any]:
        """Some of the items."""
        return [self._items[row] for row in rows]

    def lengths(self) -> np.ndarray:
        """The size of each item, as int32."""
        return self._lengths
