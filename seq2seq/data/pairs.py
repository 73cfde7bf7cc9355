"""Pairs of source and target lines: reading, filtering and writing line-aligned files."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines, refuse_line_ends, refuse_unstable
from seq2seq.files.writing import make_folder, write_lines

SPLITS = ("train", "valid", "test")
Pair = tuple[str, str]


def read_parallel(src_path: str | Path, tgt_path: str | Path, *, allow_blank: bool = False) -> list[Pair]:
    """Read the (source, target) pairs of two line-aligned files.

    Args:
        allow_blank: keep pairs with a side that is empty except for white space, as a test set must.

    Raises:
        UserError: if both are one file, if one is empty, if their line counts differ, or at a blank line.
    """
    if os.path.exists(src_path) and os.path.exists(tgt_path) and os.path.samefile(src_path, tgt_path):
        raise UserError(f"source and target are the same file, {src_path}; name one file for each side.")
    sides = {path: read_lines(path) for path in (src_path, tgt_path)}
    for path, lines in sides.items():
        refuse_line_ends(path, lines)
        if not lines:
            raise UserError(f"{path} is empty; it must hold one sentence on each line.")
    src, tgt = sides[src_path], sides[tgt_path]
    if len(src) != len(tgt):
        raise UserError(f"{src_path} has {len(src)} lines but {tgt_path} has {len(tgt)}; the two must be line-aligned.")
    if not allow_blank:
        for path, lines in sides.items():
            _refuse_blank(path, lines)
    return list(zip(src, tgt, strict=True))


def _refuse_blank(path: str | Path, lines: list[str]) -> None:
    blank = [number for number, line in enumerate(lines, start=1) if not line.strip()]
    if blank:
        more = f" (and {len(blank) - 1} more)" if len(blank) > 1 else ""
        raise UserError(
            f"{path}: line {blank[0]}{more} is blank; remove the pair, "
            "or set data.skip_blank=true to leave out such pairs."
        )


def read_tsv(path: str | Path, *, allow_blank: bool = False) -> list[Pair]:
    """Read the pairs of a file with two columns, source and target, between tabs.

    Args:
        allow_blank: keep pairs with a side that is empty except for white space, as a test set must.

    Raises:
        UserError: if a line has another number of columns or, unless allowed, a blank one, or if the file is empty.
    """
    pairs = []
    for number, line in enumerate(_lines_of_pairs(path), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise UserError(
                f"{path}: line {number} has {len(columns)} tab-separated column(s); "
                "each line must have two, source and target."
            )
        pairs.append((columns[0], columns[1]))
    for side in (0, 1):
        refuse_line_ends(path, [pair[side] for pair in pairs])
    if not allow_blank:
        for side in (0, 1):
            _refuse_blank(path, [pair[side] for pair in pairs])
    return _not_empty(path, pairs)


def read_question_answer(path: str | Path) -> list[Pair]:
    """Read pairs in the format of the book's addition and date data, with their padding.

    A line, such as ``16+75  _91  ``, is a question padded with spaces to a fixed width, "_", and an answer
    padded likewise. The "_" marks where decoding starts; it belongs to neither side.

    Raises:
        UserError: if a line has no "_", or if the file is empty.

    Source:
        Saito, "Deep Learning from Scratch 2" (2018), ch. 7 and 8.
    """
    pairs = []
    for number, line in enumerate(_lines_of_pairs(path), start=1):
        question, mark, answer = line.partition("_")
        if not mark:
            raise UserError(f'{path}: line {number} has no "_" between question and answer: {line[:60]!r}.')
        pairs.append((question, answer))
    return _not_empty(path, pairs)


def _lines_of_pairs(path: str | Path) -> list[str]:
    lines = read_lines(path)
    refuse_line_ends(path, lines)
    return lines


def _not_empty(path: str | Path, pairs: list[Pair]) -> list[Pair]:
    if not pairs:
        raise UserError(f"{path} is empty; it must hold one pair on each line.")
    return pairs


def filter_pairs(
    pairs: Iterable[Pair], *, max_length: int, max_ratio: float, skip_blank: bool
) -> tuple[list[Pair], dict[str, int]]:
    """Return the pairs to train on, and how many were left out for each reason.

    A pair is counted once, under the first of "blank", "too long" and "length ratio" that holds.

    Args:
        max_length: the most words, separated by white space, on either side; 0 for no limit.
        max_ratio: the most times one side may have the other's number of words; 0 for no limit.
        skip_blank: leave out pairs with a side that is empty except for white space.

    Raises:
        UserError: if a limit makes no sense.
    """
    if max_length < 0:
        raise UserError(f"max_length must be 0 (no limit) or more; got {max_length}.")
    if max_ratio and not max_ratio >= 1:
        raise UserError(f"max_ratio must be 0 (no limit) or at least 1; got {max_ratio}.")
    kept = []
    dropped = {"blank": 0, "too long": 0, "length ratio": 0}
    for pair in pairs:
        shorter, longer = sorted(len(side.split()) for side in pair)
        if skip_blank and shorter == 0:
            dropped["blank"] += 1
        elif max_length and longer > max_length:
            dropped["too long"] += 1
        elif max_ratio and longer > max_ratio * shorter:
            dropped["length ratio"] += 1
        else:
            kept.append(pair)
    return kept, dropped


def write_splits(folder: str | Path, splits: Mapping[str, Sequence[Pair]]) -> None:
    r"""Write ``train``, ``valid`` and ``test`` as line-aligned ``.src`` and ``.tgt`` files, six in all.

    What `read_parallel` reads back equals what was given: a text that would not come back (a "\n" in it, a
    "\r" at its end, a byte-order mark at the start of a file) is refused before anything is written. Files of
    an earlier call are removed first, so that a call cut short leaves files missing and never two that do not
    belong together.

    Raises:
        ValueError: if a split is missing or unknown, or if a text would not come back as it is.
        UserError: if a file cannot be written.
    """
    if set(splits) != set(SPLITS):
        raise ValueError(f"the splits must be {', '.join(SPLITS)}; got {', '.join(splits) or 'none'}.")
    columns: dict[str, list[str]] = {}
    for split in SPLITS:
        for position, side in enumerate(("src", "tgt")):
            columns[f"{split}.{side}"] = [pair[position] for pair in splits[split]]
    for name, lines in columns.items():
        refuse_unstable(name, lines)
    folder = make_folder(Path(folder), without=columns)
    for name, lines in columns.items():
        write_lines(folder / name, lines)
