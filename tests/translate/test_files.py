"""As many lines out as in, whatever bytes they hold, and the same file however often its writing was killed."""

from __future__ import annotations

import bz2
import dataclasses
import errno
import functools
import gzip
import io
import itertools
import json
import logging
import lzma
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seq2seq.cli.translate import main
from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError
from seq2seq.files import encoding, packed, resumable
from seq2seq.files.lines import iter_raw_lines, read_lines, sha256_file
from seq2seq.translate import files, outputs
from seq2seq.translate.files import translate_file
from seq2seq.translate.results import Results
from seq2seq.translate.translator import Translator
from tests.conftest import LINES, ROOT, Command
from tests.processes import PIPE, Started, run, start
from tests.translate.test_translator import translator

FROZEN = ROOT / "tests" / "data" / "v1.ckpt"
TRANSLATOR = translator(decode=DecodeConfig(max_ratio=0.5, max_extra=4, max_source=200))


class Upper:
    """Translates into capitals, at once; `before` is called with each window."""

    def __init__(self, before: Callable[[Sequence[str]], None] = lambda lines: None) -> None:
        self.decode, self.before, self.normalization = DecodeConfig(), before, "none"

    def with_options(self, options: None) -> Upper:
        return self

    def translate(self, lines: Sequence[str]) -> Results[str]:
        self.before(lines)
        return Results(line.upper() for line in lines)


def upper(source: Path, target: Path, before: Any = lambda lines: None, **options: Any) -> files.FileReport:
    return translate_file(Upper(before), source, target, **options)  # type: ignore[arg-type]


@functools.cache
def alone(line: bytes) -> bytes:
    """The translation of a line that has no neighbours."""
    return TRANSLATOR.translate([line.decode("utf-8", "replace")])[0].encode()


@functools.cache
def frozen() -> Translator:
    return Translator.from_checkpoint(FROZEN)


def alone_by_the_frozen(line: bytes) -> bytes:
    return frozen().translate([line.decode()])[0].encode()


def independent_lines(data: bytes) -> list[bytes]:
    """The lines of a file, by the book: by ends alone, less a byte-order mark and a carriage return before an end."""
    data = data[3:] if data.startswith(b"\xef\xbb\xbf") else data
    *ended, rest = data.split(b"\n")
    return [line[:-1] if line.endswith(b"\r") else line for line in ended] + ([rest] if rest else [])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


Here = Callable[..., "tuple[int, str]"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """The command with the frozen checkpoint, in this process and an empty folder: its status and what it said."""
    root, ours = logging.getLogger(), logging.getLogger("seq2seq")
    handlers, levels = root.handlers[:], (root.level, ours.level)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(FROZEN), *map(str, words)])
        said = capfd.readouterr()
        assert said.out == ""
        return int(str(ended.value.code)), said.err

    yield run
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


# What lines hold


AWKWARD = {
    "plain": b"a dog",
    "empty": b"",
    "spaces": b"   ",
    "tab": b"\t",
    "inner tab": b"a\tdog",
    "CRLF": b"a dog\r",
    "CR": b"\r",
    "two CR": b"a dog\r\r",
    "inner CR": b"a\rdog",
    "NUL": b"a\x00dog",
    "NUL alone": b"\x00",
    "U+2028": "a\u2028dog".encode(),
    "U+2029": "a\u2029dog".encode(),
    "U+0085": "a\x85dog".encode(),
    "VT": b"a\x0bdog",
    "FF": b"a\x0cdog",
    "separators": b"a\x1cb\x1db\x1eb\x1fb",
    "invalid UTF-8": b"a \xff\xfe dog",
    "cut UTF-8": "日".encode()[:2],
    "surrogate": b"\xed\xa0\x80",
    "inner BOM": "a\ufeffdog".encode(),
    "BOM": "\ufeff".encode(),
    "right to left": "שלום \u202eעולם".encode(),
    "emoji": "👩‍👩‍👧 🎉🏳️‍🌈".encode(),
    "combining": "e\u0301".encode() * 40,
    "markers": b"<s> </s> <unk> \xe2\x96\x81",
    "no-break space": "\xa0".encode(),
    "long": b"a dog " * 16_667,
    "long word": b"d" * 100_000,
}
REPLACED = {"invalid UTF-8", "cut UTF-8", "surrogate"}
CUT = {"long", "long word"}


@pytest.mark.parametrize("kind", AWKWARD)
def test_a_line_of_any_kind_is_one_line_and_its_own_translation(tmp_path: Path, kind: str) -> None:
    line = AWKWARD[kind]
    for data in (line + b"\n", line, b"a dog\n" + line + b"\n\na cat\n", b"\xef\xbb\xbf" + line + b"\n" + line):
        (tmp_path / "in").write_bytes(data)
        report = translate_file(TRANSLATOR, tmp_path / "in", tmp_path / "out", window=2)
        expected = independent_lines(data)
        assert (tmp_path / "out").read_bytes() == b"".join(alone(one) + b"\n" for one in expected)
        times = expected.count(line)
        assert report[:3] == (len(expected), times * (kind in CUT), times * (kind in REPLACED))
        assert (tmp_path / "out").read_bytes().count(b"\n") == report.num_lines


def test_the_command_gives_a_line_for_each_awkward_line_and_counts_them(command: Command, tmp_path: Path) -> None:
    lines = [*AWKWARD.values(), b"1" * 100_000]
    (tmp_path / "in").write_bytes(b"\n".join(lines))
    done = command("translate", FROZEN, "-i", "in", "-o", "out", "--max-extra", "3", "--max-ratio", "0")
    assert done.returncode == 0, done.stderr
    outputs = (tmp_path / "out").read_bytes().split(b"\n")
    assert outputs.pop() == b""
    assert len(outputs) == len(lines)
    blank = {"empty", "spaces", "tab", "CR", "no-break space"}
    assert {kind for kind, output in zip(AWKWARD, outputs, strict=False) if not output} >= blank
    assert f"in: {len(lines)} lines (1 cut to 2000 tokens, 3 with bytes that are not UTF-8, replaced)" in done.stderr
    assert "tokens is cut to its first 2000: 1111" in done.stderr


