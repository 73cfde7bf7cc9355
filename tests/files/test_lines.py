"""What a line is, and that files of lines, pairs and splits come back as they were written."""

import bz2
import contextlib
import functools
import gzip
import hashlib
import importlib.util
import itertools
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq import runs
from seq2seq.config.schema import DataConfig
from seq2seq.data.pairs import filter_pairs, read_parallel, read_question_answer, read_tsv, write_splits
from seq2seq.data.prepare import prepare
from seq2seq.errors import UserError
from seq2seq.files import packed, writing
from seq2seq.files.lines import iter_lines, iter_raw_lines, read_lines, sha256_file
from seq2seq.files.writing import locked, make_folder

ODD = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x00h\ri\ufeffj"  # every one a line end or worse to some other reader

LINES = st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])))


@pytest.fixture(params=["lines.txt", "lines.txt.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file name, plain and packed."""
    name: str = request.param
    return tmp_path / name


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Lines


@pytest.mark.parametrize("name", ["lines.txt", "lines.txt.gz"])
@settings(deadline=None)
@given(lines=LINES)
def test_lines_come_back_but_for_what_the_reader_removes(
    tmp_path_factory: pytest.TempPathFactory, name: str, lines: list[str]
) -> None:
    path = tmp_path_factory.mktemp("round") / name
    writing.write_lines(path, lines)
    expected = [line.removesuffix("\r") for line in lines]
    if lines and lines[0].startswith("\ufeff"):
        expected[0] = lines[0].removeprefix("\ufeff").removesuffix("\r")
    assert read_lines(path) == expected


def test_lines_end_at_newline_only(path: Path) -> None:
    writing.write_lines(path, [ODD, "", ODD])
    assert read_lines(path) == [ODD, "", ODD]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\r\nb\r", ["a\r", "b\r"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbf\r\n", [""]),
    ],
)
def test_line_ends_and_byte_order_marks(path: Path, content: bytes, lines: list[str]) -> None:
    assert read_lines(write_bytes(path, content)) == lines


def test_lines_are_read_one_at_a_time(path: Path) -> None:
    lines = iter_lines(write_bytes(path, b"good\n\xff\n"))
    assert next(lines) == "good"
    with pytest.raises(UserError):
        next(lines)


def test_bad_utf8_names_file_line_and_byte(path: Path) -> None:
    write_bytes(path, b"fine\nca\xe9fe\n")
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert message(error) == (
        f"{path} is not UTF-8: line 2 has the byte 0xe9 at offset 2; convert the file, for example with iconv -t UTF-8."
    )


def test_missing_file_is_named(path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert message(error) == f"{path} does not exist; check the path, which is relative to {Path.cwd()}."


def test_folder_in_place_of_a_file_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert message(error) == f"{path} is a folder, not a text file; name a file inside it."


def test_other_read_failures_give_the_reason(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UserError) as error:
        read_lines(loop)
    assert message(error).startswith(f"{loop} cannot be read: ")
    assert message(error).endswith("check the file and its permissions.")


# Packed files


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=content, capture_output=True, check=True).stdout


PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": functools.partial(lzma.compress, format=lzma.FORMAT_ALONE),
}
PLAIN = b"".join(b"line %d\n" % number for number in range(5000))


@pytest.mark.parametrize("name", ["a", "a.gz", "a.xz", "a.bz2", "a.txt"])
@pytest.mark.parametrize("packer", PACKERS)
def test_a_packed_file_is_known_by_its_first_bytes(tmp_path: Path, packer: str, name: str) -> None:
    pack, path = PACKERS[packer], tmp_path / name
    for content in (PLAIN, b"", b"a", b"\xef\xbb\xbfa\r\nb\n"):
        (tmp_path / "plain").write_bytes(content)
        expected = read_lines(tmp_path / "plain")
        parts = [content[:7], content[7:]]
        for whole in (pack(content), pack(parts[0]) + pack(parts[1]), pack(parts[0]) + pack(parts[1]) + b"\0" * 512):
            path.write_bytes(whole)
            assert read_lines(path) == expected
            assert sha256_file(path, unpacked=True) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["a.gz", "a.xz", "a.bz2", "a.zst", "a.zip"])
