"""No text is lost on the way to ids and back, no id comes from text, and training says what it cannot do."""

from __future__ import annotations

import pickle
import random
import tracemalloc
import unicodedata
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.errors import UserError
from seq2seq.tokens.base import BOS, EOS, PAD, UNK, UNK_SURFACE, normalized, words
from seq2seq.tokens.load import load, same_pieces
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.reservoir import sample
from seq2seq.tokens.train import train

LINES = ["Ein Hund läuft durch den Schnee.", "Zwei Männer stehen am Herd und kochen Essen.", "a b c d e f"] * 10
SIZES = {"unigram": 290, "bpe": 320, "char": 0, "word": 0}
TOKENIZERS = {
    kind: Pieces(train(LINES, type=kind, vocab_size=size, byte_fallback=True)) for kind, size in SIZES.items()
}
AWKWARD = [
    "Ein <s> </s> <unk> <pad> x",
    "<0x41>",
    "  two  spaces ",
    " ",
    "tab\there",
    "\u2028x\u2029y\u0085z\x0bv\x0cw",
    "\x00nul\x00",
    "日本 🎉",
    "שלום",
    "\u2581 and \u2581\u2581",
    "\uf8fe \uf8fe0 \uf8fe1\u2581",
    "\ufeffbom",
    "\xa0nbsp\u3000",
]


@pytest.mark.parametrize("kind", SIZES)
def test_below_the_bound_a_sample_is_the_whole_text_and_above_it_no_character_is_lost(kind: str) -> None:
    size = {"vocab_size": SIZES[kind], "byte_fallback": kind in ("unigram", "bpe")}
    whole = train(LINES, type=kind, **size)
    assert train(iter(LINES), type=kind, sample_lines=len(LINES), **size) == whole
    lines = [*LINES, "x y z", *LINES]  # of which one line alone has these characters
    sampled = train(iter(lines), type=kind, sample_lines=6, **size)
    assert sampled == train(iter(lines), type=kind, sample_lines=6, **size)
    assert sampled != train(lines, type=kind, **size)
    if kind != "word":
        assert UNK not in Pieces(sampled).encode(["xyz"])[0]


def test_a_list_of_words_is_counted_over_all_lines() -> None:
    assert train(iter(LINES), type="ptb", vocab_size=0, sample_lines=1) == train(LINES, type="ptb", vocab_size=0)


def test_each_line_is_as_likely_to_be_in_a_sample_and_memory_is_that_of_the_sample() -> None:
    lines = [str(number) for number in range(2000)]
    chosen = list(map(int, sample(lines, 500)))
    assert chosen == sorted(set(chosen)) and len(chosen) == 500
    counts = [sum(one // 200 == part for one in chosen) for part in range(10)]
    assert sum((count - 50) ** 2 / 50 for count in counts) < 27.9  # chi-squared with 9 degrees, p = 0.001
    assert sample(lines[:500], 500) == lines[:500]
    tracemalloc.start()
    sample((f"{number:01000}" for number in range(20_000)), 100)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize("text", AWKWARD)
@pytest.mark.parametrize("kind", SIZES)
def test_awkward_text_survives_a_round_trip(kind: str, text: str) -> None:
    assert TOKENIZERS[kind].decode(TOKENIZERS[kind].encode([text])) == [text]


@pytest.mark.parametrize("kind", SIZES)
@settings(max_examples=300, deadline=None)
@given(
    text=st.text(
        st.one_of(st.characters(codec="utf-8", exclude_characters="\n\r"), st.sampled_from("\u2581\uf8fe01 <s/>"))
    )
)
def test_any_text_survives_a_round_trip(kind: str, text: str) -> None:
    assert TOKENIZERS[kind].decode(TOKENIZERS[kind].encode([text])) == [text]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from("abEHundläft .")), max_size=4))
def test_known_characters_survive_without_bytes(lines: list[str]) -> None:
    assert PLAIN.decode(PLAIN.encode(lines)) == lines


