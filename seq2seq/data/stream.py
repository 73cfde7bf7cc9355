"""A text as one stream of tokens, in columns that are read in parallel, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seq2seq.data.arrays import TokenArray
from seq2seq.errors import UserError
from seq2seq.tokens.base import BOS, EOS, PAD

Ids = npt.NDArray[np.int32]


class Window(NamedTuple):
    """The next tokens of some columns. ``tokens_out`` is ``tokens_in`` one token later, across windows too."""

    tokens_in: Tensor  # (columns, length)
    tokens_out: Tensor  # (columns, length), pad past the end of the stream
    num_tokens: int  # real tokens in tokens_out
    loss_scale: float  # divides the summed loss; the same for all windows, so that a token weighs the same in each
    is_first: bool  # of its columns: the state before it is 0

    def to(self, device: torch.device) -> Window:
        """The window on a device."""
        return self._replace(
            tokens_in=self.tokens_in.to(device, non_blocking=True),
            tokens_out=self.tokens_out.to(device, non_blocking=True),
        )

    @property
    def shape(self) -> str:
        """How large it is, for a message."""
        return f"{self.tokens_out.shape[0]} column(s) x {self.tokens_out.shape[1]} tokens"


def to_stream(rows: TokenArray) -> Ids:
    """Join all rows, each followed by ``</s>``: the ``(tokens,)`` that a language model predicts."""
    ends = np.asarray(rows.offsets[1:] - rows.offsets[0])
    return np.insert(np.asarray(rows.ids[rows.offsets[0] : rows.offsets[-1]]), ends, EOS).astype(np.int32)


def inputs_of(stream: Ids) -> Ids:
    """The input for predicting ``stream``: the token before each, or ``<s>`` in a new line."""
    before = np.concatenate([np.array([EOS], dtype=np.int32), stream[:-1]])
    return np.where(before == EOS, np.int32(BOS), before)


class StreamColumns:
    """A stream cut into ``num_columns`` columns of equal length; the end is filled up with pad.

    Each token is predicted once: none is dropped where the number does not divide the stream, and a column's first
    token is predicted from the one before it, the last of the column before.
    """

    def __init__(self, stream: Ids, num_columns: int) -> None:
        length = -(-len(stream) // num_columns)
        missing = length * num_columns - len(stream)
        self.tokens_in, self.tokens_out = (
            np.pad(ids, (0, missing), constant_values=PAD).reshape(num_columns, length)
            for ids in (inputs_of(stream), stream)
        )

    @property
    def length(self) -> int:
        """Tokens in a column."""
        return int(self.tokens_out.shape[1])


class StreamLoader:
    """Yield the windows of a stream, epoch by epoch; can resume inside one.

    Windows are never shuffled: the state that a network carries from one to the next belongs there. The state of a
    loader is only its position.

    Args:
        bptt: tokens of a column in a window; the last one may have fewer.
        rank, world_size: this process's share, every ``world_size``-th column from ``rank`` on, for good: so each
            process can carry its columns' state.

    Raises:
        UserError: if there are fewer columns than processes, or the stream is shorter than that.
    """

    def __init__(self, stream: Ids, *, num_columns: int, bptt: int, rank: int = 0, world_size: int = 1) -> None:
        if num_columns < world_size:
            raise UserError(
                f"data.columns={num_columns} must be at least trainer.devices={world_size}: each process has columns "
                "of its own."
            )
        if len(stream) < num_columns:
            raise UserError(
                f"data.columns={num_columns} is more than the number of tokens in the text, {len(stream)}; "
                "make it smaller."
            )
        columns = StreamColumns(stream, num_columns)
        self.tokens_in, self.tokens_out = columns.tokens_in[rank::world_size], columns.tokens_out[rank::world_size]
        self.bptt = bptt
        self.loss_scale = num_columns * min(bptt, columns.length) / world_size
        self.sampler, self.batch_sampler = self, None  # Lightning looks here to set the epoch
        self.epoch = 0
        self.position = 0
        self._resumed: dict[str, int] | None = None

    def __len__(self) -> int:
        """Windows in an epoch, at any position."""
        return -(-self.tokens_out.shape[1] // self.bptt)

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch whose windows are next."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of its windows already yielded."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume at the saved position, in a pass over the same epoch."""
        self._resumed = state

    def __iter__(self) -> Iterator[Window]:
        resumed, self._resumed = self._resumed, None
        self.position = 0
        if resumed and resumed["epoch"] == self.epoch:
            self.position = resumed["position"]
        for position in range(self.position, len(self)):
            self.position += 1
            yield self.window(position)

    def window(self, position: int) -> Window:
        """The window at a position."""
        part = slice(position * self.bptt, (position + 1) * self.bptt)
        tokens_in, tokens_out = (
            torch.from_numpy(ids[:, part].astype(np.int64)) for ids in (self.tokens_in, self.tokens_out)
        )
        return Window(tokens_in, tokens_out, int((tokens_out != PAD).sum()), self.loss_scale, position == 0)
