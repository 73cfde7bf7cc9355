"""The output layer and its cross-entropy as one function, which never holds all logits of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**21  # logits worked on at a time: few enough for the processor's cache, many enough for a good product


def linear_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """The cross-entropy, in nats and summed, of ``F.linear(features, weight, bias)`` with the targets.

    Equal to ``F.cross_entropy`` of these logits with ``reduction="sum"``. The logits come a chunk at a time, and their
    gradient is made as long as they are at hand: in the forward pass, so that it costs no second reading and what is
    kept has the size of the arguments. In mixed precision products are of autocast's type, and the softmax of float32.

    Shapes:
        features ``(tokens, width)``, weight ``(vocabulary, width)``, bias ``(vocabulary,)``, targets ``(tokens,)``.
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    if torch.is_grad_enabled():
        return _LinearCrossEntropy.apply(features, weight, bias, targets, label_smoothing, dtype)
    return _sum(features.to(dtype), weight.to(dtype), bias.to(dtype), targets, label_smoothing, None)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        label_smoothing: float,
        dtype: torch.dtype,
    ) -> Tensor:
        exact = torch.promote_types(dtype, torch.float32)
        gradients = tuple(torch.zeros_like(one, dtype=exact) for one in (features, weight, bias))
        total = _sum(features.to(dtype), weight.to(dtype), bias.to(dtype), targets, label_smoothing, gradients)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = features.dtype, weight.dtype, bias.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:
        scaled = ((one * scale).to(dtype) for one, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
        return *scaled, None, None, None


def _sum(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    label_smoothing: float,
    gradients: tuple[Tensor, ...] | None,
) -> Tensor:
    """The loss; its gradients at features, weight and bias are added to ``gradients``."""
    vocab = len(weight)
    exact = torch.promote_types(features.dtype, torch.float32)
    total = features.new_zeros((), dtype=exact)
    rows = max(1, CHUNK // vocab)
    for start in range(0, len(features), rows):
        inputs, wanted = features[start : start + rows], targets[start : start + rows, None]
        logits = torch.addmm(bias, inputs, weight.t()).to(exact)  # (rows, vocabulary)
        logits -= logits.amax(1, keepdim=True)
        right = logits.gather(1, wanted)
        if label_smoothing:
            right = (1 - label_smoothing) * right + label_smoothing * logits.mean(1, keepdim=True)
        probs = logits.exp_()
        norm = probs.sum(1, keepdim=True)
        total += (norm.log() - right).sum()
        if gradients is None:
            continue
        # The gradient at the logits: the probabilities less those that are wanted.
        probs /= norm
        at_targets = probs.gather(1, wanted) - (1 - label_smoothing)
        probs.scatter_(1, wanted, at_targets)
        if label_smoothing:
            probs -= label_smoothing / vocab
        _add_products(gradients, slice(start, start + rows), probs, inputs, weight)
    return total


def _add_products(
    gradients: tuple[Tensor, ...], rows: slice, at_logits: Tensor, inputs: Tensor, weight: Tensor
) -> None:
    d_features, d_weight, d_bias = gradients
    d_bias += at_logits.sum(0)
    if inputs.dtype == d_weight.dtype:
        torch.mm(at_logits, weight, out=d_features[rows])
        d_weight.addmm_(at_logits.t(), inputs)
    else:
        at_logits = at_logits.to(inputs.dtype)
        d_features[rows] = at_logits @ weight
        d_weight += at_logits.t() @ inputs
