"""A report says what is in the run folders: arms, differences and pictures, with figures worked out by hand."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from seq2seq.config.schema import Config, TrainerConfig
from seq2seq.errors import UserError
from seq2seq.files.records import write_json
from seq2seq.report import plots, probe_plots, words
from seq2seq.report.analysis import Analysis, analyse
from seq2seq.report.arms import Sweep, read_sweep, short, shown, sweep_of
from seq2seq.report.write import CAPTIONS, write_report
from seq2seq.results.probe import ReachByDistance

SOURCES = [f"{a}+{b}" for a in range(10, 30) for b in (1, 22, 333)]
REFERENCES = [str(eval(line)) for line in SOURCES]
BASE = Config(name="sums", trainer=TrainerConfig(monitor="exact_match", max_epochs=4))


def changed(seed: int = 1, **sections: dict[str, Any]) -> Config:
    """The base config with other settings and another seed."""
    parts = {name: dataclasses.replace(getattr(BASE, name), **values) for name, values in sections.items()}
    return dataclasses.replace(BASE, seed=seed, **parts)


def hypotheses(num_right: int, seed: int) -> list[str]:
    """So many right answers, at places that the seed says."""
    right = set(np.random.default_rng(seed).permutation(len(REFERENCES))[:num_right].tolist())
    return [line if i in right else line[:-1] + "x" for i, line in enumerate(REFERENCES)]


def make_run(folder: Path, config: Config, num_right: int, *, probed: bool = True, **result: Any) -> Path:
    """The folder of a finished run."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    lines = {"test.src": SOURCES, "test.ref": REFERENCES, "test.hyp": hypotheses(num_right, config.seed)}
    for name, text in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in text))
    exact = 100 * num_right / len(REFERENCES)
    figures = {"bleu": 0.0, "chrf": 50.0, "ter": 10.0, "exact_match": exact, "perplexity": 2.0, "parameters": 1234}
    times = {
        "train_seconds": 40.0,
        "train_tokens_per_second": 1000.0,
        "sentences_per_second": 200.0,
        "valid_seconds": 3.0,
    }
    about = {"bleu_signature": "nrefs:1", "best_step": 40, "num_sentences": 60, "version": "1", "torch": "2"}
    (folder / "test.json").write_text(json.dumps({**figures, **times, **about, **result}))
    (folder / "metrics.csv").write_text(
        "epoch,step,seconds,valid/exact_match,train/grad_norm,train/clipped,encoder/spectral_radius\n"
        + "".join(f"{i},{10 * i},{10 * i}.0,{exact * i / 4},1.5,20,1.1\n" for i in (1, 2, 3, 4))
    )
    if probed:
        (folder / "probe.json").write_text(json.dumps(PROBE if config.model.peeky != "none" else UNPEEKY))
    return folder


REACH = {
    "step": 1,
    "by_position": {"norm": [1.0, 2.0, None], "share": [0.2, 0.3, 0.5], "count": [3, 3, 1]},
    "end_symbol": None,
    "by_distance": {"norm": [None, 2.0, 1.0], "log_norm": [None, 0.7, 0.0], "count": [0, 3, 3]},
    "decay_per_step": 0.5,
}
FORCED = {
    "overall": {"accuracy": 0.75, "nll": 0.5},
    "by_position": {"accuracy": [1.0, 0.5], "nll": [0.1, 0.9], "count": [3, 3]},
}
MOVED = {"overall": {"total_variation": 0.25}, "by_position": {"total_variation": [0.1, 0.4], "count": [3, 3]}}
PROBE = {"gradient_reach": [REACH], "accuracy_by_position": FORCED, "peeky_reliance": MOVED, "num_sentences": 3}
UNPEEKY = PROBE | {"peeky_reliance": None}

RIGHT = {(False, "none"): 10, (True, "none"): 25, (False, "both"): 20, (True, "both"): 55}


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    """Reverse and peeky, three seeds, of which each has one right answer more than the one before."""
    for (reverse, peeky), right in RIGHT.items():
        for seed in (1, 2, 3):
            config = changed(seed, model={"reverse": reverse, "peeky": peeky})
            make_run(tmp_path / "runs" / f"{reverse}-{peeky}-{seed}", config, right + seed)
    return tmp_path / "runs"


@pytest.fixture
def analysis(sweep_folder: Path) -> Analysis:
    return analyse(read_sweep([sweep_folder]))


def names(sweep: Sweep) -> list[str]:
    return [arm.name for arm in sweep.arms]


def test_arms_are_found_from_what_differs_and_the_plainest_is_the_baseline(analysis: Analysis) -> None:
    assert [factor.key for factor in analysis.sweep.factors] == ["model.reverse", "model.peeky"]
    assert names(analysis.sweep) == ["baseline", "reverse", "peeky", "reverse + peeky"]
    assert [[run.seed for run in arm.runs] for arm in analysis.sweep.arms] == [[1, 2, 3]] * 4
    assert analysis.sweep.missing == ()


def test_figures_are_means_over_seeds_with_their_standard_deviation(analysis: Analysis) -> None:
    rows = {row.arm.name: row.figures["exact_match"] for row in analysis.rows}
    assert rows["baseline"].mean == pytest.approx(100 * 12 / 60)
    assert rows["reverse + peeky"].mean == pytest.approx(100 * 57 / 60)
    assert rows["baseline"].sd == pytest.approx(100 / 60)  # of 11, 12 and 13 of 60


