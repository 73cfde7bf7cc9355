"""A prepared dataset for Lightning: loaders of batches, and the lines of the validation text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from seq2seq import checkpoint
from seq2seq.config.choices import TEXT_SOURCES
from seq2seq.config.schema import Config
from seq2seq.data.arrays import Corpus, Tokenizers, encode_side
from seq2seq.data.batches import BatchLoader, LengthBatchSampler
from seq2seq.data.pairs import SPLITS
from seq2seq.data.sources import SOURCES
from seq2seq.data.sources.base import Source
from seq2seq.data.sources.text import TextSource
from seq2seq.data.stream import StreamLoader, to_stream
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_lines, read_lines
from seq2seq.language_model import TOKENS_AT_ONCE
from seq2seq.models.encoders import ENCODERS
from seq2seq.tokens.base import Tokenizer
from seq2seq.tokens.load import same_pieces


class TranslationData(L.LightningDataModule):
    """Training and validation batches of a prepared dataset.

    Args:
        folder: as `seq2seq.data.prepare.prepare` returns it.
    """

    def __init__(self, config: Config, folder: Path, tokenizers: Tokenizers, source: Source | None = None) -> None:
        super().__init__()
        self.config = config
        self.folder = folder
        self.tokenizers = tokenizers
        self.source = source or build_source(config, folder, tokenizers.src)
        self.train_corpus, self.valid_corpus = self._corpus("train"), self._corpus("valid")
        if config.model.fixed_length:
            self._check_fixed_length(config.model.fixed_length)
        self.valid_src = self.source.read(folder, "valid")
        self.valid_tgt = read_lines(folder / "valid.tgt")

    def train_dataloader(self) -> BatchLoader:
        data = self.config.data
        sampler = self._sampler(
            self.train_corpus, data.batch_tokens, batch_sentences=data.batch_sentences, seed=self.config.seed
        )
        return self._loader(
            self.train_corpus,
            sampler,
            accumulate=self.config.trainer.accumulate,
            num_workers=data.num_workers,
            sampling=self.config.tokenizer.sampling,
        )

    def val_dataloader(self) -> BatchLoader:
        sampler = self._sampler(
            self.valid_corpus, self.config.decode.batch_tokens, seed=self.config.seed, shuffle=False
        )
        return self._loader(self.valid_corpus, sampler)

    def _sampler(self, corpus: Corpus, batch_tokens: int, **options: Any) -> LengthBatchSampler:
        """Cut a corpus into batches; ``options`` are those of the sampler."""
        if len(corpus.src) < self._world_size:
            raise UserError(
                f"{self.folder} has a split of {len(corpus.src)} pairs, too few for {self._world_size} processes; make "
                "trainer.devices smaller."
            )
        lengths = np.stack([side.lengths() for side in corpus], axis=1) + self._end_symbol
        return LengthBatchSampler(lengths, batch_tokens=batch_tokens, at_least=self._world_size, **options)

    def _loader(self, corpus: Corpus, sampler: LengthBatchSampler, **options: Any) -> BatchLoader:
        """Load this process's share of the batches; ``options`` are those of the loader."""
        return BatchLoader(
            corpus,
            sampler,
            end_symbol=self._end_symbol,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self._world_size,
            sides=(self.source, TextSource({}, self.tokenizers.tgt, end_symbol=self._end_symbol)),
            **options,
        )

    @property
    def _end_symbol(self) -> bool:
        return self.config.model.fixed_length == 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _corpus(self, split: str) -> Corpus:
        targets = encode_side(self.folder, split, "tgt", self.tokenizers.tgt)
        return Corpus(self.source.rows(self.folder, split), targets)

    def _check_fixed_length(self, fixed_length: int) -> None:
        corpora = {split: self._corpus(split) for split in SPLITS}
        if not all(corpus.src.lengths().all() for corpus in corpora.values()):
            raise UserError(
                f"model.fixed_length leaves out the end symbol, so a source cannot be blank; remove the "
                f"blank lines of {self.folder}."
            )
        for split, corpus in corpora.items():
            lengths = corpus.tgt.lengths()
            if (lengths != fixed_length).any():
                line = int((lengths != fixed_length).argmax())
                raise UserError(
                    f"{self.folder / split}.tgt: line {line + 1} has {lengths[line]} tokens, but "
                    f"model.fixed_length={fixed_length} wants exactly {fixed_length} in each; pad the lines, or leave "
                    "it 0."
                )


def check_source(config: Config) -> None:
    """Check that the encoder reads what the source gives.

    Raises:
        UserError: if it does not.
    """
    encoder, source = config.model.encoder_kind, config.data.source
    reads, gives = ENCODERS[encoder].reads, SOURCES[source].gives
    if reads != gives:
        raise UserError(
            f"model.encoder_kind={encoder} reads {reads}, and data.source={source} gives {gives}; choose an encoder "
            f"that reads {gives}."
        )


def reads_text(config: Config) -> bool:
    """Whether the source is text, with a tokenizer of its own."""
    return config.data.source in TEXT_SOURCES


def build_source(config: Config, folder: Path, tokenizer: Tokenizer) -> Source:
    """Build the source that ``data.source`` names, from the training data of a prepared dataset."""
    kind = SOURCES[config.data.source]
    return kind(kind.learn(folder), tokenizer, end_symbol=config.model.fixed_length == 0)


class TextData(L.LightningDataModule):
    """Windows of one side of a prepared dataset, read as a stream.

    The training text is read in columns, the validation text in one, so that its figures do not depend on the columns.

    Args:
        folder: as `seq2seq.data.prepare.prepare` returns it.
    """

    def __init__(self, config: Config, folder: Path, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.train_stream = to_stream(encode_side(folder, "train", "tgt", tokenizer))
        self.valid_stream = to_stream(encode_side(folder, "valid", "tgt", tokenizer))
        lines = iter_lines(folder / "valid.tgt")
        self.valid_words = sum(len(line.split()) + 1 for line in lines)

    def train_dataloader(self) -> StreamLoader:
        data = self.config.data
        return StreamLoader(
            self.train_stream,
            num_columns=data.columns,
            bptt=data.bptt,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )

    def val_dataloader(self) -> StreamLoader:
        return StreamLoader(self.valid_stream, num_columns=1, bptt=TOKENS_AT_ONCE)


def load_like(config: Config) -> tuple[str, Tokenizers]:
    """Load the tokenizers of the checkpoint that ``tokenizer.like`` names.

    Returns:
        The checkpoint's kind, and its tokenizers; a language model has one, as both sides.

    Raises:
        UserError: if the model needs one vocabulary and they have two, or if the training samples and they cannot.
    """
    assert config.tokenizer.like is not None
    kind, found = checkpoint.load_tokenizers(config.tokenizer.like)
    if config.model.tie == "all" and not same_pieces(*found):
        raise UserError(
            f"model.tie=all needs one vocabulary for both sides, and tokenizer.like={config.tokenizer.like} has two; "
            "use model.tie=decoder."
        )
    if config.tokenizer.sampling and not found.src.can_sample:
        raise UserError(
            f"tokenizer.sampling={config.tokenizer.sampling:g} needs a tokenizer that can sample, and those of "
            f"tokenizer.like={config.tokenizer.like} cannot; leave it 0."
        )
    return kind, found
