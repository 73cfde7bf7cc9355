"""An exported model gives what its checkpoint gives: texts, scores, lists, draws, attention and alignments."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seq2seq import checkpoint
from seq2seq.config.choices import ATTENTIONS, CELLS, PEEKY
from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError
from seq2seq.translate.results import Translation
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import LINES
from tests.exported import both, export

INPUT = [*LINES[:3], "", "a dog sings well", "x", "the cat " * 4]
SEARCHES: list[dict[str, Any]] = [
    {"search": "greedy"},
    {"beam": 1},
    {"beam": 3, "length_penalty": 0.6},
    {"beam": 5, "length_penalty": 0.0},
    {"search": "sample"},
    {"search": "sample", "temperature": 0.7, "top_k": 5, "top_p": 0.9},
]
OPTIONS = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(sorted(CELLS)),
        "bidirectional": st.booleans(),
        "reverse": st.booleans(),
        "peeky": st.sampled_from(PEEKY),
        "attention": st.sampled_from(ATTENTIONS),
        "num_layers": st.integers(1, 3),
        "tie": st.sampled_from(["none", "all"]),
        "residual": st.booleans(),
        "layer_norm": st.booleans(),
    }
)


def assert_same(own: Sequence[Translation], theirs: Sequence[Translation]) -> None:
    assert [one.text for one in own] == [one.text for one in theirs]
    for one, other in zip(own, theirs, strict=True):
        assert (one.log_prob, one.score) == (
            pytest.approx(other.log_prob, abs=2e-3),
            pytest.approx(other.score, abs=2e-3),
        )
        assert one._replace(log_prob=0, score=0, attention=None) == other._replace(log_prob=0, score=0, attention=None)
        assert (one.attention is None) == (other.attention is None)
        assert one.attention is None or np.allclose(one.attention, other.attention, atol=1e-4)


# No shrinking: each example writes graphs. No other examples each time: random networks have near ties.
@settings(max_examples=20, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(OPTIONS, st.sampled_from(SEARCHES), st.integers(0, 10**6), st.sampled_from([1, 40, 8192]), st.data())
def test_any_network_translates_as_its_checkpoint(
    options: dict[str, Any], search: dict[str, Any], seed: int, batch_tokens: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as place:
        try:
            paths = both(Path(place), seed, **options)
        except UserError:  # options that do not go together
            return
        trained = Translator.from_checkpoint(paths[0]).with_options(max_extra=4)
        runtime = Translator.from_export(paths[1], max_extra=4).with_options(batch_tokens=batch_tokens)
        assert runtime.engine.has_attention == trained.engine.has_attention
        for translator in (trained, runtime):
            assert translator.translate(INPUT, **search) == trained.translate(INPUT, **search)
        num_best = data.draw(st.integers(1, search.get("beam", 2 if search.get("search") == "sample" else 1)))
        theirs = trained.n_best(INPUT, num_best, attention=True, **search)
        own = runtime.n_best(INPUT, num_best, attention=True, **search)
        for one, other in zip(own, theirs, strict=True):
            assert_same(one, other)
        prefixes = [each[0].text[: data.draw(st.integers(0, 5))] if each else "" for each in theirs]
        beginning = trained.translate(INPUT, prefixes=prefixes, **search)
        assert runtime.translate(INPUT, prefixes=prefixes, **search) == beginning
        assert_same(
            runtime.score(INPUT, beginning, attention=True, **search),
            trained.score(INPUT, beginning, attention=True, **search),
        )
        told, expected = runtime.nll(INPUT, beginning), trained.nll(INPUT, beginning)
        assert told == (pytest.approx(expected[0], rel=1e-5), expected[1])


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return both(tmp_path_factory.mktemp("parity"), 3, bidirectional=True)


def test_coverage_and_copies_of_unknown_words(tmp_path: Path) -> None:
    trained, runtime = both(tmp_path, 5, tokenizers=attentive.tokenizers("word", 9))
    one, other = Translator.from_checkpoint(trained), Translator.from_export(runtime)
    for how in ({"beam": 3, "coverage_penalty": 0.4}, {"beam": 2, "copy_unknown": True}, {"copy_unknown": True}):
        assert other.translate(INPUT, **how) == one.translate(INPUT, **how)
        for own, theirs in zip(other.n_best(INPUT, 1, **how), one.n_best(INPUT, 1, **how), strict=True):
            assert_same(own, theirs)
    assert_same(
        other.score(INPUT, INPUT, beam=3, coverage_penalty=0.4), one.score(INPUT, INPUT, beam=3, coverage_penalty=0.4)
    )


def test_a_fixed_length(tmp_path: Path) -> None:
    trained, runtime = both(tmp_path, 1, fixed_length=4, attention="none")
    one, other = Translator.from_checkpoint(trained), Translator.from_export(runtime)
    assert other.engine.fixed_length == 4
    for search in SEARCHES:
        assert other.translate(INPUT, **search) == one.translate(INPUT, **search)


def test_a_shortlist(tmp_path: Path) -> None:
    trained = attentive.save(tmp_path / "a.ckpt", 2)
    tokenizer = checkpoint.load(trained).tokenizers.tgt
    size = len(tokenizer)
    best = torch.arange(size * 2).view(size, 2).remainder(size).int()
    frequent = torch.tensor([3, 4, 6], dtype=torch.int32)
    checkpoint.add_shortlist(trained, checkpoint.Shortlist(best, frequent, torch.tensor(size).int()))
    runtime = export(trained, tmp_path / "exported")
    one, other = Translator.from_checkpoint(trained), Translator.from_export(runtime)
    whole = one.translate(INPUT)
    for search in SEARCHES:
        expected = one.translate(INPUT, shortlist=True, **search)
        assert other.translate(INPUT, shortlist=True, **search) == expected
        assert_same(
            other.score(INPUT, whole, shortlist=True, **search), one.score(INPUT, whole, shortlist=True, **search)
        )
    assert one.translate(INPUT, shortlist=True) != whole
    assert other.translate(INPUT) == whole


@pytest.mark.parametrize("int8", [False, True])
def test_neighbours_order_and_batch_size_never_change_a_translation(tmp_path: Path, int8: bool) -> None:
    runtime = Translator.from_export(both(tmp_path, 3, int8=int8, bidirectional=True)[1], max_extra=4)
    assert runtime.decode.int8 == int8
    for search in SEARCHES:
        alone = [runtime.translate([line], **search)[0] for line in INPUT]
        order = list(range(len(INPUT)))
        random.Random(1).shuffle(order)
        for batch_tokens in (60, 8192):
            found = runtime.translate([INPUT[i] for i in order], batch_tokens=batch_tokens, **search)
            assert found == [alone[i] for i in order]


def test_8_bits_cost_little(tmp_path: Path) -> None:
    trained, runtime = both(tmp_path, 3, int8=True, bidirectional=True, hidden_size=32)
    one, other = Translator.from_checkpoint(trained), Translator.from_export(runtime)
    with pytest.raises(UserError, match="decode.int8=false asks for 32-bit weights, and this export has 8-bit ones"):
        other.translate(INPUT, int8=False)
    texts = one.translate(INPUT)
    for own, theirs in zip(other.score(INPUT, texts), one.score(INPUT, texts), strict=True):
        assert own.per_token == pytest.approx(theirs.per_token, abs=0.1)


def test_threads_share_one(paths: tuple[Path, Path]) -> None:
    runtime = Translator.from_export(paths[1], beam=3)
    expected = Translator.from_checkpoint(paths[0], beam=3).translate(INPUT)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(lambda _: runtime.translate(INPUT), range(12)))


def _translate(translator: Translator) -> list[str]:
    return list(translator.translate(INPUT, beam=3))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch has threads; the runtime has none
@pytest.mark.parametrize("threads", [1, 2])
def test_processes_forked_from_one_that_has_translated(paths: tuple[Path, Path], threads: int) -> None:
    runtime = Translator.from_export(paths[1], threads=threads)
    expected = _translate(runtime)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_translate, [runtime] * 3).get(60) == [expected] * 3
    assert _translate(runtime) == expected


def test_a_copy_and_a_pickle_translate_alike(paths: tuple[Path, Path]) -> None:
    runtime = Translator.from_export(paths[1])
    expected = runtime.translate(INPUT)
    for made in (copy.deepcopy(runtime), pickle.loads(pickle.dumps(runtime))):
        assert made.translate(INPUT) == expected


def test_options_go_in_with_the_call_and_counts_come_out(paths: tuple[Path, Path]) -> None:
    runtime, trained = Translator.from_export(paths[1], max_extra=4), attentive.load(paths[0])
    found = runtime.translate(["the dog", "a"], options=DecodeConfig(max_source=3, max_extra=1))
    assert (found.num_cut, runtime.decode.max_extra) == (1, 4)
    assert found == trained.translate(["the dog", "a"], options=DecodeConfig(max_source=3, max_extra=1))
    assert runtime.translate("a dog runs") == trained.translate("a dog runs")
    assert runtime.n_best("", 1) == []
    assert runtime.translate([]) == []


@pytest.mark.parametrize(
    "how, said",
    [
        ({"int8": True}, r"decode.int8=true asks for 8-bit weights, and this export has 32-bit ones; use"),
        ({"cuda_graphs": True}, r"decode.cuda_graphs is for networks on a GPU"),
        ({"shortlist": True}, r"decode.shortlist: this export has none"),
        ({"beam": 2, "temperature": 0.5}, r"decode.temperature is for decode.search=sample"),
    ],
)
def test_settings_that_it_has_not_are_refused(paths: tuple[Path, Path], how: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Translator.from_export(paths[1]).translate(INPUT, **how)


def test_it_has_no_language_model_in_its_searches(paths: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="fusion with a language model needs the checkpoint"):
        Translator.from_export(paths[1]).engine.fused(None, 0.2)


def test_without_attention_what_needs_it_is_refused(tmp_path: Path) -> None:
    runtime = Translator.from_export(both(tmp_path, attention="none")[1])
    with pytest.raises(UserError, match="decode.copy_unknown needs a model with attention, and this one has none"):
        runtime.translate(INPUT, copy_unknown=True)
    with pytest.raises(UserError, match="needs a model with attention"):
        runtime.translate(INPUT, beam=2, coverage_penalty=0.1)
