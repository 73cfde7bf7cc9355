"""The benchmark runs in miniature, and what it compares does the same work."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import work
from bench.__main__ import PAGE, page
from bench.parts import HEADINGS, PARTS, Sizes, start, train
from bench.plain import Plain, StepByStep, greedy
from bench.rounds import Turn, ratios, spread
from seq2seq.models.seq2seq import build_seq2seq, num_parameters
from tests.conftest import ROOT

MINIATURE = Sizes(repetitions=1, steps=1, pairs=300, vocab=60, models=("tiny",), commands=("report",))


@pytest.mark.slow
def test_training_is_measured_in_miniature(tmp_path: Path) -> None:
    table = train(tmp_path, MINIATURE)
    rows = [line for line in table if line.startswith("| tiny, ")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| tiny, plain torch loop",
        "| tiny, seq2seq",
        "| tiny, a step at a time",
        "| tiny, the product alone",
    ]
    assert all(re.search(r"\| [\d,]+ \| \d+\.\d\d \| \d+ % \| [\d,]+ MB \|$", row) for row in rows[:3]), rows
    assert " | 1.00 | " in rows[0]


def test_start_up_is_measured_in_miniature(tmp_path: Path) -> None:
    table = start(tmp_path, MINIATURE)
    assert [line.split(" | ")[0] for line in table[2:]] == [
        "| `seq2seq-report --help`",
        "| `seq2seq-translate`, one line",
    ]


@pytest.mark.parametrize("name", work.MODELS)
def test_the_plain_loop_has_the_same_network(name: str) -> None:
    config = work.MODELS[name]
    assert num_parameters(Plain(config, 50, 60)) == num_parameters(build_seq2seq(config, 50, 60))


def test_a_step_at_a_time_gives_the_same_logits_and_greedy_search_follows_them() -> None:
    torch.manual_seed(0)
    whole, steps = Plain(work.MODELS["tiny"], 20, 20), StepByStep(work.MODELS["tiny"], 20, 20)
    steps.load_state_dict(whole.state_dict())
    src, tgt_in = torch.tensor([[4, 5, 6, 3], [7, 3, 0, 0]]), torch.tensor([[2, 8, 9], [2, 4, 0]])
    torch.testing.assert_close(whole(src, tgt_in), steps(src, tgt_in))
    (found,) = greedy(whole, iter([(src, 3)]))
    read = torch.cat([torch.full((2, 1), 2), found[:, :-1]], dim=1)
    assert torch.equal(whole(src, read).argmax(-1), found)


def test_useful_arithmetic_by_hand() -> None:
    # A source token: two directions, four gates, each of 8 + 16 by 16; and its key, 32 by 16. A target token: four
    # gates of 8 + 16 by 16, 32 + 16 by 16 after attention, 16 by 60. Forward once, backward twice, two operations each.
    src, tgt = 2 * 4 * 24 * 16 + 32 * 16, 4 * 24 * 16 + 48 * 16 + 16 * 60
    assert work.useful_flops(work.MODELS["tiny"], 3, 5, 60) == 6 * (3 * src + 5 * tgt)


def test_the_text_has_lengths_like_multi30k_and_every_word() -> None:
    rng = np.random.default_rng(0)
    src, tgt = work.draw_lengths(rng, 20_000)
    assert abs(tgt.mean() - 13.5) < 0.3
    assert abs(src.mean() - 14.0) < 0.4
    assert abs(np.corrcoef(src, tgt)[0, 1] - 0.86) < 0.05
    lines = work.words(rng, tgt[:500], 300)
    assert [len(line.split()) for line in lines] == tgt[:500].tolist()
    assert len({word for line in lines for word in line.split()}) == 300


def test_figures_are_ratios_of_the_same_turn_with_their_spread() -> None:
    assert Turn(2.0, 10.0, 1.0).rate == 5.0
    assert ratios([1, 6], [2, 3]) == [0.5, 2.0]
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"
    assert spread([3.0]) == "3.00"


def test_the_page_keeps_what_is_not_measured() -> None:
    old = "before\n<!-- bench train -->\nold\n<!-- end of bench train -->\nafter\n"
    new = page(old, {"train": ["### Training", "", "| a \\1 |"]}, "make bench")
    assert new.startswith("before\n<!-- bench train -->\n### Training\n\n`make bench` on ")
    assert new.endswith("one thread.\n\n| a \\1 |\n<!-- end of bench train -->\nafter\n")
    with pytest.raises(ValueError, match="the page has no place for decode: <!-- bench decode -->"):
        page(old, {"decode": ["### Decoding"]}, "make bench")


def test_the_page_in_the_docs_has_a_place_for_every_part() -> None:
    assert HEADINGS.keys() == PARTS.keys()
    assert ROOT / "docs" / "benchmarks.md" == PAGE
    page(PAGE.read_text(encoding="utf-8"), {part: ["### Heading"] for part in PARTS}, "make bench")
