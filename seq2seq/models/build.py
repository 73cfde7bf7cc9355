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
from seq2seq.models.encoders.recurrent import RNNEncoder
from seq2seq.models.init import init_as_book, init_uniform
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import PAD


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
    bridge = Bridge(config.resolved_bridge(), encoder, decoder)
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
    widths = range(own.hidden_size, 3 * own.hidden_size + 1)  # far more than peeky can add
    above = bisect.bisect_left(widths, wanted, key=lambda width: size(width, "none"))
    return min(
        (dataclasses.replace(own, hidden_size=width) for width in widths[max(above - 1, 0) : above + 1]),
        key=lambda one: abs(size(one.hidden_size, "none") - wanted),
    )


def build_language_model(config: ModelConfig, vocab: int) -> RNNLanguageModel:
    """The network that a config describes, with fresh weights; what it says of an encoder is not looked at."""
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
