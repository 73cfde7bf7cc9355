"""Every dataset, generated, downloaded or the user's own, becomes six line-aligned text files in its own folder; one
without sources, for a language model, three.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seq2seq.config.choices import ONE_SIDED
from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora import download, synthetic
from seq2seq.data.corpora.phrasebook import grammar
from seq2seq.data.pairs import SPLITS, Pair, filter_pairs, read_parallel, read_question_answer, read_tsv, write_splits
from seq2seq.errors import UserError
from seq2seq.files import packed
from seq2seq.files.lines import iter_lines, read_lines, refuse_line_ends, refuse_unstable, sha256_file
from seq2seq.files.writing import locked, make_folder, said_in_one_line, write_lines

log = logging.getLogger(__name__)

SIZES = ("train_size", "valid_size", "test_size")
FILTERS = ("max_length", "max_ratio", "skip_blank")
FILES = ("train_src", "train_tgt", "valid_src", "valid_tgt", "test_src", "test_tgt")
SETTINGS = {  # what decides the content of each kind's files
    "phrasebook": ("seed", *SIZES),
    "addition": ("seed", *SIZES, "book_exact", "book_file"),
    "dates": ("seed", *SIZES, "book_exact", "book_file"),
    "multi30k": ("src_lang", "tgt_lang", "variant"),
    "iwslt15": ("src_lang", "tgt_lang"),
    "files": FILES,
    "text": ("train_tgt", "valid_tgt", "test_tgt", "valid_size", "test_size"),
    "ptb": (),
}
SPLIT_FILES = [f"{split}.{side}" for split in SPLITS for side in ("src", "tgt")]
MANIFEST = "dataset.json"  # written last
UNFINISHED: dict[str, Any] = {"settings": {}}  # what it says while files are moved in
ASIDE = ".new"


def prepare(config: DataConfig, folder: Path | None = None) -> Path:
    """The folder that holds the dataset, made first if it is not there; equal settings and inputs give the same folder.

    Beside the files lies ``dataset.json``: the settings, how many pairs (or lines) each split has, how many training
    pairs were left out and why, and the files' checksums.

    Args:
        folder: where to put the dataset, instead of one below ``config.root`` named after what is in it.

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
        return folder  # which need not be one to write to
    make_folder(folder)
    with locked(folder):
        if not _is_whole(folder, config.kind, settings):
            _build(config, folder, settings)
    return folder


def _is_whole(folder: Path, kind: str, settings: dict[str, Any]) -> bool:
    """Whether a folder holds this very dataset."""
    manifest = read_manifest(folder)
    files = all((folder / name).is_file() for name in split_files(kind))
    return files and manifest is not None and manifest["settings"] == settings


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What ``dataset.json`` says, or None where there is no finished dataset."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("settings"), dict) else None


def _refuse_foreign(folder: Path) -> None:
    """Do not write over files that this module did not make.

    Raises:
        UserError: if a folder holds such files.
    """
    if read_manifest(folder) is None:
        for name in (MANIFEST, *SPLIT_FILES):
            if (folder / name).exists():
                raise UserError(f"{folder} holds a {name} that is no dataset of ours; name another folder.")


def _settings(config: DataConfig) -> dict[str, Any]:
    """The settings that decide what the files hold; where they name a file, its content decides, not its name."""
    names = ("kind", *SETTINGS[config.kind], *(() if config.kind in ONE_SIDED else FILTERS))
    settings = {name: getattr(config, name) for name in names}
    for name in ("book_file", *FILES):
        if settings.get(name):
            settings[name] = sha256_file(settings[name])
    if config.kind == "multi30k" and config.mirror is not None:
        languages = (config.src_lang, config.tgt_lang)
        settings |= download.multi30k_unchecked(*languages, variant=config.variant, mirror=config.mirror)
    if config.kind == "ptb":
        settings |= {name: sha256_file(path) for name, path in _ptb_files(config).items()}
    return settings


def split_files(kind: str) -> list[str]:
    """The text files of a dataset."""
    return [name for name in SPLIT_FILES if name.endswith(".tgt")] if kind in ONE_SIDED else SPLIT_FILES


def _ptb_files(config: DataConfig) -> dict[str, Path]:
    """By split, as the benchmark's usual files are called, plain or packed.

    Raises:
        UserError: if one of them is not there.
    """
    found = {}
    for split in SPLITS:
        name = f"ptb.{split}.txt"
        path = packed.found(Path(str(config.mirror)) / name)
        if path is None:
            raise UserError(
                f"{config.mirror} has neither {name} nor {name}.gz; put one there, or name another data.mirror."
            )
        found[split] = path
    return found


def _build(config: DataConfig, folder: Path, settings: dict[str, Any]) -> None:
    """Make the dataset aside, and move it in when all of it is there: what cannot be made leaves an earlier one as it
    was.
    """
    log.info("preparing %s in %s", config.kind, folder)
    aside = folder / ASIDE
    with said_in_one_line(folder):
        if aside.is_symlink():
            aside.unlink()  # never what it leads to
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
    """Write the files, and say what is in them."""
    dropped: dict[str, int] = {}
    try:
        if config.kind in ONE_SIDED:
            _write_lines(aside, _read_text(config))
        elif config.kind in ("multi30k", "iwslt15"):
            dropped = _download(config, aside, folder / "downloads")
        else:
            splits, dropped = _read_or_generate(config)
            write_splits(aside, splits)
    except UserError:
        raise
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
    """The user's own files of a dataset."""
    names = [str(getattr(config, name)) for name in ("book_file", *FILES, "mirror") if getattr(config, name)]
    return ", ".join(names) or "the text"


