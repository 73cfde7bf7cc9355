"""The measured work: synthetic text with Multi30k's lengths, and two networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seq2seq.config.schema import Config, DataConfig, ModelConfig, TokenizerConfig, TrainerConfig
from seq2seq.data.arrays import Tokenizers, train_tokenizers
from seq2seq.data.prepare import prepare
from seq2seq.files.writing import write_lines

VOCAB = 8000
BATCH = 128
PAIRS = 29_000
HELD_OUT = 512
MEAN_TOKENS = 14.5  # of a target, its end symbol included
# Quantiles of what the training set has with 8,000 BPE pieces a side: the lengths of the English sentences, and by how
# much the German ones are longer, except for the rare extremes.
TARGET_LENGTHS = [
    *(4, 7, 8, 8, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 12, 13),
    *(13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 16, 16, 17, 17, 18, 18, 19, 20, 22, 24, 43),
]
SOURCE_LONGER = [-5.0, -3.5, -2.5, -2.4, -1.5, -1.5, -1.4, -1.4, -0.5, -0.5, -0.4]
SOURCE_LONGER += [-0.4, 0.5, 0.6, 0.6, 1.5, 1.6, 2.6, 3.5, 4.6, 8.0]

MODELS = {
    "P": ModelConfig(cell="lstm", hidden_size=512, embedding_size=256),
    "A": ModelConfig(
        cell="lstm", hidden_size=512, embedding_size=256, num_layers=2, bidirectional=True, attention="general"
    ),
    "tiny": ModelConfig(cell="lstm", hidden_size=16, embedding_size=8, bidirectional=True, attention="general"),
}
MEANINGS = {
    "tiny": "a trial of the benchmark itself",
    "P": "1-layer LSTM without attention",
    "A": "2-layer bidirectional encoder, 2-layer decoder, general attention",
}


class Prepared(NamedTuple):
    """A dataset on disk, its tokenizers, and the experiment that uses them."""

    config: Config
    folder: Path
    tokenizers: Tokenizers


def draw_lengths(rng: np.random.Generator, pairs: int, tokens: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Words of each source and of each target.

    Args:
        tokens: of every target, the end symbol included; sources differ from them as much as Multi30k's do, in
            proportion. 0 for Multi30k's lengths.
    """
    if tokens:
        longer = np.quantile(SOURCE_LONGER, rng.random(pairs)) * tokens / MEAN_TOKENS
        return np.maximum(tokens - 1 + np.round(longer).astype(int), 1), np.full(pairs, tokens - 1)
    tgt = np.quantile(TARGET_LENGTHS, rng.random(pairs)).astype(int)
    longer = np.quantile(SOURCE_LONGER, rng.random(pairs)) + 0.56 - 0.01 * tgt
    return np.clip(tgt + np.round(longer).astype(int), 2, 50), tgt


def words(rng: np.random.Generator, lengths: np.ndarray, kinds: int) -> list[str]:
    """Lines of words of falling frequency (Zipf), each of which comes once at least."""
    shares = 1 / np.arange(1, kinds + 1)
    drawn = rng.choice(kinds, lengths.sum(), p=shares / shares.sum())
    if len(drawn) > kinds:
        drawn[rng.permutation(len(drawn))[:kinds]] = np.arange(kinds)
    ends = lengths.cumsum()
    return [" ".join(f"w{word}" for word in drawn[end - n : end]) for n, end in zip(lengths, ends, strict=True)]


def make(root: Path, model: ModelConfig, *, pairs: int = PAIRS, vocab: int = VOCAB, tokens: int = 0) -> Prepared:
    """The dataset below ``root``, made first if it is not there, and an experiment with one thread and a progress bar.

    Args:
        vocab: pieces a side, the four reserved ones included.
        tokens: as for `draw_lengths`.
    """
    sizes = {"train": pairs, "valid": min(HELD_OUT, pairs), "test": min(HELD_OUT, pairs)}
    if not (root / "test.tgt").is_file():
        root.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(1)
        for split, size in sizes.items():
            for side, lengths in zip(("src", "tgt"), draw_lengths(rng, size, tokens), strict=True):
                write_lines(root / f"{split}.{side}", words(rng, lengths, vocab - 4))
    files: dict[str, Any] = {
        f"{split}_{side}": str(root / f"{split}.{side}") for split in sizes for side in ("src", "tgt")
    }
    config = Config(
        name="bench",
        data=DataConfig(kind="files", root=str(root / "data"), batch_tokens=0, batch_sentences=BATCH, **files),
        tokenizer=TokenizerConfig(type="word", vocab_size=vocab, byte_fallback=False),
        model=model,
        trainer=TrainerConfig(max_epochs=1000, threads=1, samples=0),
    )
    folder = prepare(config.data)
    return Prepared(config, folder, train_tokenizers(folder, config.tokenizer))


def addition(root: Path) -> Prepared:
    """The book's addition task, with the settings of ``experiment=book_addition`` but a bound of 1,000 epochs."""
    model = ModelConfig(
        cell="lstm", hidden_size=128, embedding_size=16, bridge="hidden_only", init="book", fixed_length=4
    )
    data = DataConfig(
        kind="addition",
        root=str(root / "data"),
        book_exact=True,
        train_size=45_000,
        valid_size=2_500,
        test_size=2_500,
        batch_tokens=0,
        batch_sentences=BATCH,
    )
    trainer = TrainerConfig(max_epochs=1000, samples=0, monitor="exact_match", threads=1)
    config = Config(
        name="addition",
        data=data,
        tokenizer=TokenizerConfig(type="char", vocab_size=0, byte_fallback=False),
        model=model,
        trainer=trainer,
    )
    folder = prepare(config.data)
    return Prepared(config, folder, train_tokenizers(folder, config.tokenizer))


def useful_flops(model: ModelConfig, src_tokens: int, tgt_tokens: int, vocab: int = VOCAB) -> float:
    """Additions and multiplications in the matrix products of a forward and backward pass over real tokens; a backward
    pass has twice as many as a forward one. The scores of attention, a hundredth of it, are left out.
    """
    encoder, decoder = model.stack("encoder"), model.stack("decoder")
    directions = 2 if model.bidirectional else 1
    for_src = directions * _lstm(model.embedding_size, encoder.hidden_size)
    for_src += (encoder.num_layers - 1) * directions * _lstm(directions * encoder.hidden_size, encoder.hidden_size)
    for_tgt = _lstm(model.embedding_size, decoder.hidden_size)
    for_tgt += (decoder.num_layers - 1) * _lstm(decoder.hidden_size, decoder.hidden_size)
    if model.attention != "none":
        memory = directions * encoder.hidden_size
        for_src += memory * decoder.hidden_size  # the keys
        for_tgt += (memory + decoder.hidden_size) * decoder.hidden_size
    for_tgt += decoder.hidden_size * vocab
    return 6.0 * (src_tokens * for_src + tgt_tokens * for_tgt)


def _lstm(inputs: int, size: int) -> int:
    """Multiplications a token in one direction of one layer."""
    return 4 * size * (inputs + size)
