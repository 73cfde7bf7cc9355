"""A file from elsewhere runs nothing, whichever way it comes in; a damaged checkpoint costs no more than one save."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seq2seq import checkpoint, runs
from seq2seq.cli import evaluate, overrides, probe
from seq2seq.config.schema import DataConfig
from seq2seq.data.batches import Shape, enough_memory, is_out_of_memory
from seq2seq.data.corpora import iwslt15
from seq2seq.decoding import engine
from seq2seq.errors import UserError
from seq2seq.results.result import Result
from seq2seq.training.checkpoints import Checkpoints
from seq2seq.training.claim import claim
from seq2seq.training.experiment import run
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import equal, rows, weights
from tests.fuzz import nothing_runs
from tests.payload import Payload
from tests.training.test_training import Killed, config

HALF = "last.ckpt is not a whole checkpoint"


def a_payload(folder: Path) -> Path:
    """A run folder of which every checkpoint holds a program."""
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("best.ckpt", "last.ckpt"):
        torch.save({"state_dict": {}, "extra": Payload(folder / "was-here")}, folder / "checkpoints" / name)
    for name in ("test.src", "test.ref"):
        (folder / name).write_text("1+1\n")
    return folder


def by_the_translator(folder: Path) -> None:
    Translator.from_checkpoint(folder)


def by_evaluate(folder: Path) -> None:
    evaluate.main([str(folder), "--src", str(folder / "test.src"), "--ref", str(folder / "test.ref")])


def by_probe(folder: Path) -> None:
    probe.main([str(folder)])


def by_going_on(folder: Path) -> None:
    settings = config(folder.parent)
    claim(settings, folder.parent / "claimed")
    shutil.copy(folder.parent / "claimed" / "config.yaml", folder)
    run(settings, folder)


@pytest.mark.parametrize("way", [by_the_translator, by_evaluate, by_probe, by_going_on])
def test_a_payload_is_refused_and_not_run_whichever_way_it_comes_in(
    tmp_path: Path, way: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_payload(tmp_path / "run")
    with pytest.raises((UserError, SystemExit)) as ended:
        way(folder)
    said = str(ended.value) if isinstance(ended.value, UserError) else capsys.readouterr().err
    assert "is refused: it holds more than tensors and plain values, which could run code" in said
    assert not (folder / "was-here").exists()


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['mkdir was-here']",
        "!!python/object/new:os.system ['mkdir was-here']",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
    ],
)
def test_an_object_in_a_run_s_settings_is_refused_and_not_made(
    tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(f"seed: 1\nname: {value}\n")
    with (
        nothing_runs(),
        pytest.raises(UserError, match=r"config.yaml is not valid YAML: could not determine a constructor"),
    ):
        runs.read_config(tmp_path)
    assert not (tmp_path / "was-here").exists()


def test_a_class_that_a_run_s_settings_name_stays_a_word(tmp_path: Path) -> None:
    """What Hydra would build in a config of its own is a value here, and refused where it is no key."""
    target = {"_target_": "os.system", "command": "mkdir was-here"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": {"lightning": {"callbacks": target}}}))
    with nothing_runs():
        settings = runs.read_config(tmp_path)
        assert settings.trainer.lightning == {"callbacks": target}
        with pytest.raises(UserError, match="trainer.lightning.callbacks is set by seq2seq itself"):
            run(settings, tmp_path / "run")
    for section in ({"_target_": "os.system"}, {"model": target}, {"hydra": {"callbacks": target}}):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(section))
        with nothing_runs(), pytest.raises(UserError, match="is not a key"):
            runs.read_config(tmp_path)


BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(9))


@pytest.mark.parametrize(
    "content, anchor",
    [
        (BOMB, "a0"),
        ("data: &a {}\nmodel: *a\n", "a"),
        ("data: &a {seed: 1}\nmodel: {<<: *a}\n", "a"),
        ("trainer: {lightning: &b {x: *b}}\n", "b"),
    ],
    ids=["nested", "twice", "merged", "in itself"],
)
def test_references_in_a_run_s_settings_are_refused_at_once(tmp_path: Path, content: str, anchor: str) -> None:
    """Nested, they stand for gigabytes."""
    (tmp_path / "config.yaml").write_text(content)
    started = time.perf_counter()
    with pytest.raises(
        UserError, match=rf"config.yaml is not a config that seq2seq wrote: it has a reference, \*{anchor}; write the"
    ):
        runs.read_config(tmp_path)
    assert time.perf_counter() - started < 2


def test_settings_with_equal_parts_are_written_without_references(tmp_path: Path) -> None:
    same = {"a": [1, 2], "b": "x"}
    settings = config(tmp_path, trainer={"lightning": {"one": same, "other": same}})
    claim(settings, tmp_path / "run")
    assert runs.read_config(tmp_path / "run") == settings


@pytest.mark.parametrize("name", ["plugins", "profiler", "accelerator"])
def test_a_class_for_lightning_is_refused_and_not_built(tmp_path: Path, name: str) -> None:
    settings = config(tmp_path, trainer={"lightning": {name: {"_target_": "os.system"}}, "progress": False})
    with pytest.raises(UserError, match=r"must be a plain value; got|is set by seq2seq itself"):
        run(settings, tmp_path / "run")


@pytest.mark.parametrize("word", ["+model._target_=os.system", "++_target_=os.system", "+data.x={_target_: os.system}"])
def test_a_class_that_an_override_names_is_no_key(word: str) -> None:
    with nothing_runs(), pytest.raises(UserError, match="is not a key"):
        overrides.check_overrides([word])


def test_no_archive_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets are single files with known checksums, so that no member's name can lead out of a folder: an archive
    in a mirror is one more wrong file.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("../was-here", str(tmp_path / "was-here")):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        archive.addfile(link)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "train.en.gz").write_bytes(packed.getvalue())
    for made in ("extract", "extractall"):
        monkeypatch.setattr(tarfile.TarFile, made, None)
    with pytest.raises(UserError, match=r"train.en.gz is a tar file, which is not read; unpack it first"):
        iwslt15.read(DataConfig(kind="iwslt15", src_lang="en", tgt_lang="vi", mirror=str(mirror)), tmp_path)
    assert not (tmp_path / "was-here").exists()
    sources = [path.read_text() for path in Path(iwslt15.__file__).parents[1].rglob("*.py")]
    assert not any("tarfile" in source or "unpack_archive" in source or "extractall" in source for source in sources)


# Damaged checkpoints


def killed(folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Train, and die right after so many saves of last.ckpt."""
    save, count = Checkpoints._save_last, [0]

    def save_and_die(self: Checkpoints, trainer: Any) -> None:
        save(self, trainer)
        count[0] += 1
        if count[0] == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_save_last", save_and_die)
        with pytest.raises(Killed):
            run(settings, folder)


