r"""Line-aligned text files: what a line is, and how files of them are read and written.

A line ends at "\n" and nowhere else: U+2028, U+0085, vertical tabs, form feeds and NUL are ordinary
characters of a line. Files are UTF-8; one that is packed is known by its first bytes, whatever its name. The
reader removes two things that editors of other systems add: a byte-order mark at the start of the file and one
"\r" before a "\n". Every other text is returned as it was written.
"""

import codecs
import errno
import hashlib
import itertools
import os
import shlex
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from seq2seq.errors import UserError
from seq2seq.files import encoding, packed
from seq2seq.files.chunks import PAUSE, SIZE, chunks

BOM = "\ufeff"
TO_NEWLINES, WITHOUT_RETURNS = r"tr '\r' '\n'", r"tr -d '\r'"  # filters of the shell
SPLITS = ("train", "valid", "test")

Pair = tuple[str, str]


def iter_lines(path: str | Path) -> Iterator[str]:
    """The lines of a text file, one at a time; errors come when the line that has them is reached.

    Raises:
        UserError: if the file cannot be read or unpacked, or is not UTF-8.
    """
    for number, raw in enumerate(iter_raw_lines(path), start=1):
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, raw, error) from None


def iter_raw_lines(source: str | Path | BinaryIO, name: str = "the stream") -> Iterator[bytes]:
    """The lines of a file or of an open stream as bytes, without line ends and without a byte-order mark at the start.

    Args:
        name: of a stream, for messages.

    Raises:
        UserError: if the file cannot be read or unpacked, or is UTF-16 or UTF-32.
    """
    return itertools.chain.from_iterable(iter_groups(source, name))


def iter_groups(source: str | Path | BinaryIO, name: str = "the stream") -> Iterator[list[bytes]]:
    """As `iter_raw_lines`, several lines at a time: those that could be read together. An empty group says that there
    is nothing more to read for the moment; see `chunks.chunks`.
    """
    if isinstance(source, (str, Path)):
        with _opened(source) as stream:
            yield from iter_groups(stream, str(source))
        return
    rest: list[bytes] = []  # of a line whose end is still to come
    is_first = True
    for chunk in encoding.checked(packed.unpacked(chunks(source), name), name):
        *ended, last = chunk.split(b"\n")
        if ended:
            ended[0] = b"".join([*rest, ended[0]])
            rest = []
            if is_first:
                ended[0], is_first = ended[0].removeprefix(codecs.BOM_UTF8), False
        if last:
            rest.append(last)
        if ended or chunk == PAUSE:
            yield [line.removesuffix(b"\r") for line in ended]
    if line := b"".join(rest).removeprefix(codecs.BOM_UTF8 if is_first else b""):
        yield [line]


def not_utf8(path: str | Path, number: int, raw: bytes, error: UnicodeDecodeError) -> UserError:
    """The error for a line that is no UTF-8."""
    if number == 1 and (other := encoding.marked(raw)):
        return encoding.not_utf8(str(path), other)
    bad = f"the byte 0x{raw[error.start]:02x} at offset {error.start}"
    if (kind := packed.ending_of(path)) is not None and packed.kind_of(_head(path)) is None:
        return UserError(
            f"{path} is neither a {kind.name} file nor UTF-8: line {number} has {bad}; copy or download it again."
        )
    return UserError(
        f"{path} is not UTF-8: line {number} has {bad}; convert the file, for example with iconv -t UTF-8."
    )


def _head(path: str | Path) -> bytes:
    """The first bytes of a regular file."""
    if not os.path.isfile(path):
        return b""
    with _opened(path) as stream:
        return stream.read(512)


def read_lines(path: str | Path) -> list[str]:
    """All lines of a text file; see `iter_lines`."""
    return list(iter_lines(path))


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """A file to read bytes from, with a failing file system said in one line."""
    try:
        with open(path, "rb") as stream:
            yield stream
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: OSError) -> UserError:
    if not str(path):
        return UserError("the name of a text file is empty; give one.")
    if error.errno == errno.ENAMETOOLONG:
        return too_long(path)
    if Path(path).is_dir():
        return UserError(f"{path} is a folder, where a text file was wanted; name a file inside it.")
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist; check the path, which is relative to {os.getcwd()}.")
    return UserError(f"{path} cannot be read: {error.strerror or error}; check the file and its permissions.")


