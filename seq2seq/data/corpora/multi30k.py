"""Multi30k, task 1: image captions in English, German, French and Czech.

There are 29,000 pairs to train on, 1,014 to validate and 1,000 to test (the test set of 2016). The English and German
files have no blank line, carriage return, byte-order mark or separator that other readers take for a line end. Of the
raw German lines 40 end in a space, 45 hold a no-break space and one a tab; these stay.

Source:
    Elliott et al. (2016), https://doi.org/10.18653/v1/W16-3210; files from https://github.com/multi30k/dataset, for
    non-commercial research and education.
"""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora.base import Corpus, Pairs
from seq2seq.data.corpora.fetch import RemoteFile, read_pairs
from seq2seq.files import packed
from seq2seq.files.lines import sha256_file

SPLITS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
URL = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1"

# The gzip files of data/task1/raw.
RAW = {
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
}

# The unpacked text of some of them, by which a mirror of unpacked files can be checked.
RAW_UNPACKED = {
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
}

# The files of data/task1/tok, which are not packed there.
TOKENIZED = {
    "train.en": "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
    "train.de": "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
    "val.en": "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
    "val.de": "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
    "test_2016_flickr.en": "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
    "test_2016_flickr.de": "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
}


def read(config: DataConfig, downloads: Path) -> Pairs:
    """Fetch the captions; ``config.variant`` chooses raw text, or tokenized: lower-cased, normalised, Moses tokens."""
    langs = (config.src_lang, config.tgt_lang)
    return read_pairs(SPLITS, langs, files_of(config.variant), mirror=config.mirror, downloads=downloads)


def unchecked(config: DataConfig) -> dict[str, str]:
    """The SHA-256 of those files of a mirror that `read` would use unchecked, by their names; usually empty.

    They make the dataset another one than that of the official files.
    """
    if config.mirror is None:
        return {}
    files = files_of(config.variant)
    found = {}
    for name in (f"{split}.{lang}" for split in SPLITS.values() for lang in (config.src_lang, config.tgt_lang)):
        if files[name].unpacked_sha256 is None:
            usual = files[name].url.rpartition("/")[2]
            path = packed.found(Path(config.mirror) / usual)
            if path is not None and path.name != usual:
                found[path.name] = sha256_file(path)
    return found


def files_of(variant: str) -> dict[str, RemoteFile]:
    """The files of a variant, by set and language: "train.de"."""
    if variant == "tokenized":
        return {
            name: RemoteFile(f"{URL}/tok/{name.replace('.', '.lc.norm.tok.')}", sha256, sha256)
            for name, sha256 in TOKENIZED.items()
        }
    return {name: RemoteFile(f"{URL}/raw/{name}.gz", sha256, RAW_UNPACKED.get(name)) for name, sha256 in RAW.items()}


CORPUS = Corpus(read, settings=("src_lang", "tgt_lang", "variant"), takes=("mirror",), inputs=unchecked)
