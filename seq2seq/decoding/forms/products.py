"""Matrix products in float32 and with 8-bit weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seq2seq.errors import UserError

LEVELS = 127  # steps of 8 bits on each side of 0
MIDDLE = 128  # the byte that stands for 0
LEAST_ROWS = 8


class FloatLinear:
    """x @ weight.T + bias, in float32, for x ``(rows, inputs)``.

    With ``onto`` ``(rows, outputs)`` the product is added to that instead, possibly in place.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._set(weight.t().contiguous(), bias)  # in this order MKL is faster, with few rows up to twice

    def _set(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        if onto is not None:
            return onto.addmm_(x, self.weight)
        return x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)

    def outputs(self, which: Tensor) -> FloatLinear:
        """The layer with only these outputs."""
        some = FloatLinear.__new__(FloatLinear)
        some._set(self.weight.index_select(1, which), None if self.bias is None else self.bias[which])
        return some


class Int8Linear:
    """x @ weight.T + bias, with an 8-bit weight and 16-bit x.

    x is two 8-bit integers: x = (high + low / 254) * scale / 127.

    Args:
        bounded: whether all numbers in x lie in [-1, 1]. Else each row is scaled by its largest.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, bounded: bool) -> None:
        scale = weight.abs().amax(1).clamp_min(torch.finfo(weight.dtype).tiny) / LEVELS
        whole = (weight / scale.unsqueeze(1)).round().to(torch.int8)
        self._set(whole, scale, bias, bounded)

    def _set(self, whole: Tensor, scale: Tensor, bias: Tensor | None, bounded: bool) -> None:
        self.whole, self.scale, self.bias, self.bounded = whole, scale, bias, bounded
        self._middle = torch.tensor(float(MIDDLE))
        self.zero = torch.zeros(len(scale), dtype=torch.int32)
        self.packed = torch.ops.onednn.qlinear_prepack(whole.contiguous(), None)

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        largest = None if self.bounded else x.abs().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        product = self._product(
            x if largest is None else x / largest, self.bias if largest is None and onto is None else None
        )
        if largest is not None:
            product *= largest
            if onto is None and self.bias is not None:
                product += self.bias
        return product if onto is None else onto.add_(product)

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        rows, width = x.shape
        parts = torch.empty(
            2, rounded(rows), width, dtype=torch.uint8
        )  # oneDNN's products of unsigned bytes are faster
        steps = torch.add(self._middle, x, alpha=LEVELS)
        high = steps.round()
        parts[0, :rows] = high
        parts[1, :rows] = steps.sub_(high).mul_(2 * LEVELS).add_(self._middle).round_()
        weights = (self.packed, self.scale, self.zero)
        rest: Any = (bias, 1.0, 0, torch.float32, "none", [], "")
        product = torch.ops.onednn.qlinear_pointwise(parts[0], 1 / LEVELS, MIDDLE, *weights, *rest)
        rest = (product, None, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "")
        scale = 1 / (2 * LEVELS * LEVELS)
        return torch.ops.onednn.qlinear_pointwise.binary(parts[1], scale, MIDDLE, *weights, *rest)[:rows]

    def outputs(self, which: Tensor) -> Int8Linear:
        """The layer with only these outputs."""
        some = Int8Linear.__new__(Int8Linear)
        bias = None if self.bias is None else self.bias[which]
        some._set(self.whole[which], self.scale[which], bias, self.bounded)
        return some


def rounded(rows: int) -> int:
    """Round the number of rows up, to one of four sizes per power of two and at least 8.

    oneDNN spends about 1 ms on every new size, and its code for fewer than four rows is slow.
    """
    step = 1 << max(rows.bit_length() - 3, 0)
    return max(-(-rows // step) * step, LEAST_ROWS)


AnyLinear = FloatLinear | Int8Linear


Build = Callable[..., AnyLinear]  # from weight, bias and bounded


def build_float(weight: Tensor, bias: Tensor | None, *, bounded: bool) -> FloatLinear:
    return FloatLinear(weight, bias)


def build_int8(weight: Tensor, bias: Tensor | None, *, bounded: bool) -> Int8Linear:
    return Int8Linear(weight, bias, bounded=bounded)


def require_int8() -> None:
    """Check that 8-bit products are available.

    Raises:
        UserError: if this build of torch, or this processor, does not have them.
    """
    if not has_int8():
        raise UserError(
            "decode.int8 needs oneDNN's 8-bit products and a processor with VNNI; torch "
            f"{torch.__version__} does not find them here. Use decode.int8=false."
        )


def has_int8() -> bool:
    """Whether 8-bit products are available and right. Without VNNI their sums overflow 16 bits."""
    signs = torch.ones(64, 64).triu() * 2 - 1
    try:
        product = Int8Linear(signs, bounded=True)(signs)
    except (RuntimeError, AttributeError):
        return False
    return torch.allclose(product, signs @ signs.t(), atol=1e-3)
