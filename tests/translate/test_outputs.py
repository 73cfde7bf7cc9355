"""What is written for each line: lists, scores, prefixes, alignments, pictures; by the library and the command."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.cli import evaluate
from seq2seq.cli.translate import main
from seq2seq.decoding.engine import Engine
from seq2seq.errors import UserError
from seq2seq.translate import attention_plot
from seq2seq.translate.files import translate_file
from seq2seq.translate.outputs import Wanted, parse_n_best
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import LINES, Command, tiny_model
from tests.translate.test_translator import translator

INPUT = [*LINES, "", "a", "the dog " * 5, "  ", "sings"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attentive.save(tmp_path_factory.mktemp("attentive") / "a.ckpt")


@pytest.fixture(scope="session")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attentive.save(tmp_path_factory.mktemp("blind") / "b.ckpt", attention="none")


@pytest.fixture
def beam(model: Path) -> Translator:
    return attentive.load(model, search="beam", beam_size=4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is given: an input of eleven lines, two of them blank."""
    monkeypatch.chdir(tmp_path)
    write("in", INPUT)
    return tmp_path


def write(name: str, lines: list[str]) -> None:
    Path(name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def read(name: str | Path) -> list[str]:
    return Path(name).read_text(encoding="utf-8").split("\n")[:-1]


def give(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return int(str(ended.value.code))


def test_an_n_best_list_is_what_the_library_finds(beam: Translator, folder: Path) -> None:
    translate_file(beam, "in", "out", wanted=Wanted(num_best=3), window=4)
    rows = [parse_n_best(line) for line in read("out")]
    found = beam.n_best(INPUT, 3)
    wanted = [(i, one.text, one.score) for i, own in enumerate(found) for one in own]
    wanted += [(i, "", 0.0) for i, own in enumerate(found) if not own]
    for mine, other in zip(rows, sorted(wanted, key=lambda row: (row[0], -row[2])), strict=True):
        assert mine[:2] == other[:2]
        assert mine[2] == pytest.approx(other[2], abs=1e-6)
    assert [sum(row[0] == i for row in rows) for i in range(len(INPUT))] == [
        1 if not one.strip() else 3 for one in INPUT
    ]


def test_three_scored_lines_for_one_of_stdin(command: Command, model: Path) -> None:
    done = command("translate", model, "--beam", 5, "--n-best", 3, stdin=b"a dog runs\n")
    assert done.returncode == 0, done.stderr
    rows = [parse_n_best(line) for line in done.stdout.split("\n")[:-1]]
    assert [row[0] for row in rows] == [0, 0, 0]
    assert len({row[1] for row in rows}) == 3
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
    assert "stdin: 1 lines" in done.stderr


@pytest.mark.parametrize("shards", [1, 2, 3, 13])
def test_the_lists_of_all_shards_are_the_whole(beam: Translator, folder: Path, shards: int) -> None:
    translate_file(beam, "in", "whole", wanted=Wanted(num_best=2))
    for k in range(1, shards + 1):
        translate_file(beam, "in", f"{k}.gz", wanted=Wanted(num_best=2), shard=(k, shards))
    blocks = b"".join(gzip.decompress(Path(f"{k}.gz").read_bytes()) for k in range(1, shards + 1))
    rows, whole = ([parse_n_best(line) for line in lines] for lines in (blocks.decode().splitlines(), read("whole")))
    assert [row[:2] for row in rows] == [row[:2] for row in whole]
    # On some processors the sums of a small batch round otherwise than those of a large one.
    assert [row[2] for row in rows] == pytest.approx([row[2] for row in whole], abs=1e-5)


class Killed(BaseException):
    """Ctrl-C, or as good as it."""


@pytest.mark.parametrize("kind", [{"num_best": 3}, {"references": "ref"}, {"prefixes": "ref"}, {"prefix": "a "}])
def test_a_killed_one_is_gone_on_with_to_the_same_bytes(
    beam: Translator, folder: Path, kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("ref", [line[:3] for line in INPUT])
    options: dict[str, Any] = {"wanted": Wanted(**kind), "window": 2}
    translate_file(beam, "in", "whole", **options)
    name = "score" if "references" in kind else "n_best" if "num_best" in kind else "translate"
    work, windows = getattr(Translator, name), itertools.count(1)

    def killed_later(*arguments: Any, **rest: Any) -> Any:
        if next(windows) == 4:
            raise Killed
        return work(*arguments, **rest)

    monkeypatch.setattr(Translator, name, killed_later)
    with pytest.raises(Killed):
        translate_file(beam, "in", "out", **options)
    with pytest.raises(UserError, match=r"out cannot be resumed: (n-best|scores of|a file of|prefix).* was"):
        translate_file(beam, "in", "out", window=2, resume=True)
    report = translate_file(beam, "in", "out", resume=True, **options)
    assert report.num_kept == 6
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert translate_file(beam, "in", "out", resume=True, **options).finished_already


def test_resume_sees_references_that_have_changed(
    beam: Translator, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("ref", INPUT)
    options: dict[str, Any] = {"wanted": Wanted(references="ref"), "window": 5}
    score, windows = Translator.score, itertools.count(1)

    def killed_later(*arguments: Any, **rest: Any) -> Any:
        if next(windows) == 2:
            raise Killed
        return score(*arguments, **rest)

    monkeypatch.setattr(Translator, "score", killed_later)
    with pytest.raises(Killed):
        translate_file(beam, "in", "out", **options)
    write("ref", ["other", *INPUT[1:]])
    with pytest.raises(UserError, match="the first 5 lines of in have changed"):
        translate_file(beam, "in", "out", resume=True, **options)


def test_a_finished_list_of_another_input_is_refused(beam: Translator, folder: Path) -> None:
    translate_file(beam, "in", "out", wanted=Wanted(num_best=3))
    write("in", INPUT[:4])
    with pytest.raises(UserError, match="out is finished, but has 11 translations of lines for 4 of in"):
        translate_file(beam, "in", "out", wanted=Wanted(num_best=3), resume=True)


@given(st.integers(0, 10**9), st.text(st.sampled_from("| a-1"), max_size=20), st.floats(-1e5, 0))
def test_any_text_can_be_read_back_from_a_list(number: int, text: str, score: float) -> None:
    assert parse_n_best(f"{number} ||| {text} ||| {score:.6f}") == (number, text, float(f"{score:.6f}"))


@pytest.mark.parametrize("line", ["", "0 ||| a", "one ||| a ||| -1", "0 ||| a ||| low"])
def test_a_line_that_is_none_of_a_list_is_refused(line: str) -> None:
    with pytest.raises(UserError, match=r"is not a line of an n-best list; it must be index \|\|\| text \|\|\| score"):
        parse_n_best(line)


# Scores


@pytest.mark.parametrize("penalties", [{}, {"length_penalty": 0.0}, {"coverage_penalty": 0.4}])
@pytest.mark.parametrize("others", [0, 1])
def test_scores_of_an_n_best_list_are_those_of_scoring_its_texts(
    model: Path, folder: Path, penalties: dict[str, float], others: int
) -> None:
    one = attentive.load(model, search="beam", beam_size=5, max_extra=30, **penalties)
    if others:
        second = attentive.load(attentive.save(folder / "b.ckpt", seed=3))
        one = Translator(Engine([one.model, second.model]), one.tokenizers, one.decode)
    translate_file(one, "in", "list", wanted=Wanted(num_best=5))
    rows = [parse_n_best(line) for line in read("list")]
    found = [each for own in one.n_best(INPUT, 5) for each in own]
    assert sum(each.tgt_pieces[-1] == "</s>" for each in found) > 10
    ended = {(each.text, round(each.score, 5)) for each in found if each.tgt_pieces[-1] == "</s>"}
    write("again", [INPUT[i] for i, _, _ in rows])
    write("texts", [text for _, text, _ in rows])
    translate_file(one, "again", "scores", wanted=Wanted(references="texts"))
    for (i, text, score), line in zip(rows, read("scores"), strict=True):
        total, per_token, ranked = map(float, line.split("\t"))
        if not INPUT[i].strip():
            assert (total, per_token, ranked) == (0, 0, 0)
        elif (text, round(score, 5)) in ended:  # what was cut off has no </s> in its score
            assert ranked == pytest.approx(score, abs=1e-4)
            assert per_token == pytest.approx(total / (len(text) + 1), abs=1e-4)


def test_scores_are_those_of_the_loss(model: Path) -> None:
    """The loss is one fused pass; scoring goes step by step."""
    one = attentive.load(model, batch_tokens=40)
    src, tgt = [*LINES, "a", ""], [*LINES[::-1], "", "dog"]
    for pair, scored in zip(zip(src, tgt, strict=True), one.score(src, tgt), strict=True):
        nll, num_tokens = one.nll([pair[0]], [pair[1]])
        assert scored.log_prob == pytest.approx(-nll, abs=1e-4)
        assert len(scored.tgt_pieces) == num_tokens
        assert scored.per_token == pytest.approx(-nll / num_tokens, abs=1e-4)
        assert scored.score == scored.log_prob
        assert scored.attention is None


def test_references_may_be_what_can_be_read_only_once(model: Path, folder: Path) -> None:
    """As ``--score <(cat ref)`` gives them."""
    write("ref", INPUT[::-1])
    assert give(model, "-i", "in", "-o", "wanted", "--score", "ref") == 0
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(Path("ref").read_bytes()))
    writer.start()
    assert give(model, "-i", "in", "-o", "out", "--score", "pipe") == 0
    writer.join()
    assert read("out") == read("wanted")


def test_an_ensemble_has_the_perplexity_of_its_mean_probability(model: Path, tmp_path: Path) -> None:
    first, second = attentive.load(model), attentive.load(attentive.save(tmp_path / "b.ckpt", seed=3))
    both = Translator(Engine([first.model, second.model]), first.tokenizers, first.decode)
    twice = Translator(Engine([first.model, first.model]), first.tokenizers, first.decode)
    assert twice.nll(LINES, LINES) == (pytest.approx(first.nll(LINES, LINES)[0], rel=1e-5), first.nll(LINES, LINES)[1])
    one_token = [each.nll(["a dog"], [""])[0] for each in (first, second, both)]  # the end symbol alone
    assert one_token[2] == pytest.approx(-math.log((math.exp(-one_token[0]) + math.exp(-one_token[1])) / 2), abs=1e-5)


def test_a_perplexity_is_of_the_lines_as_they_are_cut_for_one_model_as_for_several(model: Path) -> None:
    first = attentive.load(model, max_source=3)
    twice = Translator(Engine([first.model, first.model]), first.tokenizers, first.decode)
    cut = [line[:3] for line in LINES]
    assert first.nll(LINES, LINES)[0] == pytest.approx(attentive.load(model).nll(cut, LINES)[0])
    assert first.nll(LINES, LINES)[0] == pytest.approx(twice.nll(LINES, LINES)[0], rel=1e-5)
    assert first.nll(LINES, LINES)[0] != pytest.approx(attentive.load(model).nll(LINES, LINES)[0], rel=1e-5)


def test_a_fixed_length_scores_what_it_allows(tmp_path: Path) -> None:
    one = attentive.load(attentive.save(tmp_path / "a.ckpt", attention="none", fixed_length=5))
    (scored,) = one.score(["a dog"], ["birds"])
    assert scored.log_prob == pytest.approx(-one.nll(["a dog"], ["birds"])[0], abs=1e-4)
    assert len(scored.tgt_pieces) == 5
    with pytest.raises(UserError, match="the reference 'dog' has 3 tokens, but model.fixed_length=5 allows 5 tokens"):
        one.score(["a"], ["dog"])
    for ask in (one.score, one.nll):
        with pytest.raises(UserError, match="the reference 'birds' has a blank source, but"):
            ask([""], ["birds"])
    with pytest.raises(UserError, match="the prefix 'the dog' has 7 tokens, but model.fixed_length=5; shorten it"):
        one.translate(["a"], prefixes=["the dog"])


def test_evaluate_takes_the_flags_of_a_search_and_several_checkpoints(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = attentive.save(folder / "b.ckpt", seed=3)
    write("src", LINES)
    write("ref", LINES[::-1])
    flags = ["--beam", "3", "--length-penalty", "0.5", "--hyp", "hyp"]
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(model), str(other), "--src", "src", "--ref", "ref", *flags])
    assert ended.value.code == 0
    figures = json.loads(capsys.readouterr().out)
    both = Translator.from_checkpoint(model, other)
    both = both.with_options(search="beam", beam_size=3, length_penalty=0.5)
    assert read("hyp") == both.translate(LINES)
    total = sum(one.log_prob for one in both.score(LINES, LINES[::-1]))
    assert figures["perplexity"] == pytest.approx(math.exp(-total / figures["num_tokens"]), rel=1e-5)
    assert figures["num_tokens"] == sum(len(line) + 1 for line in LINES)
    one = sum(parameter.numel() for parameter in both.model.parameters())
    assert figures["parameters"] == 2 * one


# Prefixes


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_translations_begin_with_their_prefixes(model: Path, search: str) -> None:
    one = attentive.load(model, search=search, max_ratio=0.2)
    prefixes = ["", "the ", "birds sing and", " a", "the dog sings well here", "x"]
    found = one.n_best(LINES, 1, prefixes=prefixes)
    assert one.translate(LINES, prefixes=prefixes) == [own[0].text for own in found]
    for prefix, (each,) in zip(prefixes, found, strict=True):
        assert each.text.startswith(prefix)
    free = one.translate(LINES)
    assert one.translate(LINES, prefixes=[""] * len(LINES)) == free
    if search == "greedy":  # its own beginnings lead it where it went
        assert one.translate(LINES, prefixes=[text[:2] for text in free]) == free
    assert one.translate(["", " "], prefixes=["the", "dog"]) == ["", ""]


def test_a_translation_that_its_prefix_fills_may_still_go_on(model: Path) -> None:
    one = attentive.load(model, max_ratio=0.0, max_extra=2)
    (text,) = one.translate(["a"], prefixes=["the dog sings"])
    assert text.startswith("the dog sings")
    assert len(text) <= len("the dog sings") + 2


def test_each_line_needs_a_prefix(model: Path) -> None:
    with pytest.raises(
        ValueError, match="prefixes must have one string for each of lines, 2, which may be empty; got 1"
    ):
        attentive.load(model).translate(["a", "b"], prefixes=["a"])


def test_prefixes_by_the_command(model: Path, folder: Path) -> None:
    prefixes = [line[:2] for line in INPUT]
    write("prefixes", prefixes)
    assert give(model, "-i", "in", "-o", "out", "--prefix-file", "prefixes") == 0
    assert all(line.startswith(prefix.strip(" ")) for line, prefix in zip(read("out"), prefixes, strict=True))
    assert read("out") == attentive.load(model).translate(INPUT, prefixes=prefixes)
    assert give(model, "-i", "in", "-o", "out", "--prefix", "birds ", "--beam", 3, "--n-best", 2) == 0
    rows = [parse_n_best(line) for line in read("out")]
    assert all(text.startswith("birds ") == bool(INPUT[i].strip()) for i, text, _ in rows)
    for k in (1, 2):
        assert give(model, "-i", "in", "-o", f"out{k}", "--prefix-file", "prefixes", "--shard", f"{k}/2") == 0
    assert read("out1") + read("out2") == attentive.load(model).translate(INPUT, prefixes=prefixes)


# Neighbours


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("adehst ing"), max_size=20), min_size=1, max_size=7),
    st.sampled_from([{"search": "beam", "beam_size": 4}, {"search": "greedy"}, {"search": "sample"}]),
    st.sampled_from(["dot", "general", "additive"]),
    st.integers(1, 200),
    st.randoms(use_true_random=False),
)
def test_neighbours_change_no_list_prefix_score_or_attention(
    lines: list[str], search: dict[str, Any], attention: str, batch_tokens: int, rng: random.Random
) -> None:
    one = translator(attention=attention, bidirectional=attention == "general", reverse=True, peeky="both")
    one = one.with_options(attentive.DecodeConfig(max_extra=4, **search))
    num_best = 1 if search["search"] == "greedy" else 3
    prefixes = [rng.choice(["", "a", "the "]) for _ in lines]
    references = [rng.choice(["", "a dog", "sings"]) for _ in lines]
    order = rng.sample(range(len(lines)), len(lines))

    def ask(rows: list[int]) -> list[Any]:
        own = [lines[i] for i in rows]
        lists = one.n_best(own, num_best, attention=True, prefixes=[prefixes[i] for i in rows])
        scored = one.score(own, [references[i] for i in rows], attention=True)
        return list(zip(lists, scored, strict=True))

    alone = [ask([i])[0] for i in range(len(lines))]
    one = one.with_options(attentive.DecodeConfig(max_extra=4, batch_tokens=batch_tokens, **search))
    for i, (found, scored) in zip(order, ask(order), strict=True):
        for mine, other in zip([*found, scored], [*alone[i][0], alone[i][1]], strict=True):
            assert mine.text == other.text
            assert mine.score == pytest.approx(other.score, abs=1e-4)
            assert mine.tgt_pieces == other.tgt_pieces
            if mine.attention is not None:
                assert mine.attention.flatten().tolist() == pytest.approx(other.attention.flatten().tolist(), abs=1e-4)


