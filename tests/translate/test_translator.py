"""A line's translation is that line's alone; as many lines out as in, whatever bytes they hold."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
import pickle
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq import checkpoint
from seq2seq.config.choices import CELLS, PEEKY
from seq2seq.config.schema import DecodeConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.engine import Engine
from seq2seq.decoding.forms import available
from seq2seq.decoding.forms.module import GraphForm
from seq2seq.decoding.forms.products import has_int8
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import evaluate
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.translate.translator import Translator
from tests import attentive, forked
from tests.conftest import LINES, ROOT, tiny_model
from tests.decoding.forms.test_graphs import again
from tests.forked import FORMS
from tests.processes import run

COMBINATIONS = list(itertools.product(CELLS, [False, True], [False, True], PEEKY, ["none", "general"]))
OPTIONS = ("cell", "bidirectional", "reverse", "peeky", "attention")


def translator(seed: int = 0, decode: DecodeConfig | None = None, **options: object) -> Translator:
    """Random weights over a character vocabulary; different lines get different translations."""
    tokenizer = Pieces(train(LINES, type="char", vocab_size=0))
    model = tiny_model(seed, vocab=len(tokenizer), **options)
    with torch.no_grad():
        model.decoder.output.bias[:3] -= 50  # pad, unk and bos are never what a trained model emits
        model.decoder.output.bias[3] -= 50 if model.fixed_length else 3
    return Translator(Engine([model]), Tokenizers(tokenizer, tokenizer), decode or DecodeConfig(max_extra=4))


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_alone_together_and_shuffled_give_the_same_text(combination: tuple[str, bool, bool, str, str]) -> None:
    lines = [*LINES, "a", "", "the dog " * 9, "sings"]
    options = dict(zip(OPTIONS, combination, strict=True))
    together = translator(**options)
    outputs = together.translate(lines)
    assert len(set(outputs)) > 3
    assert [together.translate([line])[0] for line in lines] == outputs
    order = list(range(len(lines)))
    random.Random(1).shuffle(order)
    assert together.translate([lines[i] for i in order]) == [outputs[i] for i in order]
    small = translator(decode=DecodeConfig(max_extra=4, batch_tokens=30), **options)
    assert small.translate(lines) == outputs


SEARCHES = [
    {"search": "greedy"},
    {"search": "beam", "beam_size": 3},
    {"search": "beam", "beam_size": 5, "length_penalty": 0.0},
    {"search": "sample"},
    {"search": "sample", "temperature": 0.7, "top_k": 5, "top_p": 0.9},
]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("adehst ing"), max_size=30), min_size=1, max_size=9),
    st.sampled_from(COMBINATIONS),
    st.sampled_from(SEARCHES),
    st.integers(1, 200),
    st.randoms(use_true_random=False),
)
def test_neighbours_order_and_batch_size_never_change_a_translation(
    lines: list[str],
    combination: tuple[str, bool, bool, str, str],
    search: dict[str, object],
    batch_tokens: int,
    rng: random.Random,
) -> None:
    one = translator(**dict(zip(OPTIONS, combination, strict=True)))
    one = one.with_options(DecodeConfig(max_extra=4, **search))  # type: ignore[arg-type]
    alone = [one.n_best([line], 1)[0] for line in lines]
    order = list(range(len(lines)))
    rng.shuffle(order)
    one = one.with_options(batch_tokens=batch_tokens)
    together = one.n_best([lines[i] for i in order], 1)
    for i, found in zip(order, together, strict=True):
        assert [each.text for each in found] == [each.text for each in alone[i]]
        assert [each.score for each in found] == pytest.approx([each.score for each in alone[i]], abs=1e-4)


def test_blank_lines_are_not_put_to_the_model() -> None:
    assert translator().translate(["", "  ", "\t", "a dog"])[:3] == ["", "", ""]


def test_no_lines_give_no_lines() -> None:
    assert translator().translate([]) == []


def test_a_fixed_length_is_kept_and_needs_no_end_symbol() -> None:
    outputs = translator(fixed_length=5).translate(["a dog", "birds"])
    assert [len(output) for output in outputs] == [5, 5]


def test_a_line_longer_than_the_bound_is_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    bounded = translator(decode=DecodeConfig(max_source=5, max_extra=4))
    with caplog.at_level(logging.WARNING):
        found = bounded.translate(["the dog sings", "a dog"])
        assert found == bounded.translate(["the d", "a dog"])
    assert found.num_cut == 1
    assert caplog.messages == ["a line of 13 tokens is cut to its first 5: the dog sings..."]


def test_counts_come_with_the_results_of_each_call() -> None:
    one, lines = translator(), ["the dog sings", "", "a dog"]
    assert [found.num_cut for found in (one.translate(lines, max_source=5), one.translate(lines))] == [1, 0]
    assert one.n_best(lines, 1, max_source=4).num_cut == one.score(lines, lines, max_source=4).num_cut == 2


def test_an_evaluation_warns_once_of_a_long_line(caplog: pytest.LogCaptureFixture) -> None:
    for others in ((), (tiny_model(1, vocab=len(translator().tokenizers.tgt)),)):
        caplog.clear()
        plain = translator()
        bounded = Translator(Engine([plain.model, *others]), plain.tokenizers, DecodeConfig(max_source=5, max_extra=4))
        evaluate(bounded, ["the dog sings", "a dog", "birds run"], LINES[:3])
        assert [message[-8:] for message in caplog.messages] == ["sings...", "s run..."]
        bounded.nll(["the dog sings"], ["a"])  # by itself it warns
        assert len(caplog.messages) == 3


def test_teacher_forced_nll_does_not_depend_on_the_batches() -> None:
    src, tgt = LINES, LINES[::-1]
    whole, tokens = translator(peeky="both").nll(src, tgt)
    small, same = translator(peeky="both", decode=DecodeConfig(batch_tokens=25)).nll(src, tgt)
    assert tokens == same == sum(len(line) + 1 for line in tgt)
    assert whole == pytest.approx(small, rel=1e-5)
    one_by_one = sum(translator(peeky="both").nll([s], [t])[0] for s, t in zip(src, tgt, strict=True))
    assert whole == pytest.approx(one_by_one, rel=1e-5)


@pytest.mark.parametrize("attention", ["none", "general"])
def test_scores_are_those_of_teacher_forcing(attention: str) -> None:
    """n-best lists hold different texts, the best first, and each log-probability is the model's own."""
    one = translator(attention=attention, peeky="both", decode=DecodeConfig(max_extra=30, search="beam", beam_size=6))
    with torch.no_grad():
        one.model.decoder.output.bias[3] += 4.5  # so that many outputs end
    ended = 0
    for line, found in zip(LINES, one.n_best(LINES, 4), strict=True):
        assert len(found) == 4
        assert len({each.text for each in found}) == 4
        assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
        for each in found:
            if each.tgt_pieces[-1] == "</s>":
                ended += 1
                nll, num_tokens = one.nll([line], [each.text])
                assert each.log_prob == pytest.approx(-nll, abs=1e-4)
                assert each.score == pytest.approx(-nll / ((5 + num_tokens) / 6), abs=1e-4)
    assert ended > 5


