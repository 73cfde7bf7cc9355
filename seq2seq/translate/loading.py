"""Load the parts of a translator from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from seq2seq import checkpoint
from seq2seq.config.schema import DecodeConfig, MetricsConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.sources.base import Source
from seq2seq.decoding.engine import Engine
from seq2seq.decoding.forms.available import FORMS, usable
from seq2seq.errors import UserError
from seq2seq.models import threads as threads_of
from seq2seq.models.build import num_parameters
from seq2seq.tokens.load import same_pieces

__all__ = ["FORMS", "Loaded", "load"]


class Loaded(NamedTuple):
    """The parts of a translator."""

    engine: Engine
    tokenizers: Tokenizers
    decode: DecodeConfig
    metrics: MetricsConfig
    source: Source | None


def load(paths: Sequence[str | Path], *, device: str, threads: int | None, forms: Mapping[str, bool]) -> Loaded:
    """Load checkpoints with the same tokenizers; see `Translator.from_checkpoint`.

    Args:
        forms: the forms that are asked for or ruled out.
    """
    loaded = _load(paths)
    first, models = loaded[0], [one.model.to(device) for one in loaded]
    decode = usable(first.decode, models, shortlist=first.shortlist, asked=forms, name=str(paths[0]))
    if threads is None:
        threads = threads_of.of_network(sum(map(num_parameters, models)))
    engine = Engine(models, shortlist=first.shortlist, trained=True, threads=threads, source=first.source)
    return Loaded(engine, first.tokenizers, decode, first.metrics, first.source)


def _load(paths: Sequence[str | Path]) -> list[checkpoint.Checkpoint]:
    """Load checkpoints that make an ensemble.

    Raises:
        UserError: for one that is refused, or does not fit the first one.
    """
    first, *others = (checkpoint.load(path) for path in paths)
    for path, other in zip(paths[1:], others, strict=True):
        if not all(map(same_pieces, other.tokenizers, first.tokenizers)):
            raise UserError(f"{path} has other tokenizers than {paths[0]}; an ensemble needs runs on the same data.")
        if not _read_alike(other.source, first.source):
            raise UserError(f"{path} and {paths[0]} do not read the same source (data.source); leave one of them out.")
        if other.model.fixed_length != first.model.fixed_length:
            raise UserError(f"{path} and {paths[0]} do not agree on model.fixed_length; leave one of them out.")
    return [first, *others]


def _read_alike(one: Source | None, other: Source | None) -> bool:
    """Whether two checkpoints read the same kind of source in the same way; the tokenizers are compared elsewhere."""
    return type(one) is type(other) and (one is None or other is None or checkpoint.same_state(one, other))