def test_the_time_to_near_the_best_is_none_where_a_seed_does_not_get_there(analysis: Analysis) -> None:
    """The best arm ends at 95 %, and rises by a quarter of its end every ten seconds."""
    times = {row.arm.name: row.to_near_best for row in analysis.rows}
    assert times["baseline"] is None
    both = times["reverse + peeky"]
    assert both is not None and both.mean == 40.0


def test_differences_and_interaction_are_those_of_the_means(analysis: Analysis) -> None:
    found = {one.title: one for one in analysis.comparisons["exact_match"]}
    estimates = {title: one.contrast.estimate for title, one in found.items()}
    assert estimates == pytest.approx(
        {
            "peeky − baseline": 100 * 10 / 60,
            "reverse − baseline": 100 * 15 / 60,
            "reverse + peeky − baseline": 100 * 45 / 60,
            "reverse × peeky": 100 * (55 - 25 - 20 + 10) / 60,
        }
    )
    assert all(one.contrast.low < one.contrast.estimate < one.contrast.high for one in found.values())
    assert words.verdict(found["reverse + peeky − baseline"]) == words.SIGNIFICANT
    assert all(one.p is not None and one.p >= one.contrast.p for one in found.values() if one.contrast.p is not None)


def test_scores_by_length_are_those_of_the_sentences_of_that_length(analysis: Analysis) -> None:
    assert analysis.unit == "character"
    assert [(one.low, one.high, one.num_sentences) for one in analysis.by_length] == [
        (4, 4, 20),
        (5, 5, 20),
        (6, 6, 20),
    ]
    for arm in analysis.sweep.arms:
        by_hand = []
        for length in (4, 5, 6):
            rows = [i for i, line in enumerate(SOURCES) if len(line) == length]
            right = [run.hypotheses[i] == REFERENCES[i] for run in arm.runs for i in rows]
            by_hand.append(100 * sum(right) / len(right))
        assert [one.scores[arm.name] for one in analysis.by_length] == pytest.approx(by_hand)


def test_errors_by_position_are_counted_in_the_models_own_output(analysis: Analysis) -> None:
    """Wrong answers are wrong in their last character, the second or the third."""
    baseline = analysis.by_position["baseline"]
    run = analysis.sweep.arms[0].runs
    third = [i for i, line in enumerate(REFERENCES) if len(line) == 3]
    wrong = [one.hypotheses[i] != REFERENCES[i] for one in run for i in third]
    assert baseline[0] == 0.0
    assert baseline[2] == pytest.approx(100 * sum(wrong) / len(wrong))


def test_examples_are_sentences_on_which_the_arms_disagree(analysis: Analysis) -> None:
    assert len(analysis.examples) == 5
    for example in analysis.examples:
        assert REFERENCES[SOURCES.index(example.source)] == example.reference
        assert {right for _, _, right in example.outputs} == {True, False}
        assert all(right == (output == example.reference) for _, output, right in example.outputs)


def test_each_run_is_tested_against_the_baselines_of_its_seed(analysis: Analysis) -> None:
    assert [(one.arm, one.seed) for one in analysis.paired][:3] == [("reverse", 1), ("reverse", 2), ("reverse", 3)]
    (test,) = analysis.paired[-1].tests
    assert test.difference == pytest.approx(100 * 45 / 60)
    assert test.p < 0.001


def test_missing_runs_come_first_and_are_not_averaged_around(sweep_folder: Path, tmp_path: Path) -> None:
    """One failed, one was killed, one was planned and never begun."""
    (sweep_folder / "False-none-1" / "test.json").unlink()
    (sweep_folder / "False-none-1" / "error.txt").write_text("the loss is nan at step 7\n")
    (sweep_folder / "True-none-2" / "test.json").unlink()
    (sweep_folder / "sweep.json").write_text('{"runs": ["True-none-2", "never", "True-both-1"]}')
    sweep = read_sweep([sweep_folder])
    assert [(one.name, one.reason) for one in sweep.missing] == [
        ("False-none-1", "failed: the loss is nan at step 7"),
        ("True-none-2", "begun, not finished (epoch 4)"),
        ("never", "planned, not begun"),
    ]
    write_report(analyse(sweep), tmp_path / "out")
    for name in ("report.md", "report.html"):
        page = (tmp_path / "out" / name).read_text()
        assert page.index("the loss is nan at step 7") < page.index("seeds 1, 2, 3") < page.index("Scores")


def test_a_run_that_asks_for_what_is_removed_is_missing(sweep_folder: Path) -> None:
    path = sweep_folder / "False-none-1" / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["model"] |= {"attention": "dot", "attention_heads": 2}
    path.write_text(yaml.safe_dump(values))
    sweep = read_sweep([sweep_folder])
    reason = "model.attention_heads=2 is gone: attention has one head; train again without it"
    assert [(one.name, one.reason) for one in sweep.missing] == [("False-none-1", reason)]
    assert [len(arm.runs) for arm in sweep.arms] == [2, 3, 3, 3]
    with pytest.raises(UserError, match=rf"False-none-1/config.yaml: {reason}"):
        read_sweep([path.parent])


