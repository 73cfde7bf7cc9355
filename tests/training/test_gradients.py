"""Gradients are clipped and counted as by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seq2seq.training.tasks.base import LitModel
from tests.training.test_training import config


@pytest.mark.parametrize("kind", ["norm", "value", "none"])
def test_gradients_are_clipped_and_told_as_by_hand(kind: str, tmp_path: Path) -> None:
    module = LitModel(config(tmp_path), torch.nn.Linear(2, 1, bias=False), num_steps=1, steps_per_epoch=1)
    optimizer = torch.optim.SGD(module.model.parameters(), 1.0)
    bound = {"norm": 1.0, "value": 0.5, "none": None}[kind]
    weight = module.model.weight
    clipped = {
        "norm": [[0.6, 0.0], [0.6, 0.8], [0.0, 0.0]],
        "value": [[0.5, 0.0], [0.5, 0.5], [0.0, 0.0]],
        "none": [[0.6, 0.0], [3.0, 4.0], [0.0, 0.0]],
    }[kind]
    for gradient, expected in zip([[0.6, 0.0], [3.0, 4.0], [0.0, 0.0]], clipped, strict=True):
        weight.grad = torch.tensor([gradient])
        module.configure_gradient_clipping(optimizer, bound, "value" if kind == "value" else "norm")
        torch.testing.assert_close(weight.grad, torch.tensor([expected]), rtol=1e-5, atol=0)
    module.optimizer_zero_grad(0, 0, optimizer)
    assert weight.grad is None
    weight.grad = torch.tensor([[torch.inf, 0.0]])  # a step that is left out
    module.configure_gradient_clipping(optimizer, bound, "norm")
    figures = module.norms.figures()
    assert figures["train/grad_norm"] == pytest.approx((0.6 + 5.0) / 3)
    assert figures["train/grad_norm_max"] == 5.0
    assert figures["train/clipped"] == pytest.approx(100 * {"norm": 1, "value": 2, "none": 0}[kind] / 3)


def test_gradients_are_told_of_many_steps(tmp_path: Path) -> None:
    module = LitModel(config(tmp_path), torch.nn.Linear(1, 1, bias=False), num_steps=1, steps_per_epoch=1)
    optimizer = torch.optim.SGD(module.model.parameters(), 1.0)
    for step in range(2500):
        module.model.weight.grad = torch.tensor([[float(step % 7)]])
        module.configure_gradient_clipping(optimizer, 3.0, "norm")
    norms = [step % 7 for step in range(2500)]
    figures = module.norms.figures()
    assert figures["train/grad_norm"] == sum(norms) / 2500
    assert figures["train/grad_norm_max"] == 6.0
    assert figures["train/clipped"] == 100 * sum(norm > 3 for norm in norms) / 2500
