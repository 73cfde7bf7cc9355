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

    With several heads, each uses its share of the query, the keys and the memory. The scores of dot and general are
    then divided by the square root of the share's width.

    Args:
        kind: "dot", "general" or "additive".
        query_size: width of the decoder's outputs. memory_size: width of the encoder's; for ``dot`` the same.
        num_heads: divides both.

    Shapes:
        queries ``(batch, tgt, query_size)``, memory ``(batch, src, memory_size)``, keys ``(batch, src, query_size)``
        from `keys`, mask ``(batch, src)``, True at real positions (at least one in each row); returns the
        context ``(batch, tgt, memory_size)`` and the weights, means over heads, ``(batch, tgt, src)``.

    Raises:
        ValueError: if the sizes do not fit.

    Source:
        Luong et al. (2015), https://arxiv.org/abs/1508.04025 (dot, general); Bahdanau et al. (2015),
        https://arxiv.org/abs/1409.0473 (additive); Vaswani et al. (2017), https://arxiv.org/abs/1706.03762 (heads).
    """

    def __init__(self, kind: str, query_size: int, memory_size: int, *, num_heads: int = 1) -> None:
        super().__init__()
        if query_size % num_heads or memory_size % num_heads:
            raise ValueError(f"{num_heads} heads must divide the widths {query_size} and {memory_size}.")
        if kind == "dot" and query_size != memory_size:
            raise ValueError(f"attention=dot needs equal widths; got {query_size} and {memory_size}.")
        self.kind = kind
        self.memory_size = memory_size
        self.num_heads = num_heads
        if kind != "dot":
            self.key = nn.Linear(memory_size, query_size, bias=False)
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size)
            self.score = nn.Parameter(torch.empty(num_heads, query_size // num_heads))
            nn.init.uniform_(self.score, -(query_size**-0.5), query_size**-0.5)

    @property
    def key_weight(self) -> Tensor | None:
        """The matrix (query_size, memory_size) that makes keys of memories; None where the memory is the keys."""
        return None if self.kind == "dot" else self.key.weight

    def keys(self, memory: Tensor) -> Tensor:
        """The keys that queries are compared with, computed once for each source."""
        return memory if self.kind == "dot" else self.key(memory)

    def forward(self, queries: Tensor, keys: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        scores = self._scores(queries, keys)  # (batch, heads, tgt, src)
        scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
        weights = scores.softmax(dim=-1)
        context = weights @ self._heads(memory)  # (batch, heads, tgt, memory / heads)
        return context.transpose(1, 2).flatten(2), weights.mean(dim=1)

    def _heads(self, vectors: Tensor) -> Tensor:
        """(batch, length, width) to (batch, heads, length, width / heads)."""
        return vectors.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        if self.kind == "additive":
            queries, keys = self._heads(self.query(queries)), self._heads(keys)
            together = torch.tanh(queries.unsqueeze(3) + keys.unsqueeze(2))  # (batch, heads, tgt, src, width / heads)
            return torch.einsum("bhtsd,hd->bhts", together, self.score)
        queries, keys = self._heads(queries), self._heads(keys)
        if self.num_heads > 1:
            queries = queries / math.sqrt(queries.shape[-1])
        return queries @ keys.transpose(2, 3)
