"""Fetch the files of public corpora, and check them.

Every file has a known SHA-256. A file that does not match is never used. A mirror can have a file in another form
(packed or not) than the one whose checksum is known; such a file is used unchecked, with a warning in the log.
Downloads are kept, so that a second call needs no network. A mirror folder, filled by other means, needs none at all.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.progress import DownloadColumn, TransferSpeedColumn

from seq2seq.console import progress_bar
from seq2seq.data.corpora.base import Pairs
from seq2seq.data.pairs import filter_pairs, read_parallel
from seq2seq.errors import UserError
from seq2seq.files import packed
from seq2seq.files.lines import sha256_file
from seq2seq.files.writing import make_folder, replacing

log = logging.getLogger(__name__)

TIMEOUT = 30  # seconds without a byte


class RemoteFile(NamedTuple):
    """A file of a corpus, with its URL and known checksums."""

    url: str
    sha256: str
    unpacked_sha256: str | None


def read_pairs(
    names: Mapping[str, str],
    langs: tuple[str, str],
    files: Mapping[str, RemoteFile],
    *,
    mirror: str | Path | None,
    downloads: Path,
) -> Pairs:
    """Fetch and pair the files of a corpus, without blank training pairs.

    Validation and test sets stay line for line.

    Args:
        names: for each split, the name of the corpus's own set.
        langs: source and target language.
        files: the corpus's files, by set and language: "train.de".
        mirror, downloads: as for `fetch`; downloads are kept in the folder ``downloads``.

    Raises:
        UserError: if a file cannot be had, or is not the right one.
    """
    splits = {}
    for split, name in names.items():
        src, tgt = (_fetch_file(files[f"{name}.{lang}"], downloads, mirror) for lang in langs)
        splits[split] = read_parallel(src, tgt, allow_blank=True)
    splits["train"], dropped = filter_pairs(splits["train"], max_length=0, max_ratio=0, skip_blank=True)
    return Pairs(splits, dropped)


def _fetch_file(file: RemoteFile, downloads: Path, mirror: str | Path | None) -> Path:
    target = downloads / file.url.rpartition("/")[2]
    return fetch(file.url, file.sha256, target, mirror=mirror, unpacked_sha256=file.unpacked_sha256)


def fetch(
    url: str,
    sha256: str,
    target: str | Path,
    *,
    mirror: str | Path | None = None,
    unpacked_sha256: str | None = None,
) -> Path:
    """Fetch a file, or find it in a mirror, and check its checksum.

    With a mirror nothing is downloaded or copied: the path is that of the file in the mirror. Otherwise it is
    ``target``, downloaded unless it is there already; a download gets that name only after its checksum was
    found right.

    Args:
        sha256: the checksum of the file at ``url``, packed if it is packed there.
        mirror: a folder that holds the file under the last part of the URL, or that name with the ending of another
            packer, or with none.
        unpacked_sha256: the checksum of its text, for a mirror that packs what the URL does not, or the
            reverse; without it such a file is taken unchecked, with a warning in the log.

    Raises:
        UserError: if the file cannot be had, or if its checksum is wrong.
    """
    if mirror is not None:
        return _from_mirror(url.rpartition("/")[2], sha256, Path(mirror), unpacked_sha256)
    target = Path(target)
    if target.is_file() and sha256_file(target) == sha256:
        return target
    _download(url, sha256, target)
    return target


def _other_form(name: str) -> str:
    """The name of the packed or unpacked form of a file."""
    return name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"


def _from_mirror(name: str, sha256: str, mirror: Path, unpacked_sha256: str | None) -> Path:
    path = packed.found(mirror / name)
    if path is None:
        raise UserError(
            f"the mirror {mirror} has neither {name} nor {_other_form(name)}; put one there, or unset data.mirror."
        )
    if path.name == name:
        wanted, got = sha256, sha256_file(path)
    elif unpacked_sha256 is None:
        log.warning("%s is taken as it is: its checksum is known only for the file packed as %s", path, name)
        return path
    else:
        wanted, got = unpacked_sha256, sha256_file(path, unpacked=True)
    if got != wanted:
        raise UserError(f"{path} has the wrong SHA-256: expected {wanted}, got {got}; replace the file.")
    return path


def _download(url: str, sha256: str, target: Path) -> None:
    log.info("downloading %s", url)
    make_folder(target.parent)
    digest = hashlib.sha256()
    with replacing(target) as stream:
        for piece in _pieces(url):
            digest.update(piece)
            stream.write(piece)
        if digest.hexdigest() != sha256:
            raise UserError(
                f"{url} has the wrong SHA-256: expected {sha256}, got {digest.hexdigest()}; nothing "
                "was kept. Try again, or give a folder that holds the right files with data.mirror=DIR."
            )


def _pieces(url: str) -> Iterator[bytes]:
    """Yield the bytes at a URL, with a progress bar on a terminal."""
    bar = progress_bar(DownloadColumn(), TransferSpeedColumn())
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, bar:
            size = response.headers.get("Content-Length")
            task = bar.add_task(url.rpartition("/")[2], total=int(size) if size else None)
            while piece := response.read(1 << 16):
                bar.advance(task, len(piece))
                yield piece
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise UserError(
            f"cannot reach {url} ({_reason(error)}); give a folder that holds these files with data.mirror=DIR."
        ) from None


def _reason(error: Exception) -> str:
    plain = error.reason if type(error) is urllib.error.URLError else error
    return " ".join(str(plain).split()) or type(error).__name__
