"""The Lightning module of a language model: truncated back-propagation through time, with the state carried."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seq2seq import checkpoint, metrics
from seq2seq.config.schema import Config
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.stream import Window
from seq2seq.errors import UserError
from seq2seq.language_model import LanguageModel
from seq2seq.models.cells.stack import spectral_radius
from seq2seq.models.decoder import DecoderState
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.terminal import printable
from seq2seq.tokens.base import BOS, Tokenizer
from seq2seq.training.tasks.translation import LitModel


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
