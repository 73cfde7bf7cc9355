"""A device that is not there: its tensors are computed on the CPU, say that they are elsewhere, and have no float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")  # a kind that every build knows; no other tensor of it occurs here


class StandIn(Tensor):
    """A tensor on the device; ``inner`` has its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> StandIn:
        if inner.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"StandIn({self.inner})"

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __setitem__(self, index: Any, value: Any) -> None:
        places = index if isinstance(index, tuple) else (index,)
        # Of a list torch would make a tensor on the device, and one without numbers.
        super().__setitem__(tuple(torch.tensor(one) if isinstance(one, list) else one for one in places), value)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return _work(function, arguments, options or {})


def _work(function: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """Do the work on the CPU; what it gives is on the device, unless it was asked for elsewhere."""
    flat = [one for one in tree_flatten((arguments, options))[0] if isinstance(one, StandIn)]
    wanted = options.get("device")
    on_device = torch.device(wanted) == DEVICE if wanted is not None else bool(flat)
    inner = tree_map(lambda one: one.inner if isinstance(one, StandIn) else one, (arguments, options))
    given = {**inner[1], "device": torch.device("cpu")} if wanted is not None else inner[1]
    found = function(*inner[0], **given)
    if function is torch.ops.aten._to_copy.default and wanted is not None and not on_device:
        return found.clone()
    if function is torch.ops.aten._pack_padded_sequence.default:  # whose batch sizes are always on the CPU
        return StandIn(found[0]), found[1]
    known = {id(one.inner): one for one in flat}  # what is changed in place stays the tensor that it was

    def outside(one: Any) -> Any:
        if not isinstance(one, Tensor) or not on_device:
            return one
        return known[id(one)] if id(one) in known else StandIn(one)

    return tree_map(outside, found)


class _Mode(TorchDispatchMode):
    """Also what makes tensors on the device of nothing."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return _work(function, arguments, options or {})


@contextmanager
def stand_in() -> Iterator[None]:
    """Meanwhile the device is there."""
    enabled, tensor = torch.is_autocast_enabled, torch.tensor

    def new(values: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = tensor(values, **options)
        return made if device is None else made.to(device)

    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(torch, "is_autocast_enabled", lambda kind=None: False if kind == DEVICE.type else enabled(kind))
        patch.setattr(torch, "tensor", new)
        yield


def move(model: nn.Module) -> None:
    """Put a network on the device; weights that were one stay one."""
    moved: dict[int, nn.Parameter] = {}
    for part in model.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                new = moved.setdefault(id(parameter), nn.Parameter(StandIn(parameter.detach().clone())))
                part._parameters[name] = new
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [part._parameters[name] for name in part._flat_weights_names]
