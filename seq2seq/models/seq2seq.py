"""The encoder-decoder, and how a config becomes one."""

from __future__ import annotations

import bisect
import dataclasses

import torch
from torch import Tensor, nn

from seq2seq.config.schema import ModelConfig
from seq2seq.models.attention import Attention
from seq2seq.models.cells.stack import init_as_book, init_uniform
from seq2seq.models.decoder import Bridge, DecoderState, RNNDecoder
from seq2seq.models.dropout import build_lookup
from seq2seq.models.encoders.recurrent import Encoder, RNNEncoder
from seq2seq.models.loss import linear_cross_entropy
from seq2seq.tokens.pieces import PAD


class Seq2Seq(nn.Module):
    """An encoder, a bridge and a decoder.

    Args:
        fixed_length: 0 where sentences end with ``</s>``; n where none does and every output has n tokens.

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
        """The decoder's first state; its context is the top layer of its own first hidden state, so past the bridge."""
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
        """Cross-entropy in nats, summed over the real tokens of ``tgt_out``; padding is not even projected.

        With ``label_smoothing`` that share of the target's probability is spread evenly over the vocabulary (Szegedy et
        al. 2016). With ``r_drop`` every pair passes twice, with different dropout, and that weight is on how far the
        two predictions are from each other (Liang et al. 2021).
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


def build_seq2seq(config: ModelConfig, src_vocab: int, tgt_vocab: int) -> Seq2Seq:
    """The network that a config describes, with fresh weights.

    Raises:
        ValueError: if ``tie=all`` meets two vocabularies of different size.
    """
    if config.tie == "all" and src_vocab != tgt_vocab:
        raise ValueError(f"model.tie=all needs one vocabulary for both sides; got {src_vocab} and {tgt_vocab} pieces.")
    tgt_embedding = nn.Embedding(tgt_vocab, config.embedding_size, padding_idx=PAD)
    src_embedding = (
        tgt_embedding if config.tie == "all" else nn.Embedding(src_vocab, config.embedding_size, padding_idx=PAD)
    )
    if config.tie != "none":
        # The embeddings are an output layer too: torch's N(0, 1) would start with logits of the order of sqrt(width).
        nn.init.normal_(tgt_embedding.weight, std=config.embedding_size**-0.5)
    encoder = RNNEncoder(
        src_embedding,
        config.stack("encoder"),
        reverse=config.reverse,
        bidirectional=config.bidirectional,
        end_symbol=config.fixed_length == 0,
        keep_memory=config.attention != "none",
        dropout=config.dropout,
        memory_dropout=config.memory_dropout,
        lookup=build_lookup(config, config.src_word_dropout),
    )
    stack = config.stack("decoder")
    attention = None
    if config.attention != "none":
        heads = config.attention_heads
        attention = Attention(config.attention, stack.hidden_size, encoder.memory_size, num_heads=heads)
    decoder = RNNDecoder(
        tgt_embedding,
        stack,
        peeky=config.peeky,
        attention=attention,
        tie=config.tie != "none",
        dropout=config.dropout,
        lookup=build_lookup(config, config.tgt_word_dropout),
    )
    bridge = Bridge(config.resolved_bridge(), config.final_shape(), stack)
    model = Seq2Seq(encoder, bridge, decoder, fixed_length=config.fixed_length)
    if config.init == "book":
        init_as_book(model)
    if config.init == "uniform":
        init_uniform(model, config.init_range)
    return model


def num_parameters(model: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def widened(config: ModelConfig, src_vocab: int, tgt_vocab: int) -> ModelConfig:
    """The config with ``match_peeky`` carried out: the width at which a network without peeky comes closest to the
    number of parameters that it would have with ``peeky=both``.
    """
    if not config.match_peeky:
        return config
    own = dataclasses.replace(config, match_peeky=False)

    def size(hidden_size: int, peeky: str) -> int:
        with torch.device("meta"):  # which has shapes, and no numbers
            model = build_seq2seq(dataclasses.replace(own, hidden_size=hidden_size, peeky=peeky), src_vocab, tgt_vocab)
        return num_parameters(model)

    wanted = size(own.hidden_size, "both")
    # Three times the width is far more than peeky can add; heads must divide it.
    widths = range(own.hidden_size, 3 * own.hidden_size + 1, own.attention_heads)
    above = bisect.bisect_left(widths, wanted, key=lambda width: size(width, "none"))
    return min(
        (dataclasses.replace(own, hidden_size=width) for width in widths[max(above - 1, 0) : above + 1]),
        key=lambda one: abs(size(one.hidden_size, "none") - wanted),
    )
