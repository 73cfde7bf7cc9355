"""The encoder-decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.models.bridge import Bridge
from seq2seq.models.decoder import DecoderState, RNNDecoder
from seq2seq.models.encoders.base import Encoder
from seq2seq.models.loss import linear_cross_entropy
from seq2seq.tokens.base import PAD


class Seq2Seq(nn.Module):
    """An encoder, a bridge and a decoder.

    Args:
        fixed_length: 0 if sentences end with ``</s>``; n if there is no end symbol and every output has n tokens.

    Shapes:
        src ``(batch, src_length)``, src_lengths ``(batch,)``, tgt_in ``(batch, tgt_length)``; returns logits
        ``(batch, tgt_length, vocabulary)``.

    Source:
        Sutskever et al. (2014), https://arxiv.org/abs/1409.3215; Cho et al. (2014), https://arxiv.org/abs/1406.1078.
    """

    def __init__(self, encoder: Encoder, bridge: Bridge, decoder: RNNDecoder, *, fixed_length: int = 0) -> None:
        super().__init__()
        self.fixed_length = fixed_length
        self.encoder = encoder
        self.bridge = bridge
        self.decoder = decoder

    def encode(self, src: Tensor, src_lengths: Tensor) -> DecoderState:
        """Compute the decoder's first state. Its context is the top layer of its first hidden state."""
        encoded = self.encoder(src, src_lengths)
        hidden = self.bridge(encoded.final)
        attention, memory = self.decoder.attention, encoded.memory
        keys = None if attention is None or memory is None else attention.keys(memory)
        return DecoderState(hidden, hidden[0][:, -1], memory, encoded.mask, keys)

    def forward(self, src: Tensor, src_lengths: Tensor, tgt_in: Tensor) -> Tensor:
        logits, _ = self.decoder(tgt_in, self.encode(src, src_lengths))
        return logits

    def loss(
        self,
        src: Tensor,
        src_lengths: Tensor,
        tgt_in: Tensor,
        tgt_out: Tensor,
        *,
        label_smoothing: float = 0.0,
        r_drop: float = 0.0,
    ) -> Tensor:
        """Compute the cross-entropy in nats, summed over the real tokens of ``tgt_out``.

        With ``label_smoothing`` that share of the target's probability is spread evenly over the vocabulary (Szegedy et
        al. 2016). With ``r_drop`` every pair passes twice, with different dropout, and the divergence of the two
        predictions is added with that weight (Liang et al. 2021). Padding is left out before the output layer.
        """
        real = (tgt_out != PAD).flatten().nonzero().squeeze(1)
        wanted = tgt_out.flatten()[real]
        if r_drop:
            real = torch.cat([real, real + tgt_out.numel()])
            src, src_lengths, tgt_in = (torch.cat([one, one]) for one in (src, src_lengths, tgt_in))
        features, _ = self.decoder.features(tgt_in, self.encode(src, src_lengths))
        features = features.flatten(0, 1)  # (batch * length, width)
        output = self.decoder.output
        return linear_cross_entropy(
            features if len(real) == len(features) else features.index_select(0, real),
            output.weight,
            output.bias,
            wanted,
            label_smoothing=label_smoothing,
            consistency=r_drop,
        )
