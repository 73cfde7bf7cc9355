"""The kinds of dataset. A new one is a file with a `Corpus`, and its word here and in ``config.schema.DATASETS``."""

from __future__ import annotations

from seq2seq.data.corpora import book, files, iwslt15, multi30k, ptb, text
from seq2seq.data.corpora.base import Corpus
from seq2seq.data.corpora.phrasebook import corpus as phrasebook

CORPORA: dict[str, Corpus] = {
    "phrasebook": phrasebook.CORPUS,
    "addition": book.ADDITION,
    "dates": book.DATES,
    "multi30k": multi30k.CORPUS,
    "iwslt15": iwslt15.CORPUS,
    "files": files.CORPUS,
    "text": text.CORPUS,
    "ptb": ptb.CORPUS,
}
