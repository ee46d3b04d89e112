"""Find what a network computes for nothing: branches whose weights have decayed to zero in training.

Weight decay drives what a loss does not need towards zero, not to it. Such weights are left at 1e-20 or below: too
small to change one bit of any result they are added to, yet computed in full, and slowly where they are denormal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

NOTHING = 1e-15
"""Weights of smaller magnitude are taken as zero. The smallest that training leaves in use are near 1e-8."""

CARRY_ZERO = frozenset(
    {
        "AveragePool",
        "Expand",
        "Flatten",
        "GlobalAveragePool",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Neg",
        "PRelu",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "Squeeze",
        "Tanh",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that make zeros of a first input of zeros."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def cut_dead_branches(model: ir.Model) -> int:
    """Take weights of next to nothing as zero, and let no Add read a branch that is zero whatever the input.

    What led to such a branch is left for the removal of unused nodes. A zero times infinity is taken as zero here,
    which a network that gives finite numbers never notices.

    Args:
        model: Changed in place; with the shapes of its tensors.

    Returns:
        How many Adds were skipped.
    """
    for value in model.graph.initializers.values():
        _flush(value)
    zero: set[ir.Value] = set()
    skipped = 0
    for node in list(model.graph):
        if node.op_type == "Add" and len(node.inputs) == 2:
            skipped += _skip(node, lambda value: _is_zero(value, zero))
        if _makes_zero(node, lambda value: _is_zero(value, zero)):
            zero.update(node.outputs)
    return skipped


def _flush(value: ir.Value) -> None:
    if value.const_value is None or value.const_value.dtype != ir.DataType.FLOAT:
        return
    array = value.const_value.numpy()
    tiny = (np.abs(array) < NOTHING) & (array != 0.0)
    if tiny.any():
        value.const_value = ir.tensor(np.where(tiny, np.float32(0.0), array), name=value.name)


def _is_zero(value: ir.Value | None, zero: set[ir.Value]) -> bool:
    if value is None or value in zero:
        return value is not None
    constant = value.const_value
    return constant is not None and constant.dtype == ir.DataType.FLOAT and not constant.numpy().any()


def _makes_zero(node: ir.Node, is_zero: Callable[[ir.Value | None], bool]) -> bool:
    inputs = node.inputs
    if node.op_type in CARRY_ZERO:
        return is_zero(inputs[0])
    if node.op_type == "Mul":
        return any(is_zero(value) for value in inputs)
    if node.op_type in ("Add", "Sub", "Concat"):
        return all(is_zero(value) for value in inputs)
    if node.op_type in WEIGHTED:
        unbiased = len(inputs) < 3 or inputs[2] is None or is_zero(inputs[2])
        return unbiased and any(is_zero(value) for value in inputs[:2])
    return False


def _skip(add: ir.Node, is_zero: Callable[[ir.Value | None], bool]) -> bool:
    """Let what reads an Add of x and zeros read x, where x has the result's shape."""
    result = add.outputs[0]
    for zeros, other in (add.inputs, reversed(add.inputs)):
        same_shape = other is not None and other.shape is not None and other.shape == result.shape
        if same_shape and other is not None and is_zero(zeros) and not result.is_graph_output():
            ir.convenience.replace_all_uses_with(result, other)
            return True
    return False
