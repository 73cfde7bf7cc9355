"""Build networks from a config."""

from __future__ import annotations

import bisect
import dataclasses

import torch
from torch import nn

from seq2seq.config.schema import ModelConfig
from seq2seq.models.attention import Attention
from seq2seq.models.bridge import Bridge
from seq2seq.models.decoder import RNNDecoder
from seq2seq.models.dropout import build_lookup
from seq2seq.models.encoders import ENCODERS
from seq2seq.models.init import init_as_book, init_uniform
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import PAD


def build_seq2seq(config: ModelConfig, src_size: int, tgt_vocab: int) -> Seq2Seq:
    """The network that a config describes, with fresh weights.

    Args:
        src_size: of text the number of pieces; see `seq2seq.data.sources.base.Source.input_size`.

    Raises:
        ValueError: if ``tie=all`` meets two vocabularies of different size, or attention other widths than it needs.
        UserError: if the bridge does not fit the encoder.
    """
    if config.tie == "all" and src_size != tgt_vocab:
        raise ValueError(f"model.tie=all needs one vocabulary for both sides; got {src_size} and {tgt_vocab} pieces.")
    kind = ENCODERS[config.encoder_kind]
    tgt_embedding = nn.Embedding(tgt_vocab, config.embedding_size, padding_idx=PAD)
    inputs = tgt_embedding if config.tie == "all" else kind.inputs(config, src_size)
    if config.tie != "none":
        # The embeddings are an output layer too: torch's N(0, 1) would start with logits of the order of sqrt(width).
        nn.init.normal_(tgt_embedding.weight, std=config.embedding_size**-0.5)
    encoder = kind.from_config(config, inputs)
    stack = config.stack("decoder")
    attention = None
    if config.attention != "none":
        attention = Attention(config.attention, stack.hidden_size, encoder.memory_size)
    decoder = RNNDecoder(
        tgt_embedding,
        stack,
        peeky=config.peeky,
        attention=attention,
        tie=config.tie != "none",
        dropout=config.dropout,
        lookup=build_lookup(config, config.tgt_word_dropout),
    )
    bridge = Bridge(config.bridge, encoder, decoder)
    model = Seq2Seq(encoder, bridge, decoder, fixed_length=config.fixed_length)
    if config.init == "book":
        init_as_book(model)
    if config.init == "uniform":
        init_uniform(model, config.init_range)
    return model


def num_parameters(model: nn.Module) -> int:
    """The number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def widened(config: ModelConfig, src_size: int, tgt_vocab: int) -> ModelConfig:
    """The config with ``match_peeky`` carried out: the width at which a network without peeky comes closest to the
    number of parameters that it would have with ``peeky=both``.
    """
    if not config.match_peeky:
        return config
    own = dataclasses.replace(config, match_peeky=False)

    def size(hidden_size: int, peeky: str) -> int:
        with torch.device("meta"):  # which has shapes, and no numbers
            model = build_seq2seq(dataclasses.replace(own, hidden_size=hidden_size, peeky=peeky), src_size, tgt_vocab)
        return num_parameters(model)

    wanted = size(own.hidden_size, "both")
    widths = range(own.hidden_size, 3 * own.hidden_size + 1)  # far more than peeky can add
    above = bisect.bisect_left(widths, wanted, key=lambda width: size(width, "none"))
    return min(
        (dataclasses.replace(own, hidden_size=width) for width in widths[max(above - 1, 0) : above + 1]),
        key=lambda one: abs(size(one.hidden_size, "none") - wanted),
    )


def build_language_model(config: ModelConfig, vocab: int) -> RNNLanguageModel:
    """The language model that a config describes, with new weights; its encoder is ignored."""
    embedding = nn.Embedding(vocab, config.embedding_size, padding_idx=PAD)
    if config.tie != "none":
        nn.init.normal_(embedding.weight, std=config.embedding_size**-0.5)  # as in `build_seq2seq`
    decoder = RNNDecoder(
        embedding,
        config.stack("decoder"),
        tie=config.tie != "none",
        dropout=config.dropout,
        lookup=build_lookup(config, config.tgt_word_dropout),
    )
    model = RNNLanguageModel(decoder)
    if config.init == "book":
        init_as_book(model)
    if config.init == "uniform":
        init_uniform(model, config.init_range)
    return model
