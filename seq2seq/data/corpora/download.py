"""Recipes that fetch public corpora, check them, and write them as line-aligned text files.

Every file has a known SHA-256. A file that does not match is never used; one from a mirror whose checksum is known in
another form alone is, and the log says so. Downloads are kept in ``downloads`` inside the data folder, so that a second
call needs no network; a mirror folder, filled by other means, needs none at all.
"""

import hashlib
import http.client
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from seq2seq.console import Console, NameColumn
from seq2seq.data.pairs import Pair, filter_pairs, read_parallel, write_splits
from seq2seq.errors import UserError
from seq2seq.files import packed
from seq2seq.files.lines import sha256_file
from seq2seq.files.writing import make_folder, replacing

log = logging.getLogger(__name__)

TIMEOUT = 30  # seconds without a byte

MULTI30K_SPLITS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
MULTI30K_URL = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1"

# The gzip files of data/task1/raw.
MULTI30K_RAW = {
    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.fr": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "train.cs": "a65adb8b32e3bc664f21ecba7a6e7f6950fd1f405e135f7c312faabdb6255077",
    "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.fr": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
    "val.cs": "b63226e05c4bd5dd6a42897d74b86a1b9d2c31498252c572b1ea7f7996927fcc",
    "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.fr": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
    "test_2016_flickr.cs": "200a4a74cc9560f051924abb9803be008d1908d77f747e9141aeb86dfd2797f1",
    "test_2017_flickr.en": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
    "test_2017_flickr.de": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    "test_2017_flickr.fr": "3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496",
    "test_2017_mscoco.en": "aab300bfb4427697987e02cd0aacd44bfe8aa50456231b6474c08038bbed2b58",
    "test_2017_mscoco.de": "799e4854c25d601cb6cb6be29eabe5667734c61ace2f495e03e429031a0bc338",
    "test_2017_mscoco.fr": "754f3072ba9f124569ba5258b32730fc1d214bbf8e0c6dfb2b74401676220db0",
    "test_2018_flickr.en": "ef4f4844037d4c5dea75c9a8ed5fd78905967a26f67c255e230cc9780032654d",
    "test_2018_flickr.de": "ddd0130c7d97482dc5197a02141dae8dd79f20f03586c480d675c09a32daf608",
    "test_2018_flickr.fr": "fb2b83fcceb937a4f7e3e93c1c51c22aba92f1e342391e6b5ba392b16a920501",
    "test_2018_flickr.cs": "7d0a9db904f94c554a8c58049a9f3a5357c27f46cc3d710d70cb0b4a2585b8c2",
}

# The unpacked text of some of them, by which a mirror of unpacked files can be checked.
MULTI30K_RAW_UNPACKED = {
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
}

# The files of data/task1/tok, which are not packed there.
MULTI30K_TOKENIZED = {
    "train.en": "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
    "train.de": "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
    "val.en": "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
    "val.de": "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
    "test_2016_flickr.en": "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
    "test_2016_flickr.de": "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
}

IWSLT15_URL = "https://nlp.stanford.edu/projects/nmt/data/iwslt15.en-vi"

# As recorded in dataset_infos.json of mt_eng_vietnamese in the repository huggingface/datasets.
IWSLT15 = {
    "train.en": "c26dfeed74b6bf3752f5ca552f2412456f0de153f7c804df8717931fb3a5c78a",
    "train.vi": "707206edf2dc0280273952c7b70544ea8a1363aa69aaeb9d70514b888dc3067d",
    "tst2012.en": "b8fbcd0d4199d41276421d1f7228298df67dd9e2c5c134c2ee8cdf3ec27801e2",
    "tst2012.vi": "01004078b3f36b0c46e81b65fc6851230b3c823405c76d1d82ef3b786b512ff0",
    "tst2013.en": "3860ce60bc5b85d96cc2d3d580cf1bc9d62440e939c1b964676d3607c4e8f1df",
    "tst2013.vi": "29af16842808da2812b8fd4d47fc05d082ba870e60ab7755090ad04b380994cd",
}


class _File(NamedTuple):
    url: str
    sha256: str
    unpacked_sha256: str | None


def multi30k(
    folder: str | Path,
    src_lang: str,
    tgt_lang: str,
    *,
    variant: str = "raw",
    test_set: str = "test_2016_flickr",
    mirror: str | Path | None = None,
    downloads: Path | None = None,
) -> dict[str, int]:
    """Write Multi30k, task 1 (image captions), and return how many training pairs were left out, by reason.

    The languages are en, de, fr and cs. There are 29,000 pairs to train on, 1,014 to validate and, of the
    test set of 2016, 1,000. The English and German files have no blank line, carriage return, byte-order mark
    or separator that other readers take for a line end. Of the raw German lines 40 end in a space, 45 hold a
    no-break space and one a tab; these stay.

    Args:
        variant: "raw", or "tokenized": lower-cased, normalised, Moses tokens; only en, de and the first test
            set.
        test_set: "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco" or "test_2018_flickr".
        mirror: a folder that holds the files under their own names, packed or not.
        downloads: where what is downloaded is kept, by default inside ``folder``.

    Raises:
        UserError: if there is no such file, or if a file cannot be had or is not the right one.

    Source:
        Elliott et al. (2016), https://doi.org/10.18653/v1/W16-3210; files from
        https://github.com/multi30k/dataset, for non-commercial research and education.
    """
    files = _multi30k_files(variant)
    names = {**MULTI30K_SPLITS, "test": test_set}
    test_sets = dict.fromkeys(stem for stem, _ in map(_stem_and_lang, files) if stem.startswith("test"))
    if test_set not in test_sets:
        raise UserError(f"multi30k ({variant}) has the test sets {', '.join(test_sets)}; got {test_set}.")
    known = [lang for stem, lang in map(_stem_and_lang, files) if stem == test_set]
    _check_languages(f"multi30k ({variant}, {test_set})", src_lang, tgt_lang, known)
    return _write_corpus(Path(folder), names, (src_lang, tgt_lang), files, mirror, downloads)


