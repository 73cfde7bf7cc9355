"""A line's translation is that line's alone; as many lines out as in, whatever bytes they hold."""

from __future__ import annotations

import gzip
import io
import itertools
import logging
import random
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import CELLS, PEEKY, DecodeConfig
from seq2seq.data.corpus import Tokenizers
from seq2seq.errors import UserError
from seq2seq.tokenizer import Tokenizer, train
from seq2seq.translate import Translator, translate_file
from tests.conftest import LINES, tiny_model

COMBINATIONS = list(itertools.product(CELLS, [False, True], [False, True], PEEKY, ["none", "general"]))
OPTIONS = ("cell", "bidirectional", "reverse", "peeky", "attention")


def translator(seed: int = 0, decode: DecodeConfig | None = None, **options: object) -> Translator:
    """Random weights over a character vocabulary; different lines get different translations."""
    tokenizer = Tokenizer(train(LINES, type="char", vocab_size=0))
    model = tiny_model(seed, vocab=len(tokenizer), **options)
    with torch.no_grad():
        model.decoder.output.bias[:3] -= 50  # pad, unk and bos are never what a trained model emits
        model.decoder.output.bias[3] -= 50 if model.fixed_length else 3
    return Translator(model, Tokenizers(tokenizer, tokenizer), decode or DecodeConfig(max_extra=4))


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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("adehst ing"), max_size=30), min_size=1, max_size=9),
    st.sampled_from(COMBINATIONS),
    st.integers(1, 200),
)
def test_neighbours_and_batch_size_never_change_a_translation(
    lines: list[str], combination: tuple[str, bool, bool, str, str], batch_tokens: int
) -> None:
    options = dict(zip(OPTIONS, combination, strict=True))
    decode = DecodeConfig(max_extra=4, batch_tokens=batch_tokens)
    many = translator(decode=decode, **options).translate(lines)
    assert many == [translator(**options).translate([line])[0] for line in lines]


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
        assert bounded.translate(["the dog sings", "a dog"]) == bounded.translate(["the d", "a dog"])
    assert bounded.num_cut == 1
    assert caplog.messages == ["a line of 13 tokens is cut to its first 5: the dog sings..."]


def test_teacher_forced_nll_does_not_depend_on_the_batches() -> None:
    src, tgt = LINES, LINES[::-1]
    whole, tokens = translator(peeky="both").nll(src, tgt)
    small, same = translator(peeky="both", decode=DecodeConfig(batch_tokens=25)).nll(src, tgt)
    assert tokens == same == sum(len(line) + 1 for line in tgt)
    assert whole == pytest.approx(small, rel=1e-5)
    one_by_one = sum(translator(peeky="both").nll([s], [t])[0] for s, t in zip(src, tgt, strict=True))
    assert whole == pytest.approx(one_by_one, rel=1e-5)


AWKWARD = [
    b"a dog",
    b"",
    b"  ",
    b"\t",
    b"a dog\r",
    b"\r",
    b"a\rb",
    b"nul\x00 here",
    "u2028 \u2028 u2029 \u2029 u85 \x85".encode(),
    b"vt \x0b ff \x0c fs \x1c",
    b"bad \xff\xfe utf8",
    "שלום 🎉 日本".encode(),
    b"<s> </s> <unk>",
    b"a" * 3000,
]


@pytest.mark.parametrize("final_newline", [True, False])
def test_as_many_lines_out_as_in_for_any_bytes(tmp_path: Path, final_newline: bool) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"\xef\xbb\xbf" + b"\n".join(AWKWARD) + (b"\n" if final_newline else b""))
    report = translate_file(translator(), source, target, window=3)
    outputs = target.read_bytes().split(b"\n")
    assert outputs.pop() == b""
    assert len(outputs) == report.num_lines == len(AWKWARD)
    assert [i for i, output in enumerate(outputs) if not output] == [1, 2, 3, 5]
    assert outputs[0] == outputs[4]  # the byte-order mark and the carriage return are not part of a line
    assert (report.num_replaced, report.num_cut) == (1, 1)
    assert b"\r" not in target.read_bytes()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=12), st.integers(1, 5))
def test_any_bytes_at_all(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], window: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "in").write_bytes(b"".join(line + b"\n" for line in lines))
    translate_file(TRANSLATOR, folder / "in", folder / "out", window=window)
    assert (folder / "out").read_bytes().count(b"\n") == len(lines)


TRANSLATOR = translator()


def test_the_window_does_not_change_the_output(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("\n".join(LINES * 3), encoding="utf-8")
    for window in (1, 4, 1000):
        translate_file(TRANSLATOR, tmp_path / "in", tmp_path / str(window), window=window)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "4").read_bytes() == (tmp_path / "1000").read_bytes()


def test_gz_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "in.gz").write_bytes(gzip.compress("\n".join(LINES).encode()))
    translate_file(TRANSLATOR, tmp_path / "in.gz", tmp_path / "out.gz")
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()).decode().splitlines() == TRANSLATOR.translate(LINES)


def test_stdin_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(LINES).encode())))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    translate_file(TRANSLATOR, None, None)
    assert out.getvalue().decode().splitlines() == TRANSLATOR.translate(LINES)


def test_strict_refuses_bytes_that_are_no_utf8_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"a dog\nbad \xff\n")
    with pytest.raises(UserError, match=r"in is not UTF-8: line 2 has the byte 0xff at offset 4"):
        translate_file(TRANSLATOR, tmp_path / "in", tmp_path / "out", window=1, strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_an_input_that_is_not_there_leaves_the_old_output_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(UserError, match="nowhere does not exist"):
        translate_file(TRANSLATOR, tmp_path / "nowhere", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "old"
