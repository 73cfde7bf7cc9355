"""``docs/mistakes.md`` lists mistakes and their messages; here each mistake is made."""

from __future__ import annotations

import errno
import gzip
import importlib
import importlib.util
import logging
import lzma
import multiprocessing.synchronize
import os
import re
import shlex
import shutil
import signal
import string
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from filelock import FileLock

from seq2seq import checkpoint, metrics, runs
from seq2seq.cli import sweep
from seq2seq.data.batches import _Epoch
from seq2seq.decoding.forms.cpu import CpuForm
from seq2seq.files import packed
from seq2seq.models.cells import lstm
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.training import trainer
from seq2seq.translate.translator import Translator
from tests.conftest import ROOT, last_of_each
from tests.payload import Payload

PAGE = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8")
SHORT = dict(re.findall(r'^([A-Z]+)="([^"]+)"', PAGE, re.MULTILINE))
WARNINGS = "Warnings and notes"  # the section of messages after which the command continues
PROGRESS = re.compile(
    r"preparing |resuming from |epoch \d|  (source|reference|hypothesis) |$|\d+ (\+ \d+ )?pieces, |\S+ failed: |"
    r"tokenizer.vocab_size=\d+ is clipped "
)


class Row(NamedTuple):
    """One line of the page."""

    section: str
    what: str
    command: str
    line: str


def page() -> list[Row]:
    found = []
    for part in PAGE.split("\n## ")[1:]:
        rows = re.findall(r"^\| ([^|`]+) \| `([^`]+)` \| `([^`]+)` \|$", part, re.MULTILINE)
        assert len(rows) == part.count("\n| ") - 2, f"a row of {part[:30]!r} is not as the others"
        found += [Row(part.split("\n")[0], *row) for row in rows]
    return found