def test_a_run_that_left_no_trace_is_missed_where_the_others_have_its_seed(sweep_folder: Path) -> None:
    shutil.rmtree(sweep_folder / "True-none-2")
    (one,) = read_sweep([sweep_folder]).missing
    assert (one.name, one.reason) == ("reverse, seed 2", "missing, while other arms have this seed")


def test_settings_that_change_together_are_one_factor(tmp_path: Path) -> None:
    for seed in (1, 2):
        make_run(tmp_path / f"a{seed}", changed(seed), 10)
        one = changed(seed, data={"book_exact": True}, model={"fixed_length": 4}, trainer={"threads": 2})
        make_run(tmp_path / f"b{seed}", one, 20)
    sweep = read_sweep([tmp_path])
    (factor,) = sweep.factors
    assert (factor.key, factor.values, factor.others) == ("data.book_exact", (False, True), ("model.fixed_length",))
    assert names(sweep) == ["baseline", "book's padding"]


@pytest.mark.parametrize(
    "sections, expected",
    [
        ([{"model": {"cell": cell}} for cell in ("lstm", "gru")], ["gru", "lstm"]),
        ([{"model": {"num_layers": n}} for n in (2, 1, 4)], ["1 layer", "2 layers", "4 layers"]),
        ([{"optim": {"lr": lr}} for lr in (0.01, 0.001)], ["lr 0.001", "lr 0.01"]),
        ([{"model": {"bidirectional": b}} for b in (True, False)], ["baseline", "bidirectional"]),
        ([{"model": {"peeky": p}} for p in ("none", "input", "output")], ["baseline", "peeky input", "peeky output"]),
        ([{"model": {"match_peeky": b}} for b in (True, False)], ["baseline", "wide"]),
        ([{"optim": {"schedule": s}} for s in ("cosine", "constant")], ["constant", "cosine"]),
    ],
    ids=str,
)
def test_any_keys_make_arms_with_short_names(tmp_path: Path, sections: list[Any], expected: Sequence[str]) -> None:
    for i, one in enumerate(sections):
        make_run(tmp_path / f"{i}", changed(1, **one), 10)
    assert names(read_sweep([tmp_path])) == expected


def test_equal_settings_under_two_names_are_two_arms(tmp_path: Path) -> None:
    for name in ("before", "after"):
        make_run(tmp_path / name, dataclasses.replace(BASE, name=name), 10)
    assert sorted(names(read_sweep([tmp_path]))) == ["after", "before"]


def test_one_arm_has_the_experiments_name_and_nothing_to_compare(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one", BASE, 10)
    found = analyse(read_sweep([tmp_path / "runs"]))
    assert names(found.sweep) == ["sums"]
    assert found.comparisons == {"bleu": (), "chrf": (), "exact_match": ()}
    page = write_report(found, tmp_path / "out").read_text()
    assert "What was found" not in page


def test_one_seed_supports_no_verdict(tmp_path: Path) -> None:
    for reverse, right in ((False, 5), (True, 55)):
        make_run(tmp_path / str(reverse), changed(1, model={"reverse": reverse}), right)
    (one,) = analyse(read_sweep([tmp_path])).comparisons["exact_match"]
    assert one.p is None
    assert words.verdict(one) == words.UNKNOWN
    _, (said,) = words.findings(analyse(read_sweep([tmp_path])))
    assert "83.33 points of exact match better" in said
    assert "Another seed may give another result" in said


def test_the_control_is_compared_with_the_arm_that_it_is_for(tmp_path: Path) -> None:
    for seed in (1, 2):
        make_run(tmp_path / f"a{seed}", changed(seed), 10 + seed)
        make_run(tmp_path / f"b{seed}", changed(seed, model={"peeky": "both"}), 50 + seed)
        make_run(tmp_path / f"c{seed}", changed(seed, model={"match_peeky": True}), 20 + seed)
    (one,) = [one for one in analyse(read_sweep([tmp_path])).comparisons["exact_match"] if one.kind == "control"]
    assert one.title == "peeky − wide"
    assert one.contrast.estimate == pytest.approx(50)


def test_arms_that_do_not_differ_are_said_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for reverse in (False, True):
        for seed in (1, 2, 3):
            make_run(tmp_path / f"{reverse}{seed}", changed(seed, model={"reverse": reverse}), 50 + seed + reverse)
    found = analyse(read_sweep([tmp_path]))
    shown_ones, (one,) = words.findings(found)
    assert shown_ones == []
    assert one.startswith("reverse against baseline: +1.67 points of exact match, but a difference is not shown (95")
    doubt = words.doubt(found)
    assert doubt is not None and doubt.startswith("Not shown does not mean that the arms are equal")
    assert words.convergence(found) is None  # with 60 sentences the interval is wide
    monkeypatch.setattr(words, "CLOSE", 10)
    said = words.convergence(found)
    assert said is not None and said.startswith("The arms end close together: every interval of a difference to base")


def test_a_worse_arm_is_said_to_be_worse(tmp_path: Path) -> None:
    for reverse, right in ((False, 55), (True, 5)):
        for seed in (1, 2, 3):
            make_run(tmp_path / f"{reverse}{seed}", changed(seed, model={"reverse": reverse}), right + seed)
    (said,), _ = words.findings(analyse(read_sweep([tmp_path])))
    assert said.startswith("reverse against baseline is 83.33 points of exact match worse (95\u00a0% interval −")
    assert "more than chance of seeds and sentences explains" in said


def test_another_test_set_is_not_compared_but_other_padding_is(tmp_path: Path) -> None:
    make_run(tmp_path / "a", changed(1), 10)
    other = make_run(tmp_path / "b", changed(1, model={"reverse": True}), 10)
    padded = [line.ljust(7) for line in SOURCES]
    (other / "test.src").write_text("".join(f"{line}\n" for line in padded))
    assert analyse(read_sweep([tmp_path])).uncompared == ()
    (other / "test.src").write_text("".join(f"{line}\n" for line in reversed(SOURCES)))
    found = analyse(read_sweep([tmp_path]))
    assert found.uncompared == ("reverse, seed 1",)
    assert found.comparisons["exact_match"] == ()
    page = write_report(found, tmp_path / "out").read_text()
    assert "Not compared, because the test set is different: reverse, seed 1." in page


def test_two_runs_of_one_arm_with_one_seed_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, BASE, 10)
    with pytest.raises(UserError, match="are the same experiment with the same seed; leave one of them out"):
        read_sweep([tmp_path])


