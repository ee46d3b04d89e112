"""QuantizeLinear and DequantizeLinear: forward as ONNX defines them, backward straight through the rounding."""

from __future__ import annotations

from typing import Any

import torch

from edgekit.graph.operators.dtypes import INTEGER_LIMITS, dtype_name, torch_dtype
from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def round_straight_through(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes as if nothing had been rounded (Bengio et al., arXiv 1308.3432)."""
    if not x.requires_grad:
        return torch.round(x)
    rounded: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return rounded


def quantize_linear(node: Node) -> Run:
    """Return round(x / scale) + zero point, clipped to the integer's range.

    An integer cannot carry a gradient: where one is wanted, the integers come as floating-point numbers, and
    DequantizeLinear takes both. Clipped values pass no gradient on; the scale gets that of LSQ (arXiv 1902.08153).
    """
    name = _integer_name(node)
    low, high = INTEGER_LIMITS[name]
    dtype = torch_dtype(name)
    along = _along(node)

    def run(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        steps: Tensor = x / along(scale, x)
        rounded = round_straight_through(steps)
        if zero_point is not None:
            rounded = rounded + along(zero_point, x)
        clipped: Tensor = torch.clamp(rounded, low, high)
        return clipped if clipped.requires_grad else clipped.to(dtype)

    return run


def dequantize_linear(node: Node) -> Run:
    """Return (x - zero point) * scale."""
    along = _along(node)

    def run(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        real = x.to(scale.dtype)
        if zero_point is not None:
            real = real - along(zero_point, x)
        product: Tensor = real * along(scale, x)
        return product

    return run


def _integer_name(node: Node) -> str:
    zero_point = node.dtype(2)
    asked = node.attribute("output_dtype", 0)
    if node.has(2) and zero_point is None:
        raise node.unsupported(what="the zero point is computed by the graph; it has to be a constant")
    name = zero_point.name if zero_point is not None else dtype_name(asked) if asked else "uint8"
    if name not in INTEGER_LIMITS:
        raise node.unsupported(what=f"quantized to {name}")
    return str(name)


def _along(node: Node) -> Run:
    """Return what shapes a scale or zero point so that it broadcasts: per tensor, per channel or per block."""
    axis, block = node.attribute("axis", 1), node.attribute("block_size", 0)

    def shaped(values: Tensor, x: Tensor) -> Tensor:
        if values.ndim == 0:
            return values
        if block:
            return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
        place = axis % x.ndim
        return values.reshape([-1 if number == place else 1 for number in range(x.ndim)])

    return shaped
