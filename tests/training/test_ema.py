"""The running average of the weights, compared with one worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.training.ema import RunningAverage
from seq2seq.training.experiment import run
from seq2seq.training.tasks.translation import LitTranslator
from tests.conftest import equal, weights
from tests.training.test_training import config


def test_the_best_checkpoint_has_the_running_average_and_the_last_one_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked out from the weights after each step, with two batches to a step, in a pass that the validation ends."""
    steps: list[dict[str, torch.Tensor]] = []
    first: dict[str, torch.Tensor] = {}
    original = LitTranslator.optimizer_step

    def keep(self: LitTranslator, *arguments: Any, **options: Any) -> None:
        if not first:
            first.update({name: one.clone() for name, one in self.state_dict().items()})
        original(self, *arguments, **options)
        steps.append({name: one.clone() for name, one in self.state_dict().items()})

    monkeypatch.setattr(LitTranslator, "optimizer_step", keep)
    trainer = {"max_epochs": 1, "accumulate": 2, "progress": False, "samples": 0}
    run(config(tmp_path, optim={"ema": 0.4, "lr": 0.05}, trainer=trainer), tmp_path / "run")
    assert len(steps) == 4
    average = first
    for step, decay in zip(steps, (2 / 11, 3 / 12, 4 / 13, 5 / 14), strict=True):
        average = {name: decay * average[name] + (1 - decay) * step[name] for name in step}
    assert equal(weights(tmp_path / "run"), steps[-1])
    best = weights(tmp_path / "run", "best.ckpt")
    for name, tensor in average.items():
        torch.testing.assert_close(best[name], tensor, msg=name)
    assert not equal(best, steps[-1])
    assert "average" not in checkpoint.read(tmp_path / "run" / "checkpoints" / "best.ckpt")["training"]


def test_the_running_average_forgets_no_faster_than_its_decay() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = RunningAverage(model, 0.5)
    wanted = 0.0
    for step in range(1, 30):
        torch.nn.init.constant_(model.weight, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    average.swap()
    assert model.weight.item() == pytest.approx(wanted)
    average.swap()
    assert model.weight.item() == 29.0
