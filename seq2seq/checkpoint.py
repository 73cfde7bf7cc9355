"""Checkpoint files: tensors, numbers, strings and SentencePiece bytes. Reading one cannot run code."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import textwrap
import uuid
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from seq2seq import __version__
from seq2seq.config.removed import with_one_cell
from seq2seq.config.schema import DecodeConfig, MetricsConfig, ModelConfig
from seq2seq.config.values import from_dict
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.sources import SOURCES
from seq2seq.data.sources.base import Source
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.files.writing import hidden_name, make_folder, replacing
from seq2seq.models.build import build_language_model, build_seq2seq
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.models.sizes import Unfit, check_sizes
from seq2seq.tokens.base import Tokenizer
from seq2seq.tokens.load import load as load_tokenizer

FORMAT = 2  # raised when older code would misread a newer file
SECTION = "seq2seq"
PREFIX = "model."  # of a weight's name: the network is `model` inside the Lightning module
BEST, LAST = "best.ckpt", "last.ckpt"
PREVIOUS = "previous.ckpt"  # the LAST before this one
TO_GO_ON = {  # parts of a checkpoint that only a resumed training needs
    "training": dict,
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "epoch": int,
    "global_step": int,
}


TRANSLATION, LANGUAGE_MODEL = "translation", "language model"


class Kind(NamedTuple):
    """A kind of network that checkpoints hold."""

    use: str  # what to do with one that is not of the wanted kind
    build: Callable[[ModelConfig, int, int], nn.Module]  # gets the sizes of the source and of the target's vocabulary
    stacks: tuple[str, ...]  # its recurrent stacks, by the names of their sections in `ModelConfig`

    @property
    def has_sources(self) -> bool:
        """Whether something is read before the output begins."""
        return "encoder" in self.stacks


KINDS = {
    TRANSLATION: Kind(
        "a translator; give it to seq2seq-translate, or name a run of task=language_model",
        build_seq2seq,
        ("encoder", "decoder"),
    ),
    LANGUAGE_MODEL: Kind(
        "a language model; give it to seq2seq-generate, or name a run of task=translation",
        lambda config, src_size, tgt_vocab: build_language_model(config, tgt_vocab),
        ("decoder",),
    ),
}


class Checkpoint(NamedTuple):
    """The parts of a translator."""

    model: Seq2Seq
    tokenizers: Tokenizers
    decode: DecodeConfig
    shortlist: Shortlist | None = None
    metrics: MetricsConfig = MetricsConfig()
    source: Source | None = None  # None for the text of ``tokenizers``


class LanguageModelCheckpoint(NamedTuple):
    """The parts of a language model."""

    model: RNNLanguageModel
    tokenizer: Tokenizer


def section(
    model: ModelConfig,
    decode: DecodeConfig,
    tokenizers: Tokenizers,
    *,
    kind: str = TRANSLATION,
    metrics: MetricsConfig | None = None,
    source: Source | None = None,
) -> dict[str, Any]:
    """Everything but the weights, as plain values.

    Defaults are written out, so that a later default does not change an old model.

    Args:
        source: of the network; None for the text of ``tokenizers``.
    """
    return {
        "format": FORMAT,
        "version": __version__,
        "kind": kind,
        "model": dataclasses.asdict(model),
        "decode": dataclasses.asdict(decode),
        "metrics": dataclasses.asdict(metrics or MetricsConfig()),
        "source": {"kind": "text"} if source is None else source_state(source),
        "tokenizer": {
            "src": tokenizers.src.proto,
            "tgt": tokenizers.tgt.proto,
            "lowercase": tokenizers.src.lowercase,
            "normalization": tokenizers.src.normalization,
        },
    }


def save(path: Path, contents: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: under a temporary name, synced, then renamed.

    Raises:
        UserError: if the file system refuses.
    """
    make_folder(path.parent)
    with replacing(path) as stream:
        try:
            torch.save(dict(contents), stream)
        except RuntimeError as error:  # torch's, over the one that says why it could not write
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name survives a power cut too
    finally:
        os.close(folder)