def fuzz(cases: int, seed: int, folder: Path) -> None:
    """Files of random bytes, in windows of random sizes, plain and packed: each line becomes its own translation."""
    rng = random.Random(seed)
    bits = [
        b"a",
        b"dog ",
        b" ",
        b"\t",
        b"\r",
        b"\x00",
        b"\xff",
        b"\xe2\x80",
        b"\xa8",
        b"\xc2\x85",
        b"\xef\xbb\xbf",
        b"\x0b",
    ]
    pieces = [*bits, *(bytes([i]) for i in range(256) if i != 10)]
    pool = [b"".join(rng.choices(pieces, k=rng.randint(0, 9))) for _ in range(min(cases, 1500))]
    for case in range(cases):
        lines = rng.choices([b"", *pool], k=rng.randint(0, 6))
        data = b"".join(line + rng.choice([b"\n", b"\n", b"\r\n"]) for line in lines)
        data = rng.choice([b"", b"", b"\xef\xbb\xbf"]) + data + rng.choice([b"", rng.choice(pool)])
        packs = case % 4 == 0
        ending = ".gz" if packs else ""
        source, target = folder / f"in{ending}", folder / f"out{ending}"
        source.write_bytes(gzip.compress(data, 1) if packs else data)
        report = translate_file(TRANSLATOR, source, target, window=rng.randint(1, 8))
        expected = independent_lines(data)
        written = gzip.decompress(target.read_bytes()) if packs else target.read_bytes()
        assert written == b"".join(alone(line) + b"\n" for line in expected), (case, data)
        assert written.count(b"\n") == report.num_lines == len(expected), (case, data)


def test_random_bytes(tmp_path: Path) -> None:
    fuzz(120, 1, tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 5))
def test_any_bytes_at_all(tmp_path_factory: pytest.TempPathFactory, data: bytes, window: int) -> None:
    assume(packed.kind_of(data) is None and encoding.marked(data) is None)
    folder = tmp_path_factory.mktemp("any")
    (folder / "in").write_bytes(data)
    report = translate_file(TRANSLATOR, folder / "in", folder / "out", window=window)
    expected = independent_lines(data)
    assert (folder / "out").read_bytes() == b"".join(alone(line) + b"\n" for line in expected)
    assert report.num_lines == len(expected)


def test_the_window_does_not_change_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").write_text("\n".join(LINES * 3), encoding="utf-8")
    for window in (1, 4, 1000):
        translate_file(TRANSLATOR, tmp_path / "in", tmp_path / str(window), window=window)
    monkeypatch.setattr(files, "WINDOW_BYTES", 30)
    translate_file(TRANSLATOR, tmp_path / "in", tmp_path / "bytes")
    assert len({(tmp_path / name).read_bytes() for name in ("1", "4", "1000", "bytes")}) == 1


def test_a_window_of_long_lines_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WINDOW_BYTES", 100)
    (tmp_path / "in").write_text("a" * 60 + "\n" + "b" * 60 + "\n" + "c\n" * 3)
    seen: list[int] = []
    upper(tmp_path / "in", tmp_path / "out", lambda lines: seen.append(len(lines)))
    assert seen == [2, 3]


PACKERS = {"gz": (gzip, "gzip"), "bz2": (bz2, "bzip2"), "xz": (lzma, "xz")}


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_in_and_out(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "MEMBER_BYTES", 20)
    module, program = PACKERS[ending]
    (tmp_path / "in").write_bytes(module.compress("\n".join(LINES).encode()))
    target = tmp_path / f"out.{ending}"
    for _ in range(2):
        translate_file(TRANSLATOR, tmp_path / "in", target, window=2)
        assert module.decompress(target.read_bytes()).decode().splitlines() == TRANSLATOR.translate(LINES)
        assert subprocess.run([program, "-t", target]).returncode == 0


@pytest.mark.parametrize("ending", PACKERS)
def test_a_packed_output_of_no_lines_is_a_sound_packed_file(tmp_path: Path, ending: str) -> None:
    (tmp_path / "in").write_bytes(b"")
    target = tmp_path / f"out.{ending}"
    assert upper(tmp_path / "in", target).num_lines == 0
    assert subprocess.run([PACKERS[ending][1], "-dc", target], capture_output=True, check=True).stdout == b""


def test_a_packed_pipe_is_packed(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\nb\n")
    os.mkfifo(tmp_path / "out.gz")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "out.gz").read_bytes)
        upper(tmp_path / "in", tmp_path / "out.gz", window=1)
        assert gzip.decompress(read.result(timeout=60)) == b"A\nB\n"


def test_a_shard_of_a_packed_output_has_its_ending_last(here: Here, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1+1\n2+2\n")
    assert here("-i", "in", "--suffix", "de.xz", "--shard", "1/2")[0] == 0
    assert names(tmp_path) == {"in", "in.de.1-of-2.xz"}


def test_an_output_that_promises_a_packer_that_is_not_written_is_refused(here: Here, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1+1\n")
    for name, kind in (("out.zst", "zstd"), ("out.ZIP", "zip")):
        status, said = here("-i", "in", "-o", name)
        assert status == 2
        assert f"{name} would be a {kind} file, which is not written; name it .gz, .bz2 or .xz" in said
    assert names(tmp_path) == {"in"}


def test_a_packed_output_of_many_members_is_little_longer_than_one(tmp_path: Path) -> None:
    rng = random.Random(0)
    (tmp_path / "in").write_text("".join(" ".join(rng.choices(LINES, k=4)) + "\n" for _ in range(20_000)))
    upper(tmp_path / "in", tmp_path / "out.gz")
    packed = (tmp_path / "out.gz").read_bytes()
    assert packed.count(b"\x1f\x8b\x08\x00") >= 3
    assert len(packed) < 1.03 * len(gzip.compress(gzip.decompress(packed)))


def test_stdin_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(LINES).encode())))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    translate_file(TRANSLATOR, None, None)
    assert out.getvalue().decode().splitlines() == TRANSLATOR.translate(LINES)


