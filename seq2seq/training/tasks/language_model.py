"""The Lightning module of a language model: truncated back-propagation through time, with the state carried."""

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
from seq2seq.data.arrays import Tokenizers, encode_side
from seq2seq.data.pairs import SPLITS
from seq2seq.data.stream import Window
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_lines, read_lines
from seq2seq.files.writing import write_lines
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model, num_parameters
from seq2seq.models.cells.stack import spectral_radius
from seq2seq.models.decoder import DecoderState
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.runs import (
    CHECKPOINTS,
    LINE_NLL,
    REFERENCES,
    SAMPLES,
)
from seq2seq.terminal import printable, show
from seq2seq.tokens.base import BOS
from seq2seq.tokens.pieces import Tokenizer
from seq2seq.training.data import TextData
from seq2seq.training.tasks.base import LitModel, num_batches, num_steps, test_device
from seq2seq.training.warm_start import warm_start

log = logging.getLogger(__name__)


class LitLanguageModel(LitModel):
    """Trains an `RNNLanguageModel` on windows of a stream.

    The state after a window is that before the next one of the same columns; gradients do not go back past a window's
    start (Williams and Peng 1990). It is 0 at the start of an epoch, and part of what a checkpoint holds. Each process
    carries the state of its own columns.

    Args:
        valid_words: words of the validation text, line ends included.
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
        """The state, 0 in some of the columns that are at the start of a line: but for that a network sees the state
        that a text begins with once an epoch, and is at a loss when it is to write or judge a line by itself.
        """
        share = self.config.data.restart
        if not share or window.is_first:
            return state
        forget = (torch.rand(window.tokens_in.shape[0]) < share).to(self.device) & (window.tokens_in[:, 0] == BOS)
        return state.map(lambda tensor: tensor.masked_fill(forget[:, None, None], 0.0))

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._valid_nll, self._valid_tokens = 0.0, 0

    def validation_step(self, window: Window, batch_idx: int) -> None:
        """Every process reads the whole text: it is one stream, and cannot be shared out."""
        state = self._before(window, self._valid_state)
        nll, self._valid_state = self.model.token_nll(window.tokens_in, window.tokens_out, state)
        self._valid_nll += float(nll.cpu().double().sum())
        self._valid_tokens += window.num_tokens

    def on_validation_epoch_end(self) -> None:
        parts = self._gather((self.train_loss, self.train_tokens))
        train_tokens = sum(part[1] for part in parts)
        self.valid_figures = {
            "train/loss": sum(part[0] for part in parts) / train_tokens if train_tokens else math.nan,
            "valid/loss": self._valid_nll / self._valid_tokens,
            "valid/perplexity": metrics.perplexity(self._valid_nll, self._valid_tokens),
            "valid/word_perplexity": metrics.perplexity(self._valid_nll, self.valid_words),
            **self._gradient_figures(),
            "decoder/spectral_radius": spectral_radius(self.model),
        }
        self._valid_state = None
        self._validated()

    def summary(self) -> str:
        """Beside the perplexity per token, that per word."""
        return f"per word {self.valid_figures['valid/word_perplexity']:.2f}"

    def samples(self, count: int) -> str:
        """Lines drawn at random."""
        return show_lines(list(LanguageModel(self.model, self.tokenizer).generate(count)))

    def on_save_checkpoint(self, contents: dict[str, Any]) -> None:
        super().on_save_checkpoint(contents)
        mine = None if self._state is None else [one.cpu() for one in self._state.hidden]
        # Of all processes; they save together.
        contents["training"]["state"] = self._gather(mine)

    def on_load_checkpoint(self, contents: dict[str, Any]) -> None:
        super().on_load_checkpoint(contents)
        states = contents["training"]["state"]
        if len(states) != self.trainer.world_size:
            raise UserError(
                f"the run was trained by {len(states)} processes, each with columns of its own, and cannot be gone on "
                f"with by {self.trainer.world_size}; set trainer.devices={len(states)}, or overwrite=true."
            )
        mine = states[self.global_rank]
        self._state = None if mine is None else DecoderState(tuple(one.to(self.device) for one in mine))

    def transfer_batch_to_device(self, batch: Window, device: torch.device, dataloader_idx: int) -> Window:
        if self._state is not None:  # of a checkpoint, which was read before the network was moved
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


def show_lines(lines: list[str]) -> str:
    """Generated lines below each other, for people to look at."""
    return "\n".join(f"  {printable(line)}" for line in lines)


def build_language_model_task(
    config: Config, data_folder: Path, tokenizer: Tokenizer, *, fresh: bool
) -> tuple[TextData, LitLanguageModel]:
    data = TextData(config, data_folder, tokenizer)
    torch.manual_seed(config.seed)
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
    return data, LitLanguageModel(
        config,
        model,
        tokenizer,
        valid_words=data.valid_words,
        num_steps=num_steps(config, num_windows),
        steps_per_epoch=-(-num_windows // config.trainer.accumulate),
    )


def score_language_model(config: Config, folder: Path, data_folder: Path) -> dict[str, Any]:
    """The perplexity of the best checkpoint on all three texts, each read as one stream; lines that it makes up, and
    the test text's lines with what each costs, are kept in the run folder.

    Of the training text it reads the first lines only, with at most ``trainer.score_tokens`` tokens: a stream cannot be
    read side by side, so a large text would take longer to score than to train on.
    """
    best = folder / CHECKPOINTS / checkpoint.BEST
    language_model = LanguageModel.from_checkpoint(best, device=test_device(config))
    figures: dict[str, Any] = {"task": config.task}
    for split in SPLITS:
        if split != "train":
            lines = read_lines(data_folder / f"{split}.tgt")
        else:
            lines, num_lines = _first_lines(config, data_folder, language_model.tokenizer)
            figures |= {"train_scored_lines": len(lines), "train_lines": num_lines}
        started = time.perf_counter()
        score = language_model.score(lines)
        seconds = time.perf_counter() - started
        prefix = "" if split == "test" else f"{split}_"
        figures |= {
            f"{prefix}perplexity": score.perplexity,
            f"{prefix}word_perplexity": score.word_perplexity,
            f"{prefix}num_tokens": score.num_tokens,
            f"{prefix}num_words": score.num_words,
            f"{prefix}num_unknown": score.num_unknown,
        }
    figures |= {
        "num_sentences": len(lines),
        "parameters": num_parameters(language_model.model),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(score.num_tokens / seconds, 1),
    }
    write_lines(folder / REFERENCES, lines)
    write_lines(folder / LINE_NLL, [repr(round(nll, 6)) for nll in score.line_nll])
    write_lines(folder / SAMPLES, language_model.generate(max(config.trainer.samples, 5)))
    return figures


def _first_lines(config: Config, data_folder: Path, tokenizer: Tokenizer) -> tuple[list[str], int]:
    """The first lines of the training text, at least one and as many as are scored, and the number of all its lines."""
    ids = encode_side(data_folder, "train", "tgt", tokenizer)
    tokens = ids.offsets[1:] - ids.offsets[0] + np.arange(1, len(ids) + 1)  # up to each line's end, which is one too
    count = max(1, int(np.searchsorted(tokens, config.trainer.score_tokens, side="right")))
    return list(itertools.islice(iter_lines(data_folder / "train.tgt"), count)), len(ids)


def show_language_model(folder: Path, config: Config, result: dict[str, Any]) -> None:
    if config.trainer.samples and (folder / SAMPLES).is_file():
        show(show_lines(read_lines(folder / SAMPLES)[: config.trainer.samples]) + "\n")
    for split, prefix in (("train", "train_"), ("valid", "valid_"), ("test", "")):
        unknown = result[f"{prefix}num_unknown"]
        scored, all_lines = (result.get(f"{prefix}{name}") for name in ("scored_lines", "lines"))
        show(
            f"{split:5} perplexity {result[f'{prefix}perplexity']:.2f} per token, "
            f"{result[f'{prefix}word_perplexity']:.2f} per word ({result[f'{prefix}num_tokens']:,} tokens"
            + (f", {unknown:,} of them unknown" if unknown else "")
            + (f"; the first {scored:,} of {all_lines:,} lines" if scored != all_lines else "")
            + ")"
        )
