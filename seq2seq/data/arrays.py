"""Token ids of a corpus in flat files, mapped into memory.

The size of a corpus costs neither start-up time nor memory.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seq2seq.config.schema import TokenizerConfig
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_lines, sha256_file
from seq2seq.files.writing import locked, replacing, write_lines
from seq2seq.tokens.base import Tokenizer
from seq2seq.tokens.load import load
from seq2seq.tokens.train import train

log = logging.getLogger(__name__)

LINES_AT_ONCE = 10_000  # so that memory does not grow with the text
CHUNK_BYTES = 2**20  # bytes read at a time


class Ragged(NamedTuple):
    """Rows of different lengths, one after the other."""

    ids: np.ndarray  # (tokens,)
    lengths: np.ndarray  # (rows,)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Lists of ids, joined."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls(np.fromiter(itertools.chain.from_iterable(rows), np.int64, lengths.sum()), lengths)

    def lists(self) -> list[list[int]]:
        """Each row as a list."""
        ids, ends = self.ids.tolist(), self.lengths.cumsum().tolist()
        return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class TokenArray:
    """Rows of token ids: row i is ``ids[offsets[i]:offsets[i + 1]]``.

    Files: ``PATH.ids`` (int32) and ``PATH.offsets`` (int64, one more than there are rows), little-endian.
    """

    def __init__(self, path: Path) -> None:
        self.offsets = _mapped(path.with_name(path.name + ".offsets"), "<i8")
        self.ids = _mapped(path.with_name(path.name + ".ids"), "<i4")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: np.ndarray) -> Ragged:
        """The ids of some rows."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        ends = lengths.cumsum()
        total = int(ends[-1]) if len(ends) else 0
        return Ragged(self.ids[np.arange(total) + (starts - ends + lengths).repeat(lengths)], lengths)

    def lengths(self) -> np.ndarray:
        """Tokens in each row, as int32."""
        lengths = np.empty(len(self), np.int32)
        return np.subtract(self.offsets[1:], self.offsets[:-1], out=lengths, casting="unsafe")


def _mapped(path: Path, dtype: str) -> np.ndarray:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)  # faster to index than a memmap


def write_tokens(path: Path, rows: Iterable[list[int]]) -> None:
    """Write rows of ids as `TokenArray` reads them; the offsets come last."""
    lengths = [0]
    with replacing(path.with_name(path.name + ".ids")) as stream:
        for row in rows:
            stream.write(np.asarray(row, dtype="<i4").tobytes())
            lengths.append(len(row))
    with replacing(path.with_name(path.name + ".offsets")) as stream:
        stream.write(np.cumsum(lengths, dtype="<i8").tobytes())


class Corpus(NamedTuple):
    """One split; row i of ``src`` goes with row i of ``tgt``. Sources other than text have rows of their own."""

    src: Any  # a TokenArray, or other `seq2seq.data.sources.base.Rows`
    tgt: TokenArray


class Tokenizers(NamedTuple):
    """The two sides' tokenizers; the same object twice where the vocabulary is joint."""

    src: Tokenizer
    tgt: Tokenizer


def train_tokenizers(folder: Path, config: TokenizerConfig, *, tgt_only: bool = False) -> Tokenizers:
    """Train the tokenizers of a prepared dataset, or load them if its folder has them.

    The name of the kept model is a digest of the text and of the settings.

    Args:
        tgt_only: for a language model, which has the target's tokenizer twice.
    """
    sides = ("src", "tgt")
    groups = [sides] if config.joint else [("tgt",)] if tgt_only else [("src",), ("tgt",)]
    built = [_train_once(folder, config, group) for group in groups]
    return Tokenizers(built[0], built[-1])


