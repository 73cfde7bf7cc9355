"""The output layer and its cross-entropy, without storing all logits of a batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Logits in a chunk: few enough for the processor's cache, enough for a fast product.
CHUNK_LOGITS = 2**21
# Least rows of a chunk: each chunk reads and writes the gradient of all the weights.
CHUNK_ROWS = 256
# Logits of a batch up to which torch's own functions are mostly faster, by up to a half.
FEW_LOGITS = 2**17


def linear_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    consistency: float = 0.0,
) -> Tensor:
    """Compute the summed cross-entropy, in nats, of ``F.linear(features, weight, bias)`` with the targets.

    It equals ``F.cross_entropy`` of these logits with ``reduction="sum"``. Logits are computed in chunks. Each chunk's
    gradient is computed in the forward pass while the chunk is in cache, so only tensors of the arguments' size are
    saved for the backward pass. In mixed precision, products have autocast's type and the softmax float32.

    Args:
        consistency: R-Drop's weight (Liang et al. 2021, https://arxiv.org/abs/2106.14448). Above 0, features hold two
            passes with different dropout, one after the other. The loss is half the sum of their cross-entropies, plus
            a quarter of this weight times the sum of both divergences between the two distributions.

    Shapes:
        features ``(tokens, width)``, weight ``(vocabulary, width)``, bias ``(vocabulary,)``, targets ``(tokens,)``;
        with ``consistency`` features ``(2 * tokens, width)``.
    """
    if not consistency and len(targets) * len(weight) <= FEW_LOGITS:
        logits = F.linear(features, weight, bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="sum")
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    if torch.is_grad_enabled():
        return _LinearCrossEntropy.apply(features, weight, bias, targets, label_smoothing, consistency, dtype)
    return _sum(features.to(dtype), weight.to(dtype), bias.to(dtype), targets, label_smoothing, consistency, None)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        label_smoothing: float,
        consistency: float,
        dtype: torch.dtype,
    ) -> Tensor:
        exact = torch.promote_types(dtype, torch.float32)
        gradients = tuple(torch.zeros_like(one, dtype=exact) for one in (features, weight, bias))
        inputs = (features.to(dtype), weight.to(dtype), bias.to(dtype))
        total = _sum(*inputs, targets, label_smoothing, consistency, gradients)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = features.dtype, weight.dtype, bias.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:
        scaled = ((one * scale).to(dtype) for one, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
        return *scaled, None, None, None, None


def _sum(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    label_smoothing: float,
    consistency: float,
    gradients: tuple[Tensor, ...] | None,
) -> Tensor:
    """The loss; its gradients at features, weight and bias are added to ``gradients``."""
    vocab = len(weight)
    exact = torch.promote_types(features.dtype, torch.float32)
    total = features.new_zeros((), dtype=exact)
    passes = 2 if consistency else 1
    features = features.unflatten(0, (passes, len(targets)))
    rows = max(1, CHUNK_ROWS // passes, CHUNK_LOGITS // (passes * vocab))
    for start in range(0, len(targets), rows):
        inputs = features[:, start : start + rows].flatten(0, 1)
        wanted = targets[start : start + rows, None].repeat(passes, 1)
        logits = torch.addmm(bias, inputs, weight.t()).to(exact)  # (passes * rows, vocabulary)
        logits -= logits.amax(1, keepdim=True)
        right = logits.gather(1, wanted)
        if label_smoothing:
            right = (1 - label_smoothing) * right + label_smoothing * logits.mean(1, keepdim=True)
        log_probs = logits.clone() if consistency else None
        probs = logits.exp_()
        norm = probs.sum(1, keepdim=True)
        total += (norm.log() - right).sum() / passes
        if gradients is None and log_probs is None:
            continue
        probs /= norm
        pull = None
        if log_probs is not None:
            divergence, pull = _divergence(probs, log_probs.sub_(norm.log()))
            total += consistency / 4 * divergence
        if gradients is None:
            continue
        # The gradient of the logits: the probabilities minus the target distribution.
        at_targets = probs.gather(1, wanted) - (1 - label_smoothing)
        probs.scatter_(1, wanted, at_targets)
        if label_smoothing:
            probs -= label_smoothing / vocab
        if pull is not None:
            probs.div_(passes).add_(pull, alpha=consistency / 4)
        for first, at_logits, its_inputs in zip(
            range(start, passes * len(targets), len(targets)), probs.chunk(passes), inputs.chunk(passes), strict=True
        ):
            _add_products(gradients, slice(first, first + len(its_inputs)), at_logits, its_inputs, weight)
    return total


def _divergence(probs: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Sum both KL divergences between the halves of the rows, and compute the logits' gradient."""
    p, q = probs.chunk(2)
    log_p, log_q = log_probs.chunk(2)
    ratio = log_p - log_q
    q_from_p, p_from_q = (p * ratio).sum(1, keepdim=True), -(q * ratio).sum(1, keepdim=True)
    at_p = p * (ratio - q_from_p) + p - q
    at_q = q * (-ratio - p_from_q) + q - p
    return q_from_p.sum() + p_from_q.sum(), torch.cat([at_p, at_q])


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
