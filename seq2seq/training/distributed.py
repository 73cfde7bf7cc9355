"""Settings for a training by several processes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from seq2seq.config.schema import TrainerConfig


def choose_strategy(config: TrainerConfig, model: nn.Module, loss: Callable[[], torch.Tensor]) -> str:
    """Return Lightning's strategy for a network and a function that computes a loss with it.

    DDP waits for the gradient of every parameter. Some networks have parameters without one: with ``model.bridge=zero``
    and no attention, no path leads back to the encoder. DDP then has to look for such parameters in each step, which
    costs time, so it is only asked to where there are any.

    Source:
        https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html, on
        ``find_unused_parameters``.
    """
    several = config.devices > 1 or config.lightning.get("num_nodes", 1) != 1 or config.strategy == "ddp"
    return "ddp_find_unused_parameters_true" if several and without_gradient(model, loss) else config.strategy


def without_gradient(model: nn.Module, loss: Callable[[], torch.Tensor]) -> list[str]:
    """Return the names of the trained parameters that the loss does not depend on.

    The network is on the CPU and is left as it was; no random number is drawn.
    """
    was_training = model.training
    model.eval()
    with torch.enable_grad():
        value = loss()
    model.train(was_training)
    named = {name: one for name, one in model.named_parameters() if one.requires_grad}
    gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]
