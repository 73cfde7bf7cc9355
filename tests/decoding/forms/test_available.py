"""A checkpoint decodes on every machine; a form of decoding that is asked for is there or is refused."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from seq2seq import checkpoint
from seq2seq.cli import translate
from seq2seq.decoding.forms import products
from seq2seq.errors import UserError
from seq2seq.translate.translator import Translator
from tests.attentive import load, save
from tests.conftest import LINES

SAID = {
    "int8": "decode.int8 needs oneDNN's 8-bit products and a processor with VNNI",
    "cuda_graphs": "decode.cuda_graphs is for networks on a GPU, and this one is on cpu",
    "shortlist": "decode.shortlist: this checkpoint has none",
}


def trained_with(path: Path, **decode: bool) -> Path:
    """A checkpoint whose decoding settings ask for forms."""
    contents = checkpoint.read(save(path))
    contents[checkpoint.SECTION]["decode"] |= decode
    checkpoint.save(path, contents)
    return path


@pytest.fixture(autouse=True)
def _no_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "has_int8", lambda: False)


@pytest.mark.parametrize("form", SAID)
def test_a_form_that_a_checkpoint_was_trained_with_is_left_out_where_it_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    plain = load(save(tmp_path / "plain.ckpt"))
    path = trained_with(tmp_path / "a.ckpt", **{form: True})
    translator = Translator.from_checkpoint(path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(
        f"{path} was trained with decode.{form}=true, which is left out here: {SAID[form]}"
    )
    assert translator.translate(LINES) == plain.translate(LINES)
    assert translator.score(LINES, LINES) == plain.score(LINES, LINES)
    assert len(caplog.records) == 1
    ensemble = Translator.from_checkpoint(path, tmp_path / "plain.ckpt")
    assert ensemble.translate(LINES)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("form", SAID)
def test_a_form_that_is_asked_for_is_refused_where_it_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    path = trained_with(tmp_path / "a.ckpt", **{form: True})
    asked = Translator.from_checkpoint(path, **{form: True})
    with pytest.raises(UserError, match=re.escape(SAID[form])):
        asked.translate(LINES)
    assert Translator.from_checkpoint(path, **{form: False}).translate(LINES)
    assert not caplog.records


@pytest.mark.parametrize("form", SAID)
def test_commands_fall_back_too_and_refuse_a_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    path = trained_with(tmp_path / "a.ckpt", **{form: True})
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    flag = f"--{form.replace('_', '-')}"
    told = SAID[form].replace(f"decode.{form}", f"decode.{form} ({flag})")
    words = [str(path), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    for extra, status, warned in (([], 0, 1), ([flag.replace("--", "--no-")], 0, 0), ([flag], 2, 0)):
        with pytest.raises(SystemExit) as ended:
            translate.main([*words, *extra])
        assert ended.value.code == status
        said = capsys.readouterr().err
        assert said.count("which is left out here") == warned
        assert (told in said) == (warned == 1 or status == 2)


def test_what_is_available_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.decoding.forms.available.require_int8", lambda: None)
    translator = Translator.from_checkpoint(trained_with(tmp_path / "a.ckpt", int8=True))
    assert translator.decode.int8
