"""Batches of sentences of similar length, as padded tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seq2seq.data.arrays import Corpus, Ragged
from seq2seq.data.memory import Shape
from seq2seq.data.sources.base import Layout, Source
from seq2seq.data.sources.text import Ids, padded
from seq2seq.data.workers import prepared
from seq2seq.tokens.base import BOS, PAD

# Batches made in a row: this takes half the time that it takes between the steps of a training.
AT_ONCE = 16


class Batch(NamedTuple):
    """Sentence pairs as padded rows. ``tgt_out`` is ``tgt_in`` one token later: ``a b </s>`` for ``<s> a b``."""

    src: Tensor  # (batch, src_length), of text; other sources may have more dimensions
    src_lengths: Tensor  # (batch,), on the CPU
    tgt_in: Tensor  # (batch, tgt_length)
    tgt_out: Tensor  # (batch, tgt_length)
    rows: list[int]  # of the corpus
    num_tokens: int  # real tokens in tgt_out
    loss_scale: float  # divides the summed loss, so that a token weighs the same in every batch of an optimiser step

    @property
    def shape(self) -> Shape:
        """How large it is, padding included."""
        return Shape(len(self.rows), int(self.src_lengths.max()), self.tgt_out.shape[1])

    def to(self, device: torch.device) -> Batch:
        """The batch with the tensors that the network computes with on a device; ``src_lengths`` stays."""
        return self._replace(
            src=self.src.to(device, non_blocking=True),
            tgt_in=self.tgt_in.to(device, non_blocking=True),
            tgt_out=self.tgt_out.to(device, non_blocking=True),
        )


def collate(
    src: Any,
    tgt: Ragged | Sequence[Sequence[int]],
    rows: list[int],
    *,
    end_symbol: bool = True,
    layout: Layout | None = None,
) -> Batch:
    """Pad sources and targets (ids without bos and eos) into a `Batch`.

    Args:
        src: items of a source; by default ids too.
        end_symbol: whether ``</s>`` ends a target, and a source of ids.
        layout: of the source, where it is not of ids.
    """
    tgt = tgt if isinstance(tgt, Ragged) else Ragged.of(tgt)
    src_batch, src_lengths = (layout or Ids(end_symbol=end_symbol)).collate(src)
    tgt_out = padded(tgt, end_symbol=end_symbol)
    tgt_in = np.empty_like(tgt_out)
    tgt_in[:, 0] = BOS
    tgt_in[:, 1:] = tgt_out[:, :-1]
    tgt_in[tgt_out == PAD] = PAD
    num_tokens = len(tgt.ids) + len(tgt.lengths) * end_symbol
    return Batch(
        src=src_batch,
        src_lengths=src_lengths,
        tgt_in=torch.from_numpy(tgt_in),
        tgt_out=torch.from_numpy(tgt_out),
        rows=rows,
        num_tokens=num_tokens,
        loss_scale=float(num_tokens),
    )


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids as one tensor ``(rows, longest)``, filled up with pad."""
    return torch.from_numpy(padded(Ragged.of(rows), end_symbol=False))


class LengthBatchSampler:
    """Batches of sentences of similar length, in an order that is a function of (seed, epoch).

    The corpus is shuffled, sorted by length (equal lengths stay shuffled) and cut; then the batches are shuffled. The
    cuts fall between the same lengths in every epoch, so the number of batches never changes.

    Args:
        lengths: (sentences, 2), tokens of each source and target.
        batch_tokens: most tokens in a batch, counted as rows times the longest row of either side; 0 for no bound. A
            pair longer than that is a batch by itself.
        batch_sentences: most rows in a batch; 0 for no bound.
        shuffle: False keeps batches in order of length.
        at_least: fewest rows in a batch, where the corpus has them: one for each process that takes a share.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        batch_tokens: int,
        batch_sentences: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        at_least: int = 1,
    ) -> None:
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self._keys = _sort_keys(lengths)
        widths = lengths.max(axis=1)[np.argsort(self._keys, kind="stable")]
        self.cuts = _cuts(widths, batch_tokens, batch_sentences, at_least)

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order `batches` gives."""
        self.epoch = epoch

    def batches(self) -> list[np.ndarray]:
        """The rows of each batch of this epoch."""
        generator = np.random.default_rng([self.seed, self.epoch])
        rows = np.arange(len(self._keys), dtype=np.int32 if len(self._keys) < 2**31 - 1 else np.int64)
        rows = generator.permutation(rows) if self.shuffle else rows
        rows = rows[np.argsort(self._keys[rows], kind="stable")]
        batches = [rows[start:stop] for start, stop in itertools.pairwise(self.cuts)]
        return [batches[i] for i in generator.permutation(len(batches))] if self.shuffle else batches


def _sort_keys(lengths: np.ndarray) -> np.ndarray:
    """Keys that sort pairs by target length, then by source length, up and down in turn.

    So a batch across two target lengths has similar sources too. The keys have the narrowest type that holds them:
    numpy sorts 16 bits in linear time.
    """
    longest_src, longest_tgt = (int(side.max(initial=0)) for side in lengths.T)
    src, tgt = lengths.T.astype(np.min_scalar_type((longest_tgt + 1) * (longest_src + 1)))
    return tgt * (longest_src + 1) + np.where(tgt % 2, src, longest_src - src)


