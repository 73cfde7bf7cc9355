"""The user's own text for a language model."""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora.base import Corpus, Lines
from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines, refuse_line_ends


def read(config: DataConfig, downloads: Path) -> Lines:
    """Read one file for each split, or hold out the last training lines."""
    assert config.train_tgt is not None
    lines = lines_of(config.train_tgt)
    if config.valid_tgt is not None and config.test_tgt is not None:
        return Lines({"train": lines, "valid": lines_of(config.valid_tgt), "test": lines_of(config.test_tgt)})
    held_out = config.valid_size + config.test_size
    if held_out >= len(lines):
        raise UserError(
            f"{config.train_tgt} has {len(lines)} lines; data.valid_size and data.test_size "
            f"would hold out {held_out}; make them smaller."
        )
    first = len(lines) - held_out
    cut = first + config.valid_size
    return Lines({"train": lines[:first], "valid": lines[first:cut], "test": lines[cut:]})


def lines_of(path: str | Path) -> list[str]:
    """The lines of a file that must hold some text."""
    lines = read_lines(path)
    refuse_line_ends(path, lines)
    if not any(line.strip() for line in lines):
        raise UserError(f"{path} has no text in it; name a file that has some.")
    return lines


CORPUS = Corpus(read, settings=("train_tgt", "valid_tgt", "test_tgt", "valid_size", "test_size"))
