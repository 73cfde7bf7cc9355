"""What every engine takes and returns, with torch or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError


class Request(NamedTuple):
    """A source to decode, in token ids."""

    src: Any  # an item of the source: of text token ids, without the end symbol
    prefix: list[int]  # the tokens that the output begins with; of a given output all but the end symbol
    limit: int  # most target tokens, the end symbol included


class Hypothesis(NamedTuple):
    """An output: its tokens without the end symbol, and the sum of its log-probabilities, that of the end symbol
    included.
    """

    tokens: list[int]
    score: float
    normalised: float | None = None  # what a beam ranked it by; None where nothing was ranked
    # (steps, src_length), a tensor on the CPU or, of an exported model, an array: a row for each token, and a last one
    # for the end symbol where there is one. The source's padding has columns, of zeros. None unless asked for.
    attention: Any = None


class Engine(Protocol):
    """Turns token ids into hypotheses. Threads share one.

    `seq2seq.decoding.engine.Engine` does it with torch and trained networks, `seq2seq.runtime.engine.Engine` with
    onnxruntime and an exported model. The methods are documented at the former.
    """

    @property
    def models(self) -> Sequence[Any]:
        """The networks as torch modules; an exported model has none."""

    @property
    def parameters(self) -> int:
        """How many trained parameters there are; 0 if an exported model does not tell."""

    @property
    def device(self) -> Any:
        """Where it computes."""

    @property
    def fixed_length(self) -> int:
        """The length of every output of a model without an end symbol, else 0."""

    @property
    def has_attention(self) -> bool:
        """Whether there is attention to look at."""

    def fused(self, language_model: Any, weight: float) -> Engine:
        """Return an engine whose searches add the scores of a language model."""

    def search(
        self,
        requests: Sequence[Request],
        decode: DecodeConfig,
        num_best: int = 1,
        *,
        attention: bool = False,
        scores: bool = True,
    ) -> list[list[Hypothesis]]:
        """Find the best hypotheses of each request."""

    def force(
        self, requests: Sequence[Request], decode: DecodeConfig, *, attention: bool = False, plain: bool = False
    ) -> list[Hypothesis]:
        """Score the given output of each request by teacher forcing."""

    def own_log_probs(
        self,
        requests: Sequence[Request],
        found: Sequence[Sequence[Hypothesis]],
        decode: DecodeConfig,
        *,
        wanted: bool = True,
    ) -> list[list[float]]:
        """The model's own log-probability of each hypothesis."""

    def nll(self, requests: Sequence[Request], decode: DecodeConfig) -> tuple[float, int]:
        """The negative log-likelihood of given outputs, in nats, and the number of their tokens."""

    def rank(self, log_prob: float, length: int, attention: Any, decode: DecodeConfig) -> float:
        """What a beam search would rank a finished hypothesis at; see `BeamSettings.rank`."""


def require_attention(engine: Engine, what: str) -> None:
    """Refuse what cannot be done without attention.

    Raises:
        UserError: if a network of the engine lacks it.
    """
    if not engine.has_attention:
        whose = "a model of this ensemble" if len(engine.models) > 1 else "this one"
        raise UserError(
            f"{what} needs a model with attention, and {whose} has none; train one with model.attention=general."
        )


def check_attention(engine: Engine, decode: DecodeConfig, *, copies: bool = True) -> None:
    """Refuse settings that need attention, where an engine has none.

    Args:
        copies: whether outputs are searched, so that ``decode.copy_unknown`` matters.

    Raises:
        UserError: naming the setting.
    """
    if copies and decode.copy_unknown:
        require_attention(engine, "decode.copy_unknown")
    if decode.search == "beam" and decode.coverage_penalty:
        require_attention(engine, "decode.coverage_penalty")
