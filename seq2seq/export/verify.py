"""Compare an exported folder with the network that it was written from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.data.batches import pad
from seq2seq.decoding.forms.module import ModuleForm
from seq2seq.decoding.greedy import greedy
from seq2seq.errors import UserError
from seq2seq.export.folder import Source
from seq2seq.export.form import OnnxForm
from seq2seq.language_model import LanguageModel
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens import bounded
from seq2seq.tokens.base import BOS, EOS

SAMPLE = 100  # lines
LONGEST = 100  # tokens that are read of a line
BATCH = 25  # lines that are compared together
SEED = 1
WORST, WORST_MEAN = 1e-3, 0.1  # nats; in float32 of any token, with int8 the mean of those that the network chose


class Comparison(NamedTuple):
    """How far an exported network is from the one in torch."""

    lines: int
    same: int  # lines with the same output, by greedy search
    largest: float  # difference of log-probabilities, of all tokens at all steps, in nats
    mean: float  # of the absolute differences of the tokens that the network in torch chose

    def __str__(self) -> str:
        return (
            f"the same output for {self.same} of {self.lines} lines; log-probabilities differ by at most "
            f"{self.largest:.2g}, of the chosen tokens by {self.mean:.2g} on average"
        )


class Differences(NamedTuple):
    """Of a batch."""

    alike: Tensor  # (rows,), whether both networks have the same output
    largest: Tensor  # (steps,), differences of log-probabilities
    chosen: Tensor  # (tokens,), those of the tokens that the network in torch chose


def check(found: Comparison, *, int8: bool) -> None:
    """Refuse an export that does not compute what the network does.

    Raises:
        UserError: if log-probabilities differ too much, or are not numbers.
    """
    value, most = (found.mean, WORST_MEAN) if int8 else (found.largest, WORST)
    if not value <= most:
        remedy = "export it in float32" if int8 else "upgrade onnxruntime, or report it with the checkpoint"
        raise UserError(
            f"the exported network is not the one in torch: log-probabilities differ by {value:.3g}, and at most "
            f"{most:g} was expected; {remedy}."
        )


@torch.no_grad()
def compare(source: Source, folder: Path, lines: Sequence[str]) -> Comparison:
    """Run both networks on a sample, by greedy search.

    Of a language model, an output is what it expects after each token of a line.

    Args:
        lines: the sample; if empty, one is drawn.
    """
    form, network = OnnxForm(folder), source.network.eval()
    parts = [
        _translated(network, form, rows) if isinstance(network, Seq2Seq) else _read(network, form, rows)
        for rows in _batches(_sample(source, lines))
    ]
    alike, largest, chosen = (torch.cat(each) for each in zip(*parts, strict=True))
    return Comparison(len(alike), int(alike.sum()), float(largest.max()), float(chosen.mean()))


def _batches(rows: Sequence[list[int]]) -> list[list[list[int]]]:
    ordered = sorted(rows, key=len)
    return [list(ordered[first : first + BATCH]) for first in range(0, len(ordered), BATCH)]


def _sample(source: Source, lines: Sequence[str]) -> list[list[int]]:
    """Ids of the sample's lines. A language model draws its own lines, a translator gets random pieces."""
    network, tokenizers = source.network, source.tokenizers
    if isinstance(network, RNNLanguageModel) and not lines:
        lines = list(LanguageModel(network, tokenizers.tgt).generate(SAMPLE, max_length=LONGEST))
    kept = [line for line in lines if line.strip()][:SAMPLE]
    rows = [one.ids[:LONGEST] for one in bounded.encode(tokenizers.src, kept, LONGEST)]
    if any(rows):
        return [row for row in rows if row]
    generator = np.random.default_rng(SEED)
    sizes = generator.integers(1, 20, SAMPLE)
    return [generator.integers(EOS + 1, len(tokenizers.src), size).tolist() for size in sizes]


def _translated(network: Seq2Seq, form: OnnxForm, rows: Sequence[list[int]]) -> Differences:
    """Translate with both networks, and force the translations of the one in torch on both."""
    end = [] if network.fixed_length else [EOS]
    sources = [[*row, *end] for row in rows]
    src, lengths = pad(sources), torch.tensor([len(row) for row in sources])
    limits = [network.fixed_length or 2 * len(row) + 10 for row in rows]
    options: dict[str, Any] = {"bos": BOS, "eos": EOS if end else None, "max_lengths": limits}
    starts = [one.start(src, lengths) for one in (ModuleForm(network), form)]
    ours, theirs = (greedy(step, state, **options) for step, state in starts)
    outputs = [
        [*one.tokens, *(end if len(one.tokens) < limit else [])] for one, limit in zip(ours, limits, strict=True)
    ]
    alike = torch.tensor([one.tokens == other.tokens for one, other in zip(ours, theirs, strict=True)])
    return _forced(starts, outputs)._replace(alike=alike)


def _read(network: RNNLanguageModel, form: OnnxForm, rows: Sequence[list[int]]) -> Differences:
    """Read lines with both language models."""
    starts = [(network.step, network.zero_state(len(rows))), (form.step, form.zero_state(len(rows)))]
    return _forced(starts, [[*row, EOS] for row in rows])


def _forced(starts: Sequence[tuple[Any, Any]], outputs: Sequence[list[int]]) -> Differences:
    """Force outputs on two networks."""
    (ours, our_state), (theirs, their_state) = starts
    last, lengths = torch.full((len(outputs),), BOS), torch.tensor([len(row) for row in outputs])
    alike, largest, chosen = torch.ones(len(outputs), dtype=torch.bool), [], []
    for position, tokens in enumerate(pad(outputs).unbind(1)):
        real = lengths > position
        one, our_state = ours(last, our_state)
        other, their_state = theirs(last, their_state)
        difference = (one - other)[real].abs().nan_to_num(torch.inf)
        largest.append(difference.max().view(1))
        chosen.append(difference.gather(1, tokens[real].unsqueeze(1)).squeeze(1))
        alike &= (one.argmax(1) == other.argmax(1)) | ~real
        last = tokens
    return Differences(alike, torch.cat(largest), torch.cat(chosen))