def talking(*words: object, stdin: int | None = PIPE) -> Started:
    return start("translate", FROZEN, *words, cwd=ROOT, stdin=stdin, stdout=PIPE, stderr=PIPE)


@pytest.mark.parametrize("flags, parts", [((), 1), (("--n-best", 1), 3)])
def test_a_process_that_writes_a_line_and_waits_gets_its_answer(flags: tuple[object, ...], parts: int) -> None:
    lines = [b"1+1\n", b"\n", b"22+33\n", b"\xff\n", b"4+5\n"]
    with talking(*flags) as process:
        together = process.communicate(b"".join(lines), timeout=60)[0]
    assert process.returncode == 0
    with talking(*flags) as process:
        assert process.stdin is not None and process.stdout is not None
        killer = threading.Timer(60, process.kill)  # where no answer comes
        killer.start()
        answers = []
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
            answers.append(process.stdout.readline())
        process.stdin.close()
        assert process.stdout.read() == b""
        killer.cancel()
    for answer, expected in zip(answers, together.splitlines(keepends=True), strict=True):
        *texts, last = answer.split(b" ||| ")
        *texts_there, last_there = expected.split(b" ||| ")
        assert len(texts) == parts - 1
        assert texts == texts_there
        assert last == last_there or float(last) == pytest.approx(float(last_there), abs=1e-5)  # float32


def test_half_a_line_is_waited_for_and_a_named_pipe_is_answered_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in")
    with talking("-i", tmp_path / "in", stdin=None) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        assert process.stdout is not None
        with open(tmp_path / "in", "wb", buffering=0) as stream:
            for half in (b"1+", b"1\n2+2\n3", b"+3\n"):
                stream.write(half)
                time.sleep(0.1)
            answers = [process.stdout.readline() for _ in range(3)]
        assert process.stdout.read() == b""
        killer.cancel()
    assert answers == [alone_by_the_frozen(line) + b"\n" for line in (b"1+1", b"2+2", b"3+3")]


def test_a_busy_pipe_has_full_windows(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"line {i}\n" for i in range(20_000)))
    program = """if True:
        import sys
        from tests.translate.test_files import Upper, translate_file
        windows = []
        translate_file(Upper(windows.append), None, None, window=4096)
        print(*map(len, windows), file=sys.stderr)
    """
    with subprocess.Popen(["cat", tmp_path / "in"], stdout=subprocess.PIPE) as cat:
        done = subprocess.run([sys.executable, "-c", program], stdin=cat.stdout, capture_output=True, cwd=ROOT)
    assert done.stdout == (tmp_path / "in").read_bytes().upper()
    windows = [int(size) for size in done.stderr.split()]
    assert sum(windows) == 20_000
    assert len(windows) <= 7  # 5 is the fewest; a machine that is busy elsewhere may pause


def test_a_named_output_has_full_windows_however_its_input_pauses(tmp_path: Path) -> None:
    groups: list[list[bytes]] = [[b"a", b"b"], [], [b"c"], []]
    for ends, expected in ((True, [2, 1]), (False, [3])):
        lines = files._Lines(tmp_path, window=9, strict=False)
        lines._raw = files._with_pauses(groups)
        lines.ends_window_at_pause = ends
        assert [len(window) for window, _ in lines] == expected


