"""That the generated tasks are right, distinct, repeatable, and distributed as the book's files are."""

import datetime
from collections.abc import Callable, Mapping

import pytest

from seq2seq.data.corpora import synthetic
from seq2seq.data.pairs import Pair

BOOK = {"train": 45_000, "valid": 2_500, "test": 2_500}
SMALL = {"train": 30, "valid": 20, "test": 10}

Generate = Callable[..., dict[str, list[Pair]]]
both = pytest.mark.parametrize("generate", [synthetic.addition, synthetic.dates])


@pytest.fixture(scope="module")
def sums() -> dict[str, list[Pair]]:
    return synthetic.addition(1984, BOOK)


@pytest.fixture(scope="module")
def days() -> dict[str, list[Pair]]:
    return synthetic.dates(1984, BOOK)


def together(splits: Mapping[str, list[Pair]]) -> list[Pair]:
    return [pair for name in ("train", "valid", "test") for pair in splits[name]]


def test_answers_are_the_sums(sums: dict[str, list[Pair]]) -> None:
    assert {name: len(pairs) for name, pairs in sums.items()} == BOOK
    for question, answer in together(sums):
        a, b = map(int, question.split("+"))
        assert 0 <= a <= 999 and 0 <= b <= 999
        assert question == f"{a}+{b}" and answer == str(a + b)


def test_no_sum_is_asked_twice_in_either_order(sums: dict[str, list[Pair]]) -> None:
    asked = {frozenset(question.split("+")) for question, _ in together(sums)}
    assert len(asked) == 50_000


def test_as_many_questions_need_padding_as_in_the_book(sums: dict[str, list[Pair]]) -> None:
    padded = sum(len(question) < 7 for question, _ in together(sums))
    assert padded == pytest.approx(37_423, rel=0.002)
    for name, pairs in sums.items():
        share = sum(len(question) < 7 for question, _ in pairs) / len(pairs)
        assert share == pytest.approx(0.748, abs=0.03), name


def test_all_sums_can_be_had_and_both_orders_occur_beyond_the_book() -> None:
    pairs = synthetic.addition(0, {"train": 500_500})["train"]
    assert len({frozenset(question.split("+")) for question, _ in pairs}) == 500_500
    more = [question.split("+") for question, _ in pairs[50_000:60_000]]
    assert sum(int(a) < int(b) for a, b in more) / len(more) == pytest.approx(0.5, abs=0.03)


def test_dates_are_right(days: dict[str, list[Pair]]) -> None:
    """Python's own parser, which knows the same century window from 1970 on, agrees."""
    formats = ("%m/%d/%y", "%b %d, %Y", "%B %d, %Y", "%A, %B %d, %Y")
    for source, target in together(days)[::97]:
        form = 0 if "/" in source else len(source.split()) - 1
        form = 1 if form == 2 and len(source.split()[0]) == 3 else form
        read = datetime.datetime.strptime(source, formats[form]).date()
        assert read.isoformat() == target
        if form == 3:
            assert source.split(",")[0].lower() == read.strftime("%A").lower()


def test_every_day_can_be_drawn_and_two_digit_years_stay_in_their_window() -> None:
    pairs = synthetic.dates(0, {"train": 170_856})["train"]
    assert len({target for _, target in pairs}) == 17_532
    assert min(pairs, key=lambda pair: pair[1])[1] == "1970-01-01"
    assert max(pairs, key=lambda pair: pair[1])[1] == "2017-12-31"
    assert len({source for source, _ in pairs}) == len(pairs)
    assert max(len(source) for source, _ in pairs) == 29
    assert ("9/25/84", "1984-09-25") in pairs and ("1/2/03", "2003-01-02") in pairs


def test_dates_come_in_all_forms_and_cases(days: dict[str, list[Pair]]) -> None:
    for pairs in days.values():
        sources = [source for source, _ in pairs]
        forms = [
            sum("/" in source for source in sources),
            sum(source.count(",") == 2 for source in sources),
            sum(source.count(",") == 1 and source.split()[0].islower() for source in sources),
            sum(source.count(",") == 1 and source.split()[0].isupper() for source in sources),
            sum(source.count(",") == 1 and source.split()[0].istitle() for source in sources),
        ]
        assert sum(forms) == len(pairs)
        assert min(forms) > len(pairs) * 0.08


@both
def test_splits_share_no_source(generate: Generate) -> None:
    splits = generate(3, BOOK)
    assert len({source for source, _ in together(splits)}) == 50_000


@both
def test_train_size_leaves_valid_and_test_unchanged(generate: Generate) -> None:
    small, large = generate(3, SMALL), generate(3, {**SMALL, "train": 55_000})
    assert small["valid"] == large["valid"] and small["test"] == large["test"]
    assert small["train"] == large["train"][:30]


@both
def test_seed_decides(generate: Generate) -> None:
    assert generate(3, SMALL) == generate(3, SMALL) != generate(4, SMALL)


def test_text_for_a_seed_never_changes() -> None:
    """Written out, so that another Python version or platform that draws otherwise is noticed."""
    assert synthetic.addition(1984, {"train": 2, "valid": 1, "test": 1}) == {
        "train": [("695+183", "878"), ("393+689", "1082")],
        "valid": [("8+396", "404")],
        "test": [("35+406", "441")],
    }
    assert synthetic.dates(1984, {"train": 2, "valid": 1, "test": 1}) == {
        "train": [("jun 23, 1974", "1974-06-23"), ("December 31, 2007", "2007-12-31")],
        "valid": [("1/5/10", "2010-01-05")],
        "test": [("SUNDAY, NOVEMBER 7, 1971", "1971-11-07")],
    }


@both
def test_missing_split_is_empty(generate: Generate) -> None:
    splits = generate(3, {"test": 2})
    assert [(name, len(pairs)) for name, pairs in splits.items()] == [("train", 0), ("valid", 0), ("test", 2)]


@pytest.mark.parametrize(("generate", "widths"), [(synthetic.addition, (7, 4)), (synthetic.dates, (29, 10))])
def test_book_exact_only_pads(generate: Generate, widths: tuple[int, int]) -> None:
    plain, padded = generate(3, SMALL), generate(3, SMALL, book_exact=True)
    for name, pairs in padded.items():
        assert {(len(source), len(target)) for source, target in pairs} == {widths}
        assert [(source.rstrip(" "), target.rstrip(" ")) for source, target in pairs] == plain[name]


@pytest.mark.parametrize(("generate", "limit"), [(synthetic.addition, 500_500), (synthetic.dates, 170_856)])
def test_more_sources_than_exist_are_refused(generate: Generate, limit: int) -> None:
    with pytest.raises(ValueError) as error:
        generate(0, {"train": limit, "valid": 1, "test": 0})
    assert str(error.value) == (f"sizes ask for {limit + 1} pairs, but there are only {limit} different sources.")


@both
def test_unknown_split_is_refused(generate: Generate) -> None:
    with pytest.raises(ValueError) as error:
        generate(0, {"train": 1, "dev": 1})
    assert str(error.value) == "sizes may name train, valid, test; got dev."


@both
def test_negative_size_is_refused(generate: Generate) -> None:
    with pytest.raises(ValueError) as error:
        generate(0, {"train": -1})
    assert str(error.value) == "sizes must be 0 or more; got train=-1."