def escaped(words: str) -> str:
    r"""Text that can be written, in which a path's bytes that are not UTF-8 are spelled as in ``\udcff``."""
    return words.encode("utf-8", "backslashreplace").decode("utf-8")


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    r"""Write lines, each with a "\n"; the file appears whole or not at all, with the same bytes each time.

    The text goes out as it is. So a line that ends in "\r", or a first line that starts with a byte-order
    mark, loses it when `iter_lines` reads the file; `write_splits` refuses those.

    Raises:
        ValueError: if a line holds a "\n", which would make it two.
        UserError: if the file cannot be written.
    """
    with writing(path) as stream:
        for number, line in enumerate(lines, start=1):
            if "\n" in line:
                raise ValueError(f"{path}: line {number} holds a newline and would become two lines: {line[:60]!r}.")
            stream.write(line.encode("utf-8") + b"\n")


@contextmanager
def writing(path: str | Path) -> Iterator[BinaryIO]:
    """As `replacing`, and what is written gets packed if the name says so.

    Raises:
        UserError: also for a name whose packer is not written.
    """
    packed.packer(path)  # refused before anything is touched
    with replacing(Path(path)) as raw, packed.packing(raw, path) as stream:
        yield stream


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the name ``path`` when the block ends well and is removed otherwise.

    What is there already and is no file (a pipe, ``/dev/null``) is written to as it is; a link stays one.

    Raises:
        UserError: if it is a folder, or the file system refuses.
    """
    refuse_long_name(path)
    path = followed(path)
    with said_in_one_line(path):
        if is_special(path):
            with open(path, "wb") as stream:
                yield stream
        else:
            with _renamed(path) as stream:
                yield stream


def followed(path: Path) -> Path:
    """What a link leads to; of anything else, itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() and not is_special(path) else path


def is_special(path: Path) -> bool:
    """Whether a path is that of something which is there, and no file to be replaced: a device, a pipe, or what this
    process has open already, such as ``/dev/stdout``.
    """
    if not path.exists():
        return False
    while path.is_symlink():
        folder = os.path.realpath(path.parent)
        if folder.startswith("/proc/"):
            return True
        path = Path(folder, os.readlink(path))
    return not path.is_file() and not path.is_dir()


LONGEST_NAME = 255  # bytes, of most file systems


def hidden_name(name: str, ending: str) -> str:
    """``.NAME`` and an ending, for a file beside the one called ``name``; of a long name a part and its checksum."""
    raw = os.fsencode(f".{name}{ending}")
    if len(raw) <= LONGEST_NAME:
        return os.fsdecode(raw)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name[:40]}-{digest}{ending}"


def refuse_long_name(path: str | Path) -> None:
    """Refuse a name that no file of its folder can have.

    Raises:
        UserError: for such a name.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise too_long(path) from None


def too_long(path: str | Path) -> UserError:
    """The error for a name that is longer than the file system allows."""
    name = max(Path(path).parts, key=len, default="")
    return UserError(f"{name[:40]}... is too long for a file's name ({len(os.fsencode(name))} bytes); shorten it.")


def no_link(path: str | Path, flags: int) -> int:
    """Open a file whose name others can foresee, unless it is a link or has a second name: someone may have put it
    there to have another file written to.

    Raises:
        UserError: for what is not a regular file with one name.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise _planted(path) from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise _planted(path)
    return descriptor


def _planted(path: str | Path) -> UserError:
    return UserError(f"{path} is a link or a special file, where a hidden file of ours was expected; remove it.")


def refuse_planted(path: Path) -> None:
    """Refuse a lock file that is a link or not a regular file: older versions of filelock would empty what it leads to.

    Raises:
        UserError: if it is.
    """
    if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
        raise _planted(path)


def created(path: Path) -> BinaryIO:
    """A new file to write to, in place of what has its name; a link is not followed."""
    path.unlink(missing_ok=True)
    return open(path, "xb")