def test_a_terminal_sees_progress(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a dog\n" * 30)
    terminal, other_end = pty.openpty()
    program = (
        "import sys; from tests.translate.test_files import *; upper(Path(sys.argv[1]), Path(sys.argv[2]), window=10)"
    )
    command = [sys.executable, "-c", program, tmp_path / "in", tmp_path / "out"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "250"}  # room for the path and the count
    done = subprocess.run(command, stderr=other_end, cwd=ROOT, timeout=120, env=env)
    os.close(other_end)
    assert done.returncode == 0
    assert b"30/" in os.read(terminal, 1 << 16)


# Killed and resumed


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A file of 300 lines that differ, in a folder of its own."""
    rng = random.Random(3)
    lines = [rng.choice(LINES)[: rng.randint(0, 20)] + rng.choice(["", " dog", "\r"]) for _ in range(300)]
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "in").write_bytes(("\n".join(lines)).encode())
    return tmp_path / "work" / "in"


@pytest.mark.parametrize("name", ["out", "out.gz"])
def test_killed_again_and_again_it_becomes_the_same_file(
    many: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = many.with_name(name)
    done = run("tests.killed_files", many, target, "6", "1", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    kills, places = map(int, done.stdout.split())
    assert kills >= places >= 20
    monkeypatch.setattr(resumable, "MEMBER_BYTES", 200)
    translate_file(translator(), many, tmp_path / name, window=6)
    assert target.read_bytes() == (tmp_path / name).read_bytes()
    assert names(many.parent) == {"in", name}


class Killed(BaseException):
    """Stands for a kill: nothing is tidied up after it."""


class Fuse:
    """Burns at the n-th call to the system that an output makes: before it, after it, or half-way through a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
        self.left, self.error = float("inf"), error
        for module, name in ((os, "fsync"), (os, "replace"), (Path, "unlink")):
            monkeypatch.setattr(module, name, self.around(getattr(module, name)))
        monkeypatch.setattr(resumable.Partial, "_append", self.torn(resumable.Partial._append))
        if error is Killed:
            monkeypatch.setattr(resumable.Partial, "give_up", lambda partial: None)

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.left = float("inf")
            raise self.error

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(*arguments: Any, **options: Any) -> Any:
            self.step()
            done = call(*arguments, **options)
            self.step()
            return done

        return around

    def torn(self, append: Callable[[resumable.Partial, bytes], None]) -> Callable[[resumable.Partial, bytes], None]:
        def torn(output: resumable.Partial, data: bytes) -> None:
            append(output, data[: len(data) // 2])
            self.step()
            append(output, data[len(data) // 2 :])
            self.step()

        return torn


@pytest.mark.parametrize("error", [Killed, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["out", "out.gz"])
@pytest.mark.parametrize("save_seconds", [0.0, 1e9])
def test_an_end_at_any_call_to_the_system_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, save_seconds: float, error: type[BaseException]
) -> None:
    monkeypatch.setattr(resumable, "SAVE_SECONDS", save_seconds)
    monkeypatch.setattr(resumable, "MEMBER_BYTES", 40)
    source, target = tmp_path / "in", tmp_path / name
    source.write_text("".join(f"line {i}\n" for i in range(20)))
    upper(source, target, window=4)
    whole = target.read_bytes()
    fuse = Fuse(monkeypatch, error)
    for num_calls in itertools.count():
        target.unlink()
        fuse.left = num_calls
        try:
            upper(source, target, window=4, resume=True)
            break
        except (Killed, UserError, KeyboardInterrupt):
            fuse.left = float("inf")
        assert not target.exists() or target.read_bytes() == whole
        assert error is Killed or not target.exists() or names(tmp_path) == {"in", name}
        report = upper(source, target, window=4, resume=True)
        assert report.num_lines == 20
        assert target.read_bytes() == whole
        assert names(tmp_path) == {"in", name}
    assert num_calls > 10


def stop_after(num_windows: int, error: BaseException) -> Callable[[Sequence[str]], None]:
    """Raises once so many windows were translated."""
    countdown = iter([None] * num_windows)

    def before(lines: Sequence[str]) -> None:
        if next(countdown, error) is error:
            raise error

    return before


def stopped(source: Path, target: Path, num_windows: int = 3, **options: Any) -> None:
    """Leave what an interrupted call leaves."""
    with pytest.raises(KeyboardInterrupt):
        upper(source, target, stop_after(num_windows, KeyboardInterrupt()), **{"window": 10, **options})


def test_ctrl_c_keeps_what_is_done_and_resume_translates_the_rest_alone(
    many: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    target = many.with_name("out")
    target.write_text("old")
    stopped(many, target)
    assert target.read_text() == "old"
    assert caplog.messages == [
        f"{target}: the text so far is kept in {many.parent}/.out.part; resume=True continues after it."
    ]
    seen: list[str] = []
    report = upper(many, target, seen.extend, resume=True, window=7)
    assert (report.num_lines, report.num_kept, len(seen)) == (300, 30, 270)
    upper(many, tmp_path / "whole")
    assert target.read_bytes() == (tmp_path / "whole").read_bytes()
    assert names(many.parent) == {"in", "out"}


def test_counts_go_on(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"a \xff\n" * 6 + b"the dog sings\n" * 6)
    bounded = translator(decode=DecodeConfig(max_source=5, max_extra=4))
    whole = translate_file(bounded, tmp_path / "in", tmp_path / "whole", window=4)
    real, stop = Translator.translate, stop_after(2, KeyboardInterrupt())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Translator, "translate", lambda self, lines: (stop(lines), real(self, lines))[1])
        with pytest.raises(KeyboardInterrupt):
            translate_file(bounded, tmp_path / "in", tmp_path / "out", window=4)
    resumed = translate_file(bounded, tmp_path / "in", tmp_path / "out", window=4, resume=True)
    assert resumed[:3] == whole[:3] == (12, 6, 6)
    assert resumed.num_kept == 8


def test_without_resume_what_a_killed_call_left_is_replaced(many: Path) -> None:
    target = many.with_name("out")
    stopped(many, target)
    seen: list[str] = []
    assert upper(many, target, seen.extend).num_kept == 0
    assert len(seen) == 300
    assert names(many.parent) == {"in", "out"}
    stopped(many, target)
    many.write_text("shorter than what is left\n")
    upper(many, target)
    assert target.read_text() == "SHORTER THAN WHAT IS LEFT\n"


def edited(path: Path, old: bytes, new: bytes) -> None:
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda path: path.write_bytes(b"new\n" + path.read_bytes()),
            r"the first 30 lines of .*in have changed",
        ),
        (lambda path: path.write_bytes(b"a\n" * 29), r"the first 30 lines of .*in have changed"),
        ({"made_with": {"the checkpoint": "b" * 64}}, r"the checkpoint was aaaaaaaaaaaa... and is bbbbbbbbbbbb...;"),
        (
            {"decode": DecodeConfig(max_extra=3, max_ratio=9)},
            r"decode.max_ratio was 2.0 and is 9, decode.max_extra was 20",
        ),
        ({"strict": True}, r"strict was False and is True"),
        ({"normalization": "nfc"}, r"tokenizer.normalization was None and is nfc"),
        ({"shard": (1, 2)}, r"shard was None and is 1/2 of 300 lines"),
        (lambda path: edited(path.with_name(".out.part.json"), b"{", b"{{"), r"/\.out\.part\.json, is damaged"),
        (lambda path: edited(path.with_name(".out.part.json"), b'"num_bytes"', b'"bits"'), r"is damaged"),
        (lambda path: os.truncate(path.with_name(".out.part"), 5), r"is damaged"),
        (lambda path: edited(path.with_name(".out.part.json"), b'"format": 1', b'"format": 2'), r"is damaged"),
    ],
)
def test_resume_refuses_by_name_what_has_changed(many: Path, change: Any, message: str) -> None:
    target = many.with_name("out")
    options: dict[str, Any] = {"made_with": {"the checkpoint": "a" * 64}}
    stopped(many, target, **options)
    stub = Upper()
    if callable(change):
        change(many)
    else:
        options |= change
        stub.decode = options.pop("decode", stub.decode)
        stub.normalization = options.pop("normalization", stub.normalization)
    before = {path: path.read_bytes() for path in many.parent.iterdir()}
    with pytest.raises(UserError, match=r"out cannot be resumed: .*" + message) as refused:
        translate_file(stub, many, target, resume=True, **options)  # type: ignore[arg-type]
    assert str(refused.value).endswith("; leave out resume=True to start it again.")
    assert {path: path.read_bytes() for path in many.parent.iterdir()} == before


def test_what_changes_no_translation_may_change_on_resume(many: Path, tmp_path: Path) -> None:
    target = many.with_name("out")
    stopped(many, target)
    stub = Upper()
    stub.decode = DecodeConfig(batch_tokens=1)
    many.write_bytes(many.read_bytes() + b"\nan end that was not there\n")
    translate_file(stub, many, target, window=1000, resume=True)  # type: ignore[arg-type]
    upper(many, tmp_path / "whole")
    assert target.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("ending", [".part", ".part.json", ".part.json.tmp"])
@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_a_planted_link_is_not_followed(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, plant: Callable[[Path, Path], None]
) -> None:
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    (tmp_path / "in").write_text("1+1\n2+2\n")
    hidden = tmp_path / f".out{ending}"
    for resume in ([], ["--resume"]):
        (tmp_path / "victim").write_text("secret")
        hidden.unlink(missing_ok=True)
        plant(tmp_path / "victim", hidden)
        status, said = here("-i", "in", "-o", "out", "--window", 1, *resume)
        assert (tmp_path / "victim").read_text() == "secret"
        if ending == ".part":
            assert status == 2
            assert said == (
                "seq2seq-translate: .out.part is a link or a special file, not a hidden file of seq2seq; remove it.\n"
            )
            assert not (tmp_path / "out").exists()
            assert names(tmp_path) == {"in", "victim", ".out.part"}
        else:
            assert status == 0
            assert (tmp_path / "out").read_bytes().count(b"\n") == 2
            assert names(tmp_path) == {"in", "victim", "out"}
            (tmp_path / "out").unlink()


def test_a_planted_link_to_nothing_and_a_pipe_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\n")
    for plant in (lambda path: path.symlink_to(tmp_path / "victim"), os.mkfifo):
        plant(tmp_path / ".out.part")
        with pytest.raises(UserError, match=r"\.out\.part is a link or a special file"):
            upper(tmp_path / "in", tmp_path / "out")
        (tmp_path / ".out.part").unlink()
        assert names(tmp_path) == {"in"}


def test_a_journal_that_is_a_link_is_not_read(many: Path) -> None:
    target = many.with_name("out")
    stopped(many, target)
    journal = many.with_name(".out.part.json")
    journal.rename(many.with_name("elsewhere"))
    journal.symlink_to(many.with_name("elsewhere"))
    with pytest.raises(UserError, match=r"\.out\.part\.json is a link or a special file, .*; remove it\."):
        upper(many, target, resume=True)


@pytest.mark.parametrize("size", [240, 245, 250, 255])
def test_the_longest_names_are_resumed(many: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    target = many.with_name("n" * size)
    stopped(many, target)
    assert upper(many, target, resume=True, window=10).num_kept == 30
    assert names(many.parent) == {"in", target.name}


def test_a_name_that_is_too_long_is_said_before_the_work(here: Here, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1+1\n")
    long = "n" * 300
    for words in (["-i", "in", "-o", long], ["-i", long, "-o", "out"], ["-i", "in", "--suffix", long]):
        status, said = here(*words)
        assert status == 2
        assert re.fullmatch(
            r"seq2seq-translate: \S+\.\.\. is too long for a file's name \(30\d bytes\); shorten it\.\n", said
        )
    assert names(tmp_path) == {"in"}


@pytest.mark.parametrize("saved", [False, True])
def test_a_full_disk_leaves_no_draft_and_nothing_that_cannot_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    (tmp_path / "in").write_text("".join(f"line {i}\n" for i in range(20)))
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0 if saved else 1e9)
    real, full = os.fsync, []

    def fsync(descriptor: int) -> None:
        if full and os.readlink(f"/proc/self/fd/{descriptor}").endswith(resumable.DRAFT):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    def fill(lines: Sequence[str]) -> None:
        if "line 8" in lines:
            full.append(True)
        if "line 12" in lines:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="No space left on device; check its folder and the free space"):
        upper(tmp_path / "in", tmp_path / "out", fill, window=4)
    assert names(tmp_path) == ({"in", ".out.part", ".out.part.json"} if saved else {"in"})
    full.clear()
    assert upper(tmp_path / "in", tmp_path / "out", window=4, resume=True).num_kept == (8 if saved else 0)


def test_scores_are_resumed_with_the_same_batches_only(tmp_path: Path) -> None:
    def stopping(real: Any, stop: Any) -> Any:
        return lambda self, lines, *rest, **more: (stop(lines), real(self, lines, *rest, **more))[1]

    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES * 3))
    for wanted in (outputs.Wanted(num_best=1), outputs.Wanted(references=tmp_path / "in")):
        one = translator()
        method = "score" if wanted.references else "n_best"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Translator, method, stopping(getattr(Translator, method), stop_after(2, KeyboardInterrupt())))
            with pytest.raises(KeyboardInterrupt):
                translate_file(one, tmp_path / "in", tmp_path / "out", window=5, wanted=wanted)
        for window, batch_tokens, said in (
            (4, one.decode.batch_tokens, "window was 5 and is 4"),
            (5, 7, r"decode.batch_tokens was \d+ and is 7"),
        ):
            other = translator(decode=dataclasses.replace(one.decode, batch_tokens=batch_tokens))
            with pytest.raises(UserError, match=rf"cannot be resumed: {said}; leave out resume=True"):
                translate_file(other, tmp_path / "in", tmp_path / "out", window=window, wanted=wanted, resume=True)
        report = translate_file(one, tmp_path / "in", tmp_path / "out", window=5, wanted=wanted, resume=True)
        assert report.num_kept == 10
        translate_file(one, tmp_path / "in", tmp_path / "whole", window=5, wanted=wanted)
        assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
        (tmp_path / "out").unlink()


