"""Read a folder that `seq2seq-export` wrote. It may come from anywhere: everything in it is checked first."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from seq2seq import __version__
from seq2seq.config.schema import DecodeConfig, MetricsConfig
from seq2seq.config.values import from_dict
from seq2seq.data.arrays import Tokenizers
from seq2seq.errors import UserError
from seq2seq.runtime.engine import Engine
from seq2seq.runtime.graph import Port, read_graph
from seq2seq.runtime.network import ENCODER, PER_ROW, PER_SENTENCE, STEP, Network
from seq2seq.runtime.sessions import Sessions
from seq2seq.runtime.shortlist import Shortlist
from seq2seq.tokens.base import BOS, EOS, PAD, UNK, Tokenizer
from seq2seq.tokens.load import load as load_tokenizer

CONFIG, SHORTLIST = "config.json", "shortlist.npz"
SCORED = "scored"  # an input that a step may have
FORMAT = 1
MOST_CONFIG = 1 << 20  # bytes of config.json
MOST_FILE = 1 << 31  # bytes of another file, a limit of protocol buffers
MOST_KEPT = 1 << 28  # bytes of a file that is read into memory
MOST_FILES = 16
LARGEST = 1 << 24  # a vocabulary, a width; more is a mistake
CHUNK = 1 << 20
SPECIAL = {"pad": PAD, "unk": UNK, "bos": BOS, "eos": EOS}
USES = {"language_model": "a language model; seq2seq-generate and the checkpoint it was exported from go together"}

GRID, NUMBERS = Port("int64", (None, None)), Port("int64", (None,))
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Kind = TypeVar("Kind")


class Exported(NamedTuple):
    """The parts of a translator."""

    engine: Engine
    tokenizers: Tokenizers
    decode: DecodeConfig
    metrics: MetricsConfig


def is_export(path: str | Path) -> bool:
    """Whether a path is the folder of an exported model, be it whole or not."""
    path = Path(path)
    return path.is_dir() and any((path / name).exists() for name in (CONFIG, STEP))


def files_of(folder: str | Path) -> list[Path]:
    """List the files of an exported folder that must not be written over."""
    return [path for path in sorted(Path(folder).iterdir()) if path.is_file()]


def load(folder: Path, *, threads: int = 1) -> Exported:
    """Read and check an exported translator.

    Args:
        threads: threads of a matrix product; 0 takes all processors.

    Raises:
        UserError: for a folder that is not one, has a newer format, holds something else than a translator, lacks a
            file, or has one that is damaged, is a link, or does not fit the others.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {what}; name a folder that seq2seq-export wrote.")
    config = _Config(folder)
    config.refuse_other_kind()
    files = config.files()
    tokenizers = config.tokenizers(files)
    network = config.network(threads)
    engine = Engine(
        network,
        fixed_length=config.number("fixed_length", 0, 10**6),
        int8=config.get("int8", bool),
        barred=config.barred(len(tokenizers.tgt)),
        shortlist=config.shortlist(files, tokenizers),
        parameters=config.number("parameters", 0, 1 << 40) if "parameters" in config.values else 0,
    )
    if config.get("end_symbol", bool) != (engine.fixed_length == 0):
        raise config.unfit("fixed_length and end_symbol exclude each other")
    decode = config.section(DecodeConfig, "decode")
    if decode.int8 != engine.int8:
        raise config.unfit("decode.int8 is not that of its weights")
    return Exported(engine, tokenizers, decode, config.section(MetricsConfig, "metrics"))


def digest(folder: str | Path) -> str:
    """The SHA-256 of an exported folder's config, which holds those of all its files."""
    content = _read(Path(folder) / CONFIG, MOST_CONFIG)
    return hashlib.sha256(content).hexdigest()