@contextmanager
def said_in_one_line(path: Path) -> Iterator[None]:
    """Around the writing of a file: what the file system refuses is a `UserError`, but for a reader that went away."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise too_long(path) from None
        reason = error.strerror or error
        raise UserError(f"{path} cannot be written: {reason}; check its folder and the free space.") from None


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise UserError(f"{path} is a folder, where an output was wanted; name a file inside it.")
    temporary = path.with_name(hidden_name(path.name, f".{uuid.uuid4().hex[:8]}.tmp"))
    try:
        with created(temporary) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def read_parallel(src_path: str | Path, tgt_path: str | Path, *, allow_blank: bool = False) -> list[Pair]:
    """The (source, target) pairs of two line-aligned files.

    Args:
        allow_blank: keep pairs with a side that is empty but for white space, as a test set must.

    Raises:
        UserError: if both are one file, if one is empty, if their line counts differ, or at a blank line.
    """
    if os.path.exists(src_path) and os.path.exists(tgt_path) and os.path.samefile(src_path, tgt_path):
        raise UserError(f"source and target are the same file, {src_path}; name one file for each side.")
    sides = {path: read_lines(path) for path in (src_path, tgt_path)}
    for path, lines in sides.items():
        refuse_line_ends(path, lines)
        if not lines:
            raise UserError(f"{path} is empty; it must hold one sentence on each line.")
    src, tgt = sides[src_path], sides[tgt_path]
    if len(src) != len(tgt):
        raise UserError(f"{src_path} has {len(src)} lines but {tgt_path} has {len(tgt)}; the two must be line-aligned.")
    if not allow_blank:
        for path, lines in sides.items():
            _refuse_blank(path, lines)
    return list(zip(src, tgt, strict=True))


def _refuse_blank(path: str | Path, lines: list[str]) -> None:
    blank = [number for number, line in enumerate(lines, start=1) if not line.strip()]
    if blank:
        more = f" (and {len(blank) - 1} more)" if len(blank) > 1 else ""
        raise UserError(
            f"{path}: line {blank[0]}{more} is blank; remove the pair, "
            "or set data.skip_blank=true to leave out such pairs."
        )


def refuse_line_ends(path: str | Path, lines: Sequence[str]) -> None:
    r"""Refuse a text whose lines end as on other systems: in "\r", as on old Macs, or in "\r\r\n", as after two
    conversions for DOS. A second byte-order mark is refused too, since it would become part of the first line.

    Raises:
        UserError: naming the file and a command that mends it.
    """
    if len(lines) == 1 and "\r" in lines[0]:
        raise UserError(
            f"{path} has carriage returns in place of line ends; convert it, for example with "
            f"{_through(path, TO_NEWLINES)}."
        )
    ends = [number for number, line in enumerate(lines, start=1) if line.endswith("\r")]
    if ends:
        more = f" (and {len(ends) - 1} more)" if len(ends) > 1 else ""
        raise UserError(
            f"{path}: line {ends[0]}{more} ends in a carriage return too many, as if converted for DOS twice; remove "
            f"them, for example with {_through(path, WITHOUT_RETURNS)}."
        )
    if lines and lines[0].startswith(BOM):
        raise UserError(f"{path} begins with two byte-order marks; remove one, for example with tail -c +4.")


def _through(path: str | Path, filter: str) -> str:
    """The shell's command that sends the text of a file through a filter."""
    quoted = shlex.quote(str(path))
    kind = packed.kind_of(_head(path))
    return f"{filter} < {quoted} > NEW" if kind is None else f"{kind.tool} < {quoted} | {filter} > NEW"


