"""The task of language modelling: truncated back-propagation through time over a stream of text."""

from __future__ import annotations

import itertools
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from seq2seq import checkpoint, metrics
from seq2seq.config.schema import Config
from seq2seq.data.arrays import Tokenizers, encode_side, train_tokenizers
from seq2seq.data.stream import Window
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_lines, read_lines
from seq2seq.files.writing import write_lines
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model, num_parameters
from seq2seq.models.cells.stack import spectral_radius
from seq2seq.models.decoder import DecoderState
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.results.scores import LanguageModelScores, Scores, TextScores
from seq2seq.runs import (
    CHECKPOINTS,
    LINE_NLL,
    REFERENCES,
    SAMPLES,
)
from seq2seq.terminal import printable, show
from seq2seq.tokens.base import BOS, UNK, Tokenizer
from seq2seq.training.data import TextData, load_like
from seq2seq.training.tasks.base import Built, LitModel, num_batches, scoring_device, sizes_that_fit, step_counts
from seq2seq.training.warm_start import warm_start

log = logging.getLogger(__name__)


class LitLanguageModel(LitModel):
    """Train an `RNNLanguageModel` on windows of a stream.

    Each window starts with the state after the previous window of the same columns. Gradients stop at a window's start
    (Williams and Peng 1990). The state is 0 at the start of an epoch, and is saved in checkpoints. Each process has
    columns and a state of its own.

    Args:
        valid_words: words of the validation text; each line end counts as one.
        num_steps, steps_per_epoch: as for `LitModel`.
    """

    model: RNNLanguageModel

    def __init__(
        self,
        config: Config,
        model: RNNLanguageModel,
        tokenizer: Tokenizer,
        *,
        valid_words: int,
        num_steps: int,
        steps_per_epoch: int,
    ) -> None:
        super().__init__(config, model, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        self.tokenizer = tokenizer
        self.valid_words = valid_words
        self._state: DecoderState | None = None  # after the last window of the training
        self._valid_state: DecoderState | None = None
        self._valid_nll, self._valid_tokens = 0.0, 0

    def training_step(self, window: Window, batch_idx: int) -> Tensor:
        loss, state = self.model.loss(
            window.tokens_in,
            window.tokens_out,
            self._restarted(window, self._before(window, self._state)),
            label_smoothing=self.config.optim.label_smoothing,
        )
        self._state = state.detach()
        return self._counted(loss, window)

    def _before(self, window: Window, state: DecoderState | None) -> DecoderState:
        if window.is_first or state is None:
            return self.model.zero_state(window.tokens_in.shape[0])
        return state

    def _restarted(self, window: Window, state: DecoderState) -> DecoderState:
        """Reset the state, with probability ``data.restart``, in columns that begin a line.

        Otherwise the network sees the zero state only once per epoch, and writes and scores single lines poorly.
        """
        share = self.config.data.restart
        if not share or window.is_first:
            return state
        reset = (torch.rand(window.tokens_in.shape[0]) < share).to(self.device) & (window.tokens_in[:, 0] == BOS)
        return state.map(lambda tensor: tensor.masked_fill(reset[:, None, None], 0.0))

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._valid_nll, self._valid_tokens = 0.0, 0

    def validation_step(self, window: Window, batch_idx: int) -> None:
        """Add a window's loss; every process reads the whole text, since a stream cannot be shared."""
        state = self._before(window, self._valid_state)
        nll, self._valid_state = self.model.token_nll(window.tokens_in, window.tokens_out, state)
        self._valid_nll += float(nll.cpu().double().sum())
        self._valid_tokens += window.num_tokens

    def on_validation_epoch_end(self) -> None:
        parts = self._gather((self.train_loss, self.train_tokens))
        train_tokens = sum(part[1] for part in parts)
        self._valid_state = None
        self._validated(
            {
                "train/loss": sum(part[0] for part in parts) / train_tokens if train_tokens else math.nan,
                "valid/loss": self._valid_nll / self._valid_tokens,
                "valid/perplexity": metrics.perplexity(self._valid_nll, self._valid_tokens),
                "valid/word_perplexity": metrics.perplexity(self._valid_nll, self.valid_words),
                **self.norms.figures(),
                "decoder/spectral_radius": spectral_radius(self.model),
            }
        )

    def summary(self) -> str:
        figures = self.valid_figures
        return f"perplexity {figures['valid/perplexity']:.2f}  per word {figures['valid/word_perplexity']:.2f}"

    def smallest_loss(self) -> Tensor:
        return self.model.loss(torch.tensor([[BOS]]), torch.tensor([[UNK]]), self.model.zero_state(1))[0]

    def samples(self, count: int) -> str:
        """Return lines that the network writes, sampled."""
        return show_lines(list(LanguageModel(self.model, self.tokenizer).generate(count)))

    def on_save_checkpoint(self, contents: dict[str, Any]) -> None:
        super().on_save_checkpoint(contents)
        mine = None if self._state is None else [one.cpu() for one in self._state.hidden]
        # All processes save at the same step.
        contents["training"]["state"] = self._gather(mine)

    def on_load_checkpoint(self, contents: dict[str, Any]) -> None:
        super().on_load_checkpoint(contents)
        states = contents["training"]["state"]
        if len(states) != self.trainer.world_size:
            raise UserError(
                f"the run was trained by {len(states)} processes, each with columns of its own, and cannot be resumed "
                f"by {self.trainer.world_size}; set trainer.devices={len(states)}, or overwrite=true."
            )
        mine = states[self.global_rank]
        self._state = None if mine is None else DecoderState(tuple(one.to(self.device) for one in mine))

    def transfer_batch_to_device(self, batch: Window, device: torch.device, dataloader_idx: int) -> Window:
        if self._state is not None:  # a checkpoint is read before the network moves to its device
            self._state = self._state.map(lambda tensor: tensor.to(device))
        return batch.to(device)

    def section(self) -> dict[str, Any]:
        both = Tokenizers(self.tokenizer, self.tokenizer)
        return checkpoint.section(self.config.model, self.config.decode, both, kind=checkpoint.LANGUAGE_MODEL)

    def _out_of_memory(self) -> UserError:
        data = self.config.data
        return UserError(
            f"out of memory with a window of {self._at_work}; make data.columns (now {data.columns}) or data.bptt "
            f"(now {data.bptt}) smaller."
        )


class LanguageModelling:
    """The task ``language_model``."""

    kind = checkpoint.LANGUAGE_MODEL

    def check(self, config: Config) -> None:
        """Accept every config: the config itself refuses the keys of translations."""

    def tokenizers(self, config: Config, data_folder: Path) -> Tokenizers:
        """Train a tokenizer for the target side, or load that of ``tokenizer.like``; see `load_like` for errors."""
        if config.tokenizer.like is None:
            return train_tokenizers(data_folder, config.tokenizer, tgt_only=True)
        return load_like(config)[1]

    def build(self, config: Config, data_folder: Path, tokenizers: Tokenizers, *, fresh: bool) -> Built:
        tokenizer = tokenizers.tgt
        data = TextData(config, data_folder, tokenizer)
        torch.manual_seed(config.seed)
        with sizes_that_fit():
            model = build_language_model(config.model, len(tokenizer))
        if fresh and config.warm_start is not None:
            warm_start(model, tokenizer, config.warm_start)
        num_windows = num_batches(config, data.train_dataloader())
        rank_zero_only(log.info)(
            "%d pieces, %s parameters, %s training tokens in %d windows",
            len(tokenizer),
            f"{num_parameters(model):,}",
            f"{len(data.train_stream):,}",
            num_windows,
        )
        counts = step_counts(config, num_windows)
        return Built(data, LitLanguageModel(config, model, tokenizer, valid_words=data.valid_words, **counts))

    def score(self, config: Config, folder: Path, data_folder: Path, tokenizers: Tokenizers) -> LanguageModelScores:
        """Compute the perplexity of the best checkpoint on all three texts, each read as one stream.

        Of the training text only the first lines are read, with at most ``trainer.score_tokens`` tokens. A stream
        cannot be read in parallel, so a large text would take longer to score than to train on. The test lines with
        their losses, and lines that the network writes, go into the run folder.
        """
        best = folder / CHECKPOINTS / checkpoint.BEST
        language_model = LanguageModel.from_checkpoint(best, device=scoring_device(config))
        first_lines, num_lines = _first_lines(config, data_folder, language_model.tokenizer)
        train = language_model.score(first_lines).scores()
        valid = language_model.score(read_lines(data_folder / "valid.tgt")).scores()
        lines = read_lines(data_folder / "test.tgt")
        started = time.perf_counter()
        score = language_model.score(lines)
        seconds = time.perf_counter() - started
        write_lines(folder / REFERENCES, lines)
        write_lines(folder / LINE_NLL, [repr(round(nll, 6)) for nll in score.line_nll])
        write_lines(folder / SAMPLES, language_model.generate(max(config.trainer.samples, 5)))
        return LanguageModelScores(
            train_scored_lines=len(first_lines),
            train_lines=num_lines,
            train=train,
            valid=valid,
            test=score.scores(),
            num_sentences=len(lines),
            parameters=num_parameters(language_model.model),
            seconds=round(seconds, 3),
            tokens_per_second=round(score.num_tokens / seconds, 1),
        )

    def show(self, config: Config, folder: Path, scores: Scores) -> None:
        assert isinstance(scores, LanguageModelScores)
        if config.trainer.samples and (folder / SAMPLES).is_file():
            show(show_lines(read_lines(folder / SAMPLES)[: config.trainer.samples]) + "\n")
        scored, every = scores.train_scored_lines, scores.train_lines
        first = f"; the first {scored:,} of {every:,} lines" if scored != every else ""
        texts = (("train", scores.train, first), ("valid", scores.valid, ""), ("test", scores.test, ""))
        for split, text, lines in texts:
            if text is not None:
                show(f"{split:5} {_described(text, lines)}")


def _described(text: TextScores, lines: str) -> str:
    unknown = f", {text.num_unknown:,} of them unknown" if text.num_unknown else ""
    return (
        f"perplexity {text.perplexity:.2f} per token, {text.word_perplexity:.2f} per word "
        f"({text.num_tokens:,} tokens{unknown}{lines})"
    )


def show_lines(lines: list[str]) -> str:
    """Return generated lines below each other, for people to look at."""
    return "\n".join(f"  {printable(line)}" for line in lines)


def _first_lines(config: Config, data_folder: Path, tokenizer: Tokenizer) -> tuple[list[str], int]:
    """Return the first training lines, with at most ``score_tokens`` tokens, and the number of all lines.

    It is one line at least. A line's end counts as a token.
    """
    ids = encode_side(data_folder, "train", "tgt", tokenizer)
    tokens = ids.offsets[1:] - ids.offsets[0] + np.arange(1, len(ids) + 1)  # up to each line's end
    count = max(1, int(np.searchsorted(tokens, config.trainer.score_tokens, side="right")))
    return list(itertools.islice(iter_lines(data_folder / "train.tgt"), count)), len(ids)