class World:
    """The folder in which a mistake is made: a finished run in ``run`` and six files of four lines each."""

    def __init__(self, folder: Path, trained: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.run = Path(shutil.copytree(trained, folder / "run"))
        self.best = self.run / "checkpoints" / "best.ckpt"
        self.locks: list[FileLock] = []
        for split in ("train", "valid", "test"):
            for side in ("de", "en"):
                lines = (f"{split} {side} {number}\n" for number in range(4))
                (folder / f"{split}.{side}").write_text("".join(lines))


Make = Callable[[World], object]


def a_file(name: str, content: bytes) -> Make:
    def make(world: World) -> None:
        (world.folder / name).parent.mkdir(exist_ok=True)
        (world.folder / name).write_bytes(content)

    return make


def without(*names: str) -> Make:
    def make(world: World) -> None:
        for name in names:
            path = world.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


def both(*steps: Make) -> Make:
    return lambda world: [step(world) for step in steps]


def a_checkpoint(**changed: object) -> Make:
    """``a.ckpt`` is the run's, with other values in its section."""

    def make(world: World) -> None:
        contents = checkpoint.read(world.best)
        part = contents[checkpoint.SECTION]
        for name, value in changed.items():
            part[name] = {**part[name], **value} if isinstance(value, dict) else value
        torch.save(contents, world.folder / "a.ckpt")

    return make


def an_older_model(world: World) -> None:
    """``a.ckpt`` is the run's with other characters, an é among them, and no Unicode form."""
    size = len(checkpoint.load(world.best).tokenizers.src)
    texts = (COMPOSED[0] + string.ascii_letters[:n] for n in range(50))
    protos = (train([line], type="char", vocab_size=0) for line in texts)
    src = next(proto for proto in protos if len(Pieces(proto)) == size)
    a_checkpoint(tokenizer={"src": src, "normalization": "none"})(world)


def another_piece(world: World) -> None:
    contents = checkpoint.read(world.best)
    saved = contents[checkpoint.SECTION]["tokenizer"]
    first, rest = saved["src"].split(b"\x0a\x01+", 1)
    saved["src"] = first + b"\x0a\x01\xff" + rest  # "+", as a piece
    torch.save(contents, world.folder / "a.ckpt")


def half_a_checkpoint(world: World) -> None:
    whole = world.best.read_bytes()
    (world.folder / "a.ckpt").write_bytes(whole[: len(whole) // 2])


def a_changed_bit(world: World) -> None:
    whole = bytearray(world.best.read_bytes())
    largest = max(checkpoint.read(world.best)["state_dict"].values(), key=torch.numel)
    whole[whole.index(largest.numpy().tobytes()) + 2] ^= 64
    (world.folder / "a.ckpt").write_bytes(whole)


def a_payload(world: World) -> None:
    torch.save({"state_dict": Payload(world.folder / "was-here")}, world.folder / "a.ckpt")


def a_name_that_is_taken(world: World) -> None:
    (world.folder / "runs" / "other").mkdir(parents=True)
    world.run.rename(world.folder / "runs" / "other" / "seed-1")


def another_process(world: World) -> None:
    world.patch.setattr(runs, "LOCK_SECONDS", 0.05)
    lock = FileLock(world.run / ".lock")
    lock.acquire()
    world.locks.append(lock)


def unfinished(*damaged: str) -> Make:
    """The run has to be resumed, and some of its checkpoints are damaged."""

    def make(world: World) -> None:
        (world.run / "test.json").unlink()
        for name in damaged:
            (world.run / "checkpoints" / name).write_bytes(b"half")

    return make


def trained_otherwise(change: Callable[[dict[str, Any]], object]) -> Make:
    """The run has to be resumed, and its last checkpoint is of a training on something else."""

    def make(world: World) -> None:
        unfinished()(world)
        last = world.best.with_name("last.ckpt")
        contents = checkpoint.read(last)
        change(contents)
        torch.save(contents, last)

    return make


def best_as_last(world: World) -> None:
    unfinished()(world)
    shutil.copy(world.best, world.best.with_name("last.ckpt"))
    world.best.with_name("previous.ckpt").unlink()


def no_memory(error: Exception, owner: type = Seq2Seq, method: str = "loss") -> Make:
    """There is none for a batch, whichever comes."""

    def fail(*arguments: object, **options: object) -> None:
        raise error

    four = b"1+1\n1+2\n1+3\n1+4\n"
    step: Make = lambda world: world.patch.setattr(owner, method, fail)  # noqa: E731
    return both(a_file("test.src", four), a_file("test.tgt", four), step)


def no_window(*arguments: object, **options: object) -> None:
    raise NO_MEMORY_ON_A_CPU


NO_MEMORY_ON_A_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total of")
NO_MEMORY_ON_A_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


class FullDisk:
    """A file on a disk on which little is left."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.left = stream, 5000

    def write(self, data: Any) -> int:
        self.left -= len(bytes(data))
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self.stream.write(data))

    def flush(self) -> None:
        self.stream.flush()


def a_full_disk(world: World) -> None:
    save = torch.save
    world.patch.setattr(torch, "save", lambda contents, stream: save(contents, FullDisk(stream)))


def no_semaphores(world: World) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    world.patch.setattr(multiprocessing.synchronize.SemLock, "__init__", full)


def a_killed_worker(world: World) -> None:
    here = os.getpid()

    def killed(self: _Epoch, position: int) -> None:
        assert os.getpid() != here
        os.kill(os.getpid(), signal.SIGKILL)

    world.patch.setattr(_Epoch, "__getitem__", killed)


def no_bfloat16(world: World) -> None:
    world.patch.setattr(trainer, "cpu_has_bfloat16", lambda: False)


def lines_of(names: str, line: str) -> Make:
    """Four times a line in each of these files."""
    return both(*(a_file(name, (line + "\n").encode() * 4) for name in names.split()))


COMPOSED, DECOMPOSED = "\u00e9t\u00e9", "e\u0301te\u0301"


def without_zstd(world: World) -> None:
    for name in packed.ZSTD_LIBRARIES:
        world.patch.setitem(sys.modules, name, None)


def scores_that_were_interrupted(world: World) -> None:
    with world.patch.context() as patch:
        real, calls = Translator.n_best, []

        def twice(*arguments: Any, **options: Any) -> Any:
            calls.append(True)
            if len(calls) > 2:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        patch.setattr(Translator, "n_best", twice)
        assert give("seq2seq-translate run -i test.de -o out --n-best 1 --window 1", patch) == 130


def a_tar(world: World) -> None:
    with tarfile.open(world.folder / "a", "w") as archive:
        archive.add(world.folder / "train.de")


def an_export_that_differs(world: World) -> None:
    if importlib.util.find_spec("onnxruntime") is not None:
        verify = importlib.import_module("seq2seq.export.verify")
        world.patch.setattr(verify, "compare", lambda *rest: verify.Comparison(10, 9, 0.5, 0.1))


MAKE: dict[str, Make] = {  # where the folder is not as it always is
    "no such file": without("train.de"),
    "an empty file": a_file("train.de", b""),
    "an extra line": a_file("train.de", b"1\n2\n3\n4\n5\n"),
    "another encoding": a_file("valid.en", "ä\n".encode("latin-1") * 4),
    "a blank line in the training text": a_file("train.en", b"1\n\n3\n \n"),
    "only blank lines in the training text": a_file("train.en", b"\n" * 4),
    "another encoding, without a mark": a_file("valid.en", ("ä line\n" * 4).encode("utf-16le")),
    "a packed file that is damaged": a_file("a", gzip.compress(b"a line\n" * 99, mtime=0)[:-8] + b"\0" * 8),
    "a .gz that is neither packed nor text": a_file("a.gz", b"\xff\n"),
    "text that was converted for DOS twice": a_file("train.de", b"a\r\r\nb\r\r\nc\r\r\nd\r\r\n"),
    "text of an old Mac": a_file("train.de", b"a\rb\rc\rd\r"),
    "a text of an old Mac for a language model": a_file("a", b"a\rb\r"),
    "two byte-order marks": a_file("train.de", b"\xef\xbb\xbf" * 2 + b"a\nb\nc\nd\n"),
    "a link where the hidden file of an output is expected": lambda world: (world.folder / ".out.part").symlink_to(
        world.folder / "test.en"
    ),
    "scores resumed with other windows": scores_that_were_interrupted,
    "an input of an old Mac": a_file("a", b"1+1\r2+2\r"),
    "an input that was converted for DOS twice": a_file("a", b"1+1\r\r\n2+2\r\r\n"),
    "an archive": a_file("a", b"PK\x03\x04"),
    "a file packed twice": a_file("a", gzip.compress(lzma.compress(b"a line\n"))),
    "zstd without a library for it": both(a_file("a", b"\x28\xb5\x2f\xfd"), without_zstd),
    "a .gz that is cut short": a_file("a.gz", gzip.compress(b"a line\n" * 99, mtime=0)[:-9]),
    "three columns in a TSV": a_file("a.tsv", b"one\ttwo\none\ttwo\tthree\n"),
    "a book's file without its mark": a_file("a.txt", b"1+1  _2   \n1+2  3   \n"),
    "a book's file with too few lines": a_file("a.txt", b"1+1  _2   \n1+2  _3   \n"),
    "a mirror with a wrong file": a_file("train.en", b"not it\n"),
    "a folder with other files in it": a_file("train.src", b"mine\n"),
    "text that is blank everywhere": a_file("a", b" \n" * 4),
    "a blank source where sentences have no end symbol": a_file("valid.de", b"a\n\nb\nc\n"),
    "an output over the model": lambda world: shutil.copy(world.best, world.folder / "a.ckpt"),
    "another run in the folder": a_name_that_is_taken,
    "settings that are not YAML": a_file("run/config.yaml", b"seed: ["),
    "settings that hold an object": a_file(
        "run/config.yaml", b"seed: !!python/object/apply:os.system ['mkdir was-here']\n"
    ),
    "settings with a list item of another type": a_file("run/config.yaml", b"trainer: {loggers: [1]}\n"),
    "settings with a name that breaks the line": a_file("run/config.yaml", b'name: "a\\nb"\n'),
    "settings with references": a_file("run/config.yaml", b"data: &a {}\nmodel: *a\n"),
    "settings of another program": a_file("run/config.yaml", b"layers: 3\n"),
    "a result that is not JSON": a_file("run/test.json", b"{"),
    "a result without its figures": a_file("run/test.json", b"{}"),
    "a result of an unknown task": a_file("run/test.json", b'{"task": "tagging"}'),
    "another process in the folder": another_process,
    "a last checkpoint that is damaged, and the one before it too": unfinished("last.ckpt", "previous.ckpt"),
    "a best checkpoint that is damaged": unfinished("best.ckpt"),
    "a checkpoint that can only translate": best_as_last,
    "text that has changed since": trained_otherwise(
        lambda contents: contents["training"]["text"].update({"train.src": "", "valid.tgt": ""})
    ),
    "pieces that have changed since": trained_otherwise(
        lambda contents: contents[checkpoint.SECTION]["tokenizer"].update(lowercase=True)
    ),
    "a run without its settings": lambda world: (
        a_name_that_is_taken(world),
        (world.folder / "runs" / "other" / "seed-1" / "config.yaml").unlink(),
    ),
    "a file for a folder": a_file("runs", b""),
    "a full disk": a_full_disk,
    "too little memory on a GPU": no_memory(NO_MEMORY_ON_A_GPU),
    "too little memory on a CPU": no_memory(NO_MEMORY_ON_A_CPU),
    "too little memory for one pair": no_memory(NO_MEMORY_ON_A_CPU),
    "too little memory while translating": no_memory(NO_MEMORY_ON_A_CPU, CpuForm, "start"),
    "too little memory for one line": no_memory(NO_MEMORY_ON_A_GPU, CpuForm, "start"),
    "too little memory while scoring": no_memory(NO_MEMORY_ON_A_CPU),
    "too little memory while probing": no_memory(NO_MEMORY_ON_A_CPU, Seq2Seq, "encode"),
    "a full /dev/shm": no_semaphores,
    "a process killed for lack of memory": a_killed_worker,
    "a CPU without bfloat16": no_bfloat16,
    "another program's checkpoint": lambda world: torch.save({"state_dict": {}}, world.folder / "a.ckpt"),
    "a checkpoint that is cut short": half_a_checkpoint,
    "a checkpoint with a changed bit": a_changed_bit,
    "a checkpoint of a newer version": a_checkpoint(format=9, version="9.0"),
    "a checkpoint that would run a program": a_payload,
    "a checkpoint with a removed setting": a_checkpoint(model={"attention": "dot", "attention_heads": 2}),
    "a checkpoint with an unknown setting": a_checkpoint(model={"coverage": True}),
    "a checkpoint with an unknown Unicode form": a_checkpoint(tokenizer={"normalization": "nfd"}),
    "a checkpoint with an unknown metric": a_checkpoint(metrics={"tokenizer": "moses"}),
    "references without spaces between words": lines_of("valid.en test.en", "我们明天在北京见面。"),
    "references that look tokenised": lines_of("test.en", "a man walks ."),
    "references in another Unicode form": lines_of("valid.en", DECOMPOSED),
    "references in another form than the text that is learnt": both(
        lines_of("valid.en", DECOMPOSED), lines_of("train.en", COMPOSED)
    ),
    "sides in two Unicode forms": both(lines_of("train.de", COMPOSED), lines_of("train.en", DECOMPOSED)),
    "sides in two Unicode forms without normalisation": both(
        lines_of("train.de", COMPOSED), lines_of("train.en", DECOMPOSED)
    ),
    "an evaluation on references without spaces": lines_of("test.en", "ฉันชอบกินข้าว"),
    "an evaluation on text in subwords": lines_of("test.en", "two d@@ ogs"),
    "input in another Unicode form than the text of an older model": both(
        an_older_model, lines_of("a", DECOMPOSED[:2])
    ),
    "a checkpoint whose weights have another shape": a_checkpoint(model={"num_layers": 2}),
    "a checkpoint of a network larger than the memory": a_checkpoint(model={"hidden_size": 10**6}),
    "a checkpoint of a network that is too deep to build": a_checkpoint(model={"num_layers": 10**9}),
    "a checkpoint with two vocabularies where one is needed": a_checkpoint(model={"tie": "all"}),
    "a checkpoint whose outputs never end": a_checkpoint(model={"fixed_length": 10**12}),
    "a last checkpoint of another network": trained_otherwise(
        lambda contents: contents[checkpoint.SECTION]["model"].update(residual=True)
    ),
    "an average of two networks": a_checkpoint(model={"init": "book"}),
    "references that are not line-aligned": lambda world: shutil.copy(world.run / "test.src", world.folder),
    "a checkpoint whose tokenizer is damaged": a_checkpoint(tokenizer={"src": b"junk"}),
    "a checkpoint whose pieces are not UTF-8": another_piece,
    "a reference that is too long": both(a_file("a", b"1+1\n"), a_file("long", b"1" * 1048577)),
    "a prefix that is too long": both(a_file("a", b"1+1\n"), a_file("long", b"1" * 1048577)),
    "a checkpoint with control characters": a_checkpoint(format=9, version="9\x1b[2J"),
    "bytes that are not UTF-8, with --strict": a_file("a", b"1+1\n\xff\n"),
    "an input in UTF-16": a_file("a", ("1+1\n" * 4).encode("utf-16le")),
    "an archive for an input": a_tar,
    "fewer references than sources": a_file("test.en", b"1\n2\n3\n"),
    "an empty test set": both(a_file("test.de", b""), a_file("test.en", b"")),
    "a run without its test lines": without("run/test.src"),
    "only blank lines": a_file("a", b"\n" * 4),
    "a report on no finished run": without("run"),
    "a report on a run without its hypotheses": without("run/test.hyp"),
    "a report on a run with too few test lines": a_file("run/test.hyp", b"1\n"),
    "a curve with a value that is not a number": a_file("run/metrics.csv", b"epoch\none\n"),
    "a report on a result without its figures": a_file("run/test.json", b"{}"),
    "a report on a probe without its figures": a_file("run/probe.json", b"{}"),
    "a report on a curve without its columns": a_file("run/metrics.csv", b"a,b\n1,2\n"),
    "a report on a folder with a plan without keys": a_file("sweep.json", b"[]"),
    "a report on the same run twice": lambda world: shutil.copytree(world.run, world.folder / "other"),
    "a text without words": a_file("a", b" \n" * 4),
    "too little memory for a window": lambda world: world.patch.setattr(RNNLanguageModel, "loss", no_window),
    "an export over another one": both(a_file("out/config.json", b"{}"), a_file("out/step.onnx", b"")),
    "a sample for an export without a line": a_file("a", b"\n"),
    "a cell that cannot be exported": lambda world: world.patch.setattr(lstm, "ONNX", None),
    "an export that computes something else": an_export_that_differs,
    "a language model's tokenizer for sources": a_checkpoint(kind="language model"),
    "a language model to translate": a_checkpoint(kind="language model"),
    "an empty text": a_file("a", b""),
    "a checkpoint that was trained to decode on a GPU": a_checkpoint(decode={"cuda_graphs": True}),
    "a checkpoint that was trained to decode with a shortlist, and has none": a_checkpoint(decode={"shortlist": True}),
    "a last checkpoint that is damaged": unfinished("last.ckpt"),
    "pairs with a blank side": a_file("train.en", b"1\n\n3\n4\n"),
    "a line longer than the bound": a_file("a", b"11+22\n"),
    "a line far longer than the bound": a_file("a", b"1+1" * 5000),
    "bytes that are not UTF-8": a_file("a", b"1+1\n\xff\n"),
}
CAN_EXPORT = importlib.util.find_spec("onnxruntime") is not None
EXPORTS = (
    "an export among other files",
    "an export over a file",
    "an export over another one",
    "a sample for an export without a line",
    "a cell that cannot be exported",
    "an export that computes something else",
)
SKIP = {  # where the machine has what the row misses, or misses what the row needs
    "a metric's tokenizer that is not installed": importlib.util.find_spec("MeCab") is not None,
    "a metric's tokenizer without its model": (Path(metrics.SACREBLEU_DIR) / metrics.FLORES200).exists(),
    "scores by a tokenizer that is not installed": importlib.util.find_spec("mecab_ko") is not None,
    "a logger that is not installed": importlib.util.find_spec("wandb") is not None,
    "a launcher that is not installed": importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is not None,
    "an export without its packages": CAN_EXPORT,
    **dict.fromkeys(EXPORTS, not CAN_EXPORT),
    "no GPU": torch.cuda.is_available(),
    "a missing GPU": torch.cuda.is_available(),
}


@pytest.fixture
def world(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The working directory of a mistake; the process is as it was when the test is over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "2000")
    loggers = logging.getLogger(), logging.getLogger("seq2seq")
    before = [(list(one.handlers), one.level) for one in loggers]
    made = World(tmp_path, trained, monkeypatch)
    yield made
    for lock in made.locks:
        lock.release()
    sweep.planned.clear()
    for one, (handlers, level) in zip(loggers, before, strict=True):
        one.handlers, one.level = handlers, level


def give(command: str, patch: pytest.MonkeyPatch) -> int:
    """Give a command in this process and return its exit status."""
    long = any(f"${name}" in command for name in SHORT)
    for name, meaning in SHORT.items():
        command = command.replace(f"${name}", meaning)
    name, *words = shlex.split(command)
    words = list(last_of_each(words)) if long and name == "seq2seq-train" else words  # as the page says
    main = importlib.import_module(f"seq2seq.cli.{name.removeprefix('seq2seq-')}").main
    patch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit) as ended:
        main() if name == "seq2seq-train" else main(words)
    return int(ended.value.code or 0)


def pattern(line: str) -> str:
    """What the page says, as a regular expression."""
    return ".+".join(map(re.escape, line.split("…")))


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check_nothing_half_written(folder: Path, new: set[str], *, by_training: bool) -> None:
    assert not (folder / "was-here").exists()
    assert not [name for name in new if name.endswith((".tmp", "test.json"))]
    for path in folder.glob("data/*/*.src"):
        assert (path.parent / "dataset.json").exists()
    if not by_training:
        assert {Path(name).name for name in new} <= {".lock"}


@pytest.mark.parametrize("row", [one for one in page() if one.section != WARNINGS], ids=lambda row: row.what)
def test_a_mistake_ends_in_the_line_that_the_page_has(
    world: World, row: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    if SKIP.get(row.what):
        pytest.skip("this machine has it, or lacks a package for it")
    MAKE.get(row.what, lambda world: None)(world)
    before = files_in(world.folder)
    capsys.readouterr()  # what was said while it was made
    status = give(row.command, world.patch)
    printed = capsys.readouterr()
    assert status == 2
    name = row.command.split()[0]
    said = [line for line in printed.err.split("\n") if not PROGRESS.match(line)]
    assert len(said) == 1, said
    assert re.fullmatch(pattern(f"{name}: {row.line}"), said[0]), said[0]
    assert printed.out == ""
    new = files_in(world.folder) - before
    check_nothing_half_written(world.folder, new, by_training=name == "seq2seq-train")


@pytest.mark.parametrize("row", [one for one in page() if one.section == WARNINGS], ids=lambda row: row.what)
def test_a_warning_is_as_the_page_has_it(world: World, row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    MAKE.get(row.what, lambda world: None)(world)
    assert give(row.command, world.patch) == 0
    said = capsys.readouterr().err.split("\n")
    assert any(re.fullmatch(pattern(row.line), line) for line in said), said


def test_each_mistake_is_on_the_page_once() -> None:
    names = [row.what for row in page()]
    assert len(names) == len(set(names))
    assert len(names) > 100
    assert set(MAKE) | set(SKIP) <= set(names)
