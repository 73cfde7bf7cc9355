"""Clip gradients, and count their norms for the metrics file."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

PENDING = 1000  # steps whose norms may wait to be counted


class GradientNorms:
    """Gradient norms before clipping, summed since the last validation.

    A step's norm stays a tensor on a GPU until it is counted, because reading it would wait for the GPU.
    """

    def __init__(self) -> None:
        self.sums = [0.0] * 4  # steps, sum of norms, largest norm, clipped steps
        self._pending: list[tuple[float | Tensor, bool | Tensor]] = []  # norm, and whether it was clipped

    def clip(self, optimizer: torch.optim.Optimizer, bound: float | None, algorithm: str | None) -> None:
        """Clip the gradients of an optimiser's parameters as Lightning would, and keep their norm.

        Args:
            bound: of the norm, or of each value; nothing is clipped without one.
            algorithm: "norm" or "value".
        """
        parameters = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        gradients = [one.grad for one in parameters]
        total = nn.utils.get_total_norm(gradients)
        norm = measure = total.item() if total.device.type == "cpu" else total
        if bound and algorithm == "norm":
            # torch would also multiply gradients below the bound, by 1.
            if norm is total or not norm + 1e-6 <= bound:
                nn.utils.clip_grads_with_norm_(parameters, bound, total)
        elif bound:
            measure = nn.utils.get_total_norm(gradients, norm_type=math.inf)
            nn.utils.clip_grad_value_(parameters, bound)
        self._pending.append((norm, measure > (bound or math.inf)))
        if len(self._pending) >= PENDING:
            self.count()

    def count(self) -> None:
        """Add the pending norms to the sums.

        They are added one by one, so that a resumed run has the same sums. A step whose norm is not finite is skipped:
        the scaler of precision 16-mixed skips it too.
        """
        steps, total, largest, num_clipped = self.sums
        for norm, clipped in ((float(norm), float(clipped)) for norm, clipped in self._pending):
            if math.isfinite(norm):
                steps, total, largest, num_clipped = steps + 1, total + norm, max(largest, norm), num_clipped + clipped
        self._pending = []
        self.sums = [steps, total, largest, num_clipped]

    def figures(self) -> dict[str, float]:
        """Return the mean norm, the largest norm and the percentage of clipped steps."""
        self.count()
        steps, total, largest, num_clipped = self.sums
        mean = total / steps if steps else math.nan
        share = 100 * num_clipped / steps if steps else math.nan
        return {"train/grad_norm": mean, "train/grad_norm_max": largest, "train/clipped": share}

    def reset(self) -> None:
        """Reset the sums after a validation."""
        self.sums = [0.0] * 4

    def state(self) -> list[float]:
        """Return the sums for a checkpoint."""
        self.count()
        return self.sums

    def load(self, contents: dict[str, Any]) -> None:
        """Take the sums from a checkpoint; older ones have none."""
        self.sums = contents.get("gradients", [0.0] * 4)
