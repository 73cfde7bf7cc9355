"""The benchmark runs in miniature, and what it compares does the same work."""

from __future__ import annotations

import re
import statistics
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import __main__, exported, loading, work
from bench.__main__ import PAGE, page
from bench.forked import Forked
from bench.machine import described, has_module, processor
from bench.parts import HEADINGS, PARTS, PICTURES, Sizes, export, start, train
from bench.picture import draw
from bench.plain import Plain, StepByStep, greedy
from bench.rounds import Program, Turn, ratios, spread
from bench.scaling import LENGTH_BATCHES, LENGTH_TOKENS, Curves, Factors, Line, Point, _work, tables
from bench.worker import Gate
from seq2seq.data.arrays import encode_corpus
from seq2seq.decoding.forms.products import has_int8
from seq2seq.models.build import build_seq2seq, num_parameters
from seq2seq.translate.translator import Translator
from tests.conftest import ROOT

MINIATURE = Sizes(repetitions=1, steps=1, pairs=300, vocab=60, models=("tiny",), commands=("report",))
FACTORS = Factors(threads=(1,), batch=(64, 128), length=(50,), vocab=(40, 60))


@pytest.mark.slow
def test_training_is_measured_in_miniature(tmp_path: Path) -> None:
    table = train(tmp_path, MINIATURE)
    rows = [line for line in table if line.startswith("| tiny, ")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| tiny, plain torch loop",
        "| tiny, seq2seq",
        "| tiny, a step at a time",
        "| tiny, only the product",
    ]
    assert all(re.search(r"\| [\d,]+ \| \d+\.\d\d \| \d+ % \| [\d,]+ MB \|$", row) for row in rows[:3]), rows
    assert " | 1.00 | " in rows[0]


def test_start_up_is_measured_in_miniature(tmp_path: Path) -> None:
    table = start(tmp_path, MINIATURE)
    assert [line.split(" | ")[0] for line in table[2:]] == [
        "| `seq2seq-report --help`",
        "| `seq2seq-translate`, one line",
    ]


