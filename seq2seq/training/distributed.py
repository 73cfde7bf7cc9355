"""Settings for a training by several processes."""

from __future__ import annotations

import torch

from seq2seq.config.schema import TrainerConfig
from seq2seq.data.batches import collate
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, UNK

Network = Seq2Seq | RNNLanguageModel


def choose_strategy(config: TrainerConfig, model: Network) -> str:
    """Return Lightning's strategy for a network.

    DDP waits for the gradient of every parameter. Some networks have parameters without one: with ``model.bridge=zero``
    and no attention, no path leads back to the encoder. DDP then has to look for such parameters in each step, which
    costs time, so it is only asked to where there are any.

    Source:
        https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html, on
        ``find_unused_parameters``.
    """
    several = config.devices > 1 or config.lightning.get("num_nodes", 1) != 1 or config.strategy == "ddp"
    return "ddp_find_unused_parameters_true" if several and without_gradient(model) else config.strategy


def without_gradient(model: Network) -> list[str]:
    """Return the names of the trained parameters that the loss does not depend on.

    The network is on the CPU and is left as it was; no random number is drawn.
    """
    was_training = model.training
    model.eval()
    with torch.enable_grad():
        loss = _loss(model)
    model.train(was_training)
    named = {name: one for name, one in model.named_parameters() if one.requires_grad}
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]


def _loss(model: Network) -> torch.Tensor:
    """The loss of one pair, or line, of one token."""
    if isinstance(model, RNNLanguageModel):
        return model.loss(torch.tensor([[BOS]]), torch.tensor([[UNK]]), model.zero_state(1))[0]
    batch = collate([[UNK]], [[UNK]], [0], end_symbol=not model.fixed_length)
    return model.loss(batch.src, batch.src_lengths, batch.tgt_in, batch.tgt_out)
