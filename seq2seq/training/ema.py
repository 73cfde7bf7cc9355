"""Average weights over a training; the average translates better than the last weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class RunningAverage:
    """An exponential moving average of all parameters.

    After each step a' = d a + (1 - d) w.

    It starts from the initial weights. The decay d at step t, from 1, is min(decay, (1 + t) / (10 + t)), so that they
    are forgotten quickly.

    Args:
        model: the trained network; its tied parameters count once.
        decay: in (0, 1); the average covers about 1 / (1 - decay) steps.

    Source:
        Polyak and Juditsky (1992), https://doi.org/10.1137/0330046.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.steps = 0
        self.swapped = False  # whether the model has the average, and this object the weights
        self.weights = {name: one.detach().clone() for name, one in model.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in self.model.named_parameters():
            self.weights[name] = self.weights[name].to(parameter.device).lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and the model's weights."""
        for name, parameter in self.model.named_parameters():
            mine = self.weights[name].to(parameter.device)
            self.weights[name] = parameter.detach().clone()
            parameter.copy_(mine)
        self.swapped = not self.swapped

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.weights = state["steps"], dict(state["weights"])
