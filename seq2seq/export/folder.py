"""The exported folder: what it holds, and what it may replace."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seq2seq import __version__, checkpoint
from seq2seq.config.schema import DecodeConfig, MetricsConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.export.network import ENCODER, STEP, graphs
from seq2seq.export.parts import Network
from seq2seq.models.build import num_parameters
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, EOS, PAD, UNK, Tokenizer

FORMAT = 1  # raised when older code would misread a newer folder
CONFIG, SHORTLIST = "config.json", "shortlist.npz"


class Source(NamedTuple):
    """What is exported."""

    network: Network
    tokenizers: Tokenizers
    decode: DecodeConfig
    metrics: MetricsConfig
    shortlist: Shortlist | None = None


def load(path: str | Path) -> Source:
    """Load a translator or a language model from a checkpoint file or run folder.

    Raises:
        UserError: as `checkpoint.load`; also for a source that is not text.
    """
    path = checkpoint.find(path)
    if checkpoint.load_tokenizers(path)[0] == checkpoint.LANGUAGE_MODEL:
        own = checkpoint.load_language_model(path)
        return Source(own.model, Tokenizers(own.tokenizer, own.tokenizer), DecodeConfig(), MetricsConfig())
    found = checkpoint.load(path)
    if found.source is not None and not found.source.is_text:
        kind = checkpoint.source_state(found.source)["kind"]
        raise UserError(f"{path} reads a source of kind {kind!r}, and only text is exported; use the checkpoint.")
    return Source(found.model, found.tokenizers, found.decode, found.metrics, found.shortlist)


def contents(source: Source, *, int8: bool = False) -> dict[str, bytes]:
    """Make the files of an exported folder, by their names.

    Raises:
        UserError: as `graphs`.
    """
    files = graphs(source.network, int8=int8)
    tokens = {}
    for side, tokenizer in source.tokenizers._asdict().items():
        shared = source.tokenizers.src.proto == tokenizer.proto
        name = "src.model" if shared else f"{side}.model"
        files[name] = tokenizer.proto
        tokens[side] = _settings(name, tokenizer)
    if source.shortlist is not None:
        buffer = io.BytesIO()
        np.savez(buffer, **{name: tensor.numpy() for name, tensor in source.shortlist._asdict().items()})
        files[SHORTLIST] = buffer.getvalue()
    config = _config(source, tokens, int8=int8)
    config["files"] = {name: _facts(content) for name, content in files.items()}
    files[CONFIG] = (json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    return files


def _settings(name: str, tokenizer: Tokenizer) -> dict[str, Any]:
    return {"file": name, "lowercase": tokenizer.lowercase, "normalization": tokenizer.normalization}


def _facts(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _config(source: Source, tokens: Mapping[str, Any], *, int8: bool) -> dict[str, Any]:
    """What the folder says of itself, without its files' checksums."""
    network, decoder = source.network, source.network.decoder
    translates = isinstance(network, Seq2Seq)
    fixed_length = network.fixed_length if isinstance(network, Seq2Seq) else 0
    decode = dataclasses.asdict(source.decode) | {"int8": int8, "cuda_graphs": False}
    decode["shortlist"] &= source.shortlist is not None
    return {
        "format": FORMAT,
        "toolkit": __version__,
        "kind": "translation" if translates else "language_model",
        "tokens": tokens,
        "vocabulary": {side: len(tokenizer) for side, tokenizer in source.tokenizers._asdict().items()},
        "special": {"pad": PAD, "unk": UNK, "bos": BOS, "eos": EOS},
        "barred": [PAD, BOS],
        "decode": decode,
        "metrics": dataclasses.asdict(source.metrics),
        "fixed_length": fixed_length,
        "end_symbol": not fixed_length,
        "attention": decoder.attention is not None,
        "int8": int8,
        "parameters": num_parameters(network),
        "states": [{"layers": decoder.num_layers, "width": decoder.hidden_size}] * decoder.num_states,
    }


def check_target(folder: Path, *, replace: bool = False, remedy: str = "give replace=True") -> None:
    """Refuse to write over anything but an empty folder or, with ``replace``, an exported one.

    Args:
        remedy: what a message says of an exported folder besides naming another one.

    Raises:
        UserError: for other files, and for an exported folder without ``replace``.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise UserError(f"{folder} is not a folder; name another one.")
    if not any(folder.iterdir()):
        return
    if not _is_export(folder):
        raise UserError(f"{folder} holds other files than an exported model; name another folder.")
    if not replace:
        raise UserError(f"{folder} holds an exported model; name another folder, or {remedy}.")


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an exported model and no other files."""
    known = {CONFIG, SHORTLIST, ENCODER, STEP, "src.model", "tgt.model"}
    names = set(os.listdir(folder))
    return {CONFIG, STEP} <= names <= known and all((folder / name).is_file() for name in names)
