"""Tiny exported models; importing this skips a test module where onnx or onnxruntime is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2seq.data.arrays import Tokenizers
from tests import attentive

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from seq2seq.export import folder


def export(checkpoint: Path, target: Path, *, int8: bool = False) -> Path:
    """Export a checkpoint without comparing."""
    files = folder.contents(folder.load(checkpoint), int8=int8)
    target.mkdir()
    for name, content in files.items():
        (target / name).write_bytes(content)
    return target


def both(
    place: Path, seed: int = 0, *, tokenizers: Tokenizers | None = None, int8: bool = False, **options: object
) -> tuple[Path, Path]:
    """A checkpoint of a tiny network with random weights and attention, and its export."""
    checkpoint = attentive.save(place / "a.ckpt", seed, both=tokenizers, **options)
    return checkpoint, export(checkpoint, place / "exported", int8=int8)