def test_plain_text_is_plain_text_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"BZ\nPK\n(\n")
    assert read_lines(tmp_path / name) == ["BZ", "PK", "("]
    (tmp_path / name).write_bytes(b"B")
    assert read_lines(tmp_path / name) == ["B"]


@pytest.mark.parametrize("packer", PACKERS)
def test_every_cut_and_every_changed_byte_of_a_packed_file_is_one_line(tmp_path: Path, packer: str) -> None:
    path, content = tmp_path / "a", b"hello\n" * 100 + bytes(range(11, 99))
    whole = PACKERS[packer](content)
    said = set()
    for size in range(14, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError) as error:
            read_lines(path)
        said.add(message(error))
    assert said == {f"{path} ends in the middle of its {packer} stream; copy or download it again."}
    for position in range(14, len(whole) if packer != "lzma" else 0):  # lzma has no checksum
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with contextlib.suppress(UserError):
            assert read_lines(path) == content.decode().split("\n")  # of a byte that says nothing
            continue
        with pytest.raises(UserError, match=rf"a (is not a valid {packer} file: |ends in the middle of).* again\.$"):
            read_lines(path)


@pytest.mark.parametrize("packer", PACKERS)
def test_other_bytes_after_a_packed_stream_are_not_dropped(tmp_path: Path, packer: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(PACKERS[packer](b"hello\n") + b"more text, which is plain\n")
    with pytest.raises(UserError, match=rf"a (is not a valid {packer} file: .*|ends in the middle.*) again\.$"):
        read_lines(path)


@pytest.mark.parametrize("packer", PACKERS)
def test_unpacking_takes_memory_for_a_piece_and_not_for_the_whole(tmp_path: Path, packer: str) -> None:
    (tmp_path / "a").write_bytes(PACKERS[packer](b"a\n" * 20_000_000))
    lines = iter_raw_lines(tmp_path / "a")
    tracemalloc.start()
    assert sum(1 for _ in itertools.islice(lines, 1_000_000)) == 1_000_000
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "first, name, remedy",
    [
        (b"PK\x03\x04", "zip", "unzip"),
        (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
        (b"Rar!\x1a\x07\x01\x00", "rar", "unrar x"),
        (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
        (b"LZIP\x01", "lzip", "lzip -d"),
        (b"\x89LZO\x00\r\n\x1a\n", "lzop", "lzop -d"),
        (b"\x1f\x9d\x90", "compress", "gzip -d"),
    ],
)
def test_another_packer_is_refused_by_name(tmp_path: Path, first: bytes, name: str, remedy: str) -> None:
    path = tmp_path / "train.en"
    path.write_bytes(first + bytes(range(256)))
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert message(error) == f"{path} is a {name} file, which is not read; unpack it first, with {remedy}."
    path.write_bytes(gzip.compress(first + bytes(range(256))))
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert message(error) == f"{path} is packed twice, {name} inside gzip; unpack it once."


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_an_archive_is_refused_by_name(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "train.en"
    with tarfile.open(path, mode) as archive:
        archive.add(__file__, "text")
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert message(error) == f"{path} is a tar file, which is not read; unpack it first, with tar -xf."


ZSTD = bytes.fromhex("28b52ffd0458310000610a620a") + b"rest"


def without_zstd(monkeypatch: pytest.MonkeyPatch, **known: object) -> None:
    """As if no library of zstd were there but those in ``known``."""
    for name in packed.ZSTD_LIBRARIES:
        monkeypatch.setitem(sys.modules, name, known.get(name))


def test_zstd_without_a_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_zstd(monkeypatch)
    path = tmp_path / "train.en"
    path.write_bytes(ZSTD)
    with pytest.raises(UserError) as error:
        read_lines(path)
    assert message(error) == (
        f"{path} is packed with zstd, which needs a library here; pip install zstandard, or unpack it with zstd -d."
    )


class Unbounded:
    """bz2's decompressor with the interface of the library zstandard's, which gives all that comes of its input."""

    def __init__(self) -> None:
        self._object = bz2.BZ2Decompressor()

    def decompressobj(self) -> Self:
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self._object, name)


@pytest.mark.parametrize("library", packed.ZSTD_LIBRARIES)
def test_zstd_is_read_by_the_library_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    made = Unbounded if library == "zstandard" else bz2.BZ2Decompressor
    without_zstd(monkeypatch, **{library: types.SimpleNamespace(ZstdDecompressor=made)})
    monkeypatch.setattr(
        packed, "KINDS", tuple(kind._replace(marks=(b"BZh",)) for kind in packed.KINDS if kind.name == "zstd")
    )
    (tmp_path / "a").write_bytes(bz2.compress(PLAIN) + bz2.compress(PLAIN))
    assert sha256_file(tmp_path / "a", unpacked=True) == hashlib.sha256(PLAIN * 2).hexdigest()
    (tmp_path / "a").write_bytes(bz2.compress(PLAIN)[:-9])
    with pytest.raises(UserError, match="ends in the middle of its zstd stream"):
        read_lines(tmp_path / "a")


def test_real_zstd_is_read_where_a_library_is_there(tmp_path: Path) -> None:
    if not any(importlib.util.find_spec(name.split(".")[0]) for name in packed.ZSTD_LIBRARIES) or not shutil.which(
        "zstd"
    ):
        pytest.skip("there is no library of zstd")
    for content in (PLAIN, b"\0" * 5_000_000):
        (tmp_path / "a").write_bytes(zstd(content) + zstd(content))
        assert sha256_file(tmp_path / "a", unpacked=True) == hashlib.sha256(content * 2).hexdigest()
        (tmp_path / "a").write_bytes(zstd(content)[:-3])
        with pytest.raises(UserError, match="ends in the middle of its zstd stream"):
            read_lines(tmp_path / "a")


@pytest.mark.parametrize("ending, unpack", [("gz", gzip.decompress), ("bz2", bz2.decompress), ("xz", lzma.decompress)])
def test_an_output_is_packed_as_its_name_says(tmp_path: Path, ending: str, unpack: Callable[[bytes], bytes]) -> None:
    for name in (f"a.{ending}", f"b.{ending.upper()}"):
        writing.write_lines(tmp_path / name, ["one", "two"])
        assert unpack((tmp_path / name).read_bytes()) == b"one\ntwo\n"
        assert read_lines(tmp_path / name) == ["one", "two"]


@pytest.mark.parametrize(
    "ending, kind", [("zst", "zstd"), ("zip", "zip"), ("tar", "tar"), ("tgz", "tar"), ("Z", "compress")]
)
def test_plain_text_is_not_written_under_a_name_of_something_else(tmp_path: Path, ending: str, kind: str) -> None:
    with pytest.raises(UserError) as error:
        writing.write_lines(tmp_path / f"a.{ending}", ["one"])
    assert message(error) == (
        f"{tmp_path}/a.{ending} would be a {kind} file, which is not written; name it .gz, .bz2 or .xz, or leave the "
        "ending out for plain text."
    )
    assert list(tmp_path.iterdir()) == []


# Other encodings


SENTENCES = {
    "English": "The dog sleeps.\r\nA cat, 12 birds!\n",
    "German": "Äpfel für Größe\nÜbung\n",
    "Russian": "Собака спит.\nКошка видит ЕЁ\n",
    "Greek": "Ο σκύλος κοιμάται.\nμια γάτα\n",
    "Arabic": "الكلب ينام.\nقطة واحدة\n",
    "Hindi": "कुत्ता सो रहा है।\nएक बिल्ली\n",
    "Vietnamese": "Con chó đang ngủ.\nMột con mèo\n",
    "Thai": "สุนัขกำลังนอนหลับ\nแมวตัวหนึ่ง\n",
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
@pytest.mark.parametrize("language", SENTENCES)
def test_utf16_and_utf32_are_refused_by_name_with_and_without_a_mark(
    tmp_path: Path, language: str, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "train.en"
    for mark in ("", "\ufeff"):
        for times in (1, 500):
            path.write_bytes(pack((mark + SENTENCES[language] * times).encode(encoding)))
            with pytest.raises(UserError) as error:
                read_lines(path)
            assert message(error) == (
                f"{path} is {encoding} text, not UTF-8; convert it, for example with iconv -f {encoding} -t UTF-8."
            )


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE"])
def test_utf16_of_scripts_without_control_characters_is_refused_too(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("\ufeff那只狗在睡觉。\n一只猫看见了它。\n".encode(encoding))
    with pytest.raises(UserError, match=f"a is {encoding} text, not UTF-8"):
        read_lines(tmp_path / "a")
    (tmp_path / "a").write_bytes("那只狗在睡觉。\n一只猫看见了它。\n".encode(encoding))
    with pytest.raises(UserError, match="a is not UTF-8: line 1 has the byte"):
        read_lines(tmp_path / "a")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=20))
def test_text_that_is_utf8_is_taken_for_nothing_else(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    path = tmp_path_factory.mktemp("utf8") / "a"
    for content in (line, SENTENCES["Russian"] + line, "a\0b\n" + "\0".join(SENTENCES["English"]) + line):
        path.write_bytes(content.encode())
        with contextlib.suppress(StopIteration):
            next(iter_lines(path))


# Writing


def test_written_bytes_are_utf8_with_plain_newlines(tmp_path: Path) -> None:
    writing.write_lines(tmp_path / "a", ["é", ""])
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\n\n"


def test_packed_bytes_depend_on_the_lines_alone(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        writing.write_lines(tmp_path / name, ["one", "two"])
    first = (tmp_path / "a.gz").read_bytes()
    assert first == (tmp_path / "b.gz").read_bytes()
    assert first[4:8] == b"\0\0\0\0"  # the time
    assert gzip.decompress(first) == b"one\ntwo\n"


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old\n")
    for name, target in (("link", "folder/file"), ("dangling", "folder/new")):
        (tmp_path / name).symlink_to(target)
        writing.write_lines(tmp_path / name, ["new"])
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target).read_text() == "new\n"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dangling", "file", "folder", "link", "new"]


def test_a_name_of_what_is_open_already_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As ``/dev/stdout`` is, where stdout is a file."""
    with open(tmp_path / "file", "wb") as stream:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{stream.fileno()}")
        inode = os.stat(tmp_path / "file").st_ino
        writing.write_lines(tmp_path / "stdout", ["line"])
    assert (tmp_path / "stdout").is_symlink()
    assert (tmp_path / "file").read_text() == "line\n"
    assert os.stat(tmp_path / "file").st_ino == inode


def test_a_write_to_a_full_device_is_refused_and_so_is_one_to_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="/dev/full cannot be written: No space left on device; check its folder and"):
        writing.write_lines("/dev/full", ["line"])
    for folder in (tmp_path, Path()):
        with pytest.raises(UserError, match="is a folder, not an output file; name a file inside it"):
            writing.write_lines(folder, ["line"])


def test_failed_write_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    writing.write_lines(path, ["old"])
    with pytest.raises(ValueError) as error:
        writing.write_lines(path, ["new", "two\nlines"])
    assert message(error) == (f"{path}: line 2 holds a newline and would become two lines: 'two\\nlines'.")
    assert read_lines(path) == ["old"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("blocker", ["none", "file"])
def test_write_into_no_folder_is_refused(tmp_path: Path, blocker: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / blocker / "a.txt"
    with pytest.raises(UserError) as error:
        writing.write_lines(path, ["a"])
    assert message(error).startswith(f"{path} cannot be written: ")
    assert message(error).endswith("; check its folder and the free space.")


# Pairs


def test_parallel_files_give_pairs(tmp_path: Path) -> None:
    writing.write_lines(tmp_path / "src", ["a", "b"])
    writing.write_lines(tmp_path / "tgt.gz", ["A", "B"])
    assert read_parallel(tmp_path / "src", tmp_path / "tgt.gz") == [("a", "A"), ("b", "B")]


def test_unequal_numbers_of_lines_are_refused(tmp_path: Path) -> None:
    src, tgt = tmp_path / "train.src", tmp_path / "train.tgt"
    writing.write_lines(src, ["a", "b", "c"])
    writing.write_lines(tgt, ["A", "B"])
    with pytest.raises(UserError) as error:
        read_parallel(src, tgt)
    assert message(error) == f"{src} has 3 lines but {tgt} has 2; the two must be line-aligned."


def test_empty_parallel_file_is_refused(tmp_path: Path) -> None:
    src, tgt = tmp_path / "src", tmp_path / "tgt"
    writing.write_lines(src, ["a"])
    writing.write_lines(tgt, [])
    with pytest.raises(UserError) as error:
        read_parallel(src, tgt)
    assert message(error) == f"{tgt} is empty; it must hold one sentence on each line."


@pytest.mark.parametrize("blank", ["", " \t", "\xa0\u2003"])
def test_blank_line_is_refused_unless_allowed(tmp_path: Path, blank: str) -> None:
    src, tgt = tmp_path / "src", tmp_path / "tgt"
    writing.write_lines(src, ["a", "b", "c"])
    writing.write_lines(tgt, ["A", blank, blank])
    with pytest.raises(UserError) as error:
        read_parallel(src, tgt)
    assert message(error) == (
        f"{tgt}: line 2 (and 1 more) is blank; remove the pair, or set data.skip_blank=true to leave out such pairs."
    )
    pairs = read_parallel(src, tgt, allow_blank=True)
    assert pairs == [("a", "A"), ("b", blank), ("c", blank)]


def test_one_file_for_both_sides_is_refused(tmp_path: Path) -> None:
    src, tgt = tmp_path / "src", tmp_path / "tgt"
    writing.write_lines(src, ["a"])
    tgt.symlink_to(src)
    with pytest.raises(UserError) as error:
        read_parallel(src, tgt)
    assert message(error) == f"source and target are the same file, {src}; name one file for each side."


def test_tsv_columns_become_pairs(path: Path) -> None:
    write_bytes(path, b"a b\tA B\r\n\tempty source\n")
    assert read_tsv(path, allow_blank=True) == [("a b", "A B"), ("", "empty source")]


@pytest.mark.parametrize(("line", "columns"), [("no tab", 1), ("a\tb\tc", 3), ("", 1)])
def test_tsv_with_other_columns_is_refused(tmp_path: Path, line: str, columns: int) -> None:
    path = tmp_path / "a.tsv"
    writing.write_lines(path, ["a\tb", line])
    with pytest.raises(UserError) as error:
        read_tsv(path)
    assert message(error) == (
        f"{path}: line 2 has {columns} tab-separated column(s); each line must have two, source and target."
    )


def test_question_and_answer_keep_their_padding(tmp_path: Path) -> None:
    path = tmp_path / "addition.txt"
    path.write_bytes(b"16+75  _91  \n706+796_1502\n")
    assert read_question_answer(path) == [("16+75  ", "91  "), ("706+796", "1502")]


def test_question_without_answer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "addition.txt"
    path.write_bytes(b"16+75  _91  \n706+796\n")
    with pytest.raises(UserError) as error:
        read_question_answer(path)
    assert message(error) == f"{path}: line 2 has no \"_\" between question and answer: '706+796'."


@pytest.mark.parametrize("read", [read_tsv, read_question_answer])
def test_empty_file_of_pairs_is_refused(tmp_path: Path, read: object) -> None:
    assert callable(read)
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(UserError) as error:
        read(path)
    assert message(error) == f"{path} is empty; it must hold one pair on each line."


# Line ends of other systems


TWICE = "line 1 (and 1 more) ends in an extra carriage return, as if converted for DOS twice; remove them, for example"


def the_message(read: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        read()
    return message(error)


@pytest.mark.parametrize("name", ["train.de", "the train's.de"])
def test_foreign_line_ends_are_refused_with_the_user_s_file_and_a_command_that_mends_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good"
    good.write_text("A\nB\n")
    for content, said in (
        (b"a\r\r\nb\r\r\n", f"{name}: {TWICE} with tr -d '\\r' < "),
        (
            b"a\rb\r",
            f"{name} has carriage returns in place of line ends; convert it, for example with tr '\\r' '\\n' < ",
        ),
        (b"a\rb", f"{name} has carriage returns in place of line ends; convert it, for example with tr '\\r' '\\n' < "),
    ):
        Path(name).write_bytes(content)
        for read in (
            lambda: read_parallel(name, good),
            lambda: read_parallel(good, name),
            lambda: read_tsv(name),
            lambda: read_question_answer(name),
            lambda: prepare(DataConfig(kind="text", train_tgt=name, valid_tgt="good", test_tgt="good", root="data")),
        ):
            assert the_message(read).startswith(said)
        for pack in (bytes, gzip.compress, bz2.compress, lzma.compress):
            Path(name).write_bytes(pack(content))
            command = the_message(lambda: read_parallel(name, good)).partition("for example with ")[2]
            subprocess.run(["sh", "-c", command.removesuffix(".")], check=True)
            assert read_lines("NEW") == ["a", "b"]
    for content in (b"a\rb\nc\n", b"a\r\nb\r\n", b"a\nb"):  # one in a line is a character of it
        Path(name).write_bytes(content)
        assert len(read_parallel(name, good)) == 2


def test_a_second_byte_order_mark_is_refused_by_the_user_s_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" * (1 + (name == "a")) + b"a\nb\n")
    assert the_message(lambda: read_parallel(tmp_path / "a", tmp_path / "b")) == (
        f"{tmp_path}/a begins with two byte-order marks; remove one, for example with tail -c +4."
    )


# Names that others can foresee, and long ones


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "a" * 241, "a" * 242, "字" * 85])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    writing.write_lines(tmp_path / name, ["line"])
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a" * 256, "字" * 86])
def test_a_name_that_is_too_long_is_not_blamed_on_the_disk(tmp_path: Path, name: str) -> None:
    said = f"{name[:40]}... is too long for a file's name ({len(name.encode())} bytes); shorten it."
    for act in (read_lines, lambda path: writing.write_lines(path, []), make_folder, sha256_file):
        assert the_message(lambda act=act: act(tmp_path / name)) == said
    assert list(tmp_path.iterdir()) == []


def test_a_planted_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".lock").symlink_to(tmp_path / "victim")
    with (
        pytest.raises(UserError, match=r"\.lock is a link or a special file, not a hidden file of seq2seq"),
        locked(tmp_path / "data"),
    ):
        pass
    with pytest.raises(UserError, match=r"\.lock is a link"), runs.locked_run(tmp_path / "data"):
        pass
    with pytest.raises(UserError, match=r"\.lock is a link"):
        runs.write_plans([tmp_path / "data" / "run"])
    assert (tmp_path / "victim").read_text() == "secret"


# Filtering


PAIRS = [("a b", "A B"), ("", "A"), ("a b c d", "A B C"), ("a", "A B C")]


@pytest.mark.parametrize(
    ("max_length", "max_ratio", "skip_blank", "kept", "dropped"),
    [
        (0, 0, False, [0, 1, 2, 3], (0, 0, 0)),
        (0, 0, True, [0, 2, 3], (1, 0, 0)),
        (3, 0, False, [0, 1, 3], (0, 1, 0)),
        (0, 2, False, [0, 2], (0, 0, 2)),
        (0, 3, True, [0, 2, 3], (1, 0, 0)),
        (3, 2, True, [0], (1, 1, 1)),
    ],
)
def test_filter_keeps_order_and_counts_reasons(
    max_length: int, max_ratio: float, skip_blank: bool, kept: list[int], dropped: tuple[int, int, int]
) -> None:
    pairs, counts = filter_pairs(PAIRS, max_length=max_length, max_ratio=max_ratio, skip_blank=skip_blank)
    assert pairs == [PAIRS[i] for i in kept]
    assert counts == dict(zip(("blank", "too long", "length ratio"), dropped, strict=True))


def test_negative_length_limit_is_refused() -> None:
    with pytest.raises(UserError) as error:
        filter_pairs(PAIRS, max_length=-1, max_ratio=0, skip_blank=False)
    assert message(error) == "max_length must be 0 (no limit) or more; got -1."


@pytest.mark.parametrize("ratio", [0.5, -1, float("nan")])
def test_impossible_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(UserError) as error:
        filter_pairs(PAIRS, max_length=0, max_ratio=ratio, skip_blank=False)
    assert message(error) == f"max_ratio must be 0 (no limit) or at least 1; got {ratio}."


# Checksums and splits


def test_checksum_is_of_the_file_or_of_the_text_in_it(tmp_path: Path) -> None:
    content = b"hello\n" * 300_000
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a").write_bytes(content)
    of_text = hashlib.sha256(content).hexdigest()
    assert sha256_file(tmp_path / "a") == sha256_file(tmp_path / "a", unpacked=True) == of_text
    assert sha256_file(tmp_path / "a.gz", unpacked=True) == of_text
    assert sha256_file(tmp_path / "a.gz") == hashlib.sha256((tmp_path / "a.gz").read_bytes()).hexdigest()


def test_checksum_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        sha256_file(tmp_path / "a")
    assert message(error).startswith(f"{tmp_path / 'a'} does not exist; ")


def test_splits_come_back_as_they_were(tmp_path: Path) -> None:
    splits = {
        "train": [(ODD, "1"), ("\ufeff later", "2  ")],
        "valid": [("", " ")],
        "test": [("16+75  ", "91  ")],
    }
    for _ in range(2):  # over existing files too
        write_splits(tmp_path / "new" / "data", splits)
    folder = tmp_path / "new" / "data"
    for name, pairs in splits.items():
        assert read_parallel(folder / f"{name}.src", folder / f"{name}.tgt", allow_blank=True) == pairs
    assert len(list(folder.iterdir())) == 6


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a\nb", "holds a newline"),
        ("a\r", "ends in a carriage return"),
        ("\ufeffa", "starts with a byte-order mark"),
    ],
)
def test_splits_that_would_not_come_back_are_refused_before_writing(tmp_path: Path, line: str, problem: str) -> None:
    good = [("a", "b")]
    with pytest.raises(ValueError) as error:
        write_splits(tmp_path / "data", {"train": good, "valid": good, "test": [("a", line)]})
    assert message(error) == (f"test.tgt: line 1 {problem}, which a text file cannot give back: {line!r}.")
    assert not (tmp_path / "data").exists()


def test_other_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        write_splits(tmp_path, {"train": [], "dev": []})
    assert message(error) == "the splits must be train, valid, test; got train, dev."


def test_interrupted_splits_leave_no_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = [("old", "old")], [("new", "new")]
    write_splits(tmp_path, {"train": old, "valid": old, "test": old})
    write_lines = writing.write_lines

    def fail_on_targets(path: Path, lines: list[str]) -> None:
        if path.suffix == ".tgt":
            raise KeyboardInterrupt
        write_lines(path, lines)

    monkeypatch.setattr("seq2seq.data.pairs.write_lines", fail_on_targets)
    with pytest.raises(KeyboardInterrupt):
        write_splits(tmp_path, {"train": new, "valid": new, "test": new})
    assert [path.name for path in tmp_path.iterdir()] == ["train.src"]


def test_splits_into_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        write_splits(tmp_path / "file", {"train": [], "valid": [], "test": []})
    assert message(error) == f"{tmp_path / 'file'} cannot be written to: File exists; name another folder."