PLAIN = Pieces(train(LINES, type="char", vocab_size=0))


@pytest.mark.parametrize("kind, size", [("unigram", 60), ("bpe", 60), ("char", 0)])
def test_markers_survive_without_bytes_where_the_text_had_them(kind: str, size: int) -> None:
    lines = ["a <unk> b", "x \u2581 y", "</s> \uf8fe <s>"] * 3
    tokenizer = Pieces(train(lines, type=kind, vocab_size=size))
    assert tokenizer.decode(tokenizer.encode(lines)) == lines


def test_a_leading_space_survives_where_the_prefix_is_spelled_in_bytes() -> None:
    for kind in ("word", "char"):
        tokenizer = Pieces(train([" a"] * 5, type=kind, vocab_size=0, byte_fallback=True))
        texts = [" zz", "zz", "  zz", " a", " "]
        assert tokenizer.decode(tokenizer.encode(texts)) == texts


@pytest.mark.parametrize("kind", SIZES)
def test_no_special_id_comes_from_text(kind: str) -> None:
    ids = TOKENIZERS[kind].encode(["<s> </s> <pad> <unk> </s>"])[0]
    assert not {PAD, BOS, EOS} & set(ids)


def test_a_character_model_has_one_id_for_each_character() -> None:
    assert [len(row) for row in PLAIN.encode(["a b", "", " a ", "abc"])] == [3, 0, 3, 3]


def test_an_unknown_character_is_shown_as_one() -> None:
    assert PLAIN.decode(PLAIN.encode(["aQb"])) == [f"a{UNK_SURFACE}b"]


def test_a_line_break_that_a_model_emits_stays_on_the_line() -> None:
    tokenizer = TOKENIZERS["bpe"]
    ids = [tokenizer._model.piece_to_id(piece) for piece in ("<0x61>", "<0x0A>", "<0x62>", "<0x0D>")]
    assert tokenizer.decode([ids]) == ["a b "]