class _Config:
    """What config.json says, each field checked when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / CONFIG
        try:
            values = json.loads(_read(self.path, MOST_CONFIG), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.path} is not JSON; export the model again.") from None
        if not isinstance(values, dict) or type(values.get("format")) is not int:
            raise UserError(f"{self.path} is not of an exported model; name a folder that seq2seq-export wrote.")
        self.values: dict[str, Any] = values
        if values["format"] != FORMAT:
            theirs = f"format {max(min(values['format'], 10**9), -1)} (seq2seq {self._version()})"
            raise UserError(
                f"{folder} has {theirs}, and seq2seq {__version__} reads format {FORMAT}; upgrade seq2seq, or export "
                "the model again."
            )

    def unfit(self, problem: str) -> UserError:
        """The error for a config that does not fit."""
        return UserError(f"{self.path} is refused: {problem}; export the model again.")

    def get(self, name: str, kind: type[Kind]) -> Kind:
        """A field of a kind."""
        value = self.values.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.unfit(f"{name} must be of type {kind.__name__}")
        return value

    def number(self, name: str, low: int, high: int) -> int:
        """A whole number within bounds."""
        return self._within(self.get(name, int), low, high, name)

    def section(self, cls: type[Kind], name: str) -> Kind:
        """A section of settings."""
        try:
            return from_dict(cls, self.get(name, dict), name)
        except UserError as error:
            raise UserError(
                f"{self.path} was written by seq2seq {self._version()}, this is {__version__}: {error}"
            ) from None

    def refuse_other_kind(self) -> None:
        """Refuse what is not a translator."""
        kind = self.get("kind", str)
        if kind != "translation":
            known = USES.get(kind, f"a model of kind {kind[:40]!r}; upgrade seq2seq")
            raise UserError(f"{self.folder} holds {known}.")

    def files(self) -> dict[str, bytes]:
        """Check every file; the contents of those that are not graphs.

        Raises:
            UserError: naming a file that is missing, is a link, or is not what was exported.
        """
        listed = self.get("files", dict)
        needed = {ENCODER, STEP}
        if len(listed) > MOST_FILES or not needed <= listed.keys() or not all(map(_NAME.fullmatch, listed)):
            raise self.unfit(f"files must name {', '.join(sorted(needed))} and at most {MOST_FILES} in all")
        found = {}
        for name, facts in sorted(listed.items()):
            size, sum_ = (facts.get("bytes"), facts.get("sha256")) if isinstance(facts, dict) else (None, None)
            if type(size) is not int or not isinstance(sum_, str) or not _DIGEST.fullmatch(sum_):
                raise self.unfit(f"files.{name} must have sha256 and bytes")
            content = _checked(self.folder / name, size, sum_, keep=not name.endswith(".onnx"))
            if content is not None:
                found[name] = content
        return found

    def tokenizers(self, files: Mapping[str, bytes]) -> Tokenizers:
        """The tokenizers, one object where both sides are alike."""
        sides = self.get("tokens", dict)
        src, tgt = (sides.get(side) for side in ("src", "tgt"))
        first = self._tokenizer(src, files, "src")
        both = Tokenizers(first, first if tgt == src else self._tokenizer(tgt, files, "tgt"))
        if self.get("special", dict) != SPECIAL:
            raise self.unfit(f"special must be {SPECIAL}")
        sizes = self.get("vocabulary", dict)
        if sizes != {"src": len(both.src), "tgt": len(both.tgt)}:
            raise self.unfit(f"its vocabularies have {len(both.src)} and {len(both.tgt)} pieces, and it says otherwise")
        return both

    def _tokenizer(self, facts: object, files: Mapping[str, bytes], side: str) -> Tokenizer:
        facts = facts if isinstance(facts, dict) else {}
        name, lowercase, form = (facts.get(key) for key in ("file", "lowercase", "normalization"))
        if not isinstance(name, str) or name not in files or not isinstance(lowercase, bool):
            raise self.unfit(f"tokens.{side} must have file (one of files), lowercase and normalization")
        try:
            return load_tokenizer(files[name], lowercase=lowercase, normalization=form)  # type: ignore[arg-type]
        except UserError as error:
            raise UserError(f"{self.folder / name} is refused: {error}") from None

    def barred(self, vocabulary: int) -> list[int]:
        """The tokens that are not drawn."""
        found = self.get("barred", list)
        if len(found) > vocabulary or not all(type(one) is int and 0 <= one < vocabulary for one in found):
            raise self.unfit("barred must be a list of target pieces")
        return found

    def network(self, threads: int) -> Network:
        """The graphs, whose inputs and outputs are those that the config asks for."""
        states, attention = self._states(), self.get("attention", bool)
        encoder, step = (read_graph(self.folder / name) for name in (ENCODER, STEP))
        constant = tuple(name for name in PER_ROW if name in step.inputs)
        vocabulary = self._within(self.get("vocabulary", dict).get("tgt"), len(SPECIAL), LARGEST, "vocabulary.tgt")
        # What the encoder gives is what the step takes; for widths that the config does not tell they must agree.
        given = {name: Port("float32", (None, width)) for name, width in states.items()}
        following = {f"next_{name}": port for name, port in given.items()}
        given |= {name: step.inputs[name] for name in constant}
        given |= {name: step.inputs.get(name, Port("nothing", ())) for name in PER_SENTENCE if attention}
        self._fit(ENCODER, "input", encoder.inputs, {"src": GRID, "lengths": NUMBERS}, exactly=True)
        self._fit(ENCODER, "output", encoder.outputs, given)
        taken = {"last": NUMBERS, **given, **({"places": GRID, "rows": NUMBERS} if attention else {})}
        taken |= {SCORED: NUMBERS} if SCORED in step.inputs else {}
        self._fit(STEP, "input", step.inputs, taken, exactly=True)
        told = dict.fromkeys(("log_probs", "logits"), Port("float32", (None, vocabulary)))
        seen = {"attention": Port("float32", (None, None))} if attention else {}
        self._fit(STEP, "output", step.outputs, {**told, **following, **seen})
        sessions = Sessions({name: self.folder / name for name in (ENCODER, STEP)}, threads)
        return Network(sessions, tuple(states), constant, attention, SCORED in step.inputs)

    def _states(self) -> dict[str, int]:
        """The width of each of the decoder's states, by name."""
        found: dict[str, int] = {}
        listed = self.get("states", list)
        for i, one in enumerate(listed):
            facts = one if isinstance(one, dict) and len(listed) <= 2 else {}
            layers = self._within(facts.get("layers"), 1, 100, f"states[{i}].layers")
            width = self._within(facts.get("width"), 1, LARGEST, f"states[{i}].width")
            found |= {f"state_{i}_layer_{layer}": width for layer in range(layers)}
        if not found:
            raise self.unfit("states must not be empty")
        return found

    def _fit(
        self, graph: str, side: str, found: Mapping[str, Port], wanted: Mapping[str, Port], *, exactly: bool = False
    ) -> None:
        """Refuse a graph whose inputs or outputs are not those that are wanted."""
        stray = sorted(found.keys() - wanted.keys()) if exactly else []
        if stray:
            raise UserError(
                f"{self.folder / graph} is refused: {side} {stray[0][:40]!r} has no place; export the model again."
            )
        for name, port in wanted.items():
            own = found.get(name)
            if own is None or own.kind != port.kind or not _shapes_fit(own.shape, port.shape):
                raise UserError(
                    f"{self.folder / graph} is refused: its {side} {name!r} is missing, or of other type or shape than "
                    f"{CONFIG} says; export the model again."
                )

    def shortlist(self, files: Mapping[str, bytes], tokenizers: Tokenizers) -> Shortlist | None:
        """The shortlist, or None."""
        if SHORTLIST not in files:
            return None
        try:
            with zipfile.ZipFile(io.BytesIO(files[SHORTLIST])) as archive:
                if sum(one.file_size for one in archive.infolist()) > len(files[SHORTLIST]):
                    raise ValueError("packed")  # as np.savez never does; it could hold far more than its size
            with np.load(io.BytesIO(files[SHORTLIST]), allow_pickle=False) as tables:
                shortlist = Shortlist(tables["best"], tables["frequent"])
        except Exception:  # NumPy raises nearly anything for a forged file
            shortlist = None
        if shortlist is None or not shortlist.fits(len(tokenizers.src), len(tokenizers.tgt)):
            raise UserError(
                f"{self.folder / SHORTLIST} is refused: it does not go with its vocabularies; export the model again."
            )
        return shortlist

    def _version(self) -> str:
        """The version that wrote the folder, on one line."""
        version = self.values.get("toolkit")
        return " ".join(version[:40].split()) if isinstance(version, str) else "?"

    def _within(self, value: object, low: int, high: int, name: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise self.unfit(f"{name} must be a whole number in [{low}, {high}]")
        return value


def _shapes_fit(one: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    """Whether two shapes are the same where both say a size."""
    return len(one) == len(other) and all(a == b or a is None or b is None for a, b in zip(one, other, strict=True))


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _open(path: Path) -> BinaryIO:
    """Open a regular file, not a link, which could lead out of the folder, nor a pipe, which could keep us waiting.

    Raises:
        UserError: if it is not there, or not such a file.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        problem = "is a link" if path.is_symlink() else f"cannot be read: {error.strerror or error}"
        if isinstance(error, FileNotFoundError):
            problem = "is missing"
        raise UserError(f"{path} {problem}; export the model again.") from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise UserError(f"{path} is not a regular file; export the model again.")
    return open(number, "rb")


def _read(path: Path, limit: int) -> bytes:
    """The content of a small file."""
    with _open(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise UserError(f"{path} has more than {limit} bytes; export the model again.")
    return content


def _checked(path: Path, size: int, sum_: str, *, keep: bool) -> bytes | None:
    """Compare a file with its size and SHA-256.

    Args:
        keep: return the content.
    """
    summed, chunks = hashlib.sha256(), []
    with _open(path) as stream:
        found = os.fstat(stream.fileno()).st_size
        if found > (MOST_KEPT if keep else MOST_FILE):
            raise UserError(f"{path} has {found} bytes, more than such a file can need; export the model again.")
        if found != size:
            raise UserError(f"{path} has {found} bytes in place of {size}; copy the folder again, or export again.")
        while chunk := stream.read(CHUNK):
            summed.update(chunk)
            if keep:
                chunks.append(chunk)
    if summed.hexdigest() != sum_:
        raise UserError(f"{path} is damaged: its SHA-256 is another one; copy the folder again, or export again.")
    return b"".join(chunks) if keep else None