def multi30k_unchecked(src_lang: str, tgt_lang: str, *, variant: str, mirror: str | Path) -> dict[str, str]:
    """The SHA-256 of those files of a mirror that `multi30k` would take unchecked, by their names; none as a rule."""
    files = _multi30k_files(variant)
    found = {}
    for name in (f"{split}.{lang}" for split in MULTI30K_SPLITS.values() for lang in (src_lang, tgt_lang)):
        if name in files and files[name].unpacked_sha256 is None:
            usual = files[name].url.rpartition("/")[2]
            path = packed.found(Path(mirror) / usual)
            if path is not None and path.name != usual:
                found[path.name] = sha256_file(path)
    return found


def _multi30k_files(variant: str) -> dict[str, _File]:
    """The known files of a variant, by set and language: "train.de"."""
    if variant == "raw":
        return {
            name: _File(f"{MULTI30K_URL}/raw/{name}.gz", sha256, MULTI30K_RAW_UNPACKED.get(name))
            for name, sha256 in MULTI30K_RAW.items()
        }
    if variant == "tokenized":
        return {
            name: _File(f"{MULTI30K_URL}/tok/{'.lc.norm.tok.'.join(_stem_and_lang(name))}", sha256, sha256)
            for name, sha256 in MULTI30K_TOKENIZED.items()
        }
    raise UserError(f'multi30k has the variants "raw" and "tokenized"; got "{variant}".')


def _stem_and_lang(name: str) -> tuple[str, str]:
    stem, lang = name.split(".")
    return stem, lang


def iwslt15(
    folder: str | Path,
    src_lang: str,
    tgt_lang: str,
    *,
    mirror: str | Path | None = None,
    downloads: Path | None = None,
) -> dict[str, int]:
    """Write IWSLT 2015 English-Vietnamese (talks), and return the training pairs left out, by reason.

    The files are those prepared in Stanford: tokenised, cased, with Moses' escapes (``&apos;``, ``&quot;``).
    They stay so, for published scores are on them. The validation set is tst2012 (1,553 pairs), the test set
    tst2013 (1,268). Some of the 133,317 training pairs have a blank side and are left out.

    Args:
        mirror: a folder that holds ``train.en``, ``tst2012.vi`` and so on, packed or not.
        downloads: where what is downloaded is kept, by default inside ``folder``.

    Raises:
        UserError: if there is no such language, or if a file cannot be had or is not the right one.

    Source:
        Luong and Manning (2015), https://nlp.stanford.edu/projects/nmt/
    """
    files = {name: _File(f"{IWSLT15_URL}/{name}", sha256, sha256) for name, sha256 in IWSLT15.items()}
    names = {"train": "train", "valid": "tst2012", "test": "tst2013"}
    _check_languages("iwslt15", src_lang, tgt_lang, {"en", "vi"})
    return _write_corpus(Path(folder), names, (src_lang, tgt_lang), files, mirror, downloads)


def _check_languages(corpus: str, src_lang: str, tgt_lang: str, known: Iterable[str]) -> None:
    if src_lang == tgt_lang or not {src_lang, tgt_lang} <= set(known):
        raise UserError(
            f"{corpus} needs two different languages of {', '.join(sorted(known))}; got {src_lang} and {tgt_lang}."
        )


def _write_corpus(
    folder: Path,
    names: dict[str, str],
    langs: tuple[str, str],
    files: dict[str, _File],
    mirror: str | Path | None,
    downloads: Path | None,
) -> dict[str, int]:
    """Fetch, pair and write the sets that ``names`` gives for the splits, and count what is left out.

    A training pair with a blank side teaches nothing and is left out; validation and test sets stay line for
    line.
    """
    splits: dict[str, list[Pair]] = {}
    downloads = downloads or folder / "downloads"
    for split, name in names.items():
        src, tgt = (_fetch_file(files[f"{name}.{lang}"], downloads, mirror) for lang in langs)
        splits[split] = read_parallel(src, tgt, allow_blank=True)
    splits["train"], dropped = filter_pairs(splits["train"], max_length=0, max_ratio=0, skip_blank=True)
    write_splits(folder, splits)
    return {reason: count for reason, count in dropped.items() if count}


def _fetch_file(file: _File, downloads: Path, mirror: str | Path | None) -> Path:
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
    """The path of a local file with the content that ``url`` had when ``sha256`` was recorded.

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
    """A file's name packed if it is not, and unpacked if it is."""
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
    """The bytes at a URL, with a progress bar on a terminal; a failing network is said in one line."""
    columns = (NameColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
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
