"""Sources: one file each, and a word in this table for ``data.source``."""

from seq2seq.data.sources.base import Source
from seq2seq.data.sources.text import TextSource

SOURCES: dict[str, type[Source]] = {"text": TextSource}
