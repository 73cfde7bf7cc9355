"""An exported folder appears whole or not at all, and says what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seq2seq import checkpoint
from seq2seq.cli import export
from seq2seq.config.schema import DecodeConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.sources import SOURCES
from seq2seq.data.sources.text import TextSource
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.export import folder, verify
from seq2seq.export.verify import Comparison
from seq2seq.files.folders import write_files
from seq2seq.tokens.load import load as load_tokenizer
from seq2seq.tokens.train import train
from tests import attentive
from tests.conftest import LINES


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        export.main([str(one) for one in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attentive.save(tmp_path_factory.mktemp("translator") / "a.ckpt", reverse=True, peeky="both")


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attentive.save_language_model(tmp_path_factory.mktemp("language_model") / "a.ckpt")


def names(place: Path) -> list[str]:
    return sorted(os.listdir(place))


@pytest.mark.parametrize("flags", [(), ("--int8",)])
def test_the_command_writes_a_folder_that_describes_itself(
    translator: Path, tmp_path: Path, capsys: Any, flags: tuple[str, ...]
) -> None:
    assert run(translator, "-o", tmp_path / "out", *flags) == 0
    assert re.search(
        r"out: 0\.\d MB; the same output for \d+ of 100 lines; log-probabilities differ by at most",
        capsys.readouterr().err,
    )
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["config.json", "encoder.onnx", "src.model", "step.onnx"]
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    for name, facts in config["files"].items():
        content = (tmp_path / "out" / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    known = checkpoint.load(translator)
    tokenizer = load_tokenizer((tmp_path / "out" / "src.model").read_bytes())
    assert tokenizer.encode(LINES) == known.tokenizers.src.encode(LINES)
    assert config["tokens"]["src"] == config["tokens"]["tgt"]
    assert config["kind"] == "translation" and config["attention"] and config["end_symbol"]
    assert config["states"] == [{"layers": 1, "width": 6}] * 2
    assert DecodeConfig(**config["decode"]) == DecodeConfig(max_extra=4, int8=bool(flags))
    assert config["int8"] == bool(flags)


def test_a_language_model_has_a_step_only(language_model: Path, tmp_path: Path) -> None:
    assert run(language_model, "-o", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["config.json", "src.model", "step.onnx"]
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["kind"] == "language_model"


def test_a_source_that_is_not_text_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Numbers(TextSource):
        is_text = False

    monkeypatch.setitem(SOURCES, "numbers", Numbers)
    path = attentive.save(tmp_path / "a.ckpt")
    contents = checkpoint.read(path)
    contents[checkpoint.SECTION]["source"]["kind"] = "numbers"
    checkpoint.save(path, contents)
    with pytest.raises(UserError, match=r"a.ckpt reads a source of kind 'numbers', and only text is exported; use"):
        folder.load(path)


def test_two_tokenizers_are_two_files_and_a_shortlist_is_one_more(tmp_path: Path) -> None:
    both = attentive.tokenizers()
    other = load_tokenizer(train([line.upper() for line in LINES], type="char", vocab_size=0))
    two = Tokenizers(both.src, other)
    path = attentive.save(tmp_path / "a.ckpt", both=two)
    best = torch.full((len(two.src), 2), -1, dtype=torch.int32)
    size = torch.tensor(len(two.tgt), dtype=torch.int32)
    checkpoint.add_shortlist(path, Shortlist(best, torch.arange(4, 9, dtype=torch.int32), size))
    files = folder.contents(folder.load(path))
    assert sorted(files) == ["config.json", "encoder.onnx", "shortlist.npz", "src.model", "step.onnx", "tgt.model"]
    write_files(files, tmp_path)
    with np.load(tmp_path / "shortlist.npz", allow_pickle=False) as tables:
        assert tables["frequent"].tolist() == [4, 5, 6, 7, 8] and int(tables["vocab"]) == len(two.tgt)


def test_an_export_is_replaced_only_if_asked_and_other_folders_never(
    translator: Path, language_model: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    assert run(translator, "-o", out) == 0
    assert run(language_model, "-o", out) == 2
    assert capsys.readouterr().err.endswith(
        "out holds an exported model; name another folder, or replace it with --force.\n"
    )
    assert run(language_model, "-o", out, "--force") == 0
    assert names(out) == ["config.json", "src.model", "step.onnx"]
    (out / "notes").write_text("mine")
    assert run(translator, "-o", out, "--force") == 2
    assert capsys.readouterr().err.endswith("out holds other files than an exported model; name another folder.\n")
    assert names(tmp_path) == ["out"] and "notes" in names(out)


def test_a_folder_without_files_is_filled_and_a_file_is_refused(translator: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run(translator, "-o", tmp_path / "out") == 0
    (tmp_path / "file").write_text("mine")
    assert run(translator, "-o", tmp_path / "file") == 2
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_a_failed_export_leaves_nothing(
    translator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*arguments: object) -> None:
        raise error("it fails")

    monkeypatch.setattr(verify, "compare", fail)
    assert run(translator, "-o", tmp_path / "new" / "out") in (2, 130)
    assert not list(tmp_path.rglob("*.onnx"))
    assert not (tmp_path / "new" / "out").exists()


@pytest.mark.parametrize("largest, mean, int8", [(1.0, 0.0, False), (float("inf"), 0.0, False), (5.0, 0.5, True)])
def test_a_network_that_computes_something_else_is_refused(largest: float, mean: float, int8: bool) -> None:
    verify.check(Comparison(10, 10, 1e-6, 1e-7), int8=int8)
    with pytest.raises(UserError, match="the exported network is not the one in torch"):
        verify.check(Comparison(10, 10, largest, mean), int8=int8)


def test_a_changed_weight_is_found(translator: Path, tmp_path: Path) -> None:
    source = folder.load(translator)
    write_files(folder.contents(source), tmp_path)
    verify.check(verify.compare(source, tmp_path, LINES), int8=False)
    with torch.no_grad():
        source.network.decoder.output.bias[7] += 0.01
    with pytest.raises(UserError, match="log-probabilities differ by 0.00"):
        verify.check(verify.compare(source, tmp_path, LINES), int8=False)


@pytest.mark.parametrize(
    "options",
    [
        {"fixed_length": 4, "reverse": True},
        {"cell": "gru", "bidirectional": True, "layer_norm": True, "residual": True, "num_layers": 2},
        {"cell": "rnn", "attention": "none", "peeky": "both", "bridge": "dense"},
    ],
)
@pytest.mark.parametrize("lines", [LINES, ()])
def test_a_sound_export_agrees_on_any_sample(options: dict[str, Any], lines: tuple[str, ...], tmp_path: Path) -> None:
    source = folder.load(attentive.save(tmp_path / "a.ckpt", **options))
    write_files(folder.contents(source), tmp_path)
    found = verify.compare(source, tmp_path, lines)
    assert found.same == found.lines == (len(LINES) if lines else verify.SAMPLE)
    assert found.largest < 1e-4


def test_padding_that_a_network_puts_out_is_compared_too(tmp_path: Path) -> None:
    source = folder.load(attentive.save(tmp_path / "a.ckpt"))
    with torch.no_grad():
        source.network.decoder.output.bias[0] += 100  # `<pad>` is all that it says
    write_files(folder.contents(source), tmp_path)
    assert verify.compare(source, tmp_path, LINES).same == len(LINES)


def test_a_sample_can_be_given(translator: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "lines").write_text("ab\n\nba\n")
    assert run(translator, "-o", tmp_path / "out", "--sample", tmp_path / "lines") == 0
    assert "the same output for 2 of 2 lines" in capsys.readouterr().err
    (tmp_path / "lines").write_text("\n")
    assert run(translator, "-o", tmp_path / "other", "--sample", tmp_path / "lines") == 2
