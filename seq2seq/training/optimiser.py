"""Build the optimiser, and compute the learning rate of each step."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from seq2seq.config.schema import OptimConfig


def build_optimizer(config: OptimConfig, model: nn.Module, *, fused: bool = True) -> torch.optim.Optimizer:
    """Build the optimiser that the config names.

    Source:
        Kingma and Ba (2015) for Adam; Loshchilov and Hutter (2019) for AdamW.
    """
    parameters = list(model.parameters())
    if config.algorithm == "sgd":
        return torch.optim.SGD(
            parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused
        )
    optimizer = torch.optim.AdamW if config.algorithm == "adamw" else torch.optim.Adam
    betas = (config.beta1, config.beta2)
    adam = optimizer(parameters, config.lr, betas=betas, eps=config.eps, weight_decay=config.weight_decay, fused=fused)
    if config.eps_hat:
        adam.register_step_pre_hook(partial(_correct_eps, config))
    return adam


def _correct_eps(config: OptimConfig, adam: torch.optim.Optimizer, *_: object) -> None:
    """Rescale eps to match the form of Adam that adds it before bias correction.

    torch adds it after that correction. So it becomes eps / sqrt(1 - beta2^t) at step t.
    """
    for group in adam.param_groups:
        states = (adam.state.get(one) for one in group["params"])  # empty without a gradient so far
        steps = next((int(state["step"]) for state in states if state), 0) + 1
        group["eps"] = config.eps / math.sqrt(1 - config.beta2**steps)


def lr_factor(config: OptimConfig, step: int, num_steps: int, steps_per_epoch: int = 1) -> float:
    """Return the learning rate of a step (from 0) as a share of ``optim.lr``.

    It rises linearly to 1 over ``warmup_steps``. Then it depends on the schedule:

    - ``constant``: 1.
    - ``inverse_sqrt``: sqrt(warmup_steps / (step + 1)) (Vaswani et al. 2017).
    - ``cosine``: half a cosine, to 0 at ``num_steps`` (Loshchilov and Hutter 2017).
    - ``linear``: 1 up to the share ``decay_start`` of all steps, then a line to 0.
    - ``decay``: multiplied by ``decay_factor`` at the start of each epoch after ``decay_after`` (Zaremba et al. 2014).
    """
    warmup = config.warmup_steps
    rising = (step + 1) / warmup if step < warmup else 1.0
    if config.schedule == "linear":
        return min(rising, max(0.0, (num_steps - step) / ((1 - config.decay_start) * max(1, num_steps))))
    if step < warmup:
        return rising
    if config.schedule == "inverse_sqrt":
        return math.sqrt(max(warmup, 1) / (step + 1))
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, num_steps - warmup))))
    if config.schedule == "decay":
        return config.decay_factor ** max(0, step // steps_per_epoch + 1 - config.decay_after)
    return 1.0
