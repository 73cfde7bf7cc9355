"""Prepare a dataset: six line-aligned text files in a folder of its own.

The dataset is generated, downloaded or the user's own. One without sources, for a language model, has three files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2seq.config.choices import ONE_SIDED
from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora.base import Lines
from seq2seq.data.corpora.files import FILES
from seq2seq.data.corpora.table import CORPORA
from seq2seq.data.pairs import SPLITS, Pair, filter_pairs, write_splits
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_lines, refuse_unstable, sha256_file
from seq2seq.files.writing import locked, make_folder, said_in_one_line, write_lines

log = logging.getLogger(__name__)

FILTERS = ("max_length", "max_ratio", "skip_blank")
INPUTS = ("book_file", *FILES)  # settings that name a file of the user's
SPLIT_FILES = [f"{split}.{side}" for split in SPLITS for side in ("src", "tgt")]
MANIFEST = "dataset.json"  # written last
UNFINISHED: dict[str, Any] = {"settings": {}}  # the manifest while files are moved in
ASIDE = ".new"


def prepare(config: DataConfig, folder: Path | None = None) -> Path:
    """Make a dataset unless it is there, and return its folder.

    Equal settings and inputs give the same folder. Beside the files lies ``dataset.json``: the settings, the number of
    pairs (or lines) of each split, how many training pairs were left out and why, and the files' checksums.

    Args:
        folder: where to put the dataset, instead of one below ``config.root`` named after its settings.

    Raises:
        UserError: for input that cannot be read or is not what its settings say.
    """
    settings = _settings(config)
    if folder is not None:
        _refuse_foreign(folder)
    else:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        folder = Path(config.root) / f"{config.kind}-{digest[:8]}"
    if _is_whole(folder, config.kind, settings):
        return folder  # it may be read-only
    make_folder(folder)
    with locked(folder):
        if not _is_whole(folder, config.kind, settings):
            _build(config, folder, settings)
    return folder


def _is_whole(folder: Path, kind: str, settings: dict[str, Any]) -> bool:
    """Whether a folder holds the dataset of these settings."""
    manifest = read_manifest(folder)
    files = all((folder / name).is_file() for name in split_files(kind))
    return files and manifest is not None and manifest["settings"] == settings


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read ``dataset.json``; None without a finished dataset."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("settings"), dict) else None


def _refuse_foreign(folder: Path) -> None:
    """Refuse to write over files that this module did not make.

    Raises:
        UserError: if a folder holds such files.
    """
    if read_manifest(folder) is None:
        for name in (MANIFEST, *SPLIT_FILES):
            if (folder / name).exists():
                raise UserError(f"{folder} holds a {name} that seq2seq did not write; name another folder.")


def _settings(config: DataConfig) -> dict[str, Any]:
    """The settings that decide the dataset's content, files by their checksums."""
    corpus = CORPORA[config.kind]
    names = ("kind", *corpus.settings, *(() if config.kind in ONE_SIDED else FILTERS))
    settings = {name: getattr(config, name) for name in names}
    for name in INPUTS:
        if settings.get(name):
            settings[name] = sha256_file(settings[name])
    return settings | corpus.inputs(config)


def split_files(kind: str) -> list[str]:
    """The text files of a dataset."""
    return [name for name in SPLIT_FILES if name.endswith(".tgt")] if kind in ONE_SIDED else SPLIT_FILES


def _build(config: DataConfig, folder: Path, settings: dict[str, Any]) -> None:
    """Make the dataset in a folder aside, and move it in when it is complete.

    If it fails, an earlier dataset stays as it was.
    """
    log.info("preparing %s in %s", config.kind, folder)
    aside = folder / ASIDE
    with said_in_one_line(folder):
        if aside.is_symlink():
            aside.unlink()  # never the folder that it points to
        shutil.rmtree(aside, ignore_errors=True)
        try:
            manifest = {"settings": settings, **_make(config, folder, aside)}
            write_lines(folder / MANIFEST, json.dumps(UNFINISHED).split("\n"))
            for name in SPLIT_FILES:
                (folder / name).unlink(missing_ok=True)
            for name in split_files(config.kind):
                (aside / name).rename(folder / name)
            write_lines(folder / MANIFEST, json.dumps(manifest, indent=2).split("\n"))
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _make(config: DataConfig, folder: Path, aside: Path) -> dict[str, Any]:
    """Write the files, and return what the manifest says of them."""
    dropped: dict[str, int] = {}
    try:
        made = CORPORA[config.kind].read(config, folder / "downloads")
        if isinstance(made, Lines):
            _write_lines(aside, made.splits)
        else:
            train, filtered = _filter(config, made.splits["train"])
            dropped = {**made.dropped, **{reason: count for reason, count in filtered.items() if count}}
            write_splits(aside, {**made.splits, "train": train})
    except ValueError as error:  # text that would not be read back as it is
        raise UserError(f"{str(error).rstrip('.')}; remove it from {_named(config)}.") from None
    dropped = {reason: count for reason, count in dropped.items() if count}
    if dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        log.warning("left out of the training data of %s: %s", folder, reasons)
    return {
        "pairs": {split: sum(1 for _ in iter_lines(aside / f"{split}.tgt")) for split in SPLITS},
        "dropped": dropped,
        "sha256": {name: sha256_file(aside / name) for name in split_files(config.kind)},
    }


def _named(config: DataConfig) -> str:
    """The user's own files of a dataset, for a message."""
    names = [str(getattr(config, name)) for name in (*INPUTS, "mirror") if getattr(config, name)]
    return ", ".join(names) or "the text"


def _write_lines(folder: Path, splits: dict[str, list[str]]) -> None:
    for split, lines in splits.items():
        refuse_unstable(f"{split}.tgt", lines)
    make_folder(folder)
    for split, lines in splits.items():
        write_lines(folder / f"{split}.tgt", lines)


def _filter(config: DataConfig, pairs: Sequence[Pair]) -> tuple[list[Pair], dict[str, int]]:
    kept, dropped = filter_pairs(
        pairs, max_length=config.max_length, max_ratio=config.max_ratio, skip_blank=config.skip_blank
    )
    if not kept:
        limits = ", ".join(f"data.{name}={getattr(config, name)}" for name in FILTERS)
        raise UserError(f"no training pair is left of {len(pairs)} after {limits}; loosen them.")
    return kept, dropped


def fields_of(kind: str) -> list[dataclasses.Field[Any]]:
    """The settings of one kind of dataset, as fields of `DataConfig`."""
    corpus = CORPORA[kind]
    wanted = {*corpus.settings, *corpus.takes, *(() if kind in ONE_SIDED else FILTERS)}
    return [field for field in dataclasses.fields(DataConfig) if field.name in wanted]
