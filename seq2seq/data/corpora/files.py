"""The user's own parallel text, in line-aligned files or TSV files."""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora.base import Corpus, Pairs
from seq2seq.data.pairs import SPLITS, Pair, read_parallel, read_tsv

FILES = tuple(f"{split}_{side}" for split in SPLITS for side in ("src", "tgt"))


def read(config: DataConfig, downloads: Path) -> Pairs:
    """Read the files; blank lines stay unless training filters drop them."""
    return Pairs(
        {split: _read_split(config, split, allow_blank=split != "train" or config.skip_blank) for split in SPLITS}
    )


def _read_split(config: DataConfig, split: str, *, allow_blank: bool) -> list[Pair]:
    src, tgt = getattr(config, f"{split}_src"), getattr(config, f"{split}_tgt")
    if tgt is None:
        return read_tsv(src, allow_blank=allow_blank)
    return read_parallel(src, tgt, allow_blank=allow_blank)


CORPUS = Corpus(read, FILES)