def test_line_ends_of_other_systems_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for content, said in (
        (b"a\rb\rc\r", "carriage returns; if they are line ends, convert it with tr '\\r' '\\n'"),
        (b"a\r\r\nb\r\r\n", "in: 2 lines end in an extra carriage return; tr -d '\\r' removes them"),
        (b"a\r\nb\r\n", ""),
    ):
        caplog.clear()
        (tmp_path / "in").write_bytes(content)
        upper(tmp_path / "in", tmp_path / "out")
        assert said in "".join(caplog.messages)
        assert bool(said) == bool(caplog.messages)


def test_resume_without_anything_to_go_on_with_begins(many: Path) -> None:
    target = many.with_name("out")
    assert upper(many, target, resume=True).num_kept == 0
    assert names(many.parent) == {"in", "out"}


def test_resume_leaves_a_finished_output_alone_if_it_fits(many: Path) -> None:
    target = many.with_name("out")
    upper(many, target)
    stamp = target.stat().st_mtime_ns
    report = upper(many, target, stop_after(0, AssertionError()), resume=True)
    assert report.finished_already
    assert report.num_lines == 300
    assert target.stat().st_mtime_ns == stamp
    many.write_bytes(many.read_bytes() + b"\nmore\n")
    with pytest.raises(UserError, match=r"out is finished, but has 300 lines for 301 of .*in; leave out resume=True"):
        upper(many, target, resume=True)