def flip(path: Path) -> None:
    """One bit of the largest weight, where torch would take the file for whole."""
    data = bytearray(path.read_bytes())
    tensor = max(checkpoint.read(path)["state_dict"].values(), key=torch.numel)
    data[data.index(tensor.numpy().tobytes())] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, cut, empty, Path.unlink])
@pytest.mark.parametrize("saves", [3, 9])
def test_the_checkpoint_before_a_damaged_one_leads_to_the_same_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    saves: int,
) -> None:
    settings = config(tmp_path, model={"dropout": 0.2})
    settings.trainer.save_minutes = 1e-9  # after every step
    run(settings, tmp_path / "whole")
    folder = tmp_path / "killed"
    killed(folder, settings, monkeypatch, saves)
    damage(folder / "checkpoints" / "last.ckpt")
    run(settings, folder)
    (said,) = [message for message in caplog.messages if HALF in message]
    assert said.endswith("Resuming from previous.ckpt, which was saved before it.")
    for name in ("last.ckpt", "best.ckpt"):
        assert equal(weights(tmp_path / "whole", name), weights(folder, name))
    assert rows(tmp_path / "whole") == rows(folder)
    assert not list(folder.rglob("*.tmp"))


def test_a_damaged_checkpoint_never_takes_the_place_of_the_sound_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path)
    settings.trainer.save_minutes = 1e-9
    folder = tmp_path / "run"
    killed(folder, settings, monkeypatch, 4)
    cut(folder / "checkpoints" / "last.ckpt")
    monkeypatch.setattr(checkpoint, "save", lambda *_: (_ for _ in ()).throw(Killed))
    for _ in range(2):  # one that dies in its first save, then another
        with pytest.raises(Killed):
            run(settings, folder)
    for name in ("last.ckpt", "previous.ckpt"):
        checkpoint.read_to_go_on(folder / "checkpoints" / name)