def test_a_list_has_no_text_twice_though_its_pieces_differ() -> None:
    """A subword vocabulary spells a text in several ways."""
    both = attentive.tokenizers("bpe", 40)
    found = 0
    for seed in range(6):
        one = Translator(Engine([tiny_model(seed, vocab=len(both.tgt))]), both)
        one = one.with_options(attentive.DecodeConfig(max_extra=3, max_ratio=0.1, search="beam", beam_size=30))
        for line, own in zip(LINES, one.n_best(LINES, 10), strict=True):
            texts = [each.text for each in own]
            assert len(set(texts)) == len(texts)
            ((asked,), _) = one._reader.to_translate([line], [""], one.decode)
            (hypotheses,) = one.engine.search([asked.request], one.decode, 30)
            all_texts = both.tgt.decode([each.tokens for each in hypotheses])
            found += len(set(all_texts)) < len(all_texts)
            scores = [each.normalised for each in hypotheses]
            assert own[0].score == pytest.approx(max(scores))
            for each in own:  # the likeliest of its spellings
                assert each.score == pytest.approx(
                    max(score for text, score in zip(all_texts, scores, strict=True) if text == each.text)
                )
    assert found


# Alignments and pictures


def test_alignments_are_of_each_output_line(model: Path, folder: Path) -> None:
    assert give(model, "-i", "in", "-o", "out", "--beam", 3, "--n-best", 2, "--alignments", "links.gz") == 0
    links = gzip.decompress(Path("links.gz").read_bytes()).decode().split("\n")[:-1]
    rows = [parse_n_best(line) for line in read("out")]
    assert len(links) == len(rows)
    for (i, text, _), line in zip(rows, links, strict=True):
        pairs = [tuple(map(int, pair.split("-"))) for pair in line.split()]
        assert [j for _, j in pairs] == list(range(len(text.split())))  # each of its words has one
        assert all(0 <= source < len(INPUT[i].split()) for source, _ in pairs)


