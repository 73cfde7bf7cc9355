"""The addition and date tasks of "Deep Learning from Scratch 2", drawn from a seed.

Both draw 50,000 different questions, as many as the book's files have, shuffle them, and cut valid, test and train
from them in this order. So all splits have one distribution, no source is in two of them, and valid and test do not
depend on the size of train. The number drawn is always 50,000 because short additions run out early: the first few
thousand questions are easier than the rest. Further questions are taken evenly from all sources that are left.

Only `random.Random.random` is used, whose sequence for a seed is the same in every Python version.

Source:
    Saito, "Deep Learning from Scratch 2" (2018), ch. 7 (addition) and 8 (dates).
"""

import datetime
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from seq2seq.data.pairs import SPLITS, Pair

BOOK_SIZE = 50_000

FIRST_DAY = datetime.date(1970, 1, 1)
LAST_DAY = datetime.date(2017, 12, 31)
# Spelled out here, since strftime and the calendar module follow the locale.
MONTHS: tuple[str, ...] = ("January", "February", "March", "April", "May", "June")
MONTHS += ("July", "August", "September", "October", "November", "December")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

T = TypeVar("T")


def addition(seed: int, sizes: Mapping[str, int], *, book_exact: bool = False) -> dict[str, list[Pair]]:
    """Sums of two numbers from 0 to 999, such as ("16+75", "91").

    Each number gets 1, 2 or 3 random digits with equal probability, leading zeros dropped; a question whose
    two numbers were met before, in either order, is drawn again. The addition example of Keras draws so, and
    the book's file fits: 37,423 of its 50,000 questions are shorter than 7 characters, where this rule gives
    about 37,420, a rule that lets in mirrored questions 40,650, and one that lets in all repeats 45,500.

    Args:
        sizes: how many pairs for each of "train", "valid" and "test"; 500,500 in all at most.
        book_exact: pad with spaces, questions to 7 characters and answers to 4, as in the book's file.

    Raises:
        ValueError: if the sizes ask for more questions than there are.

    Source:
        https://keras.io/examples/nlp/addition_rnn/
    """
    every_sum = itertools.product(range(1000), range(1000))
    chosen = _splits(seed, sizes, draw=_draw_sum, key=_unordered, every=every_sum, num_sources=500_500)
    pairs = {split: [(f"{a}+{b}", str(a + b)) for a, b in sums] for split, sums in chosen.items()}
    return _padded(pairs, 7, 4) if book_exact else pairs


def _draw_sum(rng: random.Random) -> tuple[int, int]:
    return _draw_number(rng), _draw_number(rng)


def _draw_number(rng: random.Random) -> int:
    return _below(rng, 10 ** (1 + _below(rng, 3)))


def _unordered(numbers: tuple[int, int]) -> tuple[int, int]:
    return min(numbers), max(numbers)


def dates(seed: int, sizes: Mapping[str, int], *, book_exact: bool = False) -> dict[str, list[Pair]]:
    """Dates as people write them, and in ISO 8601, such as ("TUESDAY, SEPTEMBER 25, 1984", "1984-09-25").

    The forms are those of the book's file: "9/25/84", "Sep 25, 1984", "September 25, 1984" and "Tuesday,
    September 25, 1984", drawn in the ratio 3:2:3:2, and those with letters as they are, in small letters or
    in capitals in the ratio 2:1:1. Each source has one right answer: the month comes first, and a year of two
    digits is in 1970-2069. The days run evenly from 1970 to 2017. One day may be in several splits, each time
    written differently.

    Args:
        sizes: how many pairs for each of "train", "valid" and "test"; 170,856 in all at most.
        book_exact: pad the source with spaces to 29 characters, as in the book's file.

    Raises:
        ValueError: if the sizes ask for more dates than can be written.
    """
    every_date = ((text, day.isoformat()) for day in _days() for text in _ways_to_write(day))
    chosen = _splits(seed, sizes, draw=_draw_date, key=_source, every=every_date, num_sources=170_856)
    return _padded(chosen, 29, 10) if book_exact else chosen


def _days() -> list[datetime.date]:
    return [FIRST_DAY + datetime.timedelta(n) for n in range((LAST_DAY - FIRST_DAY).days + 1)]


def _forms(day: datetime.date) -> tuple[str, str, str, str]:
    """One day in the four forms, shortest first."""
    month = MONTHS[day.month - 1]
    long = f"{month} {day.day}, {day.year}"
    return (
        f"{day.month}/{day.day}/{day.year % 100:02d}",
        f"{month[:3]} {day.day}, {day.year}",
        long,
        f"{WEEKDAYS[day.weekday()]}, {long}",
    )


def _ways_to_write(day: datetime.date) -> list[str]:
    """Every form in every case, without the repeats that digits and May cause."""
    return list(dict.fromkeys(text for form in _forms(day) for text in (form, form.lower(), form.upper())))


def _draw_date(rng: random.Random) -> Pair:
    day = FIRST_DAY + datetime.timedelta(_below(rng, (LAST_DAY - FIRST_DAY).days + 1))
    form = _forms(day)[(0, 0, 0, 1, 1, 2, 2, 2, 3, 3)[_below(rng, 10)]]  # 3:2:3:2
    return (form, form, form.lower(), form.upper())[_below(rng, 4)], day.isoformat()


def _source(pair: Pair) -> str:
    return pair[0]


def _splits(
    seed: int,
    sizes: Mapping[str, int],
    *,
    draw: Callable[[random.Random], T],
    key: Callable[[T], object],
    every: Iterable[T],
    num_sources: int,
) -> dict[str, list[T]]:
    """Cut valid, test and train, in this order, from items with different keys."""
    unknown = [name for name in sizes if name not in SPLITS]
    if unknown:
        raise ValueError(f"sizes may name {', '.join(SPLITS)}; got {', '.join(unknown)}.")
    negative = [f"{name}={size}" for name, size in sizes.items() if size < 0]
    if negative:
        raise ValueError(f"sizes must be 0 or more; got {', '.join(negative)}.")
    total = sum(sizes.values())
    if total > num_sources:
        raise ValueError(f"sizes ask for {total} pairs, but there are only {num_sources} different sources.")
    stream = _distinct(random.Random(seed), draw, key, every)
    chosen = {name: list(itertools.islice(stream, sizes.get(name, 0))) for name in ("valid", "test", "train")}
    return {name: chosen[name] for name in SPLITS}


def _distinct(
    rng: random.Random, draw: Callable[[random.Random], T], key: Callable[[T], object], every: Iterable[T]
) -> Iterator[T]:
    """`BOOK_SIZE` different items from ``draw``, then all others of ``every``, both shuffled."""
    drawn: dict[object, T] = {}
    while len(drawn) < BOOK_SIZE:
        item = draw(rng)
        drawn.setdefault(key(item), item)
    yield from _shuffled(rng, list(drawn.values()))
    for item in _shuffled(rng, list(every)):
        if drawn.setdefault(key(item), item) is item:
            yield item


def _shuffled(rng: random.Random, items: list[T]) -> list[T]:
    for last in range(len(items) - 1, 0, -1):
        other = _below(rng, last + 1)
        items[last], items[other] = items[other], items[last]
    return items


def _below(rng: random.Random, limit: int) -> int:
    """A random integer in [0, limit)."""
    return int(rng.random() * limit)


def _padded(splits: Mapping[str, list[Pair]], src_width: int, tgt_width: int) -> dict[str, list[Pair]]:
    return {
        name: [(src.ljust(src_width), tgt.ljust(tgt_width)) for src, tgt in pairs] for name, pairs in splits.items()
    }