def test_folders_without_a_finished_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished run there; name folders below which seq2seq-train left some"):
        read_sweep([tmp_path])
    with pytest.raises(UserError, match="is not a folder; name the folder of a sweep, or of a run"):
        read_sweep([tmp_path / "nowhere"])


def test_a_run_without_its_test_lines_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", BASE, 10)
    (folder / "test.ref").write_text("1\n")
    with pytest.raises(UserError, match="its test files have 60, 1, 60 lines; train again"):
        read_sweep([tmp_path])
    (folder / "test.ref").unlink()
    with pytest.raises(UserError, match="has no test.ref; delete its test.json and give the run's command again"):
        read_sweep([tmp_path])


class _Page(HTMLParser):
    """What a page opens and closes, where it points, and its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tables = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name in ("src", "href", "xlink:href") if (value := values.get(name))]
        self.tables += tag == "table"
        if tag not in ("meta", "br"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "br"):
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_the_page_is_one_file_that_needs_no_other(analysis: Analysis, tmp_path: Path) -> None:
    html = write_report(analysis, tmp_path / "out").read_text()
    page = _Page()
    page.feed(html)
    assert page.stack == []
    assert len(set(page.ids)) == len(page.ids)
    assert page.links and all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(page.ids)
    assert "http://" not in re.sub(r'"http://www.w3.org/[^"]*"', "", html)
    assert html.count("<figure") == len(plots.draw(analysis)) == len(CAPTIONS)
    assert "prefers-color-scheme: dark" in html
    assert "#000000" not in html.split("</style>")[1]


def test_text_from_the_data_cannot_become_markup(tmp_path: Path) -> None:
    for reverse in (False, True):
        folder = make_run(tmp_path / "runs" / str(reverse), changed(1, model={"reverse": reverse}), 30)
        for name in ("test.src", "test.ref"):
            lines = (folder / name).read_text().splitlines()
            (folder / name).write_text("".join(f"<script>alert({line!r})</script> | a |\n" for line in lines))
        (folder / "test.hyp").write_text("<b>| \\</b>\n" * 59 + ("<i>\n" if reverse else "<u>\n"))
    page = write_report(analyse(read_sweep([tmp_path / "runs"])), tmp_path / "out").read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    markdown = (tmp_path / "out" / "report.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("| source |")]
    assert rows and all(len(re.split(r"(?<!\\)\|", line)) == 4 for line in rows)


def test_signatures_and_versions_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)> [a](http://b) *c* `d` | e\r\n# heading"
    for reverse in (False, True):
        made = {"bleu_signature": f"{evil}1", "version": f"{evil}2", "torch": f"{evil}3"}
        make_run(tmp_path / "runs" / str(reverse), changed(1, model={"reverse": reverse}), 30, **made)
    page = write_report(analyse(read_sweep([tmp_path / "runs"])), tmp_path / "out").read_text()
    markdown = (tmp_path / "out" / "report.md").read_text()
    (last,) = [line for line in re.split(r"[\r\n]+", markdown) if "heading1" in line]
    shown = r"&lt;img src=x onerror=alert(1)> \[a\](http://b) \*c\* \`d\` \| e  # heading"
    assert last == f"BLEU: {shown}1. Made with seq2seq {shown}2, torch {shown}3."
    assert "<img" not in page


def test_every_picture_is_a_whole_svg_and_the_same_each_time(analysis: Analysis) -> None:
    pictures = plots.draw(analysis)
    assert pictures == plots.draw(analysis)
    for name, svg in pictures.items():
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg"), name
        texts = [element.text for element in root.iter() if element.tag.endswith("text")]
        arms = {"baseline", "peeky", "reverse", "reverse + peeky"}
        if name not in ("interaction", "differences", "reliance"):
            assert arms <= set(texts), name
        assert "mathdefault" not in svg, name  # a formula that is not set as one
    assert {"peeky − baseline", "reverse × peeky"} <= set(re.findall(r">([^<>]+)</text>", pictures["differences"]))


@pytest.mark.parametrize(
    ("last", "marks"), [(1e-12, {"1e-10", "0.0001"}), (1e-3, {"0.01", "0.1"}), (0.04, {"0.05", "0.1"})]
)
def test_a_gradient_that_vanishes_has_numbers_at_its_axis(
    last: float, marks: set[str], analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach = SimpleNamespace(by_distance=ReachByDistance(norm=(0.3, last), count=(9, 9)))
    monkeypatch.setattr(probe_plots, "probes", lambda arm: [SimpleNamespace(gradient_reach=[reach])])
    figure = probe_plots.draw_decay(analysis)
    assert figure is not None
    figure.canvas.draw()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    shown = {label.get_text() for place, label in ticks if low <= place <= high}
    assert len(shown) >= 3 and shown & marks
    assert all(float(label) > 0 for label in shown)


def test_the_report_is_a_function_of_the_folders(sweep_folder: Path, analysis: Analysis, tmp_path: Path) -> None:
    write_report(analysis, tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "reliance.svg").write_text("of an earlier report")
    write_report(analyse(read_sweep([sweep_folder])), tmp_path / "two")
    made = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert made == sorted(["report.html", "report.md", "results.csv", *(f"{name}.svg" for name in CAPTIONS)])
    for name in made:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_pictures_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one", BASE, 10, probed=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "reliance.svg").write_text("of an earlier report")
    write_report(analyse(read_sweep([tmp_path / "runs"])), tmp_path / "out")
    assert not (tmp_path / "out" / "reliance.svg").exists()


def test_the_table_has_a_row_for_each_run(analysis: Analysis, tmp_path: Path) -> None:
    write_report(analysis, tmp_path / "out")
    with open(tmp_path / "out" / "results.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert rows[-1]["arm"] == "reverse + peeky"
    assert (rows[-1]["model.reverse"], rows[-1]["model.peeky"], rows[-1]["seed"]) == ("true", "both", "3")
    assert float(rows[-1]["exact_match"]) == pytest.approx(100 * 58 / 60)


def test_markdown_holds_the_same_tables(analysis: Analysis, tmp_path: Path) -> None:
    write_report(analysis, tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| reverse + peeky | 3 | 0.00 ± 0.00 | 50.00 ± 0.00 | 95.00 ± 1.67 | 2.00 ± 0.00 |" in markdown
    assert "| reverse + peeky | 0.50 | 0.25 | 75.00 |" in markdown
    for link in re.findall(r"\]\(([^)]+)\)", markdown):
        assert (tmp_path / "out" / link).is_file()
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    for table in tables:
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_numbers_are_written_for_people() -> None:
    assert [words.number(x) for x in (-1.5, 1234.5, None)] == ["−1.50", "1,234.50", "–"]
    assert [words.signed(x) for x in (1.5, -1.5, 0.0, 0.001, -0.001, math.nan)] == [
        "+1.50",
        "−1.50",
        *["0.00"] * 3,
        "–",
    ]
    assert [words.p_value(p) for p in (0.0001, 0.04, None)] == ["< 0.001", "0.040", "–"]
    assert [shown(x) for x in (True, None, 0.001, 3, "a")] == ["true", "null", "0.001", "3", "a"]
    assert short("model.reverse", False) == ""


CELLS = {"lstm": 30, "gru": 40, "rnn": 10}


def cells(folder: Path, peeky: tuple[str, ...] = ("none",)) -> Path:
    """Three cells, two seeds, in folders whose order is neither the cells' nor the alphabet's."""
    for i, (cell, right) in enumerate(CELLS.items()):
        for j, kind in enumerate(peeky):
            for seed in (1, 2):
                config = changed(seed, model={"cell": cell, "peeky": kind})
                make_run(folder / f"{9 - i}-{j}-{seed}", config, right + 3 * j + seed)
    return folder


def test_the_baseline_does_not_depend_on_the_order_of_the_folders(tmp_path: Path) -> None:
    folders = [path.parent for path in cells(tmp_path).glob("*/config.yaml")]
    for order in (sorted(folders), sorted(folders, reverse=True)):
        assert names(sweep_of(order)) == ["rnn", "gru", "lstm"]
    make_run(tmp_path / "x", changed(1, model={"cell": "rnn"}, optim={"schedule": "cosine"}), 10)
    assert names(read_sweep([tmp_path]))[0] == "rnn + constant"


def test_an_interaction_says_which_values_it_is_of(tmp_path: Path) -> None:
    found = analyse(read_sweep([cells(tmp_path, ("none", "both", "input"))]))
    titles = [one.title for one in found.comparisons["exact_match"] if one.kind == "interaction"]
    assert titles == [f"{kind} × {cell} (not rnn)" for kind in ("peeky input", "peeky") for cell in ("gru", "lstm")]
    assert len(set(words.findings(found)[1])) == len(found.comparisons["exact_match"]) - len(words.findings(found)[0])


CUBE = {  # right answers of 60 by (reverse, peeky, attention), before the seed is added
    (False, "none", "none"): 5,
    (True, "none", "none"): 12,
    (False, "both", "none"): 10,
    (True, "both", "none"): 22,
    (False, "none", "general"): 40,
    (True, "none", "general"): 42,
    (False, "both", "general"): 39,
    (True, "both", "general"): 43,
}


@pytest.fixture
def cube(tmp_path: Path) -> Analysis:
    for (reverse, peeky, attention), right in CUBE.items():
        for seed in (1, 2, 3):
            config = changed(seed, model={"reverse": reverse, "peeky": peeky, "attention": attention})
            make_run(tmp_path / "cube" / f"{reverse}-{peeky}-{attention}-{seed}", config, right + seed)
    return analyse(read_sweep([tmp_path / "cube"]))


def test_three_options_are_compared_with_and_without_the_third(cube: Analysis) -> None:
    general = ["reverse + general attention", "peeky + general attention", "reverse + peeky + general attention"]
    assert set(names(cube.sweep)) == {"baseline", "reverse", "peeky", "reverse + peeky", "general attention", *general}
    point = 100 / 60
    found = {one.title: one for one in cube.comparisons["exact_match"]}
    others = {title: one for title, one in found.items() if one.kind != "difference"}
    assert {title: one.contrast.estimate for title, one in others.items()} == pytest.approx(
        {
            "reverse + general attention − general attention": 2 * point,
            "peeky + general attention − general attention": -1 * point,
            "reverse + peeky + general attention − general attention": 3 * point,
            "reverse × peeky": (22 - 12 - 10 + 5) * point,
            "reverse × peeky (general attention)": (43 - 42 - 39 + 40) * point,
            "reverse × general attention": (42 - 12 - 40 + 5) * point,
            "peeky × general attention": (39 - 10 - 40 + 5) * point,
            "reverse × peeky × general attention": (2 - 5) * point,
        }
    )
    assert len(found) == 7 + len(others)
    by_hand = sum(
        (-1) ** ((not reverse) + (peeky == "none") + (attention == "none")) * right
        for (reverse, peeky, attention), right in CUBE.items()
    )
    assert found["reverse × peeky × general attention"].contrast.estimate == pytest.approx(by_hand * point)


def test_what_three_options_do_together_is_said_and_drawn(cube: Analysis) -> None:
    (three,) = [one for one in cube.comparisons["exact_match"] if one.kind == "three-way"]
    subject = "With general attention against without, the gain of reverse × peeky beyond the sum of their gains"
    for p, estimate, said in (
        (0.01, -5.0, f"{subject} is 5.00 points of exact match less (95"),
        (None, 5.0, f"{subject} is 5.00 points of exact match more (95"),
        (0.9, 5.0, f"{subject}: +5.00 points of exact match, but a difference is not shown"),
    ):
        one = three._replace(p=p, contrast=three.contrast._replace(estimate=estimate, p=p))
        assert words.sentence(one, "exact_match").startswith(said)
    texts = re.findall(r">([^<>]+)</text>", plots.draw(cube)["interaction"])
    assert texts.count("attention: general") == 3  # the title of a panel, and a line in two others
    assert texts.count("peeky: both") == 3


def test_a_third_option_with_a_gap_asks_what_can_be_answered(tmp_path: Path) -> None:
    """Without the arm that has reverse and peeky alone there is no grid there, and so nothing to compare with it."""
    for i, ((reverse, peeky, attention), right) in enumerate(CUBE.items()):
        if (reverse, peeky, attention) != (True, "both", "none"):
            config = changed(model={"reverse": reverse, "peeky": peeky, "attention": attention})
            make_run(tmp_path / str(i), config, right)
    titles = [one.title for one in analyse(read_sweep([tmp_path])).comparisons["exact_match"]]
    assert "reverse × peeky (general attention)" in titles
    assert "reverse × peeky" not in titles and "reverse × peeky × general attention" not in titles


def test_no_question_is_asked_twice(tmp_path: Path) -> None:
    for seed in (1, 2):
        make_run(tmp_path / f"b{seed}", changed(seed, model={"peeky": "both"}), 50 + seed)
        make_run(tmp_path / f"c{seed}", changed(seed, model={"match_peeky": True}), 20 + seed)
        make_run(tmp_path / f"d{seed}", changed(seed, model={"peeky": "input"}), 40 + seed)
    asked = [one.weights for one in analyse(read_sweep([tmp_path])).comparisons["exact_match"]]
    assert len(asked) == len({frozenset((name, abs(weight)) for name, weight in one.items()) for one in asked})


def test_settings_that_only_some_runs_have_are_factors(tmp_path: Path) -> None:
    plain = make_run(tmp_path / "a", changed(1), 10)
    make_run(tmp_path / "b", changed(1, trainer={"lightning": {"limit_train_batches": [1, 2]}}), 20)
    assert names(read_sweep([tmp_path])) == ["baseline", "limit train batches (1, 2)"]
    plain.rename(tmp_path / "z")
    assert names(read_sweep([tmp_path])) == ["baseline", "limit train batches (1, 2)"]


def test_runs_that_differ_in_nothing_of_consequence_are_told_apart_all_the_same(tmp_path: Path) -> None:
    for threads in (1, 2):
        make_run(tmp_path / str(threads), changed(1, trainer={"threads": threads}), 10)
    assert names(read_sweep([tmp_path])) == ["threads 1", "threads 2"]


def test_true_is_not_one(tmp_path: Path) -> None:
    for i, value in enumerate((1, True)):
        make_run(tmp_path / str(i), changed(1, trainer={"lightning": {"benchmark": value}}), 10)
    assert len(read_sweep([tmp_path]).arms) == 2


def test_an_arm_is_named_after_what_changes_with_its_factor(tmp_path: Path) -> None:
    make_run(tmp_path / "a", changed(1), 10)
    make_run(tmp_path / "b", changed(1, model={"reverse": True}, data={"book_exact": True}), 10)
    assert names(read_sweep([tmp_path])) == ["baseline", "reverse + book's padding"]


def test_there_is_no_average_around_a_missing_curve(sweep_folder: Path, tmp_path: Path) -> None:
    (sweep_folder / "True-none-2" / "metrics.csv").unlink()
    found = analyse(read_sweep([sweep_folder]))
    figures = {row.arm.name: row.figures for row in found.rows}
    assert figures["reverse"]["best"] is None and figures["reverse"]["last"] is None
    assert figures["baseline"]["best"] is not None
    write_report(found, tmp_path / "out")
    assert (
        "| reverse | 3 | 0.00 ± 0.00 | 50.00 ± 0.00 | 45.00 ± 1.67 | 2.00 ± 0.00 | – | – |"
        in (tmp_path / "out" / "report.md").read_text()
    )


def test_an_infinite_perplexity_is_shown_as_such(sweep_folder: Path, tmp_path: Path) -> None:
    path = sweep_folder / "True-none-2" / "test.json"
    write_json(path, json.loads(path.read_text()) | {"perplexity": float("inf")})
    assert "Infinity" not in path.read_text()
    write_report(analyse(read_sweep([sweep_folder])), tmp_path / "out")
    assert "| ∞ |" in (tmp_path / "out" / "report.md").read_text()


def test_the_test_set_that_most_runs_have_is_the_one_compared_on(sweep_folder: Path) -> None:
    """The baseline's first seed was scored on other sentences: the arm goes on with its others."""
    for name in ("test.src", "test.ref"):
        path = sweep_folder / "False-none-1" / name
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    found = analyse(read_sweep([sweep_folder]))
    assert found.uncompared == ("baseline, seed 1",)
    assert found.baseline == "baseline"
    assert found.comparisons["exact_match"][0].contrast.num_seeds == {"reverse": 3, "baseline": 2}
    (row,) = [row for row in found.rows if row.arm.name == "baseline"]
    assert [run.seed for run in row.arm.runs] == [2, 3]
    assert row.figures["exact_match"] == pytest.approx((100 * 12.5 / 60, 100 * 0.5**0.5 / 60))
    (sweep_folder / "False-none-1" / "test.ref").write_text("x\n")
    for name in ("test.src", "test.hyp"):
        (sweep_folder / "False-none-1" / name).write_text("x\n")
    assert "60 test sentences resampled" in words.chance(analyse(read_sweep([sweep_folder])))


