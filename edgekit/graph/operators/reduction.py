"""Reductions over axes: sums, norms, extremes and where they are."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor
Reduction = Callable[[Tensor, list[int], bool], Tensor]


def reduction(reduce: Reduction) -> Callable[[Node], Run]:
    """Return the operator of a reduction: axes as an attribute in older opsets, as an input in newer ones."""

    def prepare(node: Node) -> Run:
        axes = node.integers_at("axes", 1)
        keep = bool(node.attribute("keepdims", 1))
        if axes:
            return lambda x, *_: reduce(x, axes, keep)
        if node.attribute("noop_with_empty_axes", 0):
            # Each element is reduced by itself, so that a norm still takes its absolute value.
            return lambda x, *_: reduce(x.unsqueeze(-1), [-1], False)
        return lambda x, *_: reduce(x, list(range(x.ndim)), keep)

    return prepare


def total(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Sum."""
    return x.sum(axes, keep, dtype=x.dtype)


def mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Mean."""
    return x.mean(axes, keep)


def largest(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Largest value."""
    return x.amax(axes, keep)


def smallest(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Smallest value."""
    return x.amin(axes, keep)


def product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Product."""
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keep, dtype=x.dtype)
    return x


def l1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Sum of absolute values."""
    return total(x.abs(), axes, keep)


def l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Euclidean norm."""
    return torch.sqrt(sum_of_squares(x, axes, keep)).to(x.dtype)


def sum_of_squares(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Sum of squares."""
    return total(x * x, axes, keep)


def log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Logarithm of the sum."""
    return torch.log(total(x, axes, keep))


def log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """Logarithm of the sum of exponentials, without overflow."""
    return torch.logsumexp(x, axes, keep)


def arg_max(node: Node) -> Run:
    """Index of the largest value along an axis."""
    return _extreme(node, torch.argmax)


def arg_min(node: Node) -> Run:
    """Index of the smallest value along an axis."""
    return _extreme(node, torch.argmin)


def _extreme(node: Node, find: Callable[[Tensor, int, bool], Tensor]) -> Run:
    axis, keep = node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
    if not node.attribute("select_last_index", 0):
        return lambda x: find(x, axis, keep)
    return lambda x: x.shape[axis] - 1 - find(x.flip(axis), axis, keep)


def top_k(node: Node) -> Run:
    """The k largest or smallest values along an axis, and where they are."""
    axis, largest_first = node.attribute("axis", -1), bool(node.attribute("largest", 1))
    given = node.integers(1)
    k = node.attribute("k") if given is None else given[0]

    def run(x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        # A stable sort, because among equals ONNX wants the lower index first and torch.topk promises nothing.
        order = torch.argsort(x, dim=axis, descending=largest_first, stable=True).narrow(axis, 0, k)
        return x.gather(axis, order), order

    return run


def cumulative_sum(node: Node) -> Run:
    """Running sum along an axis."""
    axes = node.integers(1)
    assert axes is not None
    axis, exclusive, backwards = axes[0], node.attribute("exclusive", 0), node.attribute("reverse", 0)

    def run(x: Tensor, *_: Tensor) -> Tensor:
        ordered = x.flip(axis) if backwards else x
        sums = ordered.cumsum(axis, dtype=x.dtype)
        sums = sums - ordered if exclusive else sums
        return sums.flip(axis) if backwards else sums

    return run
