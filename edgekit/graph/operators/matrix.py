"""Matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor


def gemm(node: Node) -> Run:
    """Return alpha * A * B + beta * C, with A and B transposed first where asked for."""
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    flip_a, flip_b = node.attribute("transA", 0), node.attribute("transB", 0)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if flip_a else a
        if alpha == beta == 1.0 and (c is None or c.ndim == 1) and a.is_floating_point():
            return F.linear(a, b if flip_b else b.t(), c)
        product = a @ (b.t() if flip_b else b)
        product = product if alpha == 1.0 else alpha * product
        return product if c is None else product + (c if beta == 1.0 else beta * c)

    return run


def einsum(node: Node) -> Run:
    """Einstein summation."""
    equation = node.attribute("equation").replace(" ", "")
    return lambda *tensors: torch.einsum(equation, *tensors)


def determinant(x: Tensor) -> Tensor:
    """Determinants of the last two axes."""
    determinants: Tensor = torch.linalg.det(x)
    return determinants