def test_an_alignment_is_that_of_the_library_whatever_is_written(model: Path, folder: Path) -> None:
    assert give(model, "-i", "in", "-o", "out", "--alignments", "links") == 0
    outputs = read("out")
    assert outputs == attentive.load(model).translate(INPUT)
    plain = read("links")
    write("out", outputs)
    assert give(model, "-i", "in", "--score", "out", "-o", "scores", "--alignments", "links") == 0
    assert len(read("scores")) == len(INPUT)
    whole = [own[0] if own else None for own in attentive.load(model).n_best(INPUT, 1)]
    for i, each in enumerate(whole):  # a given translation ends with </s>; one that was cut off does not
        if each is None or each.tgt_pieces[-1] == "</s>":
            assert read("links")[i] == plain[i]


def test_pictures_of_the_first_lines_and_of_one(model: Path, folder: Path) -> None:
    assert give(model, "-i", "in", "-o", "out", "--attention-plot", "new/pictures", "--plot-lines", 8) == 0
    numbers = [i for i, line in enumerate(INPUT) if line.strip()][:8]
    assert sorted(path.name for path in Path("new/pictures").iterdir()) == [f"{i:06d}.png" for i in numbers]
    assert Path("new/pictures/000000.png").read_bytes().startswith(b"\x89PNG")
    write("in", ["", *INPUT])
    assert give(model, "-i", "in", "-o", "out", "--attention-plot", "first.png", "--beam", 2, "--n-best", 2) == 0
    one = attentive.load(model, search="beam", beam_size=2)
    best = one.n_best(["", *INPUT], 2, attention=True)[1][0]
    assert best.attention is not None
    attention_plot.draw(Path("other.png"), best.attention.numpy(), best.src_pieces, best.tgt_pieces)
    assert Path("first.png").read_bytes() == Path("other.png").read_bytes()


