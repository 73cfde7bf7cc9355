"""Generate text with a language model, and score given text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from seq2seq import checkpoint, metrics
from seq2seq.data.arrays import LINES_AT_ONCE
from seq2seq.data.stream import Ids, inputs_of
from seq2seq.decoding.sampling import sample
from seq2seq.decoding.settings import SamplingSettings
from seq2seq.errors import UserError
from seq2seq.files.given import as_lines, checked
from seq2seq.models import threads as threads_of
from seq2seq.models.build import num_parameters
from seq2seq.models.decoder import DecoderState
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.results.scores import TextScores
from seq2seq.tokens.base import BOS, EOS, PAD, UNK, Tokenizer
from seq2seq.tokens.bounded import refuse_endless
from seq2seq.tokens.detect import FormWatch

TOKENS_AT_ONCE = 1024  # tokens read at a time; the figures do not depend on it
BATCH = 64  # lines that are scored side by side
SCORED = 64  # tokens of each line that are scored at a time


class TextScore(NamedTuple):
    """The log-probability of a text. The end of each line counts as a token, and as a word."""

    line_nll: list[float]  # negative log-likelihood of each line, in nats, after all before it
    num_tokens: int
    num_words: int  # separated by spaces, independent of the tokenizer
    num_unknown: int  # unknown tokens

    @property
    def nll(self) -> float:
        """Of the whole text."""
        return float(sum(self.line_nll))

    @property
    def perplexity(self) -> float:
        """Per token."""
        return metrics.perplexity(self.nll, self.num_tokens)

    @property
    def word_perplexity(self) -> float:
        """Per word: the same text has equally many with every tokenizer."""
        return metrics.perplexity(self.nll, self.num_words)

    def scores(self) -> TextScores:
        """Return the figures of the text as a whole."""
        return TextScores(
            perplexity=self.perplexity,
            word_perplexity=self.word_perplexity,
            num_tokens=self.num_tokens,
            num_words=self.num_words,
            num_unknown=self.num_unknown,
        )


@dataclass(frozen=True, eq=False, repr=False)
class LanguageModel:
    """A trained network with its tokenizer.

    Nothing on it changes after it is made, so threads can share one.

    Args:
        model: the network, on the device that it runs on; it is left in evaluation mode.
        threads: torch's number of threads while the model works; 0 leaves it as it is. In a process forked from the one
            that made the model it is always 1.

    Example:
        >>> language_model = LanguageModel.from_checkpoint("runs/lm_phrasebook/seed-1")  # doctest: +SKIP
        >>> list(language_model.generate(1))  # doctest: +SKIP
        ['Die alte Lehrerin schläft.']
        >>> language_model.log_probs("Die alte Lehrerin schläft.")  # doctest: +SKIP
        -9.71
    """

    model: RNNLanguageModel
    tokenizer: Tokenizer
    threads: int = 0
    _watch: FormWatch = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_watch", FormWatch(self.tokenizer))
        threads_of.survive_forks()

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, device: str = "cpu", threads: int | None = None) -> LanguageModel:
        """Load a checkpoint file, or the best one of a run folder.

        Args:
            threads: as for the class. By default 1 for a small network and 0 for others.

        Raises:
            UserError: if it is missing or refused; see `checkpoint.load_language_model`.
        """
        found = checkpoint.load_language_model(path)
        if threads is None:
            threads = threads_of.of_network(num_parameters(found.model))
        return cls(found.model.to(device), found.tokenizer, threads)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def generate(
        self,
        count: int,
        *,
        prefix: str = "",
        settings: SamplingSettings | None = None,
        seed: int = 1,
        max_length: int = 100,
    ) -> Iterator[str]:
        """Sample lines one by one when they are read, each as the first line of a text.

        The i-th line depends only on the seed and i, not on how many are drawn.

        Args:
            prefix: text that each line begins with.
            max_length: most tokens of a line, the prefix's included; it is broken off there.

        Raises:
            UserError: if the prefix has more tokens than ``max_length``.
            ValueError: if it holds a newline.
            TypeError: if it is not a string.
        """
        (prefix,) = as_lines([prefix], "prefix")
        refuse_endless([prefix], "prefix")
        prefix = self.tokenizer.normalized(prefix, keep_case=True)  # which may end it in a space
        if self.tokenizer.spaces_begin_words:  # the next one's piece brings the space
            prefix = prefix.rstrip(" ")
        forced = self.tokenizer.encode([prefix])[0]
        if len(forced) >= max_length:
            raise UserError(
                f"the prefix has {len(forced)} tokens, too many for max_length={max_length}; make it shorter, or "
                "max_length larger."
            )
        self.model.eval()
        unknowns = self.tokenizer.unknowns(prefix)
        for first in range(0, count, BATCH):
            rows = range(first, min(first + BATCH, count))
            with threads_of.using(self.threads):
                found = sample(
                    self._step,
                    self.model.zero_state(len(rows)),
                    bos=BOS,
                    eos=EOS,
                    max_lengths=[max_length] * len(rows),
                    seeds=[int(np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0]) for i in rows],
                    settings=settings or SamplingSettings(),
                    device=self.device,
                    prefixes=[forced] * len(rows),
                )
            yield from self.tokenizer.decode([one.tokens for one in found], [unknowns] * len(rows))

    def score(self, lines: Iterable[str], *, window: int = TOKENS_AT_ONCE) -> TextScore:
        """Read a text from its first token to its last, with one state that is carried all the way.

        There is no batch: the result is that of one long pass, to rounding, whatever the window. A line is encoded
        whole, which takes about 40 bytes of memory for each of its characters.

        Args:
            lines: may be read only once, such as a file's lines; one string is one line.

        Raises:
            ValueError: if a line holds a newline.
            TypeError: if a line is not a string.
            UserError: if there is no line.
        """
        iterator = checked(lines)
        state = self.model.zero_state(1)
        line_nll: list[float] = []
        num_tokens = num_words = num_unknown = 0
        while chunk := list(itertools.islice(iterator, LINES_AT_ONCE)):  # so that memory does not grow with the text
            self._watch.look(chunk)
            rows = self.tokenizer.encode(chunk)
            stream = np.array([token for row in rows for token in (*row, EOS)], dtype=np.int32)
            with threads_of.using(self.threads):
                nll, state = self._stream_nll(stream, window, state)
            ends = np.cumsum([len(row) + 1 for row in rows]).tolist()
            line_nll += [float(nll[start:stop].sum()) for start, stop in itertools.pairwise([0, *ends])]
            num_tokens += len(stream)
            num_words += sum(len(line.split()) + 1 for line in chunk)
            num_unknown += int((stream == UNK).sum())
        if not line_nll:
            raise UserError("there is no text to score: it has no line.")
        return TextScore(line_nll, num_tokens, num_words, num_unknown)

    @overload
    def log_probs(self, lines: str) -> float: ...  # type: ignore[overload-overlap]

    @overload
    def log_probs(self, lines: Sequence[str]) -> list[float]: ...

    def log_probs(self, lines: Sequence[str]) -> float | list[float]:
        """The log-probability of each line by itself, in nats, its end included.

        Each is scored as the first line of a text. One string is one line.

        Raises:
            ValueError: if a line holds a newline.
            TypeError: if a line is not a string.
            UserError: if a line is endless; see `bounded.refuse_endless`.
        """
        given = as_lines(lines)
        refuse_endless(given, "line")
        self._watch.look(given)
        with threads_of.using(self.threads):
            found = self._log_probs(self.tokenizer.encode(given))
        return found[0] if isinstance(lines, str) else found

    def _log_probs(self, rows: Sequence[list[int]]) -> list[float]:
        found = [0.0] * len(rows)
        self.model.eval()
        for batch in _by_length([len(row) for row in rows]):
            longest = max(len(rows[i]) for i in batch) + 1
            tokens = torch.full((len(batch), longest), PAD)
            for place, i in enumerate(batch):
                tokens[place, : len(rows[i]) + 1] = torch.tensor([*rows[i], EOS])
            tokens_in = torch.cat([torch.full((len(batch), 1), BOS), tokens[:, :-1]], dim=1)
            state, nll = self.model.zero_state(len(batch)), torch.zeros(len(batch), dtype=torch.float64)
            for inputs, outputs in zip(tokens_in.split(SCORED, dim=1), tokens.split(SCORED, dim=1), strict=True):
                with torch.no_grad():
                    costs, state = self.model.token_nll(inputs.to(self.device), outputs.to(self.device), state)
                nll += costs.cpu().double().sum(1)
            for i, value in zip(batch, nll.tolist(), strict=True):
                found[i] = -value
        return found

    def _step(self, last: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """The network's step, with the two symbols masked that no text contains."""
        log_probs, state = self.model.step(last, state)
        log_probs[:, [PAD, BOS]] = -torch.inf
        return log_probs, state

    @torch.no_grad()
    def _stream_nll(self, stream: Ids, window: int, state: DecoderState) -> tuple[np.ndarray, DecoderState]:
        """The negative log-likelihood of each token ``(tokens,)``, and the state after the stream."""
        self.model.eval()
        tokens_in, tokens_out = (
            torch.from_numpy(ids.astype(np.int64)).unsqueeze(0) for ids in (inputs_of(stream), stream)
        )
        parts = []
        for first in range(0, len(stream), window):
            part = (slice(None), slice(first, first + window))
            nll, state = self.model.token_nll(tokens_in[part].to(self.device), tokens_out[part].to(self.device), state)
            parts.append(nll[0].cpu().double())
        return torch.cat(parts).numpy(), state


def _by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of similar length, at most `BATCH` at a time."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for first in range(0, len(order), BATCH):
        yield order[first : first + BATCH]