def test_an_arm_of_another_test_set_has_no_figures_of_it(tmp_path: Path) -> None:
    for seed in (1, 2):
        make_run(tmp_path / f"a{seed}", changed(seed), 10)
    other = make_run(tmp_path / "b", changed(1, model={"reverse": True}), 30)
    (other / "test.src").write_text("".join(f"{line}\n" for line in reversed(SOURCES)))
    rows = {row.arm.name: row for row in analyse(read_sweep([tmp_path])).rows}
    assert rows["reverse"].figures["exact_match"] is None and rows["reverse"].figures["perplexity"] is None
    assert rows["reverse"].figures["best"] is not None and rows["reverse"].figures["train_seconds"] is not None


def test_runs_kept_for_their_loss_are_judged_by_what_is_not_nought(tmp_path: Path) -> None:
    for seed in (1, 2):
        for reverse in (False, True):
            config = changed(seed, model={"reverse": reverse}, trainer={"monitor": "loss"})
            make_run(tmp_path / f"{reverse}{seed}", config, 20 + 9 * reverse + seed)
    assert analyse(read_sweep([tmp_path])).metric == "chrf"


def test_validations_inside_an_epoch_are_points_of_a_curve(tmp_path: Path) -> None:
    """Two of one epoch stood above each other, and the only epoch of a run was a line of one point."""
    for seed in (1, 2):
        folder = make_run(tmp_path / f"{seed}", changed(seed, trainer={"validate_every": 0.5}), 10)
        table = "".join(f"{epoch},{step},{step},{step}\n" for epoch, step in ((1, 3), (1, 6), (2, 9), (2, 12), (2, 13)))
        (folder / "metrics.csv").write_text(f"epoch,step,seconds,valid/exact_match\n{table}")
    sweep = read_sweep([tmp_path])
    (arm,) = sweep.arms
    assert [row["epoch"] for row in arm.runs[0].curve] == [0.5, 1.0, 1.5, 2.0, 2.0]
    axes = Figure().subplots()
    plots._band(axes, arm, 0, "epoch", "valid/exact_match")
    (line,) = axes.lines
    assert np.asarray(line.get_xdata()).tolist() == [0.5, 1.0, 1.5, 2.0]
    assert np.asarray(line.get_ydata()).tolist() == [3, 6, 9, 13]