def _cuts(widths: np.ndarray, batch_tokens: int, batch_sentences: int, at_least: int) -> list[int]:
    """Where to cut a corpus sorted by length, given the longer side of each pair."""
    cuts, end = [0], len(widths)
    while end:
        start = cuts[-1]
        most = batch_sentences or end
        if batch_tokens:
            most = min(most, batch_tokens // max(1, int(widths[start])))  # the first is at most as wide as the widest
            widest = np.maximum.accumulate(widths[start : start + most])
            most = int(np.searchsorted(widest * np.arange(1, len(widest) + 1), batch_tokens, side="right"))
        if start + max(most, at_least) >= end:
            break
        cuts.append(start + max(most, at_least))
    if len(cuts) > 1 and end - cuts[-1] < at_least:
        cuts.pop()
    return [*cuts, end]


class BatchLoader:
    """Turn a corpus into batches, epoch by epoch; can resume in the middle of one.

    Every batch is a function of (seed, epoch, position), subword sampling included, so the state of a loader is its
    position, and the number of workers does not change the batches.

    Args:
        accumulate: batches to an optimiser step; their ``loss_scale`` makes the step's gradient that of the mean over
            its tokens.
        rank, world_size: this process's share: every ``world_size``-th row of each batch, from row ``rank`` on.
        sampling: subword sampling of the sides that can; without ``sides`` it is off.
        sides: how the source and the target are read; by default as token ids.
    """

    def __init__(
        self,
        corpus: Corpus,
        sampler: LengthBatchSampler,
        *,
        end_symbol: bool = True,
        accumulate: int = 1,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        sampling: float = 0.0,
        sides: Sequence[Source] = (),
    ) -> None:
        self.corpus = corpus
        self.sampler = self.batch_sampler = sampler  # Lightning looks for both, and tells the first one the epoch
        self.end_symbol = end_symbol
        self.accumulate = accumulate
        self.num_workers = num_workers
        self.rank, self.world_size = rank, world_size
        self.sides = tuple(sides)
        self.layout = sides[0] if sides else Ids(end_symbol=end_symbol)
        self.sampling = sampling if sides else 0.0
        self.position = 0
        self._resumed: dict[str, int] | None = None

    def __len__(self) -> int:
        """Batches in an epoch, at any position."""
        return len(self.batch_sampler)

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of its batches already yielded."""
        return {"epoch": self.batch_sampler.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume at the saved position, in a pass over the same epoch."""
        self._resumed = state

    def __iter__(self) -> Iterator[Batch]:
        resumed, self._resumed = self._resumed, None
        self.position = 0
        if resumed and resumed["epoch"] == self.batch_sampler.epoch:
            self.position = resumed["position"]
        epoch = _Epoch(self)
        for batch in self._batches(epoch, range(self.position, len(epoch))):
            self.position += 1
            yield batch

    def _batches(self, epoch: _Epoch, positions: range) -> Iterator[Batch]:
        if not self.num_workers:
            for start in range(0, len(positions), AT_ONCE):
                yield from [epoch[position] for position in positions[start : start + AT_ONCE]]
            return
        yield from prepared(epoch, positions, self.num_workers)


class _Epoch(Dataset[Batch]):
    """One epoch of a `BatchLoader`, by position."""

    def __init__(self, loader: BatchLoader) -> None:
        self.corpus = loader.corpus
        self.rows = loader.batch_sampler.batches()
        self.share = slice(loader.rank, None, loader.world_size)
        self.world_size = loader.world_size
        self.end_symbol = loader.end_symbol
        self.accumulate = loader.accumulate
        self.layout, self.sampling, self.sides = loader.layout, loader.sampling, loader.sides
        self.seed = (loader.batch_sampler.seed, loader.batch_sampler.epoch)
        self._drawn: dict[int, list[Any]] = {}  # of the last batches, those of one optimiser step

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Batch:
        src, tgt = self._sentences(position)
        if self.world_size > 1:
            src, tgt = (side.lists() if isinstance(side, Ragged) else side for side in (src, tgt))
            src, tgt = src[self.share], tgt[self.share]
        rows = self.rows[position][self.share].tolist()
        batch = collate(src, tgt, rows, end_symbol=self.end_symbol, layout=self.layout)
        if self.accumulate == self.world_size == 1:
            return batch
        first = position - position % self.accumulate
        step = range(first, min(first + self.accumulate, len(self)))
        tokens = sum(self._target_tokens(one) for one in step)
        # Lightning divides each loss by the number of batches to a step (a short last group's too), and averages over
        # processes.
        return batch._replace(loss_scale=tokens / (self.accumulate * self.world_size))

    def _target_tokens(self, position: int) -> int:
        """Target tokens of a whole batch, over all processes."""
        rows = self.rows[position]
        if self.sampling:
            num_tokens = len(self._sentences(position)[1].ids)
        else:
            num_tokens = int((self.corpus.tgt.offsets[rows + 1] - self.corpus.tgt.offsets[rows]).sum())
        return num_tokens + len(rows) * self.end_symbol

    def _sentences(self, position: int) -> list[Any]:
        """A whole batch's sources, and the ids of its targets; with sampling, a new segmentation."""
        if position in self._drawn:
            return self._drawn[position]
        sides = [array.take(self.rows[position]) for array in self.corpus]
        if self.sampling:
            seed = int(np.random.SeedSequence([*self.seed, position]).generate_state(1)[0])
            for side, source in enumerate(self.sides):
                sides[side] = source.drawn(sides[side], self.sampling, (seed + side) % 2**32)
            if len(self._drawn) == self.accumulate:
                del self._drawn[next(iter(self._drawn))]
            self._drawn[position] = sides
        return sides
