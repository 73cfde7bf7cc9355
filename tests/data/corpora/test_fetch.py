"""That recipes take only the right bytes, from a mirror or a server, and keep test sets line for line."""

import bz2
import gzip
import hashlib
import http.server
import logging
import lzma
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config.choices import LANGUAGES, TOKENIZED_LANGUAGES
from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora import fetch, iwslt15, multi30k
from seq2seq.data.pairs import read_parallel
from seq2seq.data.prepare import prepare
from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines, sha256_file
from seq2seq.files.writing import write_lines

REAL = Path(__file__).parents[3] / ".." / "shared" / "data" / "multi30k"
needs_multi30k = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the Multi30k files in {REAL}")

CONTENT = b"hello\n" * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = "0" * 64


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a local server, and the folder it serves."""
    monkeypatch.setenv("no_proxy", "*")
    served = tmp_path / "served"
    served.mkdir()
    handler = partial(QuietHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", served
        running.shutdown()
        thread.join()


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Downloads


def test_download_is_checked_and_kept(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    target = tmp_path / "new" / "a.txt"
    assert fetch.fetch(f"{url}/a.txt", SHA256, target) == target
    assert target.read_bytes() == CONTENT
    (served / "a.txt").unlink()
    assert fetch.fetch(f"{url}/a.txt", SHA256, target) == target


def test_damaged_earlier_download_is_replaced(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    target = tmp_path / "a.txt"
    target.write_bytes(CONTENT[:-1])
    fetch.fetch(f"{url}/a.txt", SHA256, target)
    assert target.read_bytes() == CONTENT


def test_wrong_checksum_keeps_nothing(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    target = tmp_path / "downloads" / "a.txt"
    with pytest.raises(UserError) as error:
        fetch.fetch(f"{url}/a.txt", WRONG, target)
    assert message(error) == (
        f"{url}/a.txt has the wrong SHA-256: expected {WRONG}, got {SHA256}; nothing was kept. "
        "Try again, or give a folder that holds the right files with data.mirror=DIR."
    )
    assert list(target.parent.iterdir()) == []


def test_missing_file_on_the_server_is_named(server: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = server
    with pytest.raises(UserError) as error:
        fetch.fetch(f"{url}/a.txt", SHA256, tmp_path / "a.txt")
    assert message(error) == (
        f"cannot reach {url}/a.txt (HTTP Error 404: File not found); "
        "give a folder that holds these files with data.mirror=DIR."
    )


def test_no_network_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/a.txt"
    with pytest.raises(UserError) as error:
        fetch.fetch(url, SHA256, tmp_path / "a.txt")
    assert message(error).startswith(f"cannot reach {url} (")
    assert "refused" in message(error)
    assert message(error).endswith("give a folder that holds these files with data.mirror=DIR.")
    assert list(tmp_path.iterdir()) == []


def test_silent_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch, "TIMEOUT", 0.05)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as silent:  # listens, never answers
        url = f"http://127.0.0.1:{silent.server_port}/a.txt"
        with pytest.raises(UserError) as error:
            fetch.fetch(url, SHA256, tmp_path / "a.txt")
    assert message(error).startswith(f"cannot reach {url} (timed out); ")


def test_nothing_but_errors_is_printed(
    server: tuple[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """By the library; a command has its log lines shown, and another test may have run one in this process."""
    caplog.set_level(logging.WARNING, logger="seq2seq")
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    fetch.fetch(f"{url}/a.txt", SHA256, tmp_path / "a.txt")
    assert capfd.readouterr() == ("", "")


# Mirrors


def test_mirror_file_is_used_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CONTENT)
    path = fetch.fetch("https://example.org/a.txt", SHA256, tmp_path / "target", mirror=tmp_path)
    assert path == tmp_path / "a.txt"
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("remote", "local"),
    [("a.txt", "a.txt.gz"), ("a.txt.gz", "a.txt"), ("a.txt.gz", "a.txt.xz"), ("a.txt", "a.txt.bz2")],
)
def test_mirror_may_pack_otherwise(tmp_path: Path, remote: str, local: str) -> None:
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}.get(Path(local).suffix, bytes)
    (tmp_path / local).write_bytes(pack(CONTENT))
    url = f"https://example.org/{remote}"
    path = fetch.fetch(url, WRONG, tmp_path / "target", mirror=tmp_path, unpacked_sha256=SHA256)
    assert path == tmp_path / local
    with pytest.raises(UserError) as error:
        fetch.fetch(url, SHA256, tmp_path / "target", mirror=tmp_path, unpacked_sha256=WRONG)
    assert message(error) == (f"{path} has the wrong SHA-256: expected {WRONG}, got {SHA256}; replace the file.")


def test_unpacked_file_without_known_checksum_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_bytes(CONTENT)
    path = fetch.fetch("https://example.org/a.txt.gz", WRONG, tmp_path / "target", mirror=tmp_path)
    assert path == tmp_path / "a.txt"
    assert caplog.messages == [f"{path} is taken as it is: its checksum is known only for the file packed as a.txt.gz"]


def test_wrong_file_in_a_mirror_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CONTENT)
    with pytest.raises(UserError) as error:
        fetch.fetch("https://example.org/a.txt", WRONG, tmp_path / "target", mirror=tmp_path)
    assert message(error) == (
        f"{tmp_path / 'a.txt'} has the wrong SHA-256: expected {WRONG}, got {SHA256}; replace the file."
    )


def test_mirror_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch.fetch("https://example.org/a.gz", WRONG, tmp_path / "target", mirror=tmp_path / "none")
    assert message(error) == (
        f"the mirror {tmp_path / 'none'} has neither a.gz nor a; put one there, or unset data.mirror."
    )


# Recipes


@pytest.fixture
def small_iwslt15(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror of IWSLT 2015 with made-up lines, some blank, and their checksums."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name in ("train", "tst2012", "tst2013"):
        write_lines(mirror / f"{name}.en", [f"{name} one", "", "three \u2028"])
        write_lines(mirror / f"{name}.vi", [f"{name} mot", "hai", "ba"])
    monkeypatch.setattr(iwslt15, "FILES", {path.name: sha256_file(path) for path in mirror.iterdir()})
    return mirror


def config(kind: str, src_lang: str, tgt_lang: str, **options: Any) -> DataConfig:
    return DataConfig(kind=kind, src_lang=src_lang, tgt_lang=tgt_lang, **options)


def test_iwslt15_leaves_out_blank_training_pairs_only(tmp_path: Path, small_iwslt15: Path) -> None:
    splits, dropped = iwslt15.read(config("iwslt15", "vi", "en", mirror=str(small_iwslt15)), tmp_path)
    assert dropped["blank"] == 1
    assert splits["train"] == [("train mot", "train one"), ("ba", "three \u2028")]
    for split, name in (("valid", "tst2012"), ("test", "tst2013")):
        assert splits[split] == read_parallel(
            small_iwslt15 / f"{name}.vi", small_iwslt15 / f"{name}.en", allow_blank=True
        )


def test_iwslt15_is_downloaded_once(
    tmp_path: Path, small_iwslt15: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served = server
    monkeypatch.setattr(iwslt15, "URL", url)
    for path in small_iwslt15.iterdir():
        path.rename(served / path.name)
    first = iwslt15.read(config("iwslt15", "en", "vi"), tmp_path / "downloads")
    for path in served.iterdir():
        path.unlink()
    assert iwslt15.read(config("iwslt15", "en", "vi"), tmp_path / "downloads") == first


def test_multi30k_files_are_where_the_repository_has_them() -> None:
    """The addresses and the number of files, which no test can try out."""
    raw, tokenized = multi30k.files_of("raw"), multi30k.files_of("tokenized")
    assert raw["val.cs"].url == f"{multi30k.URL}/raw/val.cs.gz"
    assert tokenized["train.de"].url == f"{multi30k.URL}/tok/train.lc.norm.tok.de"


def test_every_language_that_the_config_allows_has_its_files() -> None:
    known = (
        (iwslt15.FILES, iwslt15.SPLITS, LANGUAGES["iwslt15"]),
        (multi30k.files_of("raw"), multi30k.SPLITS, LANGUAGES["multi30k"]),
        (multi30k.files_of("tokenized"), multi30k.SPLITS, TOKENIZED_LANGUAGES),
    )
    for files, splits, languages in known:
        assert set(files) == {f"{name}.{lang}" for name in splits.values() for lang in languages}


@needs_multi30k
@pytest.mark.parametrize(("variant", "infix"), [("raw", ""), ("tokenized", ".lc.norm.tok")])
def test_real_multi30k_is_written_unchanged(tmp_path: Path, variant: str, infix: str) -> None:
    folder = prepare(config("multi30k", "de", "en", variant=variant, mirror=str(REAL)), tmp_path)
    for split, name in multi30k.SPLITS.items():
        for side, lang in (("src", "de"), ("tgt", "en")):
            original = gzip.decompress((REAL / f"{name}{infix}.{lang}.gz").read_bytes())
            assert (folder / f"{split}.{side}").read_bytes() == original


@needs_multi30k
def test_unpacked_mirror_of_real_multi30k_is_checked(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for path in REAL.glob("*.gz"):
        (mirror / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    for variant in ("raw", "tokenized"):
        multi30k.read(config("multi30k", "en", "de", variant=variant, mirror=str(mirror)), tmp_path)
    lines = read_lines(mirror / "val.en")
    write_lines(mirror / "val.en", lines[:-1])
    with pytest.raises(UserError) as error:
        multi30k.read(config("multi30k", "en", "de", mirror=str(mirror)), tmp_path)
    assert message(error).startswith(f"{mirror / 'val.en'} has the wrong SHA-256: expected 1f2a23d9")


@needs_multi30k
def test_real_multi30k_has_no_line_that_other_readers_split() -> None:
    for path in REAL.glob("*.gz"):
        lines = read_lines(path)
        assert all(line.strip() for line in lines)
        assert all(line.splitlines() == [line] for line in lines)
        assert not any("\ufeff" in line for line in lines)