def test_a_curve_of_one_point_is_seen_and_one_with_a_gap_is_none(tmp_path: Path) -> None:
    for seed in (1, 2):
        folder = make_run(tmp_path / f"{seed}", changed(seed), 10)
        (folder / "metrics.csv").write_text("epoch,step,seconds,valid/exact_match\n1,10,10,5\n")
    axes = Figure().subplots()
    plots._band(axes, read_sweep([tmp_path]).arms[0], 0, "epoch", "valid/exact_match")
    assert axes.lines[0].get_marker() == "o"
    (tmp_path / "2" / "metrics.csv").unlink()
    axes = Figure().subplots()
    plots._band(axes, read_sweep([tmp_path]).arms[0], 0, "epoch", "valid/exact_match")
    assert not axes.lines


def test_values_that_are_nearly_alike_make_arms_of_their_own(tmp_path: Path) -> None:
    for i, rate in enumerate((0.001, 0.00123456, 0.001234561)):
        for seed in (1, 2):
            make_run(tmp_path / f"{i}{seed}", changed(seed, optim={"lr": rate}), 10 * (i + 1))
    found = analyse(read_sweep([tmp_path]))
    assert names(found.sweep) == ["lr 0.001", "lr 0.00123456", "lr 0.001234561"]
    assert [one.contrast.estimate for one in found.comparisons["exact_match"]] == pytest.approx([100 / 6, 200 / 6])


