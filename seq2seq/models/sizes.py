"""Check stored weights against a network before it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seq2seq.config.schema import Stack
from seq2seq.errors import UserError


class Unfit(Exception):
    """The weights do not fit the network. The message says why, without a full stop."""


def check_sizes(build: Callable[[], nn.Module], stacks: Sequence[Stack], weights: Mapping[str, Tensor]) -> None:
    """Compare weights with the network that they are for, without memory for that network.

    Work and memory are in proportion to the weights, whatever the settings say. A checkpoint from elsewhere may
    describe a network that is too large for any machine.

    Args:
        build: makes the network. It is called with torch's meta device, which has shapes but no numbers.
        stacks: the network's recurrent stacks.
        weights: by their names in the network.

    Raises:
        Unfit: if the network cannot be built, or names, shapes or sizes differ.
    """
    for stack in stacks:
        if stack.num_layers > len(weights):
            raise Unfit(f"{stack.num_layers} layers cannot have {len(weights)} tensors")
    skeleton = _skeleton(build)
    _check_shapes(skeleton, weights)
    for name, tensor in weights.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or not tensor.is_floating_point():
            raise Unfit(f"{name} is not a dense tensor of floating-point numbers")
    # A tensor may repeat its numbers, or share them with others: a small file can have large shapes.
    needed = sum(parameter.numel() for parameter in skeleton.parameters())
    storages = [(one.untyped_storage(), one.itemsize) for one in weights.values()]
    stored = sum({part.data_ptr(): part.nbytes() // size for part, size in storages}.values())
    if needed > stored:
        raise Unfit(f"it holds {stored:,} numbers for {needed:,} parameters")


def _check_shapes(skeleton: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Compare names and shapes, and report the first difference."""
    wanted = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    for name, shape in wanted.items():
        if name not in weights:
            raise Unfit(f"it has no {name}")
        if tuple(weights[name].shape) != shape:
            raise Unfit(f"{name} is of size {_written(weights[name].shape)}, not {_written(shape)}")
    stray = next((name for name in weights if name not in wanted), None)
    if stray is not None:
        raise Unfit(f"it has {stray[:60]!r}, which the model lacks")


class _WithoutNumbers(TorchFunctionMode):
    """Tensors on the meta device, left without first weights.

    They have no numbers to set, and torch would import its compiler, for a second, to see that.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _skeleton(build: Callable[[], nn.Module]) -> nn.Module:
    try:
        with torch.device("meta"), _WithoutNumbers():
            return build()
    except (UserError, RuntimeError, ValueError, TypeError, OverflowError) as error:  # or sizes too large for torch
        raise Unfit(" ".join(str(error).split())[:200].rstrip(".")) from None


def _written(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "1"