def read_tsv(path: str | Path, *, allow_blank: bool = False) -> list[Pair]:
    """The pairs of a file with exactly two columns, source and target, and a tab between them.

    Args:
        allow_blank: keep pairs with a side that is empty but for white space, as a test set must.

    Raises:
        UserError: if a line has another number of columns or, unless allowed, a blank one, or if the file is empty.
    """
    pairs = []
    for number, line in enumerate(_lines_of_pairs(path), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise UserError(
                f"{path}: line {number} has {len(columns)} tab-separated column(s); "
                "each line must have two, source and target."
            )
        pairs.append((columns[0], columns[1]))
    for side in (0, 1):
        refuse_line_ends(path, [pair[side] for pair in pairs])
    if not allow_blank:
        for side in (0, 1):
            _refuse_blank(path, [pair[side] for pair in pairs])
    return _not_empty(path, pairs)


def read_question_answer(path: str | Path) -> list[Pair]:
    """The pairs of a file in the format of the book's addition and date data, with their padding kept.

    A line, such as ``16+75  _91  ``, is a question padded with spaces to a fixed width, "_", and an answer
    padded likewise. The "_" marks where decoding starts; it belongs to neither side.

    Raises:
        UserError: if a line has no "_", or if the file is empty.

    Source:
        Saito, "Deep Learning from Scratch 2" (2018), ch. 7 and 8.
    """
    pairs = []
    for number, line in enumerate(_lines_of_pairs(path), start=1):
        question, mark, answer = line.partition("_")
        if not mark:
            raise UserError(f'{path}: line {number} has no "_" between question and answer: {line[:60]!r}.')
        pairs.append((question, answer))
    return _not_empty(path, pairs)


def _lines_of_pairs(path: str | Path) -> list[str]:
    lines = read_lines(path)
    refuse_line_ends(path, lines)
    return lines


def _not_empty(path: str | Path, pairs: list[Pair]) -> list[Pair]:
    if not pairs:
        raise UserError(f"{path} is empty; it must hold one pair on each line.")
    return pairs


def filter_pairs(
    pairs: Iterable[Pair], *, max_length: int, max_ratio: float, skip_blank: bool
) -> tuple[list[Pair], dict[str, int]]:
    """The pairs fit to train on, and how many were left out for each reason.

    A pair is counted once, under the first of "blank", "too long" and "length ratio" that holds.

    Args:
        max_length: the most words, separated by white space, on either side; 0 for no limit.
        max_ratio: the most times one side may have the other's number of words; 0 for no limit.
        skip_blank: leave out pairs with a side that is empty but for white space.

    Raises:
        UserError: if a limit makes no sense.
    """
    if max_length < 0:
        raise UserError(f"max_length must be 0 (no limit) or more; got {max_length}.")
    if max_ratio and not max_ratio >= 1:
        raise UserError(f"max_ratio must be 0 (no limit) or at least 1; got {max_ratio}.")
    kept = []
    dropped = {"blank": 0, "too long": 0, "length ratio": 0}
    for pair in pairs:
        shorter, longer = sorted(len(side.split()) for side in pair)
        if skip_blank and shorter == 0:
            dropped["blank"] += 1
        elif max_length and longer > max_length:
            dropped["too long"] += 1
        elif max_ratio and longer > max_ratio * shorter:
            dropped["length ratio"] += 1
        else:
            kept.append(pair)
    return kept, dropped


def sha256_file(path: str | Path, *, unpacked: bool = False) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; with ``unpacked``, of the text that a packed file holds.

    Raises:
        UserError: if the file cannot be read, or unpacked.
    """
    digest = hashlib.sha256()
    with _opened(path) as stream:
        pieces = packed.unpacked(chunks(stream), str(path)) if unpacked else iter(lambda: stream.read(SIZE), b"")
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()


def write_splits(folder: str | Path, splits: Mapping[str, Sequence[Pair]]) -> None:
    r"""Write ``train``, ``valid`` and ``test`` as line-aligned ``.src`` and ``.tgt`` files, six in all.

    What `read_parallel` reads back equals what was given: a text that would not come back (a "\n" in it, a
    "\r" at its end, a byte-order mark at the start of a file) is refused before anything is written. Files of
    an earlier call are removed first, so that a call cut short leaves files missing and never two that do not
    belong together.

    Raises:
        ValueError: if a split is missing or unknown, or if a text would not come back as it is.
        UserError: if a file cannot be written.
    """
    if set(splits) != set(SPLITS):
        raise ValueError(f"the splits must be {', '.join(SPLITS)}; got {', '.join(splits) or 'none'}.")
    columns: dict[str, list[str]] = {}
    for split in SPLITS:
        for position, side in enumerate(("src", "tgt")):
            columns[f"{split}.{side}"] = [pair[position] for pair in splits[split]]
    for name, lines in columns.items():
        refuse_unstable(name, lines)
    folder = make_folder(Path(folder), without=columns)
    for name, lines in columns.items():
        write_lines(folder / name, lines)


def make_folder(folder: Path, *, without: Iterable[str] = ()) -> Path:
    """Make a folder, and those above it, if they are not there yet; remove the files named in ``without``.

    Raises:
        UserError: if the file system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in without:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise too_long(folder) from None
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be written to: {reason}; name another folder.") from None
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a data folder, which is there.

    Raises:
        UserError: if the file system refuses.
    """
    refuse_planted(folder / ".lock")
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be written to: {reason}; make it so, or name another data.root.") from None
    try:
        yield
    finally:
        lock.release()


def refuse_unstable(name: str, lines: Sequence[str]) -> None:
    """See that lines would come back as they are from a file of this name.

    Raises:
        ValueError: for the first one that would not.
    """
    for number, line in enumerate(lines, start=1):
        if "\n" in line:
            problem = "holds a newline"
        elif line.endswith("\r"):
            problem = "ends in a carriage return"
        elif number == 1 and line.startswith(BOM):
            problem = "starts with a byte-order mark"
        else:
            continue
        raise ValueError(f"{name}: line {number} {problem}, which a text file cannot give back: {line[:60]!r}.")
