"""Average the weights of several checkpoints of one training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from seq2seq import checkpoint
from seq2seq.config.schema import DecodeConfig, MetricsConfig
from seq2seq.config.values import from_dict
from seq2seq.errors import UserError


def find_all(paths: Sequence[str | Path]) -> list[Path]:
    """Return the checkpoints that files and run folders name.

    A run folder names all the best checkpoints that it keeps.

    Raises:
        UserError: if a path names none, or all of them name fewer than two different ones.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        kept = checkpoint.kept_best(Path(path)) if Path(path).is_dir() else []
        for one in kept or [checkpoint.find(path)]:
            found.setdefault(one.resolve(), one)
    if len(found) < 2:
        only = ", ".join(map(str, found.values()))
        raise UserError(
            f"an average needs two checkpoints at least; got only {only}. A run keeps its K best with "
            "trainer.keep_best=K."
        )
    return list(found.values())


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """Average checkpoints: the contents of the first, with the mean weights of all.

    The mean is useful for weights that are close to each other: of one training, not of trainings from different first
    weights.

    Raises:
        UserError: for a checkpoint that is refused, or whose model settings, source or tokenizers are not those of the
            first one.

    Source:
        Izmailov et al. (2018), https://arxiv.org/abs/1803.05407; in translation Junczys-Dowmunt et al. (2016),
        https://arxiv.org/abs/1605.04809.
    """
    first, *others = paths
    model, section = _read(first)
    sums = {name: tensor.double() for name, tensor in checkpoint.named_weights(model).items()}
    for path in others:
        other, theirs = _read(path)
        _check_equal(first, section, path, theirs)
        for name, tensor in checkpoint.named_weights(other).items():
            sums[name] += tensor
    means = {name: total / len(paths) for name, total in sums.items()}
    checkpoint.load_weights(model, means, first)  # ties weights again
    return {"state_dict": checkpoint.named_weights(model), checkpoint.SECTION: section}


def _read(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a checkpoint, and its other contents with every setting written out."""
    contents = checkpoint.read(path)
    mine, found = contents[checkpoint.SECTION], checkpoint.describe(path, contents)
    model = found.build()
    checkpoint.load_weights(model, contents["state_dict"], path)
    decode = from_dict(DecodeConfig, mine["decode"], "decode")
    metrics = from_dict(MetricsConfig, mine["metrics"], "metrics")
    options: dict[str, Any] = {"kind": mine["kind"], "metrics": metrics, "source": found.source}
    section = checkpoint.section(found.config, decode, found.tokenizers, **options)
    return model, section | ({} if found.shortlist is None else {"shortlist": found.shortlist._asdict()})


def _check_equal(first: Path, mine: Mapping[str, Any], path: Path, theirs: Mapping[str, Any]) -> None:
    way_out = "average checkpoints of one training."
    if theirs["kind"] != mine["kind"]:
        raise UserError(f"{path} is a {theirs['kind']} and {first} a {mine['kind']}; {way_out}")
    different = [name for name, value in mine["model"].items() if theirs["model"][name] != value]
    if different:
        name = different[0]
        values = f"{theirs['model'][name]} there, {mine['model'][name]} in {first}"
        raise UserError(f"{path} has another model.{name} ({values}); {way_out}")
    if not checkpoint.same_state(theirs["source"], mine["source"]):
        raise UserError(f"{path} reads another source than {first}; {way_out}")
    if theirs["tokenizer"] != mine["tokenizer"]:
        raise UserError(f"{path} has other tokenizers than {first}; {way_out}")