@pytest.mark.slow
def test_exports_are_measured_in_miniature(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    table = export(tmp_path, MINIATURE._replace(sentences=2))
    rows = [line.strip("| ").split(" | ") for line in table if line.startswith("| ")]
    forms = [label for form, label in exported.FORMS.items() if form != "torch-int8" or has_int8()]
    heads = [processor(), "one line, from a cold start"]
    assert [row[0] for row in rows if row[0] != "---"] == [heads[0], *forms, heads[1], *forms]
    assert all(
        re.fullmatch(r"[\d,]+ \d+\.\d\d [\d,]+ \d+\.\d\d", " ".join(row[1:])) for row in rows[2 : 2 + len(forms)]
    )
    assert rows[2][2] == rows[2][4] == "1.00"
    seconds = {row[0]: float(row[1]) for row in rows[-len(forms) :]}
    peaks = {row[0]: int(row[2].removesuffix(" MB")) for row in rows[-len(forms) :]}
    for light, heavy in (("exported", "torch"), ("exported-int8", "torch")):
        assert seconds[exported.FORMS[light]] < seconds[exported.FORMS[heavy]]
        assert peaks[exported.FORMS[light]] < peaks[exported.FORMS[heavy]]


STAND_IN = """
from types import SimpleNamespace as Part

class Translator:
    def __init__(self, folder, compute_type, **threads):
        assert threads == dict(intra_threads=1, inter_threads=1)

    def translate_batch(self, rows, beam_size, min_decoding_length, max_decoding_length):
        assert len({len(row) for row in rows}) == 1 and rows[0][-1] == "</s>" and beam_size == 5
        assert min_decoding_length == max_decoding_length == len(rows[0]) + 1
        return [Part(hypotheses=[["w1"] * (max_decoding_length - SHORT)]) for row in rows]
"""


@pytest.mark.parametrize("short", [0, 1])
def test_the_transformer_is_a_contender_whose_outputs_have_the_lengths_of_ours(
    short: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ctranslate2"
    package.mkdir()
    (package / "__init__.py").write_text(STAND_IN.replace("SHORT", str(short)))
    (package / "specs.py").write_text("TransformerSpec = None")
    (tmp_path / "lines").write_text("w1 w2\nw1 w2 w3\nw3 w4\n")
    (tmp_path / "contender.py").write_text(
        "import sys\n"
        "from bench import transformer\n"
        "transformer.load = lambda vocab, kind: "
        "transformer.ctranslate2.Translator('', kind, intra_threads=1, inter_threads=1)\n"
        "transformer.main(sys.argv[1:])\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    words = [str(tmp_path / "contender.py"), str(tmp_path / "lines"), "60", "5", "int8"]
    with Program("int8", [sys.executable, *words]) as contender:
        if short:
            with pytest.raises(RuntimeError, match="int8 ended with status 1"):
                contender.turn(3)
        else:
            assert [contender.turn(count).held for count in (3, 2)] == [3, 2]


def test_lines_have_each_length_as_often_from_the_first(tmp_path: Path) -> None:
    path = exported.write_sources(tmp_path / "lines", 60, 24)
    lengths = [len(line.split()) for line in path.read_text().splitlines()]
    assert lengths == [*exported.LENGTHS] * 3


def test_a_processor_is_named_with_the_instructions_that_it_has() -> None:
    assert described("model name\t: A chip\nflags\t\t: fpu avx2 amx_int8\n") == "A chip (AVX2, AMX)"
    assert described("model name\t: A chip\nflags\t\t: fpu\n") == "A chip"
    assert not has_module("/nowhere/python", "ctranslate2")
    assert not has_module(sys.executable, "no_module_of_this_name")
    assert has_module(sys.executable, "numpy")


@pytest.mark.slow
def test_scaling_is_measured_in_miniature_onto_the_page_and_into_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "benchmarks.md"
    target.write_text("before\n<!-- bench scaling -->\nold\n<!-- end of bench scaling -->\nafter\n")
    monkeypatch.setattr(__main__, "PAGE", target)
    monkeypatch.setattr(__main__, "Sizes", lambda: MINIATURE._replace(factors=FACTORS))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the command sets it, and as it was after the test
    __main__.main(["--only", "scaling"])
    written = target.read_text()
    assert written.startswith("before\n<!-- bench scaling -->\n### How speed scales\n\n`make bench ARGS=")
    assert "one thread where no other number is given.\n" in written
    assert f"]({PICTURES['scaling']})" in written
    labels = ["tiny, training", "tiny, training, plain loop", "tiny, greedy"]
    labels += ["tiny, greedy, `--int8`"] if has_int8() else []
    rows = [line.strip("| ").split(" | ") for line in written.splitlines() if re.match(r"\| [a-z\d]", line)]
    assert [row[0] for row in rows if row[1:] != labels] == ["1", "64", "128", "50", "40", "60"]
    assert [row[0] for row in rows if row[1:] == labels] == [
        "threads",
        "sentences in a batch",
        "target tokens in a sentence",
        "pieces in a vocabulary",
    ]
    assert all(re.fullmatch(r"[\d,]+", cell) and cell != "0" for row in rows if row[1:] != labels for cell in row)
    assert ET.parse(tmp_path / PICTURES["scaling"]).getroot().tag.endswith("svg")
    assert "threads: tiny, training and tiny, training, plain loop (" in capsys.readouterr().err


def test_the_picture_of_scaling_has_the_figures_of_the_tables() -> None:
    rng = np.random.default_rng(1)
    curves: Curves = {
        factor: {label: {value: rng.uniform(100, 9000, 3).tolist() for value in values} for label in ("one", "two")}
        for factor, values in Factors()._asdict().items()
    }
    rows = [line.strip("| ").split(" | ") for line in tables(curves) if re.match(r"\| \d", line)]
    written = [[row[0], *(cell.split(" (")[0] for cell in row[1:])] for row in rows]
    drawn = []
    for axes in draw(curves).axes:
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        medians = [[f"{rate:,.0f}" for rate in np.asarray(line.get_ydata())] for line in axes.lines]
        drawn += [list(row) for row in zip(ticks, *medians, strict=True)]
    assert drawn == written
    assert written[0][1] == f"{statistics.median(curves['threads']['one'][1]):,.0f}"


def test_one_factor_is_varied_at_a_time() -> None:
    usual = Point(threads=1, batch=work.BATCH, length=0, vocab=work.VOCAB)
    for factor, values in Factors()._asdict().items():
        for value in values:
            point = Point.where(factor, value, work.VOCAB)
            assert getattr(point, factor) == value
            if factor == "length":
                assert point.batch * point.length == LENGTH_TOKENS
                point = point._replace(batch=usual.batch)
            assert point._replace(**{factor: getattr(usual, factor)}) == usual
            assert point.steps * point.batch == max(work.BATCH, point.batch)


def test_all_targets_have_the_length_that_is_asked_for_and_fill_whole_batches(tmp_path: Path) -> None:
    point = Point.where("length", 50, 60)
    prepared = point.prepare(tmp_path, "tiny", 300)
    src, tgt = encode_corpus(prepared.folder, "train", prepared.tokenizers)
    assert len(tgt) == LENGTH_BATCHES * point.batch
    assert set(tgt.lengths() + 1) == {50}
    assert prepared.config.data.batch_sentences == point.batch
    assert 45 < src.lengths().mean() < 55
    assert src.lengths().std() > 3


@pytest.mark.parametrize("factor, value", [("batch", 100), ("length", 50)])
def test_decoded_tokens_are_counted_as_they_come(
    factor: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, tokens = [], []

    def translate(self: Translator, lines: list[str]) -> list[str]:
        found = self.n_best(lines, 1)
        sizes.append(len(lines))
        tokens.extend(len(best.tgt_pieces) for (best,) in found)
        return [best.text for (best,) in found]

    class Once(Gate):
        def __init__(self) -> None:
            pass

        def serve(self, do: Any) -> None:
            self.held, _ = do(1)

    monkeypatch.setattr(Translator, "translate", translate)
    gate = Once()
    _work(gate, Line("tiny", "greedy"), Point.where(factor, value, 60), tmp_path, 300)
    assert gate.held == sum(tokens)
    assert sizes == ([100, 28] if factor == "batch" else [40])
    assert factor == "batch" or set(tokens) == {50}


def _end(gate: Gate) -> None:
    """Do one turn's work, then end."""
    gate.done(seconds=2.0, held=float(6 * gate.wait()))
    sys.exit(3)


def test_a_forked_contender_that_ends_is_named() -> None:
    with Forked("the third", _end) as contender:
        assert contender.turn(5).rate == 15.0
        with pytest.raises(RuntimeError, match="the third ended with status 3; see what it said above"):
            contender.turn(5)


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


def test_what_loading_costs_has_a_row_for_each_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["loading", "--pairs", "200", "--passes", "2"])
    monkeypatch.setattr(loading, "PIECES", 400)
    monkeypatch.setattr(loading, "WORKERS", (0, 1))
    loading.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[0].strip("| "), row[1]) for row in rows] == [("0", "0"), ("0", "1"), ("0.1", "0"), ("0.1", "1")]
    assert all(re.match(r"\d+\.\d \(\d+\.\d to \d+\.\d\)", figure) for row in rows for figure in row[2:])
