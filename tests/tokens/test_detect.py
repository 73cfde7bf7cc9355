"""What text is recognised as, by hand and whatever it holds; and what is said of it."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config.schema import Config, DataConfig, MetricsConfig, TokenizerConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.evaluation import advice
from seq2seq.tokens import detect
from seq2seq.tokens.detect import FormWatch
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train

SENTENCES = {
    "Chinese": ["我们明天在北京见面。", "他喜欢喝茶，不喜欢喝咖啡。", "2024年《红楼梦》的新版本。"],
    "Japanese": ["私は明日東京へ行きます。", "コーヒーをください。", "日本語の本が好きです。"],
    "Thai": ["ฉันชอบกินข้าว", "พรุ่งนี้เราจะไปกรุงเทพ", "เขาอ่านหนังสือ 3 เล่ม"],
    "Lao": ["ຂ້ອຍກິນເຂົ້າ", "ມື້ອື່ນພວກເຮົາຈະໄປວຽງຈັນ"],
    "Khmer": ["ខ្ញុំចូលចិត្តញ៉ាំបាយ", "ថ្ងៃស្អែកយើងទៅភ្នំពេញ"],
    "Burmese": ["ကျွန်တော်ထမင်းစားတယ်။", "မနက်ဖြန်ရန်ကုန်သွားမယ်။"],
}
SPACED = [
    "The dog sleeps.",
    "Über den Fluß!",
    "나는 내일 서울에 간다.",
    "Я живу в Москве.",
    "मैं चाय पीता हूँ।",
    "12 + 3",
    "",
]
EVERY = [*SPACED, *(line for lines in SENTENCES.values() for line in lines)]
BETTER = {"Chinese": "zh", "Japanese": "ja-mecab", "Thai": "char", "Lao": "char", "Khmer": "char", "Burmese": "char"}
NFC = ["Où est l'élève ?", "Für Käthe", "plain"]
NFD = [unicodedata.normalize("NFD", line) for line in NFC]


@pytest.mark.parametrize("name", SENTENCES)
def test_scripts_without_spaces_are_told_apart(name: str) -> None:
    assert detect.script(SENTENCES[name]) == name
    for line in SENTENCES[name]:
        assert detect.script([line]) in (name, "Chinese" if name == "Japanese" else name)
    assert (
        detect.script([*SENTENCES[name], "a few English letters here"[: sum(map(len, SENTENCES[name])) // 3]]) == name
    )


def test_scripts_with_spaces_are_none_of_them_and_the_majority_of_letters_decides() -> None:
    assert detect.script(SPACED) is None
    assert detect.script([]) is None
    assert all(detect.script([line]) is None for line in SPACED)
    assert detect.script(["我们 abc"]) is None  # 2 of 5
    assert detect.script(["我们 a 123 !?"]) == "Chinese"
    assert detect.script(["我们 ab"]) is None  # half is not most
    assert detect.script(["漢字" * 19 + "か"]) == "Chinese"  # 1 of 39 is a quotation
    assert detect.script(["漢字" * 9 + "か"]) == "Japanese"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(EVERY), max_size=8), st.randoms())
def test_what_is_found_does_not_depend_on_the_order(lines: list[str], random: Random) -> None:
    shuffled = list(lines)
    random.shuffle(shuffled)
    assert detect.script(shuffled) == detect.script(lines)
    assert detect.tokenization(shuffled) == detect.tokenization(lines)
    assert detect.form(shuffled) == detect.form(lines)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text()))
def test_any_text_has_an_answer(lines: list[str]) -> None:
    assert detect.script(lines) in (None, *SENTENCES)
    assert detect.form(lines) in (None, "nfc", "nfd")
    for name in ("nfc", "nfkc"):
        count, total = detect.num_in_other_form(lines, name)
        expected = sum(unicodedata.normalize(name.upper(), line) != line for line in lines)
        assert (count, total) == (expected, len(lines))


def test_tokenised_text_is_known_by_most_of_its_lines() -> None:
    assert detect.tokenization(["a man walks .", "two dogs ?", "so what"]) == 'end in " ."'
    assert detect.tokenization(["我们 走 。", "他 来 了 。"]) == 'end in " ."'
    assert detect.tokenization(["a man walks .", "A dog sleeps."]) is None  # half is not most
    assert detect.tokenization(["a man walks . ", " ", ""]) == 'end in " ."'  # blank lines do not count
    assert detect.tokenization(["two d@@ ogs", "a m@@ an", "x"]) == 'hold "@@ "'
    assert detect.tokenization(["▁two ▁d ogs", "▁a"]) == "hold U+2581"
    assert detect.tokenization(["mail me@@home.", "A. B.", "What ?!", ". . .x"]) is None
    assert detect.tokenization([]) is None


def test_forms_are_told_by_the_lines_that_can_tell() -> None:
    assert detect.form(NFC) == "nfc" and detect.form(NFD) == "nfd"
    assert detect.form(["plain", "日本", "क\u093c"]) is None  # the last has no composed form
    assert detect.form([NFC[0], NFD[0]]) is None
    assert detect.form([NFC[0], NFD[0], NFD[1]]) == "nfd"
    assert detect.num_in_other_form([*NFC, *NFD], "nfc") == (2, 6)
    assert detect.num_in_other_form(["ﬁne", "a…"], "nfkc") == (2, 2) and detect.num_in_other_form(["ﬁne"], "nfc") == (
        0,
        1,
    )


@pytest.mark.parametrize("name", SENTENCES)
@pytest.mark.parametrize("tokenizer", ["13a", "intl"])
def test_the_better_metric_tokenizer_is_named(name: str, tokenizer: str) -> None:
    said = advice.of_references(SENTENCES[name], tokenizer)
    assert said is not None and f"mostly {name}" in said and f"metrics.tokenizer={tokenizer} " in said
    assert f"use metrics.tokenizer={BETTER[name]}." in said
    assert all(advice.of_references(SENTENCES[name], other) is None for other in ("zh", "char", "ja-mecab", "none"))


def test_nothing_is_said_of_plain_text_nor_of_tokens_that_are_scored_as_such() -> None:
    assert advice.of_references(SPACED, "13a") is None
    tokens = ["a man walks .", "dogs run ."]
    assert "they look tokenised" in str(advice.of_references(tokens, "13a"))
    assert "they look tokenised" in str(advice.of_references(tokens, "zh"))
    assert advice.of_references(tokens, "none") is None


def test_references_in_another_form_than_the_model_writes_are_counted() -> None:
    assert advice.of_form(NFC, "nfc", []) is None
    assert str(advice.of_form(NFD, "nfc", [], "the test references")).startswith(
        "2 of 3 lines of the test references are not in the Unicode form nfc, which the model writes"
    )
    assert advice.of_form([*NFC * 100, NFD[0]], "nfc", []) is None  # 1 of 301
    assert advice.of_form([*NFC * 30, NFD[0]], "nfc", []) is not None
    assert advice.of_form(NFD, "none", NFD) is None and advice.of_form(NFD, "none", ["plain"]) is None
    assert "are in NFD (" in str(advice.of_form(NFD, "none", NFC)) and "writes NFC (" in str(
        advice.of_form(NFD, "none", NFC)
    )
    assert "are in NFC (" in str(advice.of_form(NFC, "none", NFD))


def folder_of(path: Path, src: list[str], tgt: list[str], test: list[str]) -> Path:
    """A prepared dataset, as far as the advice looks at it."""
    lines = {"train.src": src, "train.tgt": tgt, "valid.src": src, "valid.tgt": tgt, "test.src": src, "test.tgt": test}
    for name, own in lines.items():
        (path / name).write_text("".join(line + "\n" for line in own), encoding="utf-8")
    return path


def of_training(path: Path, normalization: str = "nfc", **data: object) -> list[str]:
    tokenizer = Pieces(train(["a"], type="char", vocab_size=0), normalization=normalization)
    config = Config(
        data=DataConfig(**data),  # type: ignore[arg-type]
        tokenizer=TokenizerConfig(normalization=normalization),
    )
    return advice.of_training(config, path, Tokenizers(tokenizer, tokenizer))


def test_a_training_is_told_of_each_problem_once(tmp_path: Path) -> None:
    assert of_training(folder_of(tmp_path, NFC, NFC, NFC)) == []
    (form,) = of_training(folder_of(tmp_path, NFC, NFC, NFD))
    assert form.startswith("2 of 3 lines of the test references are not in")
    both = of_training(folder_of(tmp_path, NFC, NFD, NFD))
    assert [one[:40] for one in both] == [
        "2 of 3 lines of the validation reference",
        "the training source is in NFC (accents as"[:40],
    ]
    assert both[1].endswith("both are read, and translations are written, as nfc (tokenizer.normalization).")
    assert of_training(folder_of(tmp_path, NFD, NFD, NFD), "none") == []
    (sides,) = of_training(folder_of(tmp_path, NFC, NFD, NFD), "none")
    assert sides.endswith("use tokenizer.normalization=nfc, which reads and writes one form.")
    (form,) = of_training(folder_of(tmp_path, NFC, NFC, NFD), "none")
    assert form.startswith("the test references are in NFD (accents as combining marks), and the model writes NFC")


def test_a_training_is_told_of_references_that_its_metric_does_not_fit(tmp_path: Path) -> None:
    chinese, tokens = SENTENCES["Chinese"], ["a man walks .", "dogs run ."]
    (said,) = of_training(folder_of(tmp_path, NFC, chinese, chinese))
    assert said.startswith("the validation references are mostly Chinese")
    (said,) = of_training(folder_of(tmp_path, NFC, SPACED, chinese))
    assert said.startswith("the test references are mostly Chinese")
    (said,) = of_training(folder_of(tmp_path, NFC, tokens, tokens))
    assert said.startswith('most lines of the validation references end in " ."')
    assert of_training(folder_of(tmp_path, NFC, tokens, tokens), kind="multi30k", variant="tokenized") == []
    config = Config(metrics=MetricsConfig("zh"))
    tokenizer = Pieces(train(["a"], type="char", vocab_size=0), normalization="nfc")
    folder = folder_of(tmp_path, NFC, chinese, chinese)
    assert advice.of_training(config, folder, Tokenizers(tokenizer, tokenizer)) == []


CHARS = Pieces(train(NFC, type="char", vocab_size=0))
BYTES = Pieces(train(NFC * 9, type="bpe", vocab_size=300, byte_fallback=True))
MARKS = Pieces(train(NFD, type="char", vocab_size=0))


@pytest.mark.parametrize("tokenizer, better, worse", [(CHARS, NFC, NFD), (BYTES, NFC, NFD), (MARKS, NFD, NFC)])
def test_input_in_a_form_that_a_model_has_not_seen_is_said_once(
    tokenizer: Pieces, better: list[str], worse: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    watch = FormWatch(tokenizer)
    watch.look(["plain"] * 500)
    watch.look(better[:1])
    assert caplog.messages == []
    for _ in range(3):
        watch.look(worse)
    form = "nfc" if better is NFC else "nfd"
    (said,) = caplog.messages
    assert said.startswith("the input is in another Unicode form than") and f"uconv -x {form}" in said


def test_a_tokenizer_that_normalises_is_not_watched(caplog: pytest.LogCaptureFixture) -> None:
    watch = FormWatch(Pieces(CHARS.proto, normalization="nfc"))
    watch.look(NFD)
    assert caplog.messages == []
