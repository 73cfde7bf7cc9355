"""torch's LSTM with a quicker training step on a CPU, packed sequences above all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from seq2seq.models.cells.base import Product, State, StepWeights, TorchStack
from seq2seq.models.cells.nodes import NodeProduct, Nodes, OnnxCell

DENSE = 512  # states from this width on are quicker here without packing too: by a tenth

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


class LSTM(TorchStack, nn.LSTM):  # type: ignore[misc]  # `forward` differs on purpose
    """`torch.nn.LSTM` as a stack, with its own backward pass on a CPU.

    torch's backward pass goes through every operation of every step. For packed sequences it also fills a tensor of the
    whole batch's size with zeros at each step. Here a layer is one function. Its backward pass computes the gradients
    of the gates step by step, then those of weights and inputs in one product each. Dropout draws the same units as
    torch's. In mixed precision, products have autocast's type; states and gates are float32.

    torch stacks the gates' weights as i f g o.
    """

    num_states = 2
    bounded = state_bounded = True
    keeps_state = False
    candidate = 2

    def taken_apart(self, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor) -> StepWeights:
        return StepWeights(_g_last(w_ih), _g_last(b_ih) + _g_last(b_hh), _g_last(w_hh), None, _step, ONNX)

    def run(self, inputs: Any, hidden: Any) -> tuple[Any, Any]:
        packed = isinstance(inputs, PackedSequence)
        data = inputs.data if packed else inputs
        mixed = torch.is_autocast_enabled("cpu")
        ours = torch.is_grad_enabled() and data.device.type == "cpu"
        if not ours or not (packed or mixed or self.hidden_size >= DENSE):
            return nn.LSTM.forward(self, inputs, hidden)
        if packed:
            return self._packed(inputs, hidden)
        batch, length, width = data.shape
        by_step = data.transpose(0, 1).reshape(length * batch, width)
        outputs, states = self._layers(by_step, hidden, [batch] * length)
        return outputs.view(length, batch, -1).transpose(0, 1), states

    def _packed(self, inputs: PackedSequence, hidden: Any) -> Any:
        data, sizes = inputs.data, inputs.batch_sizes.tolist()
        order, back = inputs.sorted_indices, inputs.unsorted_indices
        if hidden is not None and order is not None:
            hidden = [one.index_select(1, order) for one in hidden]
        if sizes[0] == sizes[-1] and self.hidden_size < DENSE:  # all of one length
            outputs, last = nn.LSTM.forward(self, data.view(len(sizes), sizes[0], -1).transpose(0, 1), hidden)
            outputs = outputs.transpose(0, 1).reshape(len(data), -1)
        else:
            outputs, last = self._layers(data, hidden, sizes)
        h, c = last if back is None else (one.index_select(1, back) for one in last)
        return inputs._replace(data=outputs), (h, c)

    def _layers(self, data: Tensor, hidden: Any, sizes: list[int]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Vectors ``(tokens, width)``, those of all sentences' first steps before the second ones."""
        finals = []
        zeros = data.new_zeros(sizes[0], self.hidden_size)
        directions = ("", "_reverse") if self.bidirectional else ("",)
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                data = F.dropout(data, self.dropout)
            outputs = []
            for side, suffix in enumerate(directions):
                row = layer * len(directions) + side
                first = (zeros, zeros) if hidden is None else (hidden[0][row], hidden[1][row])
                kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                weights = (getattr(self, f"{kind}_l{layer}{suffix}") for kind in kinds)
                output, *final = _Layer.apply(data, *first, *weights, sizes, bool(suffix))
                outputs.append(output)
                finals.append(final)
            data = torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]
        h, c = (torch.stack(one) for one in zip(*finals, strict=True))
        return data, (h, c)


def _g_last(rows: Tensor) -> Tensor:
    """Reorder i f g o as i f o g, so that one call computes all sigmoids."""
    i, f, g, o = rows.chunk(4)
    return torch.cat([i, f, o, g])


def _step(recurrent: Product, gates: Tensor, state: State) -> State:
    h, c = state
    gates, size = recurrent(h, gates), 3 * h.shape[1]
    i, f, o = gates[:, :size].sigmoid_().chunk(3, 1)
    c = (c * f).addcmul_(i, gates[:, size:].tanh_())
    return c.tanh().mul_(o), c


def _nodes(nodes: Nodes, recurrent: NodeProduct, gates: str, state: tuple[str, ...]) -> tuple[str, ...]:
    h, c = state
    i, f, o, g = nodes.split(recurrent(h, gates), 4)
    kept = nodes.add("Mul", nodes.add("Sigmoid", f), c)
    c = nodes.add("Add", kept, nodes.add("Mul", nodes.add("Sigmoid", i), nodes.add("Tanh", g)))
    return nodes.add("Mul", nodes.add("Sigmoid", o), nodes.add("Tanh", c)), c