def test_two_damaged_checkpoints_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path)
    killed(tmp_path / "run", settings, monkeypatch, 2)
    for name in ("last.ckpt", "previous.ckpt"):
        cut(tmp_path / "run" / "checkpoints" / name)
    with pytest.raises(UserError, match=rf"{HALF} .* previous.ckpt beside it is refused too; overwrite=true") as error:
        run(settings, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_second_name_outlives_a_new_file_under_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for links in (True, False):
        if not links:
            monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
        checkpoint.save(tmp_path / "a", {"value": 1})
        checkpoint.name_also(tmp_path / "a", "b")
        checkpoint.name_also(tmp_path / "a", "b")  # both are one file already
        checkpoint.save(tmp_path / "a", {"value": 2})
        assert [torch.load(tmp_path / name)["value"] for name in ("a", "b")] == [2, 1]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_second_name_that_cannot_be_given_is_said_in_one_line(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a", {})
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="b cannot be written: Is a directory; check the free space"):
        checkpoint.name_also(tmp_path / "a", "b")
    assert not list(tmp_path.glob(".*"))


def test_a_changed_bit_is_refused_where_torch_would_load_it(tmp_path: Path, trained: Path) -> None:
    shutil.copy(trained / "checkpoints" / "best.ckpt", tmp_path / "a.ckpt")
    flip(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    with pytest.raises(UserError, match=r"the checksum of its part archive/data/\d+ is wrong"):
        checkpoint.load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    path = attentive.save(tmp_path / "a.ckpt")
    contents = checkpoint.read(path)
    name = "model.decoder.output.bias"
    contents["state_dict"][name][3] = value
    checkpoint.save(path, contents)
    said = f"a.ckpt holds weights that are not finite, in {name}: its training has diverged; use another"
    with pytest.raises(UserError, match=said):
        checkpoint.load(path)


# Memory


@pytest.mark.parametrize("lines", [1, 2])
def test_a_lack_of_memory_under_a_beam_counts_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    one = attentive.load(attentive.save(tmp_path / "a.ckpt"), search="beam", beam_size=5)
    monkeypatch.setattr(engine, "beam", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    setting = "max_source smaller than 2000" if lines == 1 else "batch_tokens smaller than 8192"
    said = rf"batch of {lines} sentence\(s\) .*; make decode.{setting}, or decode.beam_size smaller than 5\."
    with pytest.raises(UserError, match=said):
        one.translate(["a dog runs"] * lines)


def test_what_is_no_lack_of_memory_goes_through() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), enough_memory(Shape(2, 3, 4), "a", single="b"):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("CUBLAS_ALLOC_FAILED")])
def test_a_lack_of_memory_names_the_batch(error: Exception) -> None:
    assert is_out_of_memory(error)
    said = r"^out of memory with a batch of 2 sentence\(s\) x 3 source and 4 target tokens; do this\.$"
    with pytest.raises(UserError, match=said), enough_memory(Shape(2, 3, 4), "do this", single="do that"):
        raise error


def test_torch_says_that_there_is_no_memory_as_is_expected() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert is_out_of_memory(error.value)


def test_a_lack_of_memory_in_the_gradients_or_the_update_names_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    for name, owner in (("backward", torch.Tensor), ("step", torch.optim.Adam)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(UserError, match=r"out of memory with a batch of 32 sentence\(s\) x \d source and"):
                run(config(tmp_path), tmp_path / name)


def test_results_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for values in ({}, {"bleu": "1"}, {"bleu": True}):
        (tmp_path / "test.json").write_text(json.dumps(values))
        with pytest.raises(UserError, match="test.json has no bleu, .*; delete it to have the run scored again"):
            Result.read(tmp_path / "test.json")
