"""The optimiser, and its learning rate at each step."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from seq2seq.config.schema import OptimConfig


def build_optimizer(config: OptimConfig, model: nn.Module, *, fused: bool = True) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) or SGD, fused where torch can."""
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
    """Before a step: torch adds eps to the corrected root of the second moment; corrected alike, it is as if it had
    been added before.
    """
    for group in adam.param_groups:
        states = (adam.state.get(one) for one in group["params"])  # none of what never had a gradient
        steps = next((int(state["step"]) for state in states if state), 0) + 1
        group["eps"] = config.eps / math.sqrt(1 - config.beta2**steps)


def lr_factor(config: OptimConfig, step: int, num_steps: int, steps_per_epoch: int = 1) -> float:
    """The learning rate of a step (from 0) as a share of the highest.

    Linear warm-up to 1 over ``warmup_steps``; then 1, or falling with the inverse square root of the step (Vaswani et
    al. 2017), along half a cosine to 0 at ``num_steps`` (Loshchilov and Hutter 2017), or 1 and, from ``decay_start`` of
    all steps on, falling along a line to 0; or with ``decay`` falling by ``decay_factor`` at the start of each epoch
    after the first ``decay_after`` (Zaremba et al. 2014).
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
