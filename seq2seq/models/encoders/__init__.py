"""Encoders: one file each, and a word in this table for ``model.encoder_kind``."""

from seq2seq.models.encoders.base import EncoderKind
from seq2seq.models.encoders.recurrent import RNNEncoder

ENCODERS: dict[str, EncoderKind] = {"recurrent": RNNEncoder}
