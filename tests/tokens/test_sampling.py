from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.tokens.base import UNK
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.sampling import SPACE_MARK, Sampler
from seq2seq.tokens.train import train

LINES = ["the cat sat on the mat", "the cats and the dogs sat", "a dog ran that way", "cats ran at the dogs"] * 5
BYTES = {kind: Pieces(train(LINES, type=kind, vocab_size=310, byte_fallback=True)) for kind in ("bpe", "unigram")}
PLAIN = {kind: Pieces(train(LINES, type=kind, vocab_size=40)) for kind in ("bpe", "unigram")}
WORD = SPACE_MARK + "thecats"
DRAWS = 4000


def marked(text: str) -> str:
    return SPACE_MARK + text.replace(" ", SPACE_MARK)


def pieces_of(tokenizer: Pieces) -> dict[str, float]:
    """Every piece that a text can have, with its score."""
    model = tokenizer._model
    ids = [i for i in range(len(tokenizer)) if not (model.is_byte(i) or model.is_control(i) or model.is_unknown(i))]
    return {model.id_to_piece(i): model.get_score(i) for i in ids}


def drawn(tokenizer: Pieces, amount: float) -> Counter[tuple[str, ...]]:
    """How often each segmentation of the word was drawn."""
    sampler = Sampler(tokenizer._model)
    generator = random.Random(5)
    return Counter(tuple(tokenizer.pieces(sampler.draw(WORD, amount, generator))) for _ in range(DRAWS))


def distance(counts: Counter[tuple[str, ...]], expected: dict[tuple[str, ...], float]) -> float:
    """Between what was drawn and what should be: the largest difference in the probability of any event."""
    keys = {*counts, *expected}
    return sum(abs(counts[key] / DRAWS - expected.get(key, 0.0)) for key in keys) / 2


@pytest.mark.parametrize("tokenizer", [BYTES["bpe"], PLAIN["bpe"]], ids=["bytes", "plain"])
@given(text=st.text(st.sampled_from("the catsdognrwy☃漢\0"), min_size=1))
def test_bpe_that_skips_no_merge_is_sentencepieces_own(tokenizer: Pieces, text: str) -> None:
    ids = Sampler(tokenizer._model).draw(marked(text), 0.0, random.Random(1))
    assert ids == tokenizer._model.encode(text)


@given(text=st.text(st.sampled_from("the catsdognrwy"), min_size=1))
def test_bpe_that_skips_every_merge_has_characters(text: str) -> None:
    tokenizer = PLAIN["bpe"]
    ids = Sampler(tokenizer._model).draw(marked(text), 1.0, random.Random(1))
    assert tokenizer.pieces(ids) == list(marked(text))


@given(text=st.text(st.sampled_from("the catsdognrwy"), min_size=1))
def test_a_high_power_of_the_unigram_model_leaves_the_likeliest(text: str) -> None:
    tokenizer = PLAIN["unigram"]
    scores = pieces_of(tokenizer)
    ids = Sampler(tokenizer._model).draw(marked(text), 1e6, random.Random(1))
    best = tokenizer._model.encode(text)
    found, wanted = (sum(scores[piece] for piece in tokenizer.pieces(row)) for row in (ids, best))
    assert found == pytest.approx(wanted, abs=1e-4)  # of two that are equally likely, either


@pytest.mark.parametrize("power", [0.1, 0.5, 1.0])
def test_the_unigram_model_draws_each_segmentation_as_often_as_it_is_likely(power: float) -> None:
    tokenizer = PLAIN["unigram"]
    scores = pieces_of(tokenizer)
    weights: dict[tuple[str, ...], float] = {}
    for count in range(len(WORD)):
        for cuts in itertools.combinations(range(1, len(WORD)), count):
            pieces = tuple(WORD[start:end] for start, end in itertools.pairwise((0, *cuts, len(WORD))))
            if all(piece in scores for piece in pieces):
                weights[pieces] = math.exp(power * sum(scores[piece] for piece in pieces))
    assert len(weights) > 3
    total = sum(weights.values())
    expected = {pieces: weight / total for pieces, weight in weights.items()}
    assert distance(drawn(tokenizer, power), expected) < 0.03


@pytest.mark.parametrize("skipped", [0.1, 0.5, 0.9])
def test_bpe_draws_each_segmentation_as_often_as_the_skips_make_it(skipped: float) -> None:
    scores = pieces_of(PLAIN["bpe"])
    expected: Counter[tuple[str, ...]] = Counter()  # type: ignore[assignment]

    def go_on(pieces: tuple[str, ...], open_pairs: frozenset[int], probability: float) -> None:
        """``open_pairs``: the left halves, by number, of the pairs that have not been skipped."""
        ranked = sorted((-scores[pieces[i] + pieces[i + 1]], i) for i in open_pairs if can_merge(pieces, i))
        if not ranked:
            expected[pieces] += probability  # type: ignore[assignment]
            return
        i = ranked[0][1]
        go_on(pieces, open_pairs - {i}, probability * skipped)
        merged = (*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :])
        shifted = {j if j < i else j - 1 for j in open_pairs if j != i}
        go_on(merged, frozenset(shifted | {i - 1, i}), probability * (1 - skipped))

    def can_merge(pieces: tuple[str, ...], i: int) -> bool:
        return 0 <= i < len(pieces) - 1 and pieces[i] + pieces[i + 1] in scores

    go_on(tuple(WORD), frozenset(range(len(WORD) - 1)), 1.0)
    assert len(expected) > 3
    assert sum(expected.values()) == pytest.approx(1)
    assert distance(drawn(PLAIN["bpe"], skipped), expected) < 0.03


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@given(text=st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])), seed=st.integers(0, 99))
def test_a_draw_loses_no_character(kind: str, text: str, seed: int) -> None:
    tokenizer = BYTES[kind]
    assert tokenizer.decode(tokenizer.encode([text], sampling=0.3, seed=seed)) == [text]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_run_of_unknown_characters_is_one_unknown(kind: str) -> None:
    [ids] = PLAIN[kind].encode(["☃☃ a☃漢"], sampling=0.5, seed=1)
    assert ids.count(UNK) == 2


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_equal_seeds_draw_the_same_in_every_process(kind: str) -> None:
    code = (
        "import sys; from tests.tokens.test_sampling import BYTES, LINES;"
        f"print(BYTES[{kind!r}].encode(LINES, sampling=0.5, seed=7))"
    )
    command = [sys.executable, "-c", code]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    BYTES[kind].encode(LINES, sampling=0.5, seed=1)  # what was drawn before makes no difference
    assert outputs == [f"{BYTES[kind].encode(LINES, sampling=0.5, seed=7)}\n"] * 2


@pytest.mark.parametrize("kind", ["char", "word"])
def test_characters_and_words_have_one_segmentation(kind: str) -> None:
    tokenizer = Pieces(train(LINES, type=kind, vocab_size=0))
    with pytest.raises(ValueError, match="there is nothing to draw"):
        tokenizer.encode(LINES, sampling=0.5)
