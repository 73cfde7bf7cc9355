"""Generate English sentences and their German translations from one grammar.

A sentence is first drawn as a meaning (who does what to whom, when, where, asked or denied) and then spelled out
twice. The English sentence decides the German one: every word has one translation, "you" is always "du", and gender,
case and word order follow from the lexicon and from grammar.

    meaning (Clause)  ->  english()  "Today the boy opens the old door."
                      ->  german()   "Heute macht der Junge die alte Tür auf."
"""

from __future__ import annotations

from collections.abc import Mapping

from seq2seq.data.corpora.phrasebook.drawing import Dice
from seq2seq.data.corpora.phrasebook.sentences import draw_sentence
from seq2seq.data.pairs import Pair

_MAX_MISSES = 2000


def generate(seed: int, sizes: Mapping[str, int]) -> dict[str, list[Pair]]:
    """Draw datasets without duplicates; no source sentence is in two of them.

    "train" is drawn last, after the others in alphabetical order, so the others do not depend on its size.

    Raises:
        ValueError: if a size is negative, or if more sentences are asked for than new ones turn up.
    """
    for name, size in sizes.items():
        if size < 0:
            raise ValueError(f"the size of {name} must be 0 or more; got {size}.")
    dice, seen = Dice(seed), set[str]()
    drawn = {
        name: _draw_pairs(dice, name, sizes[name], seen) for name in sorted(sizes, key=lambda n: (n == "train", n))
    }
    return {name: drawn[name] for name in sizes}


def _draw_pairs(dice: Dice, name: str, size: int, seen: set[str]) -> list[Pair]:
    pairs: list[Pair] = []
    misses = 0
    while len(pairs) < size:
        src, tgt, _ = draw_sentence(dice)
        if src not in seen:
            seen.add(src)
            pairs.append((src, tgt))
            misses = 0
            continue
        misses += 1
        if misses == _MAX_MISSES:
            raise ValueError(
                f"{name} asks for {size} sentences, but after {len(pairs)} of them the last {misses} draws "
                "brought no new one; ask for fewer."
            )
    return pairs