def test_lower_casing_is_done_on_the_way_in() -> None:
    tokenizer = Pieces(train(LINES, type="char", vocab_size=0, lowercase=True), lowercase=True)
    assert tokenizer.decode(tokenizer.encode(["EIN Hund"])) == ["ein hund"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sampling_is_another_segmentation_of_the_same_text_and_a_function_of_the_seed(kind: str) -> None:
    tokenizer, lines = TOKENIZERS[kind], LINES[:3]
    draws = [tokenizer.encode(lines, sampling=0.5, seed=seed) for seed in range(20)]
    assert all(tokenizer.decode(draw) == lines for draw in draws)
    assert len({str(draw) for draw in draws}) > 1
    assert draws[7] == tokenizer.encode(lines, sampling=0.5, seed=7)


def test_training_twice_gives_the_same_bytes() -> None:
    assert train(LINES, type="unigram", vocab_size=60) == train(LINES, type="unigram", vocab_size=60)


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_a_vocabulary_larger_than_the_text_allows_is_clipped(kind: str) -> None:
    assert 4 < len(Pieces(train(LINES, type=kind, vocab_size=9000))) < 300


def test_a_word_vocabulary_keeps_the_most_frequent_words() -> None:
    tokenizer = Pieces(train(["a a a b b c"], type="word", vocab_size=6))
    assert [tokenizer.pieces(row) for row in tokenizer.encode(["a b"])] == [["▁a", "▁b"]]
    assert tokenizer.decode(tokenizer.encode(["a c b"])) == [f"a {UNK_SURFACE} b"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_smaller_than_the_characters_need_names_the_number(kind: str) -> None:
    with pytest.raises(UserError, match=rf"vocab_size=10 is too small for type {kind}.*at least \d+"):
        train(LINES, type=kind, vocab_size=10)


def test_other_complaints_of_sentencepiece_are_passed_on() -> None:
    with pytest.raises(UserError, match="SentencePiece cannot train tokenizer.type=char with vocab_size=3"):
        train(LINES, type="char", vocab_size=3)


def test_blank_text_trains_nothing() -> None:
    with pytest.raises(UserError, match="no text to train on: every line is blank"):
        train(["", "  "], type="char", vocab_size=0)


def test_a_newline_is_refused() -> None:
    with pytest.raises(ValueError, match=r"holds a newline: 'a\\nb'; split the text into lines first"):
        PLAIN.encode(["a\nb"])


def test_bytes_that_are_no_model_are_refused() -> None:
    for proto in (b"\xff\xffno", b""):
        with pytest.raises(UserError, match=rf"not a SentencePiece model \({len(proto)} bytes\)"):
            Pieces(proto)


def test_a_word_that_has_no_utf_8_is_an_unknown_one() -> None:
    known = load(train(["a b a"], type="ptb", vocab_size=0))
    assert known.encode(["a \udcff b"]) == [[known.encode(["a"])[0][0], UNK, known.encode(["b"])[0][0]]]
    assert known.decode([[UNK]], [known.unknowns("\udcff")]) == ["?"]


def test_words_stand_between_blanks_alone() -> None:
    """As those of an alignment do: a space that does not break a line breaks no word."""
    text = "10\u00a0km\tto go"
    tokenizer = load(train([text], type="ptb", vocab_size=0))
    assert tokenizer.pieces(tokenizer.encode([text])[0]) == words(text) == ["10\u00a0km", "to", "go"]
    assert tokenizer.unknowns("a\u2003b 10\u00a0km") == ["a\u2003b"]


def test_a_model_with_other_special_ids_is_refused() -> None:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, vocab_size=30, model_type="char", minloglevel=2
    )
    with pytest.raises(UserError, match=r"ids of pad, unk, bos, eos must be \(0, 1, 2, 3\); got \(-1, 0, 1, 2\)"):
        Pieces(model.getvalue())


# Unicode forms

FORMS = ("nfc", "nfkc")
ANY_TEXT = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\n\r\0"), st.sampled_from("eaE\u0301\u0308éÄﬁ…\xa0ΣİℌＡ")
    )
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", SIZES)
@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT)
def test_text_comes_back_in_the_form_of_the_tokenizer(kind: str, form: str, text: str) -> None:
    plain = TOKENIZERS[kind]
    tokenizer = load(plain.proto, normalization=form)
    wanted = unicodedata.normalize(form.upper(), text)
    assert tokenizer.decode(tokenizer.encode([text])) == [wanted]
    assert tokenizer.encode([text]) == plain.encode([wanted])
    assert tokenizer.unknowns(text) == plain.unknowns(wanted)
    assert tokenizer.encode([unicodedata.normalize("NFD", text)]) == tokenizer.encode([wanted])


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_lower_case_and_form_hold_at_once(form: str, text: str) -> None:
    found = normalized(text, lowercase=True, normalization=form)
    assert unicodedata.is_normalized(form.upper(), found)  # type: ignore[arg-type]
    assert normalized(found, lowercase=True, normalization=form) == found
    assert normalized("Ｈℌ", lowercase=True, normalization="nfkc") == "hh"
    assert normalized("E\u0301", lowercase=True, normalization="nfc") == "é"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [*SIZES, "ptb"])
def test_text_that_has_the_form_already_gives_the_same_tokenizer(kind: str, form: str) -> None:
    options = {"type": kind, "vocab_size": SIZES.get(kind, 0), "byte_fallback": kind != "ptb"}
    assert train(LINES, **options, normalization=form) == train(LINES, **options)  # type: ignore[arg-type]
    marks = [unicodedata.normalize("NFD", line) for line in LINES]
    assert marks != LINES
    assert train(marks, **options, normalization=form) == train(LINES, **options)  # type: ignore[arg-type]
    assert train(marks, **options) != train(LINES, **options)  # type: ignore[arg-type]