def test_a_beam_of_one_without_penalty_is_greedy_search() -> None:
    one = translator(attention="dot")
    greedy = one.n_best(LINES, 1)
    one = one.with_options(search="beam", beam_size=1, length_penalty=0.0)
    for mine, other in zip(one.n_best(LINES, 1), greedy, strict=True):
        assert mine[0].text == other[0].text
        assert mine[0].log_prob == pytest.approx(other[0].log_prob, abs=1e-5)


def test_an_ensemble_of_one_model_with_itself_changes_nothing() -> None:
    alone = translator(attention="general", decode=DecodeConfig(max_extra=4, search="beam"))
    twice = Translator(Engine([alone.model, alone.model]), alone.tokenizers, alone.decode)
    for mine, other in zip(alone.n_best(LINES, 3), twice.n_best(LINES, 3), strict=True):
        assert [one.text for one in mine] == [one.text for one in other]
        assert [one.score for one in mine] == pytest.approx([one.score for one in other], abs=1e-5)


def test_two_models_together_are_neither_alone() -> None:
    first, second = translator(0), translator(7)
    both = Translator(Engine([first.model, second.model]), first.tokenizers, first.decode)
    outputs = [one.translate(LINES) for one in (first, second, both)]
    assert outputs[2] not in outputs[:2]


def test_samples_differ_with_the_seed_and_the_draw_alone() -> None:
    one = translator(decode=DecodeConfig(max_extra=4, search="sample"))
    again = [[each.text for each in found] for found in one.n_best(LINES, 3)]
    assert again == [[each.text for each in found] for found in one.n_best(LINES, 3)]
    assert any(len(set(texts)) > 1 for texts in again)
    one = one.with_options(seed=2)
    assert again != [[each.text for each in found] for found in one.n_best(LINES, 3)]


