"""IWSLT 2015 English-Vietnamese: transcribed talks.

The files are those prepared in Stanford: tokenised, cased, with Moses' escapes (``&apos;``, ``&quot;``). They stay so,
because published scores are on them. The validation set is tst2012 (1,553 pairs), the test set tst2013 (1,268). Some of
the 133,317 training pairs have a blank side and are left out.

Source:
    Luong and Manning (2015), https://nlp.stanford.edu/projects/nmt/
"""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.schema import DataConfig
from seq2seq.data.corpora.base import Corpus, Pairs
from seq2seq.data.corpora.fetch import RemoteFile, read_pairs

SPLITS = {"train": "train", "valid": "tst2012", "test": "tst2013"}
URL = "https://nlp.stanford.edu/projects/nmt/data/iwslt15.en-vi"

# As recorded in dataset_infos.json of mt_eng_vietnamese in the repository huggingface/datasets.
FILES = {
    "train.en": "c26dfeed74b6bf3752f5ca552f2412456f0de153f7c804df8717931fb3a5c78a",
    "train.vi": "707206edf2dc0280273952c7b70544ea8a1363aa69aaeb9d70514b888dc3067d",
    "tst2012.en": "b8fbcd0d4199d41276421d1f7228298df67dd9e2c5c134c2ee8cdf3ec27801e2",
    "tst2012.vi": "01004078b3f36b0c46e81b65fc6851230b3c823405c76d1d82ef3b786b512ff0",
    "tst2013.en": "3860ce60bc5b85d96cc2d3d580cf1bc9d62440e939c1b964676d3607c4e8f1df",
    "tst2013.vi": "29af16842808da2812b8fd4d47fc05d082ba870e60ab7755090ad04b380994cd",
}


def read(config: DataConfig, downloads: Path) -> Pairs:
    """Fetch the talks."""
    files = {name: RemoteFile(f"{URL}/{name}", sha256, sha256) for name, sha256 in FILES.items()}
    langs = (config.src_lang, config.tgt_lang)
    return read_pairs(SPLITS, langs, files, mirror=config.mirror, downloads=downloads)


CORPUS = Corpus(read, settings=("src_lang", "tgt_lang"), takes=("mirror",))
