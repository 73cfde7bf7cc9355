"""The recurrent language model: a decoder without an encoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.models.decoder import DecoderState, RNNDecoder
from seq2seq.models.loss import linear_cross_entropy
from seq2seq.tokens.base import PAD


class RNNLanguageModel(nn.Module):
    """Predicts each token of a text from all tokens before it.

    The state is carried over the ends of lines.

    The end of a line is predicted as ``</s>`` and read as ``<s>``, which also comes before the first line. A
    translator's decoder does the same, so both have the same step, and the weights of one fit the other.

    Shapes:
        tokens_in ``(columns, length)``; returns logits ``(columns, length, vocabulary)`` and the state after the last
        token.

    Source:
        Mikolov et al. (2010), "Recurrent neural network based language model"; with LSTMs and dropout Zaremba et al.
        (2014), https://arxiv.org/abs/1409.2329.
    """

    def __init__(self, decoder: RNNDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def zero_state(self, num_columns: int) -> DecoderState:
        """The state before the first token of a text."""
        return self.decoder.zero_state(num_columns)

    def forward(self, tokens_in: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        return self.decoder(tokens_in, state)

    def step(self, last: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One step of a search; see `RNNDecoder.step`."""
        return self.decoder.step(last, state)

    def token_nll(self, tokens_in: Tensor, tokens_out: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Negative log-likelihood of each token in nats, ``(columns, length)``, 0 at padding, and the next state."""
        logits, state = self(tokens_in, state)
        flat = F.cross_entropy(logits.flatten(0, 1).float(), tokens_out.flatten(), ignore_index=PAD, reduction="none")
        return flat.view_as(tokens_out), state

    def loss(
        self, tokens_in: Tensor, tokens_out: Tensor, state: DecoderState, *, label_smoothing: float = 0.0
    ) -> tuple[Tensor, DecoderState]:
        """Cross-entropy in nats, summed over the real tokens of ``tokens_out``, and the next state."""
        features, state = self.decoder.features(tokens_in, state)
        real, output = tokens_out != PAD, self.decoder.output
        loss = linear_cross_entropy(
            features[real], output.weight, output.bias, tokens_out[real], label_smoothing=label_smoothing
        )
        return loss, state
