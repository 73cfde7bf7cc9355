"""Recurrent cells: one file each, and a word in this table for ``model.cell``."""

from seq2seq.models.cells.base import Stack
from seq2seq.models.cells.gru import GRU
from seq2seq.models.cells.lstm import LSTM
from seq2seq.models.cells.rnn import RNN

# Called with (settings, input_size, dropout=, bidirectional=).
CELLS: dict[str, type[Stack]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