@pytest.mark.parametrize("options", [{}, {"top_p": 0.99}, {"top_k": 11}])
def test_no_sample_has_a_symbol_that_stands_in_no_text(options: dict[str, float]) -> None:
    decode = DecodeConfig(max_extra=20, search="sample", temperature=9.0, **options)  # type: ignore[arg-type]
    found = [each for own in translator(decode=decode).n_best(LINES, 40) for each in own]
    pieces = {piece for each in found for piece in each.tgt_pieces}
    assert not {"<pad>", "<s>"} & pieces
    assert len(pieces) > 6


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_attention_has_a_row_for_each_piece_and_a_column_for_each_source_piece(search: str) -> None:
    one = translator(attention="general", decode=DecodeConfig(max_extra=3, max_ratio=0.5, search=search))
    for found in one.n_best([*LINES, "a"], 1, attention=True):
        (each,) = found
        assert each.attention is not None
        assert each.attention.shape == (len(each.tgt_pieces), len(each.src_pieces))
        torch.testing.assert_close(each.attention.sum(1), torch.ones(len(each.tgt_pieces)))
        assert each.src_pieces[-1] == "</s>"
    assert one.n_best(LINES[:1], 1)[0][0].attention is None
    assert one.n_best([""], 1, attention=True) == [[]]