# Mistakes


MISTAKES = {
    "an n-best list of greedy search": (
        ["--n-best", 2],
        "num_best=2 (--n-best) needs a search with",
    ),
    "more than the beam": (
        ["--beam", 2, "--n-best", 3],
        "num_best=3 (--n-best) is more than a beam of 2",
    ),
    "none best": (["--beam", 2, "--n-best", 0], "--n-best 0 is out of range; it must be at least 1"),
    "no picture": (["--plot-lines", 0], "--plot-lines 0 is out of range; it must be at least 1"),
    "pictures of none": (
        ["--plot-lines", 3],
        "--plot-lines has no effect without --attention-plot",
    ),
    "alignments without": (
        ["--alignments", "a"],
        "a file of alignments (--alignments) needs",
    ),
    "a picture without": (
        ["--attention-plot", "a"],
        "a picture of the attention (--attention-plot)",
    ),
    "copies without": (["--copy-unknown"], "decode.copy_unknown (--copy-unknown) needs a model with attention"),
    "coverage without": (
        ["--beam", 2, "--coverage-penalty", 1],
        "decode.coverage_penalty (--coverage-penalty)",
    ),
    "scores and lists": (["--score", "in", "--beam", 2, "--n-best", 2], "--score translates nothing; leave out"),
    "scores after a prefix": (["--score", "in", "--prefix", "a"], "--score translates nothing; leave out"),
    "scores and copies": (
        ["--score", "in", "--copy-unknown", "--max-extra", 3],
        "--score translates nothing; leave out --copy-unknown and --max-extra.",
    ),
    "too few references": (["--score", "short"], "short has 1 lines but in has 11; the two must be line-aligned"),
    "too few prefixes": (["--prefix-file", "short"], "short has 1 lines but in has 11; the two must be line-aligned"),
    "no references": (["--score", "nowhere"], "nowhere does not exist"),
    "a prefix of two lines": (["--prefix", "a\nb"], "--prefix 'a\\nb' has more than one line; give one, or a"),
    "alignments on resume": (["--alignments", "a", "--resume"], "--alignments cannot be resumed; leave out"),
    "alignments over the input": (["--alignments", "in"], "--alignments in is already another file of this command"),
    "alignments over the output": (["--alignments", "out"], "--alignments out is already another file of this command"),
    "alignments over references": (
        ["--alignments", "short", "--score", "short"],
        "--alignments short is already another file",
    ),
    "the output over references": (["--score", "out"], "--score out is already another file of this command"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    blind: Path, folder: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = MISTAKES[case]
    write("short", ["a"])
    assert give(blind, "-i", "in", "-o", "out", *words) == 2
    said = capsys.readouterr().err.split("\n")
    assert len(said) == 2
    assert f"seq2seq-translate: {message}" in said[0]
    assert {path.name for path in folder.iterdir()} == {"in", "short"}


@pytest.mark.parametrize("named", ["run", "run/checkpoints", "run/checkpoints/best.ckpt"])
def test_no_output_goes_over_its_checkpoint(
    model: Path, folder: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = folder / "run" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    best.write_bytes(model.read_bytes())
    said = "best.ckpt is a checkpoint and output; name another output."
    for words in ((named, "-o", best), (named, "--alignments", best), (model, "--lm", named, "--alignments", best)):
        assert give(*words, "-i", "in") == 2
        assert said in capsys.readouterr().err
    assert best.read_bytes() == model.read_bytes()


def test_no_hypotheses_go_over_a_checkpoint(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = folder / "run" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    best.write_bytes(model.read_bytes())
    write("ref", INPUT)
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["run", "--src", "in", "--ref", "ref", "--hyp", str(best)])
    assert ended.value.code == 2
    assert "best.ckpt is a checkpoint and output; name another output." in capsys.readouterr().err
    assert best.read_bytes() == model.read_bytes()


def test_hypotheses_that_cannot_be_written_are_refused_before_any_are_made(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("ref", INPUT)
    with monkeypatch.context() as patch:
        patch.setattr(Translator, "translate", lambda *_: pytest.fail("translated in vain"))
        with pytest.raises(SystemExit) as ended:
            evaluate.main([str(model), "--src", "in", "--ref", "ref", "--hyp", "nowhere/hyp"])
    assert ended.value.code == 2
    assert "nowhere/hyp cannot be written: No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(model), "--src", "in", "--ref", "ref", "--hyp", "hyp"])
    assert ended.value.code == 0
    assert read("hyp") == attentive.load(model).translate(INPUT)


def test_blank_lines_have_no_picture_which_is_said(model: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write("in", ["", " "])
    one = attentive.load(model)
    translate_file(one, "in", "out", wanted=Wanted(pictures="a.png"))
    assert "a.png: there is no line to draw the attention of" in caplog.text
    assert not Path("a.png").exists()


def test_files_beside_several_inputs_are_refused(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("other", INPUT)
    assert give(model, "-i", "in", "other", "--suffix", "de", "--alignments", "a") == 2
    assert "--alignments works with one input; translate the 2 inputs one by one." in capsys.readouterr().err


@pytest.mark.parametrize("num", [2, 5])
def test_references_of_stdin_are_counted_while_it_is_read(
    command: Command, model: Path, tmp_path: Path, num: int
) -> None:
    (tmp_path / "ref").write_text("a\n" * num)
    done = command("translate", model, "--score", "ref", stdin=b"a\nb\nc\n")
    assert done.returncode == 2
    what = "fewer" if num < 3 else "more"
    assert f"ref has {what} lines than the input; the two must be line-aligned." in done.stderr


def test_the_python_call_refuses_what_does_not_go_together(beam: Translator, folder: Path) -> None:
    with pytest.raises(ValueError, match="num_best must be at least 0 and num_pictures at least 1; got -1 and 20"):
        Wanted(num_best=-1)
    with pytest.raises(ValueError, match="exclude each other"):
        Wanted(references="a", num_best=2)
    with pytest.raises(ValueError, match="alignments and pictures cannot be resumed"):
        translate_file(beam, "in", "out", wanted=Wanted(alignments="a"), resume=True)
