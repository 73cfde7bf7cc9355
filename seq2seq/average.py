"""One checkpoint out of several of one training: the mean of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq import checkpoint
from seq2seq.config import ModelConfig, from_dict
from seq2seq.errors import UserError


def find_all(paths: Sequence[str | Path]) -> list[Path]:
    """The checkpoints that paths mean: files themselves, and of a run folder all the best ones that it kept.

    Raises:
        UserError: if a path means none, or all of them mean fewer than two different ones.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        kept = checkpoint.kept_best(Path(path)) if Path(path).is_dir() else []
        for one in kept or [checkpoint.find(path)]:
            found.setdefault(one.resolve(), one)
    if len(found) < 2:
        only = ", ".join(map(str, found.values()))
        raise UserError(
            f"an average needs two checkpoints at least; got {only} alone. A run keeps its K best with "
            "trainer.keep_best=K."
        )
    return list(found.values())


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """The contents of a checkpoint whose weights are the mean of those of ``paths``; all else is as in the first one.

    The mean of weights is of use where they are close to each other: for checkpoints of one training, not for trainings
    from different first weights.

    Raises:
        UserError: for a checkpoint that is refused, or whose model settings or tokenizers are not those of the first
            one.

    Source:
        Izmailov et al. (2018), https://arxiv.org/abs/1803.05407; in translation Junczys-Dowmunt et al. (2016),
        https://arxiv.org/abs/1605.04809.
    """
    first, *others = paths
    loaded, section = _read(first)
    if loaded.shortlist is not None:
        section["shortlist"] = loaded.shortlist._asdict()
    sums = {name: tensor.double() for name, tensor in checkpoint.named_weights(loaded.model).items()}
    for path in others:
        other, theirs = _read(path)
        _check_equal(first, section, path, theirs)
        for name, tensor in checkpoint.named_weights(other.model).items():
            sums[name] += tensor
    means = {name: total / len(paths) for name, total in sums.items()}
    checkpoint.load_weights(loaded.model, means, first)  # where tied weights are one again
    return {"state_dict": checkpoint.named_weights(loaded.model), checkpoint.SECTION: section}


def _read(path: Path) -> tuple[checkpoint.Checkpoint, dict[str, Any]]:
    """A checkpoint, and all of it but the weights with every setting written out."""
    loaded = checkpoint.load(path)
    config = from_dict(ModelConfig, checkpoint.read(path)[checkpoint.SECTION]["model"], "model")
    return loaded, checkpoint.section(config, loaded.decode, loaded.tokenizers)


def _check_equal(first: Path, mine: Mapping[str, Any], path: Path, theirs: Mapping[str, Any]) -> None:
    way_out = "average checkpoints of one training."
    different = [name for name, value in mine["model"].items() if theirs["model"][name] != value]
    if different:
        name = different[0]
        values = f"{theirs['model'][name]} there, {mine['model'][name]} in {first}"
        raise UserError(f"{path} has another model.{name} ({values}); {way_out}")
    if theirs["tokenizer"] != mine["tokenizer"]:
        raise UserError(f"{path} has other tokenizers than {first}; {way_out}")
