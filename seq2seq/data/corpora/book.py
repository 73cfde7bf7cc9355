"""The addition and date tasks as datasets: generated, or read from the book's own files."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path

from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora import synthetic
from seq2seq.data.corpora.base import SIZES, Corpus, Pairs, generated, sizes
from seq2seq.data.pairs import Pair, read_question_answer
from seq2seq.errors import UserError

log = logging.getLogger(__name__)

SETTINGS = ("seed", *SIZES, "book_exact", "book_file")


def _reader(task: Callable[..., dict[str, list[Pair]]]) -> Callable[[DataConfig, Path], Pairs]:
    def read(config: DataConfig, downloads: Path) -> Pairs:
        if config.book_file:
            return Pairs(_split_book_file(config, config.book_file))
        return generated(lambda: task(config.seed, sizes(config), book_exact=config.book_exact))

    return read


def _split_book_file(config: DataConfig, path: str) -> dict[str, list[Pair]]:
    """Shuffle the book's file, and split off the held-out and the training pairs."""
    pairs = read_question_answer(path)
    held_out = config.valid_size + config.test_size
    answers = dict(reversed(pairs))  # by question, the first answer of each
    if len(answers) < len(pairs):
        log.warning("left out of %s: %d repeated questions", path, len(pairs) - len(answers))
    pairs = [(question, answers[question]) for question in dict(pairs)]
    if held_out >= len(pairs):
        raise UserError(
            f"{path} has {len(pairs)} pairs; data.valid_size and data.test_size "
            f"would hold out {held_out}; make them smaller."
        )
    rows = [pair if config.book_exact else (pair[0].rstrip(" "), pair[1].rstrip(" ")) for pair in pairs]
    random.Random(config.seed).shuffle(rows)
    return {
        "valid": rows[: config.valid_size],
        "test": rows[config.valid_size : held_out],
        "train": rows[held_out:][: config.train_size],
    }


ADDITION = Corpus(_reader(synthetic.addition), SETTINGS)
DATES = Corpus(_reader(synthetic.dates), SETTINGS)
