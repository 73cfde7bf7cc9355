"""The Penn Treebank's usual files for language models, in a folder of the user's."""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora.base import Corpus, Lines
from seq2seq.data.corpora.text import lines_of
from seq2seq.data.pairs import SPLITS
from seq2seq.errors import UserError
from seq2seq.files import packed
from seq2seq.files.lines import sha256_file


def read(config: DataConfig, downloads: Path) -> Lines:
    """Read ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt``."""
    return Lines({split: lines_of(path) for split, path in _files(config).items()})


def _files(config: DataConfig) -> dict[str, Path]:
    """The files by split, plain or packed.

    Raises:
        UserError: if one of them is not there.
    """
    found = {}
    for split in SPLITS:
        name = f"ptb.{split}.txt"
        path = packed.found(Path(str(config.mirror)) / name)
        if path is None:
            raise UserError(
                f"{config.mirror} has neither {name} nor {name}.gz; put one there, or name another data.mirror."
            )
        found[split] = path
    return found


def _checksums(config: DataConfig) -> dict[str, str]:
    return {name: sha256_file(path) for name, path in _files(config).items()}


CORPUS = Corpus(read, settings=(), takes=("mirror",), inputs=_checksums)