def _read_text(config: DataConfig) -> dict[str, list[str]]:
    """The lines of each split of a text without sources, blank ones too."""
    if config.kind == "ptb":
        return {split: _lines_of(path) for split, path in _ptb_files(config).items()}
    assert config.train_tgt is not None
    lines = _lines_of(config.train_tgt)
    if config.valid_tgt is not None and config.test_tgt is not None:
        return {"train": lines, "valid": _lines_of(config.valid_tgt), "test": _lines_of(config.test_tgt)}
    held_out = config.valid_size + config.test_size
    if held_out >= len(lines):
        raise UserError(
            f"{config.train_tgt} has {len(lines)} lines, of which data.valid_size and data.test_size "
            f"would hold out {held_out}; make them smaller."
        )
    first = len(lines) - held_out
    cut = first + config.valid_size
    return {"train": lines[:first], "valid": lines[first:cut], "test": lines[cut:]}


def _lines_of(path: str | Path) -> list[str]:
    lines = read_lines(path)
    refuse_line_ends(path, lines)
    if not any(line.strip() for line in lines):
        raise UserError(f"{path} has no text in it; name a file that has some.")
    return lines


def _write_lines(folder: Path, splits: dict[str, list[str]]) -> None:
    for split, lines in splits.items():
        refuse_unstable(f"{split}.tgt", lines)
    make_folder(folder)
    for split, lines in splits.items():
        write_lines(folder / f"{split}.tgt", lines)


def _download(config: DataConfig, folder: Path, downloads: Path) -> dict[str, int]:
    fetch: Callable[..., dict[str, int]]
    fetch = partial(download.multi30k, variant=config.variant) if config.kind == "multi30k" else download.iwslt15
    dropped = fetch(folder, config.src_lang, config.tgt_lang, mirror=config.mirror, downloads=downloads)
    if config.max_length or config.max_ratio:
        names = (folder / "train.src", folder / "train.tgt")
        kept, filtered = _filter(config, read_parallel(*names))
        for side, path in enumerate(names):
            lines = [pair[side] for pair in kept]
            refuse_unstable(path.name, lines)
            write_lines(path, lines)
        dropped = {**dropped, **{reason: count for reason, count in filtered.items() if count}}
    return dropped


def _read_or_generate(config: DataConfig) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    if config.kind == "files":
        splits = {
            split: _read_split(config, split, allow_blank=split != "train" or config.skip_blank) for split in SPLITS
        }
    elif config.book_file:
        splits = _split_book_file(config, read_question_answer(config.book_file))
    else:
        sizes = {"train": config.train_size, "valid": config.valid_size, "test": config.test_size}
        splits = _generate(config, sizes)
    splits["train"], dropped = _filter(config, splits["train"])
    return splits, dropped


def _generate(config: DataConfig, sizes: dict[str, int]) -> dict[str, list[Pair]]:
    try:
        if config.kind == "phrasebook":
            return grammar.generate(config.seed, sizes)
        task = synthetic.addition if config.kind == "addition" else synthetic.dates
        return task(config.seed, sizes, book_exact=config.book_exact)
    except ValueError as error:  # more sentences asked for than there are
        raise UserError(f"{str(error).rstrip('.')}; make data.train_size, valid_size or test_size smaller.") from None


def _read_split(config: DataConfig, split: str, *, allow_blank: bool) -> list[Pair]:
    src, tgt = getattr(config, f"{split}_src"), getattr(config, f"{split}_tgt")
    if tgt is None:
        return read_tsv(src, allow_blank=allow_blank)
    return read_parallel(src, tgt, allow_blank=allow_blank)


def _split_book_file(config: DataConfig, pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The book's file, shuffled by ``data.seed``: the held-out pairs, then as many to train on as are asked for."""
    held_out = config.valid_size + config.test_size
    answers = dict(reversed(pairs))  # by question, the first answer of each
    if len(answers) < len(pairs):
        log.warning("left out of %s: %d repeated questions", config.book_file, len(pairs) - len(answers))
    pairs = [(question, answers[question]) for question in dict(pairs)]
    if held_out >= len(pairs):
        raise UserError(
            f"{config.book_file} has {len(pairs)} pairs, of which data.valid_size and data.test_size "
            f"would hold out {held_out}; make them smaller."
        )
    rows = [pair if config.book_exact else (pair[0].rstrip(" "), pair[1].rstrip(" ")) for pair in pairs]
    random.Random(config.seed).shuffle(rows)
    return {
        "valid": rows[: config.valid_size],
        "test": rows[config.valid_size : held_out],
        "train": rows[held_out:][: config.train_size],
    }


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
    wanted = {*SETTINGS[kind], *(() if kind in ONE_SIDED else FILTERS)}
    wanted |= {"mirror"} if kind in ("multi30k", "iwslt15", "ptb") else set()
    return [field for field in dataclasses.fields(DataConfig) if field.name in wanted]
