"""Attention of the decoder's outputs to the encoder's outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Attention after the recurrent stack, so that a whole target is one pass.

    It scores every source position for every target position:

    - ``dot``: score = q . m
    - ``general``: score = q . W m
    - ``additive``: score = v . tanh(W q + U m)

    Args:
        kind: "dot", "general" or "additive".
        query_size: width of the decoder's outputs. memory_size: width of the encoder's; for ``dot`` the same.

    Shapes:
        queries ``(batch, tgt, query_size)``, memory ``(batch, src, memory_size)``, keys ``(batch, src, query_size)``
        from `keys`, mask ``(batch, src)``, True at real positions (at least one in each row); returns the
        context ``(batch, tgt, memory_size)`` and the weights ``(batch, tgt, src)``.

    Raises:
        ValueError: if the sizes do not fit.

    Source:
        Luong et al. (2015), https://arxiv.org/abs/1508.04025 (dot, general); Bahdanau et al. (2015),
        https://arxiv.org/abs/1409.0473 (additive).
    """

    def __init__(self, kind: str, query_size: int, memory_size: int) -> None:
        super().__init__()
        if kind == "dot" and query_size != memory_size:
            raise ValueError(f"attention=dot needs equal widths; got {query_size} and {memory_size}.")
        self.kind = kind
        self.memory_size = memory_size
        if kind != "dot":
            self.key = nn.Linear(memory_size, query_size, bias=False)
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size)
            self.score = nn.Parameter(torch.empty(1, query_size))
            nn.init.uniform_(self.score, -(query_size**-0.5), query_size**-0.5)

    @property
    def key_weight(self) -> Tensor | None:
        """The matrix (query_size, memory_size) that makes keys of memories; None where the memory is the keys."""
        return None if self.kind == "dot" else self.key.weight

    def keys(self, memory: Tensor) -> Tensor:
        """The keys that queries are compared with, computed once for each source."""
        return memory if self.kind == "dot" else self.key(memory)

    def forward(self, queries: Tensor, keys: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        scores = self._scores(queries, keys).masked_fill(~mask.unsqueeze(1), -math.inf)  # (batch, tgt, src)
        weights = scores.softmax(dim=-1)
        return weights @ memory, weights

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        if self.kind == "additive":
            together = torch.tanh(self.query(queries).unsqueeze(2) + keys.unsqueeze(1))  # (batch, tgt, src, query_size)
            return torch.einsum("btsd,d->bts", together, self.score[0])
        return queries @ keys.transpose(1, 2)
