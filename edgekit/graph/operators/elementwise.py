"""Operators that treat each element by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch

from edgekit.graph.operators.dtypes import dtype_name, supported, torch_dtype
from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor


def plain(function: Run) -> Callable[[Node], Run]:
    """Return an operator that is one function of its inputs and has no attributes."""
    return lambda node: function


def variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node], Run]:
    """Return an operator that joins any number of inputs pairwise."""
    return lambda node: lambda *tensors: reduce(function, tensors)


def mean(node: Node) -> Run:
    """Mean of all inputs, element by element."""
    return lambda *tensors: reduce(torch.add, tensors) / len(tensors)


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Divide; integers round towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(base: Tensor, exponent: Tensor) -> Tensor:
    """Raise to a power; the result has the base's dtype."""
    return torch.pow(base, exponent).to(base.dtype)


def modulo(node: Node) -> Run:
    """Remainder with the sign of the divisor, or with the dividend's where `fmod` is set."""
    return torch.fmod if node.attribute("fmod", 0) else torch.remainder


def clip(node: Node) -> Run:
    """Limit values to [min, max]: attributes up to opset 10, inputs from 11 on. Where they cross, max wins."""
    if any(node.has(slot) and not node.is_constant(slot) for slot in (1, 2)):
        return _clip_to_tensors
    low, high = (
        node.attribute(name) if values is None else values.item()
        for name, values in (("min", node.constant(1)), ("max", node.constant(2)))
    )
    return identity if low is None and high is None else lambda x, *_: torch.clamp(x, low, high)


def _clip_to_tensors(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def cast(node: Node) -> Run:
    """Convert to another dtype; floats are cut off towards zero on their way to integers."""
    name = dtype_name(node.attribute("to"))
    if not supported(name) or name in ("int4", "uint4"):
        raise node.unsupported(what=f"a cast to {name}")
    dtype = torch_dtype(name)
    return lambda x: x.to(dtype)


def cast_like(x: Tensor, like: Tensor) -> Tensor:
    """Convert to the dtype of the second input."""
    return x.to(like.dtype)


def is_infinite(node: Node) -> Run:
    """Say where a value is infinite, of the signs asked for."""
    negative, positive = node.attribute("detect_negative", 1), node.attribute("detect_positive", 1)

    def run(x: Tensor) -> Tensor:
        found = torch.zeros_like(x, dtype=torch.bool)
        found = found | torch.isneginf(x) if negative else found
        return found | torch.isposinf(x) if positive else found

    return run


def identity(x: Tensor, *others: Tensor | None) -> Tensor:
    """Return the input as it is."""
    return x


def dropout(node: Node) -> Run:
    """Inference: the input as it is, and a mask that drops nothing."""
    if node.output_count == 1:
        return identity
    return lambda x, *others: (x, torch.ones_like(x, dtype=torch.bool))
