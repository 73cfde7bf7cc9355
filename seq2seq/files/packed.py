"""Read packed text files by their first bytes, and write them by their names.

gzip, bzip2 and xz come with Python; zstd needs Python 3.14 or a library. Every other packer that is known by its first
bytes is refused by name.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from seq2seq.errors import UserError
from seq2seq.files.chunks import PAUSE, SIZE

XZ_MEMORY = 1 << 30  # bytes that unpacking xz may take; its highest level takes 65 MiB
ZSTD_LIBRARIES = ("compression.zstd", "backports.zstd", "pyzstd", "zstandard")  # the first one that is there


class Unpacker(Protocol):
    """One compressed stream, as `bz2.BZ2Decompressor` does it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Some of what ``data``, after all that was given before, unpacks to."""


class Kind(NamedTuple):
    """A format of packed files."""

    name: str
    marks: tuple[bytes, ...]  # first bytes of its files
    endings: tuple[str, ...]  # of their names, in lower case
    unpacker: Callable[[], Unpacker] | None = None  # None if it is refused
    tool: str = ""  # the program that unpacks it


class _Gzip:
    """zlib's decompressor with the interface of the other ones."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail and not self.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, max_length)


class _Zstandard:
    """The decompressor of the library zstandard with the interface of the other ones."""

    PIECE = 1 << 12  # bytes given to it at a time, since it does not bound what comes out

    def __init__(self, library: Any) -> None:
        self._object = library.ZstdDecompressor().decompressobj()
        self._rest = b""

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def needs_input(self) -> bool:
        return not self._rest and not self.eof

    @property
    def unused_data(self) -> bytes:
        return bytes(self._object.unused_data) + self._rest

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._rest + data
        piece, self._rest = data[: self.PIECE], data[self.PIECE :]
        return bytes(self._object.decompress(piece)) if piece else b""


def _zstd() -> Unpacker:
    for name in ZSTD_LIBRARIES:
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        return _Zstandard(library) if name == "zstandard" else cast(Unpacker, library.ZstdDecompressor())
    raise ModuleNotFoundError("zstandard")


def _xz() -> Unpacker:
    return cast(Unpacker, lzma.LZMADecompressor(memlimit=XZ_MEMORY))