def test_a_second_process_is_kept_out_and_does_no_harm(many: Path, tmp_path: Path) -> None:
    target = many.with_name("out")

    def second(lines: Sequence[str]) -> None:
        for resume in (False, True):
            with pytest.raises(
                UserError, match="out is being written by another process; wait for it, or name another"
            ):
                upper(many, target, resume=resume)

    upper(many, target, second, window=100)
    upper(many, tmp_path / "whole")
    assert target.read_bytes() == (tmp_path / "whole").read_bytes()


def test_an_output_that_gets_its_name_just_before_it_is_locked_is_not_written_to(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, lock = many.with_name("out"), resumable._lock

    def late(file: FileIO, path: Path) -> None:
        lock(file, path)
        if not target.exists():
            os.replace(many.with_name(".out.part"), target)  # as another process that has finished

    monkeypatch.setattr(resumable, "_lock", late)
    upper(many, target)
    assert len(read_lines(target)) == 300
    assert names(many.parent) == {"in", "out"}
    target.unlink()
    with pytest.raises(UserError, match="has 0 lines for 300"):
        upper(many, target, resume=True)


def test_a_file_system_without_locks_is_warned_of(
    many: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_lock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(resumable.fcntl, "flock", no_lock)
    target = many.with_name("out")
    assert upper(many, target).num_lines == 300
    assert caplog.messages == [f"{target}: its file system has no locks; let no other process write it."]


def test_a_journal_without_its_file_is_left_of_a_finished_output_and_means_nothing(many: Path) -> None:
    target = many.with_name("out")
    stopped(many, target)
    many.with_name(".out.part").unlink()
    assert upper(many, target, resume=True).num_kept == 0
    assert names(many.parent) == {"in", "out"}


def test_the_command_is_killed_refuses_a_second_and_goes_on(here: Here, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"{i}+{i * i}\n" for i in range(3000)))
    program = (
        "import sys; from seq2seq.files import resumable; resumable.SAVE_SECONDS = 0\n"
        "from seq2seq.cli.translate import main; main(sys.argv[1:])"
    )
    words = ["-i", "in", "-o", "out", "--threads", "1"]
    command = [sys.executable, "-c", program, FROZEN, *words, "--window", "1"]
    first = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + 100
        while not (tmp_path / ".out.part.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGSTOP)  # it holds the lock, and does not finish
        refused = "seq2seq-translate: out is being written by another process; wait for it, or name another output.\n"
        assert here(*words) == here(*words, "--resume") == (2, refused)
    finally:
        first.kill()
        first.wait()
    assert not (tmp_path / "out").exists()
    status, said = here(*words, "--resume", "--max-extra", "7")
    assert (status, said.count("\n")) == (2, 1)
    assert "decode.max_extra (--max-extra) was 20 and is 7" in said
    status, said = here(*words, "--resume")
    assert (status, " before) in " in said) == (0, True), said
    says = Translator.from_checkpoint(FROZEN).translate(read_lines(tmp_path / "in"))
    assert read_lines(tmp_path / "out") == says
    finished = "out is finished already, 3000 lines; without --resume it is made again\n"
    assert here(*words, "--resume") == (0, finished)


def test_another_checkpoint_is_refused_by_its_digest(here: Here, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1+2\n" * 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Translator, "translate", lambda self, lines: [stop(lines), Results(lines)][1])
        stop = stop_after(5, KeyboardInterrupt())
        assert here("-i", "in", "-o", "out", "--window", "2")[0] == 130
    journal = tmp_path / ".out.part.json"
    edited(journal, sha256_file(FROZEN).encode(), b"0" * 64)
    status, said = here("-i", "in", "-o", "out", "--resume")
    assert status == 2
    assert "the SHA-256 of checkpoint 1 was 000000000000... and is " in said


def test_resume_skips_the_finished_ones_of_several_inputs(here: Here, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("1+2\n3+4\n")
    (tmp_path / "a.de").write_text("kept\nas it is\n")
    stopped(tmp_path / "b", tmp_path / "b.de", 1, window=1)
    (tmp_path / ".b.de.part.json").unlink()  # killed before anything was saved
    status, said = here("-i", "a", "b", "c", "--suffix", "de", "--resume")
    assert status == 0, said
    assert (tmp_path / "a.de").read_text() == "kept\nas it is\n"
    assert (tmp_path / "b.de").read_bytes() == (tmp_path / "c.de").read_bytes() != b""
    assert names(tmp_path) == {"a", "b", "c", "a.de", "b.de", "c.de"}


# Shards


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 20), st.integers(1, 12), st.booleans())
def test_the_shards_one_after_the_other_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, num_lines: int, count: int, packs: bool
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    ending = ".gz" if packs else ""
    (folder / "in").write_text("".join(f"line {i}\r\n" for i in range(num_lines)))
    upper(folder / "in", folder / f"whole{ending}")
    joined, sizes = b"", []
    for k in range(1, count + 1):
        sizes.append(upper(folder / "in", folder / f"part{ending}", shard=(k, count), window=3).num_lines)
        joined += (folder / f"part{ending}").read_bytes()
    whole = (folder / f"whole{ending}").read_bytes()
    assert (gzip.decompress(joined) if packs else joined) == (gzip.decompress(whole) if packs else whole)
    assert sum(sizes) == num_lines
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_is_resumed_like_a_whole_file_and_says_true_line_numbers(many: Path, tmp_path: Path) -> None:
    target = many.with_name("out")
    stopped(many, target, shard=(2, 3))
    assert upper(many, target, shard=(2, 3), resume=True)[:1] == (100,)
    assert target.read_text().splitlines() == [line.upper() for line in read_lines(many)[100:200]]
    assert upper(many, target, shard=(2, 3), resume=True).finished_already
    lines = many.read_bytes().split(b"\n")
    many.write_bytes(b"\n".join([*lines[:150], b"\xff", *lines[151:]]))
    with pytest.raises(UserError, match="line 151 has the byte 0xff"):
        upper(many, target, shard=(2, 3), strict=True)


def test_a_shard_whose_file_got_longer_is_refused_on_resume(many: Path) -> None:
    stopped(many, many.with_name("out"), shard=(1, 3))
    many.write_bytes(many.read_bytes() + b"\nmore\n")
    with pytest.raises(UserError, match="shard was 1/3 of 300 lines and is 1/3 of 301 lines"):
        upper(many, many.with_name("out"), shard=(1, 3), resume=True)


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_shards_by_the_command_are_named_in_the_order_of_a_listing(here: Here, tmp_path: Path, packed: str) -> None:
    lines = [f"{i}+{i}" for i in range(13)]
    (tmp_path / "in.txt").write_text("\n".join(lines))
    for k in range(1, 11):
        status, said = here("-i", "in.txt", "--suffix", f"sum{packed}", "--shard", f"{k}/10", "--resume")
        assert status == 0, said
        assert said.startswith(f"in.txt {k}/10: ")
    found = sorted(path.name for path in tmp_path.glob("in.txt.*"))
    assert found == [f"in.txt.sum.{k:02}-of-10{packed}" for k in range(1, 11)]
    joined = [line for name in found for line in read_lines(tmp_path / name)]
    assert joined == Translator.from_checkpoint(FROZEN).translate(lines)


# What goes wrong


def test_strict_refuses_bytes_that_are_no_utf8_and_goes_on_once_they_are_mended(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"a dog\nbad \xff\n")
    with pytest.raises(UserError, match=r"in is not UTF-8: line 2 has the byte 0xff at offset 4"):
        upper(source, target, window=1, strict=True)
    assert not target.exists()
    source.write_bytes(b"a dog\ngood\n")
    assert upper(source, target, window=1, strict=True, resume=True).num_kept == 1
    assert target.read_bytes() == b"A DOG\nGOOD\n"


def test_an_input_that_is_not_there_leaves_the_old_output_alone_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(UserError, match="nowhere does not exist"):
        upper(tmp_path / "nowhere", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "old"
    assert names(tmp_path) == {"out"}


def test_an_input_that_is_cut_short_leaves_no_output(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d\n" % i for i in range(9999)))
    (tmp_path / "in.gz").write_bytes(packed[:-2000])
    with pytest.raises(UserError, match="ends in the middle of its gzip stream"):
        upper(tmp_path / "in.gz", tmp_path / "out", window=100)
    assert not (tmp_path / "out").exists()
    (tmp_path / "in.gz").write_bytes(packed)
    assert upper(tmp_path / "in.gz", tmp_path / "out", resume=True).num_kept > 1000
    assert (tmp_path / "out").read_bytes() == gzip.decompress(packed)


def test_an_input_that_is_deleted_meanwhile_is_translated_to_its_end(many: Path) -> None:
    assert upper(many, many.with_name("out"), lambda lines: many.unlink(missing_ok=True), window=50).num_lines == 300
    assert names(many.parent) == {"out"}


@pytest.mark.parametrize(
    "change, message", [(Path.unlink, "does not exist"), (lambda path: path.write_text("1\n"), "has become shorter")]
)
def test_an_input_that_changes_between_counting_and_translating_is_refused(
    many: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], message: str
) -> None:
    real = iter_raw_lines

    def count_then_change(source: Path) -> Iterator[bytes]:
        yield from real(source)
        change(many)

    monkeypatch.setattr("seq2seq.translate.files.iter_raw_lines", count_then_change)
    with pytest.raises(UserError, match=message):
        upper(many, many.with_name("out"), shard=(2, 3))
    assert not many.with_name("out").exists()


@pytest.mark.parametrize("limit", [1, 20])
def test_a_full_disk_is_one_line_and_resume_goes_on_when_there_is_room(here: Here, tmp_path: Path, limit: int) -> None:
    """A process may write no file beyond a limit; like a full disk, this comes in the middle of a write."""
    (tmp_path / "in").write_text("".join(f"{i}+{i}\n" for i in range(12_000)))
    words = ["-i", "in", "-o", "out", "--window", "1000"]
    with start("translate", FROZEN, *words, cwd=tmp_path, stderr=PIPE, file_bytes=limit * 1024) as process:
        said = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 2
    *kept, last = said.splitlines()
    assert last == "seq2seq-translate: out cannot be written: File too large; check its folder and the free space."
    assert len(kept) == (limit > 1)
    assert names(tmp_path) == {"in", *([".out.part", ".out.part.json"] if kept else [])}
    assert here(*words, "--resume")[0] == 0
    assert read_lines(tmp_path / "out") == Translator.from_checkpoint(FROZEN).translate(read_lines(tmp_path / "in"))


@pytest.mark.parametrize(
    "words, message",
    [
        (["-i", "folder", "-o", "out"], "folder is a folder, not a text file"),
        (["-i", "in", "-o", "folder"], "folder is a folder, not an output file; name a file inside it"),
        (["-i", "in", "-o", "no/out"], "no/out cannot be written: No such file or directory; check its folder"),
        (["-i", "in", "-o", "in/out"], "in/out cannot be written: Not a directory"),
        (["-i", "in", "-o", "/dev/full"], "/dev/full cannot be written: No space left on device"),
        (
            ["-i", "in", "-o", "/dev/null", "--resume"],
            "/dev/null is not a regular file, and cannot be resumed",
        ),
        (["-i", "in", "--resume"], "--resume needs a named input and a named output"),
        (["-o", "out", "--resume"], "--resume needs a named input and a named output"),
        (["-o", "out", "--shard", "1/2"], "--shard needs a named input, because its lines are counted first"),
        (["-i", "/dev/stdin", "-o", "out", "--shard", "1/2"], "/dev/stdin can be read only once"),
        (["-i", "in", "--shard", "3/2"], "--shard 3/2 is not a block of lines; write K/N, from 1/N to N/N"),
        (["-i", "in", "--shard", "0/2"], "--shard 0/2 is not a block of lines"),
        (["-i", "in", "--shard", "half"], "--shard half is not a block of lines"),
        (["-i", "in", "in.de", "--suffix", "de"], "in.de is both input and output; name another output"),
        (["-i", "in", "--suffix", "."], "--suffix is empty; give an ending"),
        (["-i", "in", "-o", "x" * 300], "... is too long for a file's name (300 bytes); shorten it."),
    ],
)
def test_a_mistake_is_one_line_and_status_2(here: Here, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "in").write_text("1+2\n")
    (tmp_path / "in.de").write_text("1+2\n")
    status, said = here(*words)
    assert status == 2
    assert message in said
    assert said.startswith("seq2seq-translate: ")
    assert said.count("\n") == 1
    assert names(tmp_path) == {"folder", "in", "in.de"}
    assert (tmp_path / "in.de").read_text() == "1+2\n"


def test_a_stdin_that_cannot_be_read_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
    with pytest.raises(UserError, match="stdin cannot be read: Input/output error; check its source"):
        translate_file(TRANSLATOR, None, None)


def test_an_output_by_a_link_replaces_what_the_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1+2\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/out")
    with open(tmp_path / "open", "wb") as stream:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{stream.fileno()}")
        for name in ("link", "stdout"):
            translate_file(TRANSLATOR, tmp_path / "in", tmp_path / name)
            assert (tmp_path / name).is_symlink()
    wanted = TRANSLATOR.translate(["1+2"])[0] + "\n"
    assert (tmp_path / "folder" / "out").read_text() == (tmp_path / "open").read_text() == wanted


def test_a_named_pipe_whose_reader_leaves_ends_quietly(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "in").write_text("1+2\n" * 20_000)
    words = ["-i", "in", "-o", "pipe", "--window", "10"]
    with start("translate", FROZEN, *words, cwd=tmp_path, stderr=PIPE) as process:
        with open(tmp_path / "pipe", "rb") as reader:
            assert reader.readline() == b"1\n"
        assert process.communicate(timeout=120)[1] == b""
    assert process.returncode == 141


def test_the_python_call_refuses_to_resume_a_stream_or_take_a_block_of_it(tmp_path: Path) -> None:
    for options in ({"resume": True}, {"shard": (1, 2)}):
        with pytest.raises(ValueError, match="resume needs a named source and target, and shard a named source"):
            translate_file(TRANSLATOR, None, tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 <= k <= n; got"):
        translate_file(TRANSLATOR, ROOT / "README.md", tmp_path / "out", shard=(3, 2))


# Memory


MEMORY = """
import json, os, resource, sys
from tests.translate.test_files import *
TRANSLATOR.translate(LINES)
used = {}
for job in ("10000", "300000", "all"):
    num_lines = 300_000 if job == "all" else int(job)
    folder = Path(sys.argv[1])
    with open(folder / job, "w") as stream:
        stream.writelines("a dog\\n" if i % 300 == 0 else f"{' ' * (i % 9)}\\n" for i in range(num_lines))
    child = os.fork()
    if not child:
        if job == "all":  # as it would be with everything in memory
            TRANSLATOR.translate((folder / job).read_text().split("\\n"))
        else:
            assert translate_file(TRANSLATOR, folder / job, folder / "out").num_lines == num_lines
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    used[job] = usage.ru_maxrss / 1024
print(json.dumps(used))
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Peak memory in MiB; a measurement of what holds all lines shows that growth would be seen."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # a child of a process with threads would wait for them forever
    )
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout)
    assert used["300000"] - used["10000"] < 8, used
    assert used["all"] - used["10000"] > 16, used