def test_nfc_makes_no_blank_and_so_no_other_words() -> None:
    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and code not in (10, 13)]
    for char in every:
        if unicodedata.normalize("NFC", char) != char:
            assert words(f"a{unicodedata.normalize('NFC', char)}b") == [f"a{unicodedata.normalize('NFC', char)}b"]


def test_a_mark_that_is_a_piece_of_its_own_is_composed_in_the_output() -> None:
    marks = Pieces(train(["e q\u0301"], type="char", vocab_size=0), normalization="nfc")
    assert marks.decode([marks.encode(["e"])[0] + marks.encode(["q\u0301"])[0][1:]]) == ["é"]


def test_words_are_read_in_the_form_too() -> None:
    tokenizer = load(train(["café é"], type="ptb", vocab_size=0), normalization="nfc")
    marks = unicodedata.normalize("NFD", "café thé é")
    assert tokenizer.decode(tokenizer.encode([marks])) == ["café <unk> é"]
    assert tokenizer.unknowns(marks) == ["thé"]


def test_tokenizers_with_other_forms_have_other_pieces() -> None:
    proto = TOKENIZERS["bpe"].proto
    assert same_pieces(load(proto, normalization="nfc"), load(proto, normalization="nfc"))
    assert not same_pieces(load(proto, normalization="nfc"), load(proto))
    for wrong in ("nfd", "NFC", 1, None, ["nfc"]):
        with pytest.raises(UserError, match="normalization must be one of none, nfc, nfkc; got "):
            load(proto, normalization=wrong)  # type: ignore[arg-type]


# Forged models

KINDS: list[dict[str, Any]] = [
    {"type": "unigram", "vocab_size": 300, "byte_fallback": True},
    {"type": "bpe", "vocab_size": 80},
    {"type": "word", "vocab_size": 0},
]


def mutated(proto: bytes, rng: random.Random) -> bytes:
    """The same with a few other bytes; often still a model, whose pieces are another's, or not UTF-8."""
    data = bytearray(proto)
    for _ in range(rng.choice([1, 1, 2, 9])):
        place = rng.randrange(len(data))
        data[place] = rng.choice([data[place] ^ 1 << rng.randrange(8), rng.randrange(256)])
    return bytes(data)


def use(tokenizer: Pieces) -> None:
    """All that a translation does with it."""
    lines = [*LINES, "xyz äö \u2581 日本"]
    for row in [*tokenizer.encode(lines), list(range(len(tokenizer)))]:
        tokenizer.decode([row])
        tokenizer.pieces(row)
        tokenizer.spell(row)
    tokenizer.unknowns("xyz dog 日本")
    if tokenizer.can_sample:
        tokenizer.encode(lines, sampling=0.3, seed=1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["type"])
def test_a_forged_model_is_refused_in_a_line_or_works(kind: dict[str, Any]) -> None:
    proto, rng = train(LINES, **kind), random.Random(1)
    outcomes = []
    for _ in range(200):
        try:
            use(load(mutated(proto, rng)))
            outcomes.append("works")
        except UserError as error:
            outcomes.append("refused" if "\n" not in str(error) else "in several lines")
    assert set(outcomes) == {"works", "refused"}


def test_what_fails_only_at_work_is_a_users_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load(train(LINES, **KINDS[1]))

    def fail(*_: object, **__: object) -> None:
        b"\xff".decode()

    monkeypatch.setattr(tokenizer, "_model", SimpleNamespace(encode=fail, decode=fail, id_to_piece=fail))
    for call in (
        lambda: tokenizer.encode(["a"]),
        lambda: tokenizer.decode([[5]]),
        lambda: tokenizer.pieces([5]),
        lambda: tokenizer.unknowns("a"),
    ):
        with pytest.raises(UserError, match="the tokenizer fails on this text: 'utf-8' codec can't decode byte 0xff"):
            call()


def test_a_tokenizer_can_be_sent_to_another_process() -> None:
    tokenizer = Pieces(train(LINES, **KINDS[0]))
    assert pickle.loads(pickle.dumps(tokenizer)).encode(LINES) == tokenizer.encode(LINES)
