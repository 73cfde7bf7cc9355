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

import pytest

from seq2seq.data.corpora import download
from seq2seq.data.pairs import read_parallel
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


def message(error: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Downloads


def test_download_is_checked_and_kept(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    target = tmp_path / "new" / "a.txt"
    assert download.fetch(f"{url}/a.txt", SHA256, target) == target
    assert target.read_bytes() == CONTENT
    (served / "a.txt").unlink()
    assert download.fetch(f"{url}/a.txt", SHA256, target) == target


def test_damaged_earlier_download_is_replaced(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    target = tmp_path / "a.txt"
    target.write_bytes(CONTENT[:-1])
    download.fetch(f"{url}/a.txt", SHA256, target)
    assert target.read_bytes() == CONTENT


def test_wrong_checksum_keeps_nothing(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    target = tmp_path / "downloads" / "a.txt"
    with pytest.raises(UserError) as error:
        download.fetch(f"{url}/a.txt", WRONG, target)
    assert message(error) == (
        f"{url}/a.txt has the wrong SHA-256: expected {WRONG}, got {SHA256}; nothing was kept. "
        "Try again, or give a folder that holds the right files with data.mirror=DIR."
    )
    assert list(target.parent.iterdir()) == []


def test_missing_file_on_the_server_is_named(server: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = server
    with pytest.raises(UserError) as error:
        download.fetch(f"{url}/a.txt", SHA256, tmp_path / "a.txt")
    assert message(error) == (
        f"cannot reach {url}/a.txt (HTTP Error 404: File not found); "
        "give a folder that holds these files with data.mirror=DIR."
    )


def test_no_network_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/a.txt"
    with pytest.raises(UserError) as error:
        download.fetch(url, SHA256, tmp_path / "a.txt")
    assert message(error).startswith(f"cannot reach {url} (")
    assert "refused" in message(error)
    assert message(error).endswith("give a folder that holds these files with data.mirror=DIR.")
    assert list(tmp_path.iterdir()) == []


def test_silent_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as silent:  # listens, never answers
        url = f"http://127.0.0.1:{silent.server_port}/a.txt"
        with pytest.raises(UserError) as error:
            download.fetch(url, SHA256, tmp_path / "a.txt")
    assert message(error).startswith(f"cannot reach {url} (timed out); ")


def test_nothing_but_errors_is_printed(
    server: tuple[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """By the library; a command has its log lines shown, and another test may have run one in this process."""
    caplog.set_level(logging.WARNING, logger="seq2seq")
    url, served = server
    (served / "a.txt").write_bytes(CONTENT)
    download.fetch(f"{url}/a.txt", SHA256, tmp_path / "a.txt")
    assert capfd.readouterr() == ("", "")


# Mirrors


def test_mirror_file_is_used_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CONTENT)
    path = download.fetch("https://example.org/a.txt", SHA256, tmp_path / "target", mirror=tmp_path)
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
    path = download.fetch(url, WRONG, tmp_path / "target", mirror=tmp_path, unpacked_sha256=SHA256)
    assert path == tmp_path / local
    with pytest.raises(UserError) as error:
        download.fetch(url, SHA256, tmp_path / "target", mirror=tmp_path, unpacked_sha256=WRONG)
    assert message(error) == (f"{path} has the wrong SHA-256: expected {WRONG}, got {SHA256}; replace the file.")


def test_unpacked_file_without_known_checksum_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_bytes(CONTENT)
    path = download.fetch("https://example.org/a.txt.gz", WRONG, tmp_path / "target", mirror=tmp_path)
    assert path == tmp_path / "a.txt"
    assert caplog.messages == [f"{path} is taken as it is: its checksum is known only for the file packed as a.txt.gz"]


def test_wrong_file_in_a_mirror_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CONTENT)
    with pytest.raises(UserError) as error:
        download.fetch("https://example.org/a.txt", WRONG, tmp_path / "target", mirror=tmp_path)
    assert message(error) == (
        f"{tmp_path / 'a.txt'} has the wrong SHA-256: expected {WRONG}, got {SHA256}; replace the file."
    )


def test_mirror_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        download.fetch("https://example.org/a.gz", WRONG, tmp_path / "target", mirror=tmp_path / "none")
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
    monkeypatch.setattr(download, "IWSLT15", {path.name: sha256_file(path) for path in mirror.iterdir()})
    return mirror


def test_iwslt15_leaves_out_blank_training_pairs_only(tmp_path: Path, small_iwslt15: Path) -> None:
    folder = tmp_path / "data"
    assert download.iwslt15(folder, "vi", "en", mirror=small_iwslt15) == {"blank": 1}
    assert read_parallel(folder / "train.src", folder / "train.tgt") == [
        ("train mot", "train one"),
        ("ba", "three \u2028"),
    ]
    assert (folder / "valid.src").read_bytes() == (small_iwslt15 / "tst2012.vi").read_bytes()
    assert (folder / "test.tgt").read_bytes() == (small_iwslt15 / "tst2013.en").read_bytes()


def test_iwslt15_is_downloaded_once(
    tmp_path: Path, small_iwslt15: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served = server
    monkeypatch.setattr(download, "IWSLT15_URL", url)
    for path in small_iwslt15.iterdir():
        path.rename(served / path.name)
    assert download.iwslt15(tmp_path / "data", "en", "vi") == {"blank": 1}
    for path in served.iterdir():
        path.unlink()
    assert download.iwslt15(tmp_path / "data", "en", "vi") == {"blank": 1}


@pytest.mark.parametrize("langs", [("en", "en"), ("en", "de")])
def test_iwslt15_refuses_other_languages(tmp_path: Path, langs: tuple[str, str]) -> None:
    with pytest.raises(UserError) as error:
        download.iwslt15(tmp_path, *langs)
    assert message(error) == f"iwslt15 needs two different languages of en, vi; got en and {langs[1]}."


def test_multi30k_refuses_a_language_the_test_set_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        download.multi30k(tmp_path, "en", "cs", test_set="test_2017_mscoco")
    assert message(error) == (
        "multi30k (raw, test_2017_mscoco) needs two different languages of de, en, fr; got en and cs."
    )


def test_multi30k_refuses_an_unknown_test_set(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        download.multi30k(tmp_path, "en", "de", variant="tokenized", test_set="test_2017_flickr")
    assert message(error) == "multi30k (tokenized) has the test sets test_2016_flickr; got test_2017_flickr."


def test_multi30k_refuses_an_unknown_variant(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        download.multi30k(tmp_path, "en", "de", variant="bpe")
    assert message(error) == 'multi30k has the variants "raw" and "tokenized"; got "bpe".'


def test_multi30k_files_are_where_the_repository_has_them() -> None:
    """The addresses and the number of files, which no test can try out."""
    raw, tokenized = download._multi30k_files("raw"), download._multi30k_files("tokenized")
    assert (len(raw), len(tokenized)) == (22, 6)
    base = download.MULTI30K_URL
    assert raw["val.cs"].url == f"{base}/raw/val.cs.gz"
    assert tokenized["train.de"].url == f"{base}/tok/train.lc.norm.tok.de"


@needs_multi30k
@pytest.mark.parametrize(("variant", "infix"), [("raw", ""), ("tokenized", ".lc.norm.tok")])
def test_real_multi30k_is_written_unchanged(tmp_path: Path, variant: str, infix: str) -> None:
    assert download.multi30k(tmp_path, "de", "en", variant=variant, mirror=REAL) == {}
    for split, name in (("train", "train"), ("valid", "val"), ("test", "test_2016_flickr")):
        for side, lang in (("src", "de"), ("tgt", "en")):
            original = gzip.decompress((REAL / f"{name}{infix}.{lang}.gz").read_bytes())
            assert (tmp_path / f"{split}.{side}").read_bytes() == original


@needs_multi30k
def test_unpacked_mirror_of_real_multi30k_is_checked(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for path in REAL.glob("*.gz"):
        (mirror / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    for variant in ("raw", "tokenized"):
        download.multi30k(tmp_path / variant, "en", "de", variant=variant, mirror=mirror)
    lines = read_lines(mirror / "val.en")
    write_lines(mirror / "val.en", lines[:-1])
    with pytest.raises(UserError) as error:
        download.multi30k(tmp_path / "raw", "en", "de", mirror=mirror)
    assert message(error).startswith(f"{mirror / 'val.en'} has the wrong SHA-256: expected 1f2a23d9")


@needs_multi30k
def test_real_multi30k_has_no_line_that_other_readers_split() -> None:
    for path in REAL.glob("*.gz"):
        lines = read_lines(path)
        assert all(line.strip() for line in lines)
        assert all(line.splitlines() == [line] for line in lines)
        assert not any("\ufeff" in line for line in lines)