def test_an_ensemble_needs_the_same_tokenizers_and_form(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Pieces(train(LINES, type="char", vocab_size=0))
    other = Pieces(train([*LINES, "xyz"], type="char", vocab_size=0))
    lower = Pieces(own.proto, lowercase=True)
    composed = Pieces(own.proto, normalization="nfc")
    loaded = {
        "a": checkpoint.Checkpoint(tiny_model(), Tokenizers(own, own), DecodeConfig()),
        "b": checkpoint.Checkpoint(tiny_model(), Tokenizers(own, other), DecodeConfig()),
        "c": checkpoint.Checkpoint(tiny_model(fixed_length=4), Tokenizers(own, own), DecodeConfig()),
        "d": checkpoint.Checkpoint(tiny_model(1), Tokenizers(own, own), DecodeConfig(beam_size=9)),
        "e": checkpoint.Checkpoint(tiny_model(), Tokenizers(lower, lower), DecodeConfig()),
        "f": checkpoint.Checkpoint(tiny_model(), Tokenizers(composed, composed), DecodeConfig()),
    }
    monkeypatch.setattr(checkpoint, "load", lambda path: loaded[str(path)])
    for other_name in ("b", "e", "f"):
        with pytest.raises(UserError, match=f"{other_name} has other tokenizers than a; an ensemble needs runs on the"):
            Translator.from_checkpoint("a", other_name)
    with pytest.raises(UserError, match="c and a do not agree on model.fixed_length; leave one of them out"):
        Translator.from_checkpoint("a", "c")
    both = Translator.from_checkpoint("d", "a")
    assert len(both.engine.models) == 2
    assert both.decode.beam_size == 9


# What a caller gives


def test_one_string_is_one_line() -> None:
    one = translator(decode=DecodeConfig(max_extra=4, search="beam", beam_size=3), attention="general")
    line, other = "the dog sings", "a dog"
    assert one.translate(line) == one.translate([line])[0]
    assert one.translate(line, prefixes="a ") == one.translate([line], prefixes=["a "])[0]
    assert one.translate("") == ""
    assert one.n_best(line, 3) == one.n_best([line], 3)[0]
    assert [each.text for each in one.n_best(line, 2, prefixes="a ")] == [
        each.text for each in one.n_best([line], 2, prefixes=["a "])[0]
    ]
    assert one.n_best(" ", 2) == []
    assert one.score(line, other) == one.score([line], [other])[0]
    assert one.nll(line, other) == one.nll([line], [other])


class Series:
    """What is like a column of pandas: no sequence, but it has a length and values in order."""

    def __init__(self, values: list[object], ndim: int = 1) -> None:
        self.values, self.ndim = values, ndim

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        return iter(self.values)


@pytest.mark.parametrize("kind", [tuple, np.array, lambda lines: np.array(lines, dtype=object), Series])
def test_other_sequences_of_strings_are_taken(kind: Callable[[list[str]], Any]) -> None:
    one, wanted = translator(), translator().translate(LINES)
    assert one.translate(kind(LINES)) == wanted
    assert one.translate(kind(LINES), prefixes=kind(["a "] * len(LINES))) == one.translate(
        LINES, prefixes=["a "] * len(LINES)
    )
    assert one.nll(kind(LINES), kind(LINES)) == one.nll(LINES, LINES)
    assert all(type(each.text) is str for each in one.score(kind(LINES), kind(LINES)))


WRONG: dict[str, tuple[Any, str]] = {
    "an item None": (["a", None], r"\[1\] must be a string; got None. Replace it, for example by ''."),
    "a missing value": (["a", float("nan")], r"\[1\] must be a string; got nan. Replace it"),
    "NumPy's": ([np.float64("nan")], r"\[0\] must be a string; got .*nan.*. Replace it"),
    "an item of bytes": ([b"a"], r"\[0\] must be a string; got a value of type bytes. Decode it."),
    "a number in it": (["a", 3], r"\[1\] must be a string; got a value of type int."),
    "a list in it": ([["a"]], r"\[0\] must be a string; got a value of type list."),
    "None": (None, r" must be a string or a list of strings; got None."),
    "bytes": (b"a", r" must be a string or a list of strings; got a value of type bytes."),
    "a number": (3, r" must be a string or a list of strings; got a value of type int."),
    "a dict": ({"a": 1}, r" must be a string or a list of strings; got a value of type dict."),
    "a set": ({"a"}, r" must be a string or a list of strings; got a value of type set."),
    "a table": (np.array([["a"]]), r" must be a string or a list of strings; got a value of type ndarray."),
    "a generator": ((one for one in "ab"), r" must be .*; got a value of type generator, which can be read only once"),
    "an iterator": (iter(["a"]), r" must be .* which can be read only once. Give list\("),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_line_is_a_type_error_before_any_work(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, message = WRONG[case]
    one = translator()
    monkeypatch.setattr(Engine, "_in_batches", lambda *_, **__: pytest.fail("worked in vain"))
    for name, call in (
        ("lines", lambda: one.translate(value)),
        ("lines", lambda: one.n_best(value, 1)),
        ("src", lambda: one.score(value, ["a"])),
        ("src", lambda: one.nll(value, ["a"])),
        ("prefixes", lambda: one.translate(["a", "b"], prefixes=[] if value is None else value)),
        ("tgt", lambda: one.score(["a", "b"], value)),
    ):
        if value is None and name == "prefixes":
            continue
        with pytest.raises(TypeError, match=rf"^{name}{message}") as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_string_beside_a_list_is_refused() -> None:
    one = translator()
    with pytest.raises(TypeError, match="prefixes is one string and lines is not; give two strings or two lists."):
        one.translate(["a", "b"], prefixes="a")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="lines is one string and prefixes is not; give two strings or two lists."):
        one.n_best("a", 1, prefixes=["a"])
    with pytest.raises(TypeError, match="src is one string and tgt is not"):
        one.score("a", ["a"])  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="tgt must have one string for each of src, 2, which may be empty; got 1."):
        one.nll(["a", "b"], ["a"])


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("num_best", [0, -1])
@pytest.mark.parametrize("lines", [LINES, "a dog", [], [""]])
def test_fewer_than_one_translation_is_refused(search: str, num_best: int, lines: list[str]) -> None:
    one = translator(decode=DecodeConfig(search=search))
    with pytest.raises(ValueError, match=f"num_best must be at least 1; got {num_best}."):
        one.n_best(lines, num_best)


def test_coverage_without_attention_is_refused_wherever_it_would_count() -> None:
    one = translator(decode=DecodeConfig(search="beam", coverage_penalty=0.2))
    message = r"decode.coverage_penalty needs a model with attention, and this one has none"
    for call in (lambda: one.translate(["a"]), lambda: one.n_best("a", 1), lambda: one.score("a", "a")):
        with pytest.raises(UserError, match=message):
            call()
    one = one.with_options(search="greedy")
    assert one.translate(["a"])


# Settings that go in with a call


def test_a_call_decodes_as_its_options_say_and_changes_nothing() -> None:
    one, decode = translator(), DecodeConfig(max_extra=4, search="beam", beam_size=3, length_penalty=0.5)
    before, wanted = one.translate(LINES), translator(decode=decode).translate(LINES)
    assert wanted != before
    assert one.translate(LINES, options=decode) == wanted
    assert one.translate(LINES, beam=3, length_penalty=0.5) == wanted
    assert one.with_options(beam=3, length_penalty=0.5).translate(LINES) == wanted
    assert one.translate(LINES[0], beam=3, length_penalty=0.5) == wanted[0]
    assert one.score(LINES, wanted, options=decode) == translator(decode=decode).score(LINES, wanted)
    assert one.nll(LINES, LINES, max_source=3) == translator(decode=DecodeConfig(max_source=3)).nll(LINES, LINES)
    assert evaluate(one, LINES, LINES, options=decode).hypotheses == wanted
    assert evaluate(one, LINES, LINES).hypotheses == before
    assert one.translate(LINES) == before


def test_nothing_on_a_translator_can_be_set() -> None:
    one = translator()
    for thing, name in ((one, "decode"), (one, "engine"), (one, "threads"), (one.engine, "shortlist")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, None)
    again = pickle.loads(pickle.dumps(one))
    assert again.translate(LINES) == copy.deepcopy(one).translate(LINES) == one.translate(LINES)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"bem": 5}, TypeError, "bem is not a decoding setting; the settings are beam, batch_tokens, beam_size,"),
        ({"beam": 0}, UserError, "decode.beam_size"),
        ({"temperature": 0.5}, UserError, "decode.temperature is for decode.search=sample, and this is greedy; give"),
        ({"beam": 2, "top_k": 5}, UserError, "decode.top_k is for decode.search=sample, and this is beam"),
    ],
)
def test_a_setting_that_would_not_count_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        translator().translate(LINES, **changes)


