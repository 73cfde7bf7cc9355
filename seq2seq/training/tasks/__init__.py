"""What a network can be trained for, by the names of the config's key ``task``."""

from seq2seq.training.tasks.base import Task
from seq2seq.training.tasks.language_model import LanguageModelling
from seq2seq.training.tasks.translation import Translation

TASKS: dict[str, Task] = {"translation": Translation(), "language_model": LanguageModelling()}