def test_names_that_begin_alike_are_several_in_a_legend(tmp_path: Path) -> None:
    start = "corpora/of/a/project/with/a/long/name/in/a/release/of/a/year/"
    for i, name in enumerate(("a", "b", "c")):
        make_run(tmp_path / name, changed(1, data={"book_file": start + name}), 10 + i)
    drawn = plots.draw(analyse(read_sweep([tmp_path])))["curves"]
    assert [f"release/of/a/year/{name}" in drawn for name in ("a", "b", "c")] == [True] * 3


def test_positions_of_few_probed_sentences_are_not_drawn(tmp_path: Path) -> None:
    forced = ((1.0, 0.5, 0.0), (40, 2, 1))
    assert probe_plots._common(*forced) == [1.0, 0.5, None]
    assert probe_plots._average([[1.0, 0.5, None], [0.0, 0.5, 1.0]]) == [0.5, 0.5]


def test_every_interaction_is_drawn(tmp_path: Path) -> None:
    for i, cell in enumerate(("rnn", "gru", "lstm")):
        for j, peeky in enumerate(("none", "input", "output", "both")):
            make_run(tmp_path / f"{i}{j}", changed(1, model={"cell": cell, "peeky": peeky}), 5 + 9 * i + 4 * j)
    found = analyse(read_sweep([tmp_path]))
    assert len(found.grids) == 6
    assert plots.draw(found)["interaction"].count("peeky: none") == 6


