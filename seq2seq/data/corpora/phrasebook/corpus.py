"""The phrasebook as a dataset."""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora.base import SIZES, Corpus, Pairs, generated, sizes
from seq2seq.data.corpora.phrasebook.rows import edited_tables


def read(config: DataConfig, downloads: Path) -> Pairs:
    """Draw the sentences.

    The tables of words are read only here, so that a mistake in them affects no other dataset.
    """
    from seq2seq.data.corpora.phrasebook.generate import generate

    return generated(lambda: generate(config.seed, sizes(config)))


CORPUS = Corpus(read, settings=("seed", *SIZES), inputs=lambda config: edited_tables())