def test_a_checkpoint_is_loaded_with_settings_in_place_of_its_own(tmp_path: Path) -> None:
    path = attentive.save(tmp_path / "a.ckpt")
    one = Translator.from_checkpoint(path, beam=3, shortlist=True, threads=2)
    assert (one.decode.search, one.decode.beam_size, one.decode.max_extra, one.engine.threads) == ("beam", 3, 4, 2)
    with pytest.raises(UserError, match="this checkpoint has none"):  # what is asked for is not left out
        one.translate(LINES)
    with pytest.raises(TypeError, match="bem is not a decoding setting"):
        Translator.from_checkpoint(path, bem=3)


# Threads


@pytest.mark.parametrize("form", FORMS)
def test_threads_share_a_translator(form: str) -> None:
    """Each finds what it would find by itself, and the forms are made once."""
    if form == "int8" and not has_int8():
        pytest.skip("this machine has no 8-bit products")
    one, _ = forked.made(FORMS[form])
    calls = [{}, {"beam": 3}, {"search": "sample", "seed": 7}, {"max_source": 4, "max_extra": 7}]
    parts = [[line[i:] for line in LINES] * 2 for i in range(len(calls))]
    wanted = [one.translate(lines, **call) for lines, call in zip(parts, calls, strict=True)]
    fresh = Translator(
        Engine(one.engine.models, shortlist=one.engine.shortlist, trained=True), one.tokenizers, one.decode
    )
    with ThreadPoolExecutor(len(calls)) as pool, pytest.MonkeyPatch.context() as patch:
        made: list[tuple[bool, bool]] = []
        real = Engine._new_forms
        patch.setattr(Engine, "_new_forms", lambda self, *key: (made.append(key), real(self, *key))[1])
        for _ in range(3):
            works = [pool.submit(fresh.translate, lines, **call) for lines, call in zip(parts, calls, strict=True)]
            assert [work.result() for work in works] == wanted
    assert made == [(FORMS[form].int8, False)]


def test_threads_take_turns_with_recorded_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = attentive.load(attentive.save(tmp_path / "a.ckpt"))
    parts = [[line[i:] for line in LINES] for i in range(4)]
    wanted = [plain.translate(lines) for lines in parts]
    monkeypatch.setattr(available, "GRAPHED", ("cpu",))
    monkeypatch.setattr(available, "GraphForm", lambda model: GraphForm(model, again))
    recorded = Translator.from_checkpoint(tmp_path / "a.ckpt", cuda_graphs=True)
    with ThreadPoolExecutor(len(parts)) as pool:
        assert list(pool.map(recorded.translate, parts * 3)) == wanted * 3
    assert len({id(one) for _ in parts for one in recorded.engine._forms(recorded.decode)}) == 1


@pytest.mark.parametrize("form", FORMS)
def test_forked_processes_translate_as_their_parent_does(form: str) -> None:
    """As the workers of a server do whose application is loaded before they are forked."""
    if form == "int8" and not has_int8():
        pytest.skip("this machine has no 8-bit products")
    done = run("tests.forked", form, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


def test_a_small_network_from_a_checkpoint_works_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = attentive.load(attentive.save(tmp_path / "a.ckpt"))
    seen = []
    step = one.model.loss
    monkeypatch.setattr(one.model, "loss", lambda *given: (seen.append(torch.get_num_threads()), step(*given))[1])
    torch.set_num_threads(2)
    one.nll(LINES, LINES)
    for threads in (0, 3):  # 0 is as torch has it
        Translator(dataclasses.replace(one.engine, threads=threads), one.tokenizers).nll(LINES, LINES)
    assert seen == [1, 2, 3]
    assert torch.get_num_threads() == 2
