"""Optimisers and schedules, compared with steps worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seq2seq.config.schema import (
    OptimConfig,
)
from seq2seq.training.optimiser import build_optimizer, lr_factor
from tests.conftest import tiny_model


@pytest.mark.parametrize(
    "options, steps, expected",
    [
        ({}, [0, 5, 99], [1, 1, 1]),
        ({"warmup_steps": 4}, [0, 1, 3, 4], [0.25, 0.5, 1, 1]),
        ({"schedule": "inverse_sqrt", "warmup_steps": 4}, [0, 3, 15, 63], [0.25, 1, 0.5, 0.25]),
        ({"schedule": "cosine"}, [0, 50, 100], [1, 0.5, 0]),
        ({"schedule": "cosine", "warmup_steps": 20}, [19, 60, 100, 300], [1, 0.5, 0, 0]),
        ({"schedule": "linear", "warmup_steps": 10}, [4, 9, 50, 75, 100, 300], [0.5, 1, 1, 0.5, 0, 0]),
        ({"schedule": "linear", "decay_start": 0.0}, [0, 25, 99], [1, 0.75, 0.01]),
        ({"schedule": "linear", "warmup_steps": 80}, [39, 55, 60, 90], [0.5, 0.7, 0.7625, 0.2]),
    ],
)
def test_schedules_by_hand(options: dict[str, Any], steps: list[int], expected: list[float]) -> None:
    assert [lr_factor(OptimConfig(**options), step, 100) for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize("algorithm", ["adam", "adamw", "sgd"])
def test_one_step_of_each_optimiser_by_hand(algorithm: str) -> None:
    settings = OptimConfig(algorithm=algorithm, lr=0.1, weight_decay=0.5, momentum=0.9, clip_norm=0.0)
    model = tiny_model()
    optimizer = build_optimizer(settings, model)
    bias = model.decoder.output.bias
    before, gradient = bias.detach().clone(), torch.linspace(0.5, 2, len(bias))
    bias.grad = gradient.clone()
    optimizer.step()
    if algorithm == "sgd":
        expected = before - 0.1 * (gradient + 0.5 * before)
    elif algorithm == "adam":  # the first step of Adam is the sign of the penalised gradient
        expected = before - 0.1 * torch.sign(gradient + 0.5 * before)
    else:
        expected = before - 0.1 * 0.5 * before - 0.1 * torch.sign(gradient)
    torch.testing.assert_close(bias.detach(), expected, rtol=1e-4, atol=1e-5)
