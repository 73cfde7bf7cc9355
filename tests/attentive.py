"""Checkpoints with random weights: a translator with attention, and a language model."""

from __future__ import annotations

from pathlib import Path

import torch

from seq2seq import checkpoint
from seq2seq.config.schema import DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.models.build import build_language_model, build_seq2seq
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.translate.translator import Translator
from tests.conftest import LINES


def tokenizers(kind: str = "char", size: int = 0) -> Tokenizers:
    """One tokenizer for both sides, without bytes; of words it knows few."""
    tokenizer = Pieces(train(LINES, type=kind, vocab_size=size))
    return Tokenizers(tokenizer, tokenizer)


def save(path: Path, seed: int = 0, *, both: Tokenizers | None = None, **options: object) -> Path:
    """Write a checkpoint of a tiny network; different lines get different translations."""
    both = both or tokenizers()
    config = ModelConfig(**{"hidden_size": 6, "embedding_size": 5, "attention": "general", **options})  # type: ignore[arg-type]
    torch.manual_seed(seed)
    model = build_seq2seq(config, len(both.src), len(both.tgt))
    with torch.no_grad():
        for parameter in set(model.parameters()):
            parameter.mul_(3)
        model.decoder.output.bias[:3] -= 50  # pad, unk and bos
        model.decoder.output.bias[3] += 1  # some outputs end, and some are cut off
    section = checkpoint.section(config, DecodeConfig(max_extra=4), both)
    checkpoint.save(path, {"state_dict": checkpoint.named_weights(model), checkpoint.SECTION: section})
    return path


def save_language_model(path: Path, seed: int = 0) -> Path:
    """Write a checkpoint of a tiny language model of the same characters."""
    both = tokenizers()
    config = ModelConfig(hidden_size=6, embedding_size=5, num_layers=2)
    torch.manual_seed(seed)
    model = build_language_model(config, len(both.tgt))
    section = checkpoint.section(config, DecodeConfig(), both, kind=checkpoint.LANGUAGE_MODEL)
    checkpoint.save(path, {"state_dict": checkpoint.named_weights(model), checkpoint.SECTION: section})
    return path


def load(path: Path, **decode: object) -> Translator:
    """Such a checkpoint's translator with other decoding settings."""
    translator = Translator.from_checkpoint(path)
    translator = translator.with_options(DecodeConfig(**{"max_extra": 4, **decode}))  # type: ignore[arg-type]
    return translator