ONNX = OnnxCell(_nodes, "LSTM", order=(0, 2, 1, 3))  # ours are i f o g, ONNX's i o f g


class _Layer(torch.autograd.Function):
    """One layer in one direction, from inputs and first state to outputs and last state.

    Shapes:
        inputs ``(tokens, width)`` as in a `PackedSequence`, ``sizes`` of each step, h and c ``(batch, hidden)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        h: Tensor,
        c: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        sizes: list[int],
        backwards: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else inputs.dtype
        exact = torch.promote_types(dtype, torch.float32)
        h, c = h.to(exact, copy=True), c.to(exact, copy=True)  # the state of each sentence, which ends as its last
        inputs, w_ih, w_hh = inputs.to(dtype), w_ih.to(dtype), w_hh.to(dtype)
        gates = torch.addmm((b_ih + b_hh).to(dtype), inputs, w_ih.t()).to(exact)  # (tokens, 4 hidden): i f g o
        h_before = gates.new_empty(len(gates), h.shape[1], dtype=dtype)
        c_before, tanh_c, outputs = (gates.new_empty(len(gates), h.shape[1]) for _ in range(3))
        recurrent = w_hh.t()
        for n, gate, (i, f, g, o), h0, c0, squashed, output in _steps(
            sizes, backwards, gates, gates.chunk(4, dim=1), h_before, c_before, tanh_c, outputs
        ):
            own_h, own_c = h[:n], c[:n]
            h0.copy_(own_h), c0.copy_(own_c)
            _add_product(gate, h0, recurrent)
            i.sigmoid_(), f.sigmoid_(), g.tanh_(), o.sigmoid_()
            own_c.mul_(f).addcmul_(i, g)
            torch.tanh(own_c, out=squashed)
            own_h.copy_(torch.mul(o, squashed, out=output))
        ctx.save_for_backward(inputs, w_ih, w_hh, gates, h_before, c_before, tanh_c)
        ctx.order = sizes, backwards
        return outputs, h, c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_h: Tensor, d_c: Tensor) -> Any:
        inputs, w_ih, w_hh, gates, h_before, c_before, tanh_c = ctx.saved_tensors
        sizes, backwards = ctx.order
        d_h, d_c = d_h.clone(), d_c.clone()
        d_gates = torch.empty_like(gates)
        product = torch.empty_like(d_h)
        parts = (gates.chunk(4, dim=1), d_gates, d_gates.chunk(4, dim=1), c_before, tanh_c, d_outputs)
        for n, (i, f, g, o), d_gate, (d_i, d_f, d_g, d_o), c0, squashed, d_output in _steps(
            sizes, not backwards, *parts
        ):
            own_h, own_c, work = d_h[:n], d_c[:n], product[:n]
            own_h += d_output
            _sigmoid_backward(torch.mul(own_h, squashed, out=work), o, grad_input=d_o)
            own_c += _tanh_backward(own_h.mul_(o), squashed, grad_input=work)
            _sigmoid_backward(torch.mul(own_c, g, out=work), i, grad_input=d_i)
            _tanh_backward(torch.mul(own_c, i, out=work), g, grad_input=d_g)
            _sigmoid_backward(torch.mul(own_c, c0, out=work), f, grad_input=d_f)
            own_c *= f
            _product(d_gate, w_hh, own_h)
        wanted = ctx.needs_input_grad
        d_bias = d_gates.sum(0)
        d_gates = d_gates.to(w_ih.dtype)
        return (
            d_gates @ w_ih if wanted[0] else None,
            d_h if wanted[1] else None,
            d_c if wanted[2] else None,
            d_gates.t() @ inputs if wanted[3] else None,
            d_gates.t() @ h_before if wanted[4] else None,
            d_bias if wanted[5] else None,
            d_bias if wanted[6] else None,
            None,
            None,
        )


def _product(rows: Tensor, weight: Tensor, out: Tensor) -> None:
    """``rows @ weight`` in the weight's type, into ``out``."""
    if rows.dtype == weight.dtype:
        torch.mm(rows, weight, out=out)
    else:
        out.copy_(rows.to(weight.dtype) @ weight)


def _add_product(total: Tensor, rows: Tensor, weight: Tensor) -> None:
    """Add ``rows @ weight`` to a total, which may have a more exact type."""
    if rows.dtype == total.dtype:
        total.addmm_(rows, weight)
    else:
        total += (rows @ weight).to(total.dtype)


def _steps(sizes: list[int], backwards: bool, *parts: Any) -> Iterator[tuple[Any, ...]]:
    """Split packed tensors, or tuples of them, by step.

    Yields each step's number of sentences and its rows, in the order of the steps.
    """
    by_step = (
        zip(*(one.split(sizes) for one in part), strict=True) if isinstance(part, tuple) else part.split(sizes)
        for part in parts
    )
    steps = list(zip(sizes, *by_step, strict=True))
    return reversed(steps) if backwards else iter(steps)