LZMA_MARKS = tuple(b"\x5d" + (1 << bits).to_bytes(4, "little") for bits in range(16, 31))  # and its dictionary's size
BZIP2_MARKS = tuple(
    b"BZh%d%b" % (size, one) for size in range(1, 10) for one in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
)
TAR = Kind("tar", (), (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst"), tool="tar -xf")
TAR_MARK, TAR_MARK_AT = b"ustar", 257
GZIP, BZIP2, XZ = (
    Kind("gzip", (b"\x1f\x8b\x08",), (".gz",), _Gzip, "gzip -dc"),
    Kind("bzip2", BZIP2_MARKS, (".bz2",), bz2.BZ2Decompressor, "bzip2 -dc"),
    Kind("xz", (b"\xfd7zXZ\0",), (".xz",), _xz, "xz -dc"),
)
KINDS = (
    GZIP,
    BZIP2,
    XZ,
    Kind("lzma", LZMA_MARKS, (".lzma",), _xz, "xz -dc"),
    Kind("zstd", (b"\x28\xb5\x2f\xfd",), (".zst", ".zstd"), _zstd, "zstd -dc"),
    Kind("zip", (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"), (".zip",), tool="unzip"),
    Kind("7z", (b"7z\xbc\xaf\x27\x1c",), (".7z",), tool="7z x"),
    Kind("rar", (b"Rar!\x1a\x07",), (".rar",), tool="unrar x"),
    Kind("lz4", (b"\x04\x22\x4d\x18",), (".lz4",), tool="lz4 -d"),
    Kind("lzip", (b"LZIP\x00", b"LZIP\x01"), (".lz",), tool="lzip -d"),
    Kind("lzop", (b"\x89LZO\x00\r\n\x1a\n",), (".lzo",), tool="lzop -d"),
    Kind("compress", (b"\x1f\x9d",), (".z",), tool="gzip -d"),
    TAR,
)
ERRORS = (OSError, ValueError, EOFError, RuntimeError, zlib.error, lzma.LZMAError)  # raised by the unpackers
PACKED_ENDINGS = (".gz", ".xz", ".bz2", ".zst")  # names under which a mirror may have a text


def unpacked(source: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The text of a byte stream, in chunks, unpacked if it is packed.

    Args:
        name: of the stream, for messages.

    Raises:
        UserError: for a packer that is not read, and for a stream that is damaged or cut short.
    """
    kind, source = _kind(source)
    if kind is not None and kind.unpacker is not None:
        inner, source = _kind(_unpacked(source, kind, name))
        if inner is not None and inner is not TAR:
            raise UserError(f"{name} is packed twice, {inner.name} inside {kind.name}; unpack it once.")
        kind = inner
    if kind is not None:
        raise UserError(f"{name} is a {kind.name} file, which is not read; unpack it first, with {kind.tool}.")
    yield from source


def _kind(source: Iterator[bytes]) -> tuple[Kind | None, Iterator[bytes]]:
    """The packer of a stream, if any, and the whole stream. Only the first bytes are read."""
    first = b""
    for chunk in source:
        first += chunk
        if not any(mark.startswith(first) and mark != first for kind in KINDS for mark in kind.marks):
            break
    return kind_of(first), itertools.chain([first], source)


def kind_of(head: bytes) -> Kind | None:
    """The packer of a file that begins with these bytes; None if it is not packed."""
    if head[TAR_MARK_AT : TAR_MARK_AT + len(TAR_MARK)] == TAR_MARK:
        return TAR
    return next((kind for kind in KINDS if kind.marks and head.startswith(kind.marks)), None)


def _unpacked(source: Iterator[bytes], kind: Kind, name: str) -> Iterator[bytes]:
    """Unpack one compressed stream, or several in a row. NULs may stand between and after them."""
    unpacker: Unpacker | None = None
    for chunk in source:
        if chunk == PAUSE:
            yield PAUSE
        while chunk or (unpacker is not None and not unpacker.needs_input):
            if unpacker is None:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
                unpacker = _begun(kind, name)
            if data := _step(unpacker, chunk, kind, name):
                yield data
            chunk = b""
            if unpacker.eof:
                chunk, unpacker = unpacker.unused_data, None
    if unpacker is not None:
        while data := _step(unpacker, b"", kind, name):
            yield data
        if not unpacker.eof:
            raise UserError(f"{name} ends in the middle of its {kind.name} stream; copy or download it again.")


def _begun(kind: Kind, name: str) -> Unpacker:
    assert kind.unpacker is not None
    try:
        return kind.unpacker()
    except ModuleNotFoundError:
        raise UserError(
            f"{name} is packed with zstd, which needs a library here; pip install zstandard, or unpack it with zstd -d."
        ) from None


def _step(unpacker: Unpacker, data: bytes, kind: Kind, name: str) -> bytes:
    try:
        return unpacker.decompress(data, SIZE)
    except Exception as error:
        if not isinstance(error, ERRORS) and "zstd" not in type(error).__name__.lower():
            raise
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name} is not a valid {kind.name} file: {reason}; pack it again, or copy or download it again."
        ) from None


def found(path: Path) -> Path | None:
    """Find the file ``path``, or its packed or unpacked form; None if both are missing."""
    plain = path.with_name(path.name.removesuffix(next(filter(path.name.endswith, PACKED_ENDINGS), "")))
    forms = [path, plain, *(plain.with_name(plain.name + ending) for ending in PACKED_ENDINGS)]
    return next((one for one in forms if one.is_file()), None)


def ending_of(path: str | Path) -> Kind | None:
    """The packer that a file's name promises."""
    name = Path(path).name.lower()
    return next((kind for kind in KINDS if name.endswith(kind.endings)), None)


def packer(path: str | Path) -> Callable[[bytes], bytes] | None:
    """The function that packs text for a file name; None for plain text.

    Packed texts can be joined.

    Raises:
        UserError: if the name promises a packer that is not written.
    """
    kind = ending_of(path)
    if kind is GZIP:
        return lambda data: gzip.compress(data, mtime=0)
    if kind is BZIP2:
        return bz2.compress
    if kind is XZ:
        return lzma.compress
    if kind is not None:
        raise UserError(
            f"{path} would be a {kind.name} file, which is not written; name it .gz, .bz2 or .xz, or leave the "
            "ending out for plain text."
        )
    return None


@contextmanager
def packing(stream: BinaryIO, path: str | Path) -> Iterator[BinaryIO]:
    """Open a stream that packs its text into ``stream``, by the ending of ``path``.

    Raises:
        UserError: as `packer`.
    """
    if packer(path) is None:
        yield stream
        return
    packed: Any
    kind = ending_of(path)
    if kind is GZIP:
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0)
    else:
        packed = (bz2.BZ2File if kind is BZIP2 else lzma.LZMAFile)(stream, "wb")
    with packed, io.BufferedWriter(cast(io.RawIOBase, packed)) as buffered:
        yield buffered