def name_also(path: Path, name: str) -> None:
    """Give a file a second name in its folder.

    At any moment the name holds the old or the new file. Later writes to the first name do not change the second.

    Raises:
        UserError: if the file system refuses.
    """
    target = path.with_name(name)
    temporary = path.with_name(hidden_name(name, f".{uuid.uuid4().hex[:8]}.tmp"))
    try:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without a second name for a file
            shutil.copyfile(path, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}; check the free space.") from None
    finally:
        with suppress(OSError):  # it is left where both names mean one file already
            temporary.unlink()


def step_name(step: int) -> str:
    """The file name of one of several best checkpoints."""
    return f"step-{step}.ckpt"


def kept_best(folder: Path) -> list[Path]:
    """List the K best checkpoints of a run or checkpoint folder, by step.

    The list is empty if the training kept only one.
    """
    found = [path for place in (folder, folder / "checkpoints") for path in place.glob("step-*.ckpt")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def find(path: str | Path) -> Path:
    """Find a checkpoint: the file itself, or the best (else the last) one of a run folder.

    Raises:
        UserError: if there is no checkpoint.
    """
    path = Path(path)
    if path.is_file():
        return path
    candidates = [folder / name for name in (BEST, LAST) for folder in (path, path / "checkpoints")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    what = "has no checkpoint in it" if path.is_dir() else "does not exist"
    raise UserError(f"{path} {what}; name a .ckpt file or the folder of a run that has been trained.")


def read(path: Path) -> dict[str, Any]:
    """Read the raw contents of a checkpoint, which may only be tensors and plain values.

    Raises:
        UserError: for a file that is cut short, is not a checkpoint, holds objects, or has a newer format.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # our own message follows
            _refuse_wrong_checksums(path)
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = str(error).split("\n")[0]
        if "Unsupported" in problem or "Weights only" in problem:
            problem = "it holds more than tensors and plain values, which could run code"
        raise UserError(f"{path} is refused: {problem}; use a checkpoint that seq2seq-train wrote.") from None
    except Exception as error:  # torch raises nearly anything for a damaged file
        told = isinstance(error, (RuntimeError, ValueError, OSError, EOFError, zipfile.BadZipFile))
        problem = str(error).split("\n")[0] if told else "torch cannot read it"
        raise UserError(f"{path} is not a whole checkpoint ({problem}); use another, or train again.") from None
    mine = contents.get(SECTION) if isinstance(contents, dict) else None
    if isinstance(mine, dict) and isinstance(mine.get("format"), int) and mine["format"] > FORMAT:
        theirs = f"format {min(mine['format'], 10**9)} (seq2seq {_plain(mine.get('version'))})"
        raise UserError(f"{path} has {theirs}, newer than seq2seq {__version__} reads ({FORMAT}); upgrade seq2seq.")
    if not isinstance(mine, dict) or not _has_the_shape(mine) or not _are_weights(contents.get("state_dict")):
        raise UserError(
            f"{path} is not a checkpoint of seq2seq: it has no valid section {SECTION!r}; name one that seq2seq-train "
            "wrote."
        )
    _fill_in(mine)
    return contents


def _fill_in(mine: dict[str, Any]) -> None:
    """Add the settings that older versions left out (text, no normalisation, scores with 13a), in today's keys."""
    if mine["kind"] in KINDS:
        mine["model"] = with_one_cell(mine["model"], KINDS[mine["kind"]].stacks)
    mine.setdefault("source", {"kind": "text"})
    mine.setdefault("metrics", {"tokenizer": "13a"})
    mine["tokenizer"].setdefault("normalization", "none")


def read_to_go_on(path: Path) -> dict[str, Any]:
    """Read the raw contents of a checkpoint that a training can resume from.

    Raises:
        UserError: as `read`; also for one that can only translate.
    """
    contents = read(path)
    missing = [name for name, kind in TO_GO_ON.items() if not isinstance(contents.get(name), kind)]
    if missing:
        raise UserError(f"{path} is not a checkpoint to resume from: it has no {', '.join(missing)}; train again.")
    return contents


def _refuse_wrong_checksums(path: Path) -> None:
    """Check the checksums, which torch does not, so that damaged weights are refused."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as stream:
            if stream.read(2) == b"PK":  # it begins as one
                raise ValueError("it is cut short")
    else:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of its part {damaged} is wrong")


def _has_the_shape(mine: dict[str, Any]) -> bool:
    parts = {"format": int, "version": str, "kind": str, "model": dict, "decode": dict, "tokenizer": dict}
    if not all(isinstance(mine.get(name), kind) for name, kind in parts.items()):
        return False
    if not all(isinstance(mine.get(name, {}), dict) for name in ("metrics", "source")):
        return False
    tokenizer = mine["tokenizer"]
    return all(isinstance(tokenizer.get(side), bytes) for side in ("src", "tgt")) and "lowercase" in tokenizer


def _plain(version: object) -> str:
    """A file's version on one line."""
    return " ".join(str(version)[:40].split()) if isinstance(version, str) else "?"


def _are_weights(values: object) -> bool:
    return isinstance(values, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in values.items()
    )


def load(path: str | Path) -> Checkpoint:
    """Rebuild a trained translator with its tokenizers, on the CPU and in evaluation mode.

    Raises:
        UserError: as `find` and `read`; also for a language model, and for settings that this version does not know.
    """
    path = find(path)
    contents = read(path)
    _refuse_other_kind(path, contents, TRANSLATION)
    mine = contents[SECTION]
    decode = _config(path, mine, DecodeConfig, "decode")
    described = describe(path, contents)
    model = cast(Seq2Seq, described.build())
    load_weights(model, contents["state_dict"], path)
    scored = _config(path, mine, MetricsConfig, "metrics")
    return Checkpoint(model.eval(), described.tokenizers, decode, described.shortlist, scored, described.source)


def load_language_model(path: str | Path) -> LanguageModelCheckpoint:
    """Rebuild a trained language model with its tokenizer, on the CPU and in evaluation mode.

    Raises:
        UserError: as `find` and `read`; also for a translator, and for settings that this version does not know.
    """
    path = find(path)
    contents = read(path)
    _refuse_other_kind(path, contents, LANGUAGE_MODEL)
    described = describe(path, contents)
    model = cast(RNNLanguageModel, described.build())
    load_weights(model, contents["state_dict"], path)
    return LanguageModelCheckpoint(model.eval(), described.tokenizers.tgt)


class Described(NamedTuple):
    """The network of a checkpoint before it is built."""

    config: ModelConfig
    tokenizers: Tokenizers
    build: Callable[[], nn.Module]
    source: Source
    shortlist: Shortlist | None = None


def describe(path: Path, contents: Mapping[str, Any]) -> Described:
    """Describe the network of a checkpoint, and check that its size is that of the weights.

    Raises:
        UserError: for a kind or settings that this version does not know, and where the weights do not fit the
            settings, or the shortlist not the vocabularies.
    """
    _refuse_other_kind(path, contents, *KINDS)
    mine = contents[SECTION]
    config = _config(path, mine, ModelConfig, "model")
    tokenizers = _tokenizers(path, mine["tokenizer"])
    source = _source(path, mine["source"], tokenizers.src, end_symbol=config.fixed_length == 0)
    kind = KINDS[mine["kind"]]
    build = partial(kind.build, config, source.input_size, len(tokenizers.tgt))
    stacks = [config.stack(side) for side in kind.stacks]
    try:
        check_sizes(build, stacks, _unprefixed(contents["state_dict"]))
    except Unfit as unfit:
        raise UserError(f"{path} does not fit the model that it describes: {unfit}; use another.") from None
    shortlist = _shortlist(mine, len(tokenizers.src), len(tokenizers.tgt), path)
    return Described(config, tokenizers, build, source, shortlist)


def load_tokenizers(path: str | Path) -> tuple[str, Tokenizers]:
    """Read the kind of a checkpoint and its tokenizers; a language model has the same one twice.

    Raises:
        UserError: as `find` and `read`; also for a kind that this version does not know.
    """
    path = find(path)
    contents = read(path)
    _refuse_other_kind(path, contents, *KINDS)
    mine = contents[SECTION]
    return mine["kind"], _tokenizers(path, mine["tokenizer"])


def _refuse_other_kind(path: Path, contents: Mapping[str, Any], *wanted: str) -> None:
    kind = contents[SECTION]["kind"]
    if kind not in wanted:
        other = f"a network of kind {_plain(kind)!r}; name a run of this version's seq2seq-train"
        raise UserError(f"{path} holds {KINDS[kind].use if kind in KINDS else other}.")


Section = TypeVar("Section", ModelConfig, DecodeConfig, MetricsConfig)


def _config(path: Path, mine: dict[str, Any], cls: type[Section], name: str) -> Section:
    try:
        return from_dict(cls, mine[name], name)
    except UserError as error:
        version = _plain(mine["version"])
        raise UserError(f"{path} was written by seq2seq {version}, this is {__version__}: {error}") from None


def _tokenizers(path: Path, saved: dict[str, Any]) -> Tokenizers:
    settings = {"lowercase": saved["lowercase"], "normalization": saved["normalization"]}
    try:
        src = load_tokenizer(saved["src"], **settings)
        tgt = src if saved["tgt"] == saved["src"] else load_tokenizer(saved["tgt"], **settings)
    except UserError as error:
        raise UserError(f"{path} is refused: {error}") from None
    return Tokenizers(src, tgt)


def source_state(source: Source) -> dict[str, Any]:
    """A source as a checkpoint keeps it.

    Raises:
        ValueError: if it is not in the table `SOURCES`.
    """
    for kind, cls in SOURCES.items():
        if type(source) is cls:
            return {**source.state(), "kind": kind}
    raise ValueError(f"{type(source).__name__} is not in SOURCES; add it there.")


def same_state(one: Any, other: Any) -> bool:
    """Whether two sources, or two states of sources, are equal; tensors are compared by their numbers."""
    one, other = (source_state(each) if isinstance(each, Source) else each for each in (one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_state(one[name], other[name]) for name in one)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def _source(path: Path, saved: dict[str, Any], tokenizer: Tokenizer, *, end_symbol: bool) -> Source:
    state = {name: value for name, value in saved.items() if name != "kind"}
    kind = saved.get("kind")
    if not isinstance(kind, str) or kind not in SOURCES:
        raise UserError(
            f"{path} reads a source of kind {_plain(kind)!r}, which this version does not know; upgrade seq2seq."
        )
    try:
        return SOURCES[kind](state, tokenizer, end_symbol=end_symbol)
    except (UserError, ValueError, TypeError, LookupError) as error:
        problem = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
        raise UserError(f"{path} is refused: its source cannot be built ({problem}); train again.") from None


def _shortlist(mine: Mapping[str, Any], src_vocab: int, tgt_vocab: int, path: Path) -> Shortlist | None:
    """The shortlist of a checkpoint, or None.

    Raises:
        UserError: if it does not fit the vocabularies.
    """
    saved = mine.get("shortlist")
    if saved is None:
        return None
    tables = list(saved.values()) if isinstance(saved, dict) and tuple(saved) == Shortlist._fields else []
    if tables and all(isinstance(one, Tensor) and one.dtype == torch.int32 for one in tables):
        shortlist = Shortlist(*tables)
        if shortlist.fits(src_vocab, tgt_vocab):
            return shortlist
    raise UserError(f"{path} is refused: its shortlist does not go with its vocabularies; train again.")


def add_shortlist(path: Path, shortlist: Shortlist) -> None:
    """Put a shortlist into an existing checkpoint.

    Raises:
        UserError: as `read` and `save`.
    """
    contents = read(path)
    contents[SECTION]["shortlist"] = shortlist._asdict()
    save(path, contents)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put a checkpoint's weights into a model of the same shape.

    Raises:
        UserError: if names or shapes differ, or a weight is not finite.
    """
    try:
        model.load_state_dict(_unprefixed(weights))
    except RuntimeError as error:
        problem = textwrap.shorten(str(error), 200, placeholder=" ...")
        raise UserError(f"{path} does not fit the model that it describes: {problem}; use another.") from None
    for name, tensor in named_weights(model).items():
        if not tensor.isfinite().all():
            raise UserError(
                f"{path} holds weights that are not finite, in {name}: its training has diverged; use another, "
                "or train again with a smaller optim.lr."
            )


def _unprefixed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights under the names that they have in every checkpoint."""
    return {PREFIX + name: tensor for name, tensor in model.state_dict().items()}
