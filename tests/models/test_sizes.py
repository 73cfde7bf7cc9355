"""A checkpoint whose settings describe another network than its weights is refused at once, whatever it describes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.config.schema import DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.errors import UserError
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model, build_seq2seq
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.training.average import average
from seq2seq.training.warm_start import warm_start
from seq2seq.translate.translator import Translator

SIZES = {"hidden_size": 6, "embedding_size": 5}
OTHER = Pieces(train(["xyz"], type="char", vocab_size=0))
READ: dict[str, Callable[[Path], object]] = {
    checkpoint.TRANSLATION: Translator.from_checkpoint,
    checkpoint.LANGUAGE_MODEL: LanguageModel.from_checkpoint,
}


def contents_of(kind: str, tokenizers: Tokenizers, **options: Any) -> dict[str, Any]:
    """A sound checkpoint."""
    config = ModelConfig(**SIZES, **options)
    if kind == checkpoint.LANGUAGE_MODEL:
        model: torch.nn.Module = build_language_model(config, len(tokenizers.tgt))
    else:
        model = build_seq2seq(config, len(tokenizers.src), len(tokenizers.tgt))
    section = checkpoint.section(config, DecodeConfig(), tokenizers, kind=kind)
    return {"state_dict": checkpoint.named_weights(model), checkpoint.SECTION: section}


def refuse_at_once(path: Path, contents: dict[str, Any], said: str) -> None:
    """Whatever reads it says so, within a second and without memory for the network."""
    checkpoint.save(path, contents)
    kind = contents[checkpoint.SECTION]["kind"]
    readers = [READ[kind], lambda path: average([path, path])]
    if kind == checkpoint.LANGUAGE_MODEL:
        readers.append(lambda path: warm_start(torch.nn.Linear(1, 1), OTHER, path))
    for read in readers:
        began = time.process_time()
        with pytest.raises(UserError, match=rf"a.ckpt (does not fit the model that it describes: )?.*{said}") as error:
            read(path)
        assert "\n" not in str(error.value)
        assert time.process_time() - began < 5


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"num_layers": 10**9}, "1000000000 layers cannot have"),
        ({"decoder": {"num_layers": 10**15}}, "1000000000000000 layers cannot have"),
        ({"hidden_size": 10**6}, "is of size 24x5, not 4000000x5"),
        ({"hidden_size": 2**62}, ""),
        ({"embedding_size": 2**40}, "embedding.weight is of size"),
        ({"embedding_size": 2**62}, ""),
        ({"hidden_size": 2**31, "num_layers": 2, "residual": True}, ""),
        ({"fixed_length": 10**9}, "model.fixed_length=1e.09 is out of range"),
        ({"cell": "gru"}, "is of size 24x5, not 18x5"),
    ],
    ids=str,
)
def test_hostile_sizes_are_refused(
    tmp_path: Path, tokenizers: Tokenizers, kind: str, model: dict[str, Any], said: str
) -> None:
    contents = contents_of(kind, tokenizers)
    contents[checkpoint.SECTION]["model"] |= model
    refuse_at_once(tmp_path / "a.ckpt", contents, said)


@pytest.mark.parametrize("kind", READ)
def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path, tokenizers: Tokenizers, kind: str) -> None:
    contents = contents_of(kind, tokenizers)
    contents[checkpoint.SECTION]["tokenizer"]["tgt"] = OTHER.proto
    refuse_at_once(tmp_path / "a.ckpt", contents, f"embedding.weight is of size {len(tokenizers.tgt)}x5, not 7x5")


def test_one_vocabulary_for_two_is_refused(tmp_path: Path, tokenizers: Tokenizers) -> None:
    contents = contents_of(checkpoint.TRANSLATION, tokenizers, tie="all")
    contents[checkpoint.SECTION]["tokenizer"]["tgt"] = OTHER.proto
    refuse_at_once(tmp_path / "a.ckpt", contents, r"model.tie=all needs one vocabulary for both sides; got \d+ and 7 p")


@pytest.mark.parametrize("kind", READ)
def test_shapes_without_numbers_behind_them_are_refused(tmp_path: Path, tokenizers: Tokenizers, kind: str) -> None:
    """A tensor that repeats one number takes no room in the file, and much when it is read."""
    contents = contents_of(kind, tokenizers)
    contents[checkpoint.SECTION]["model"]["hidden_size"] = wide = 10**6
    weights = contents["state_dict"]
    sizes = {6: wide, 24: 4 * wide}
    for name, tensor in weights.items():
        shape = [sizes.get(size, size) for size in tensor.shape]
        weights[name] = torch.zeros(1).expand(shape) if "embedding" not in name else tensor
    bridged = [name for name in weights if "bridge" in name]
    assert not bridged
    refuse_at_once(tmp_path / "a.ckpt", contents, "it holds [0-9,]+ numbers for [0-9,]{12,} parameters")


@pytest.mark.parametrize(
    "strange",
    [torch.zeros(22).to_sparse(), torch.zeros(22, device="meta"), torch.zeros(22, dtype=torch.complex64)],
    ids=["sparse", "meta", "complex"],
)
def test_strange_tensors_are_refused(tmp_path: Path, tokenizers: Tokenizers, strange: torch.Tensor) -> None:
    contents = contents_of(checkpoint.TRANSLATION, tokenizers)
    assert contents["state_dict"]["model.decoder.output.bias"].shape == strange.shape
    contents["state_dict"]["model.decoder.output.bias"] = strange
    refuse_at_once(tmp_path / "a.ckpt", contents, "decoder.output.bias is not a dense tensor of floating-point numbers")


def test_names_that_are_missing_or_too_many_are_refused(tmp_path: Path, tokenizers: Tokenizers) -> None:
    contents = contents_of(checkpoint.TRANSLATION, tokenizers)
    bias = contents["state_dict"].pop("model.decoder.output.bias")
    refuse_at_once(tmp_path / "a.ckpt", contents, "it has no decoder.output.bias; use another")
    contents["state_dict"] |= {"model.decoder.output.bias": bias, "model.a\nb": bias}
    refuse_at_once(tmp_path / "a.ckpt", contents, r"it has 'a\\nb', which the model lacks; use another")


@pytest.mark.parametrize("tie", ["none", "decoder", "all"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "layer_norm": True, "bidirectional": True}], ids=str)
def test_sound_ones_are_read_whatever_they_share(
    tmp_path: Path, tokenizers: Tokenizers, tie: str, options: dict[str, Any]
) -> None:
    """Also where all weights are parts of one tensor, as a GPU has those of its recurrent layers."""
    contents = contents_of(checkpoint.TRANSLATION, tokenizers, tie=tie, init="book", **options)
    weights = contents["state_dict"]
    model = Translator.from_checkpoint(written(tmp_path / "a.ckpt", contents)).model
    flat = torch.cat([one.flatten() for one in weights.values()])
    parts = flat.split([one.numel() for one in weights.values()])
    contents["state_dict"] = {
        name: part.view(one.shape) for (name, one), part in zip(weights.items(), parts, strict=True)
    }
    again = Translator.from_checkpoint(written(tmp_path / "b.ckpt", contents)).model
    for one in (model, again):
        assert all(torch.equal(tensor, weights[name]) for name, tensor in checkpoint.named_weights(one).items())


def written(path: Path, contents: dict[str, Any]) -> Path:
    checkpoint.save(path, contents)
    return path
