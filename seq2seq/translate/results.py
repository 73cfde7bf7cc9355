"""What a translator returns: translations, and the counts that go with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from seq2seq.translate.alignment import Link

Item = TypeVar("Item")


class Translation(NamedTuple):
    """A line's translation with its scores."""

    text: str
    # The translator's own log-probability of all tokens, in nats, the end symbol included.
    log_prob: float
    # What the search ranked by: log_prob, penalised by a beam. After `fuse` it includes the language model's share.
    score: float
    src_pieces: list[str]  # with the end symbol, where the model has one
    tgt_pieces: list[str]  # likewise, but without it where the output was ended at its greatest length
    # (tgt_pieces, src_pieces), if asked for and the model has attention: a tensor, or an array of an exported model.
    attention: Any = None
    links: list[Link] | None = None  # of words, where there is attention; see `alignment.align`

    @property
    def per_token(self) -> float:
        """The mean log-probability of its tokens; 0 where there are none."""
        return self.log_prob / len(self.tgt_pieces) if self.tgt_pieces else 0.0


class Results(list[Item]):
    """A list with one result for each line, and counts.

    Attributes:
        num_cut: lines that were longer than ``decode.max_source`` tokens and were cut.

    Example:
        >>> found = translator.translate(lines, max_source=50)  # doctest: +SKIP
        >>> f"{found.num_cut} of {len(found)} lines were cut"  # doctest: +SKIP
        '2 of 400 lines were cut'
    """

    def __init__(self, items: Iterable[Item] = (), num_cut: int = 0) -> None:
        super().__init__(items)
        self.num_cut = num_cut
