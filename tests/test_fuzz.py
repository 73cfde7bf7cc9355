"""Ten thousand hostile cases with fixed seeds; more: ``python -m tests.fuzz 10000``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import pytest

from tests import fuzz

CASES = [
    (fuzz.fuzz_config, 6300, 1),
    (fuzz.fuzz_composition, 200, 2),
    (fuzz.fuzz_text, 1500, 3),
    (fuzz.fuzz_checkpoint, 2000, 4),
]


def test_there_are_ten_thousand() -> None:
    assert sum(n for _, n, _ in CASES) >= 10_000


@pytest.mark.parametrize("cases, n, seed", CASES, ids=[one.__name__ for one, _, _ in CASES])
def test_nothing_but_a_user_error_comes_out(cases: Callable[[int, int], Counter[str]], n: int, seed: int) -> None:
    logging.disable(logging.WARNING)  # of lines that are cut
    try:
        outcomes = cases(n, seed)
    finally:
        logging.disable(logging.NOTSET)
    assert outcomes.total() >= n
    assert any(outcome.endswith("taken") for outcome in outcomes)
    assert any(outcome.endswith("refused") for outcome in outcomes)


def test_equal_seeds_make_equal_cases() -> None:
    assert fuzz.fuzz_config(200, 5) == fuzz.fuzz_config(200, 5)
    assert fuzz.fuzz_checkpoint(20, 5) == fuzz.fuzz_checkpoint(20, 5)


def test_a_finding_is_told_from_a_refusal() -> None:
    with pytest.raises(fuzz.Finding, match="reading of 'x': KeyError"), fuzz.guarded("reading", "x", Counter()):
        raise KeyError("x")
    with pytest.raises(fuzz.Finding, match="not one line"), fuzz.guarded("reading", "x", Counter()):
        raise fuzz.UserError("two\nlines")


def test_a_program_that_is_run_is_seen() -> None:
    import os

    with pytest.raises(fuzz.Finding, match="nothing is run"), fuzz.nothing_runs():
        os.system("true")
