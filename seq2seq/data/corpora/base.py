"""A kind of dataset: its settings, and how its pairs or lines are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from seq2seq.config.schema import DataConfig
from seq2seq.data.pairs import Pair
from seq2seq.errors import UserError

SIZES = ("train_size", "valid_size", "test_size")


class Pairs(NamedTuple):
    """A parallel dataset by split, and how many training pairs were left out for each reason."""

    splits: dict[str, list[Pair]]
    dropped: Mapping[str, int] = {}


class Lines(NamedTuple):
    """A dataset without sources, for language models: the lines of each split, blank ones too."""

    splits: dict[str, list[str]]


def _no_inputs(config: DataConfig) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Corpus:
    """One kind of dataset, a row of the table `CORPORA`.

    Args:
        read: makes the splits; gets the settings and the folder in which downloads are kept.
        settings: the keys of `DataConfig` that decide what the dataset holds.
        takes: further keys that it reads, which do not change its content.
        inputs: checksums of further files that decide its content, by name.
    """

    read: Callable[[DataConfig, Path], Pairs | Lines]
    settings: tuple[str, ...]
    takes: tuple[str, ...] = ()
    inputs: Callable[[DataConfig], dict[str, str]] = field(default=_no_inputs)


def sizes(config: DataConfig) -> dict[str, int]:
    """The number of pairs in each split of a generated dataset."""
    return {"train": config.train_size, "valid": config.valid_size, "test": config.test_size}


def generated(draw: Callable[[], dict[str, list[Pair]]]) -> Pairs:
    """The pairs that ``draw`` returns.

    Raises:
        UserError: for its ValueError, which says that there are fewer sentences than asked for.
    """
    try:
        return Pairs(draw())
    except ValueError as error:
        raise UserError(
            f"{str(error).rstrip('.')}; make data.train_size, data.valid_size or data.test_size smaller."
        ) from None
