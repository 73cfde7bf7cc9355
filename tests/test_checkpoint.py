"""A checkpoint holds plain values, runs nothing, loads without the training's libraries, and says what is wrong."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.config.schema import DecodeConfig, MetricsConfig, ModelConfig
from seq2seq.config.values import from_dict
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.models.build import build_seq2seq
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.training.average import average
from seq2seq.translate.translator import Translator
from tests.conftest import LINES, ROOT

FROZEN = ROOT / "tests" / "data" / "v1.ckpt"
# What it has said since it was made. Its sums are not all right, but they are always these.
FROZEN_SAYS = {"1+2": "1", "16+75": "121", "999+1": "906", "12+345": "324", "7+80": "82", "": "", "600+321": "1221"}


@pytest.fixture
def contents(tokenizers: Tokenizers) -> dict[str, Any]:
    config = ModelConfig(hidden_size=6, embedding_size=5, reverse=True, peeky="both")
    model = build_seq2seq(config, len(tokenizers.src), len(tokenizers.tgt))
    section = checkpoint.section(config, DecodeConfig(max_extra=7), tokenizers)
    return {"state_dict": checkpoint.named_weights(model), checkpoint.SECTION: section}


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, contents: dict[str, Any]) -> None:
    checkpoint.save(tmp_path / "a.ckpt", contents)
    loaded = checkpoint.load(tmp_path / "a.ckpt")
    assert loaded.model.encoder.reverse
    assert loaded.model.decoder.peek_output
    assert not loaded.model.training
    assert loaded.decode.max_extra == 7
    assert loaded.tokenizers.src is loaded.tokenizers.tgt
    for name, tensor in checkpoint.named_weights(loaded.model).items():
        assert torch.equal(tensor, contents["state_dict"][name])


def test_two_vocabularies_stay_two(tmp_path: Path, contents: dict[str, Any]) -> None:
    other = Pieces(train(["xyz"], type="char", vocab_size=0))
    src = Pieces(contents[checkpoint.SECTION]["tokenizer"]["src"])
    config = ModelConfig(hidden_size=6, embedding_size=5)
    model = build_seq2seq(config, len(src), len(other))
    section = checkpoint.section(config, DecodeConfig(), Tokenizers(src, other))
    checkpoint.save(tmp_path / "a.ckpt", {"state_dict": checkpoint.named_weights(model), checkpoint.SECTION: section})
    loaded = checkpoint.load(tmp_path / "a.ckpt")
    assert (len(loaded.tokenizers.src), len(loaded.tokenizers.tgt)) == (len(src), len(other))


def test_the_metric_and_the_unicode_form_travel_along(tmp_path: Path, contents: dict[str, Any]) -> None:
    composed = Pieces(contents[checkpoint.SECTION]["tokenizer"]["src"], normalization="nfkc")
    both = Tokenizers(composed, composed)
    model = from_dict(ModelConfig, contents[checkpoint.SECTION]["model"])
    section = checkpoint.section(model, DecodeConfig(), both, metrics=MetricsConfig("zh"))
    checkpoint.save(tmp_path / "a.ckpt", {**contents, checkpoint.SECTION: section})
    loaded = checkpoint.load(tmp_path / "a.ckpt")
    assert (loaded.metrics.tokenizer, loaded.tokenizers.tgt.normalization) == ("zh", "nfkc")
    assert Translator.from_checkpoint(tmp_path / "a.ckpt").metrics == MetricsConfig("zh")
    averaged = average([tmp_path / "a.ckpt"] * 2)[checkpoint.SECTION]
    assert averaged == section
    checkpoint.add_shortlist(tmp_path / "a.ckpt", Shortlist(*[torch.zeros(1, dtype=torch.int32)] * 3))
    assert checkpoint.read(tmp_path / "a.ckpt")[checkpoint.SECTION]["metrics"] == {"tokenizer": "zh"}


def test_one_from_before_there_were_such_settings_reads_text_as_it_is_and_has_13a(tmp_path: Path) -> None:
    mine = torch.load(FROZEN, weights_only=True)[checkpoint.SECTION]
    assert mine["format"] == 1 and "metrics" not in mine and "normalization" not in mine["tokenizer"]
    loaded = checkpoint.load(FROZEN)
    assert loaded.metrics == MetricsConfig("13a")
    assert {one.normalization for one in loaded.tokenizers} == {"none"}
    marks = ["1+2e\u0301", "\ufb01"]
    tokenizer = Pieces(loaded.tokenizers.src.proto)
    assert loaded.tokenizers.src.encode(marks) == tokenizer.encode(marks)
    checkpoint.save(tmp_path / "a.ckpt", average([FROZEN, FROZEN]))  # in the new format
    again = checkpoint.load(tmp_path / "a.ckpt")
    assert (again.metrics, again.tokenizers.src.normalization) == (loaded.metrics, "none")


@pytest.mark.parametrize(
    "part, value, message",
    [
        ("tokenizer", {"normalization": "nfd"}, "is refused: the tokenizer's normalization must be one of"),
        ("tokenizer", {"normalization": [1]}, "is refused: the tokenizer's normalization must be one of"),
        ("metrics", {"tokenizer": "moses"}, "metrics.tokenizer=moses is not known; choose from 13a, intl, zh"),
        ("metrics", {"tokenizer": 3}, "metrics.tokenizer must be of type str; got 3"),
        ("metrics", {"stemmer": "x"}, "metrics.stemmer is not a key"),
    ],
)
def test_a_strange_metric_or_form_is_refused(
    tmp_path: Path, contents: dict[str, Any], part: str, value: dict[str, Any], message: str
) -> None:
    contents[checkpoint.SECTION][part] |= value
    torch.save(contents, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=message):
        checkpoint.load(tmp_path / "a.ckpt")


class Payload:
    """What a pickle can do to whoever reads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_a_payload_is_refused_and_not_run(tmp_path: Path, contents: dict[str, Any]) -> None:
    torch.save({**contents, "extra": Payload(tmp_path / "was here")}, tmp_path / "evil.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps(Payload(tmp_path / "was here")))
    for name in ("evil.ckpt", "old.ckpt"):
        with pytest.raises(UserError, match=rf"{name} is refused: it holds more than tensors and plain values"):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused_by_name(tmp_path: Path, contents: dict[str, Any], share: float) -> None:
    checkpoint.save(tmp_path / "a.ckpt", contents)
    whole = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"a\.ckpt is (not a whole checkpoint|refused)") as error:
        checkpoint.load(tmp_path / "a.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("junk", [b"hello", b"PK\x03\x04", b"\x80\x02", bytes(100)])
def test_a_file_of_another_kind_is_refused_on_one_line(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "junk.ckpt").write_bytes(junk)
    with pytest.raises(UserError, match=r"junk\.ckpt is (not a whole checkpoint|refused)") as error:
        checkpoint.load(tmp_path / "junk.ckpt")
    assert "\n" not in str(error.value)


def test_somebody_elses_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(
        UserError,
        match=r"other.ckpt is not a checkpoint of seq2seq: it has no valid section 'seq2seq'; name one that",
    ):
        checkpoint.load(tmp_path / "other.ckpt")


@pytest.mark.parametrize("part", ["format", "model", "decode", "tokenizer"])
@pytest.mark.parametrize("wrong", [None, "text", []])
def test_a_section_of_another_shape_is_refused(
    tmp_path: Path, contents: dict[str, Any], part: str, wrong: object
) -> None:
    contents[checkpoint.SECTION][part] = wrong
    checkpoint.save(tmp_path / "a.ckpt", contents)
    with pytest.raises(UserError, match="is not a checkpoint of seq2seq: it has no valid section 'seq2seq'; name"):
        checkpoint.load(tmp_path / "a.ckpt")


def test_a_network_of_an_unknown_kind_is_not_described_as_another(tmp_path: Path, contents: dict[str, Any]) -> None:
    contents[checkpoint.SECTION]["kind"] = "tagger"
    with pytest.raises(UserError, match=r"a.ckpt holds a network of kind 'tagger'; name a run of this version's"):
        checkpoint.describe(tmp_path / "a.ckpt", contents)


def test_a_newer_format_says_so(tmp_path: Path, contents: dict[str, Any]) -> None:
    contents[checkpoint.SECTION] |= {"format": 99, "version": "9.9"}
    checkpoint.save(tmp_path / "a.ckpt", contents)
    with pytest.raises(UserError, match=r"has format 99 \(seq2seq 9.9\), newer than seq2seq .* upgrade seq2seq"):
        checkpoint.load(tmp_path / "a.ckpt")


def test_an_unknown_setting_names_both_versions(tmp_path: Path, contents: dict[str, Any]) -> None:
    contents[checkpoint.SECTION]["model"]["coverage"] = True
    checkpoint.save(tmp_path / "a.ckpt", contents)
    with pytest.raises(UserError, match=r"was written by seq2seq .*, this is .*: model.coverage is not a key"):
        checkpoint.load(tmp_path / "a.ckpt")


def test_weights_of_another_shape_are_refused(tmp_path: Path, contents: dict[str, Any]) -> None:
    contents[checkpoint.SECTION]["model"]["hidden_size"] = 9
    checkpoint.save(tmp_path / "a.ckpt", contents)
    with pytest.raises(UserError, match=r"does not fit the model that it describes: \S+ is of size 24x\d+, not 36x"):
        checkpoint.load(tmp_path / "a.ckpt")


def test_a_run_folder_means_its_best_checkpoint(tmp_path: Path, contents: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist; name a .ckpt file or the folder of a run"):
        checkpoint.find(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no checkpoint in it"):
        checkpoint.find(tmp_path)
    checkpoint.save(tmp_path / "checkpoints" / "last.ckpt", contents)
    assert checkpoint.find(tmp_path).name == "last.ckpt"
    checkpoint.save(tmp_path / "checkpoints" / "best.ckpt", contents)
    assert checkpoint.find(tmp_path) == checkpoint.find(tmp_path / "checkpoints") == tmp_path / "checkpoints/best.ckpt"
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, contents: dict[str, Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file cannot be written to"):
        checkpoint.save(tmp_path / "file" / "a.ckpt", contents)


def test_a_copied_checkpoint_translates_where_the_trainings_libraries_cannot_be_imported(
    tmp_path: Path, trained: Path
) -> None:
    shutil.copy(trained / "checkpoints" / "best.ckpt", tmp_path / "model.ckpt")
    program = (
        "import sys\n"
        "for name in ('hydra', 'omegaconf', 'lightning', 'pytorch_lightning'): sys.modules[name] = None\n"
        "from seq2seq import Translator\n"
        "print(Translator.from_checkpoint('model.ckpt').translate(['1+2', '', '33+44']))\n"
        "assert 'torch._dynamo' not in sys.modules, 'torch has loaded its compiler, which takes a second'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    expected = Translator.from_checkpoint(trained).translate(["1+2", "", "33+44"])
    assert done.stdout.strip() == str(expected)
    last = Translator.from_checkpoint(trained / "checkpoints" / "last.ckpt")
    assert len(last.translate(LINES)) == len(LINES)


def test_the_package_names_its_front_doors_without_loading_torch(trained: Path) -> None:
    program = (
        "import sys, seq2seq\n"
        "from seq2seq import UserError\n"
        "assert 'torch' not in sys.modules and {'LanguageModel', 'Translator', 'UserError'} <= set(seq2seq.__all__)\n"
        "from seq2seq import LanguageModel, Translator\n"
        "try: LanguageModel.from_checkpoint(sys.argv[1])\n"
        "except UserError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, str(trained)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and "holds a translator" in done.stdout, done.stderr


def test_the_frozen_checkpoint_still_says_what_it_said() -> None:
    frozen = Translator.from_checkpoint(FROZEN)
    assert frozen.translate(list(FROZEN_SAYS)) == list(FROZEN_SAYS.values())