def _train_once(folder: Path, config: TokenizerConfig, sides: tuple[str, ...]) -> Tokenizer:
    paths = [folder / f"train.{side}" for side in sides]
    settings: dict[str, Any] = {
        "type": config.type,
        "vocab_size": config.vocab_size,
        "byte_fallback": config.byte_fallback,
        "lowercase": config.lowercase,
    }
    what = " and ".join(f"train.{side}" for side in sides)
    num_lines = _count_above(paths, config.sample_lines) if config.type != "ptb" else 0
    if num_lines:
        settings["sample_lines"] = config.sample_lines
        log.info(
            "pieces are learnt from tokenizer.sample_lines=%d of the %d lines of %s",
            config.sample_lines,
            num_lines,
            what,
        )
    if config.normalization != "none":
        settings["normalization"] = config.normalization
    content = "".join(_checksum(path) for path in paths) + repr(settings)
    kept = folder / f"tokenizer-{hashlib.sha256(content.encode()).hexdigest()[:12]}.model"
    if not kept.is_file():
        with locked(folder):
            if not kept.is_file():
                lines = itertools.chain.from_iterable(iter_lines(path) for path in paths)
                with replacing(kept) as stream:
                    stream.write(train(lines, **settings))
    try:
        tokenizer = load(kept.read_bytes(), lowercase=config.lowercase, normalization=config.normalization)
    except UserError as error:
        raise UserError(f"{kept} is damaged: {error} Delete it first.") from None
    if len(tokenizer) < config.vocab_size:
        log.info("tokenizer.vocab_size=%d is clipped to the %d pieces of %s", config.vocab_size, len(tokenizer), what)
    return tokenizer


def _count_above(paths: Sequence[Path], bound: int) -> int:
    """The number of lines of some files, if it is above a bound that is not 0; else 0."""
    if not bound or sum(path.stat().st_size for path in paths) <= bound:  # a line has at least one byte
        return 0
    count = 0
    for path in paths:
        with open(path, "rb") as stream:
            while part := stream.read(CHUNK_BYTES):
                count += part.count(b"\n")
    return count if count > bound else 0


def encode_corpus(folder: Path, split: str, tokenizers: Tokenizers) -> Corpus:
    """Encode one split of a prepared dataset, or map its ids if its folder has them."""
    return Corpus(*(encode_side(folder, split, side, tokenizers[i]) for i, side in enumerate(("src", "tgt"))))


def encode_side(folder: Path, split: str, side: str, tokenizer: Tokenizer) -> TokenArray:
    """Encode one side of a split, or map its ids if the folder has them."""
    source = folder / f"{split}.{side}"
    path = token_path(source, tokenizer)
    if not _is_written(path):
        with locked(folder):
            if not _is_written(path):
                write_tokens(path, _encode_lines(iter_lines(source), tokenizer))
    return TokenArray(path)


def _is_written(path: Path) -> bool:
    return all(path.with_name(path.name + ending).is_file() for ending in (".ids", ".offsets"))


def token_path(source: Path, tokenizer: Tokenizer) -> Path:
    """The path for the ids of a text: beside it, named by a digest of text and tokenizer."""
    content = tokenizer.proto + _checksum(source).encode() + bytes([tokenizer.lowercase])
    if tokenizer.normalization != "none":
        content += tokenizer.normalization.encode()
    return source.with_name(f"{source.name}-{hashlib.sha256(content).hexdigest()[:12]}")


def _checksum(path: Path) -> str:
    """The SHA-256 of a text, so that a large one is not read at every start.

    Cached in a side file, valid while size, mtime and ctime are unchanged. ctime detects copies, which keep mtime. In
    a read-only folder it is computed each time.
    """
    kept = path.with_name(path.name + ".sha256")
    status = path.stat()
    state = [str(status.st_size), str(status.st_mtime_ns), str(status.st_ctime_ns)]
    with suppress(OSError, ValueError):
        *known, checksum = kept.read_text(encoding="ascii").split()
        if known == state and len(checksum) == 64:
            return checksum
    checksum = sha256_file(path)
    with suppress(UserError):
        write_lines(kept, [" ".join([*state, checksum])])
    return checksum


def _encode_lines(lines: Iterator[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    while chunk := list(itertools.islice(lines, LINES_AT_ONCE)):
        yield from tokenizer.encode(chunk)