def test_a_folder_of_runs_may_have_a_config_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("somebody: else\n")
    make_run(tmp_path / "runs" / "a", BASE, 10)
    sweep = read_sweep([tmp_path])
    assert [run.folder.name for arm in sweep.arms for run in arm.runs] == ["a"]
    assert sweep.missing == ()


def test_more_gaps_than_planned_runs_explain_are_listed_too(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        make_run(tmp_path / f"a{seed}", changed(seed), 10)
    make_run(tmp_path / "b1", changed(1, model={"reverse": True}), 10)
    (tmp_path / "sweep.json").write_text('{"runs": ["b2"]}')
    missing = [one.name for one in read_sweep([tmp_path]).missing]
    assert missing == ["b2", "reverse, seed 2", "reverse, seed 3"]


def test_a_run_inside_a_run_is_none(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", BASE, 10)
    (folder / "wandb" / "files").mkdir(parents=True)
    (folder / "wandb" / "files" / "config.yaml").write_text("seed: 1\n")
    assert read_sweep([tmp_path]).missing == ()


def test_arms_with_equal_outputs_have_no_examples(tmp_path: Path) -> None:
    for reverse in (False, True):
        make_run(tmp_path / str(reverse), changed(1, model={"reverse": reverse}), 60)
    assert analyse(read_sweep([tmp_path])).examples == ()


def test_odd_names_are_drawn_and_written_as_they_are(tmp_path: Path) -> None:
    """Not as mathematics, not as markup, and without pushing the picture off the page."""
    odd = ["a$\\frac$x", "_hidden", "<script>x</script> | `y` *z*", "long " * 40]
    for name in odd:
        for seed in (1, 2):
            make_run(tmp_path / "runs" / f"{odd.index(name)}{seed}", changed(seed, data={"book_file": name}), 9 + seed)
    (tmp_path / "runs" / "sweep.json").write_text('{"runs": ["<img src=x onerror=alert(1)>`"]}')
    found = analyse(read_sweep([tmp_path / "runs"]))
    page = write_report(found, tmp_path / "out").read_text()
    assert "<script>" not in page and "<img" not in page
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "<script>" not in markdown and "<img" not in markdown
    drawn = (tmp_path / "out" / "curves.svg").read_text()
    assert "frac$x" in drawn and "_hidden" in drawn and "long long" in drawn


def test_a_difference_that_only_the_correction_takes_away_is_said_to_be_one(tmp_path: Path) -> None:
    for i, right in enumerate((10, 16, 10, 11, 10, 9, 11, 10)):
        for seed in (1, 2, 3):
            make_run(tmp_path / f"{i}{seed}", changed(seed, optim={"momentum": i / 10}), right + 2 * seed)
    found = analyse(read_sweep([tmp_path]))
    (one,) = [one for one in found.comparisons["exact_match"] if one.title.startswith("momentum 0.1 ")]
    assert one.contrast.p is not None and one.contrast.p < 0.05 < (one.p or 0)
    said = words.sentence(one, "exact_match")
    assert "would be significant as the only comparison" in said and "but is not among so many" in said
