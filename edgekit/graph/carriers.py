"""How channels' factors go through each operator: what passes them on, takes them in, opens new ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from edgekit.graph.channels import Labels, Walk
from edgekit.graph.view import integer_attribute, text_attribute


def _carried(walk: Walk, node: onnx.NodeProto) -> bool:
    """f(a x) = a f(x) within each channel: the first input's labels are the result's; the others have none."""
    labels = walk.of(node.input[0])
    same_axes = len(walk.shape(node.output[0])) == len(walk.shape(node.input[0]))
    others_fixed = all(walk.is_fixed(walk.of(name)) for name in node.input[1:])
    if walk.view.is_constant(node.input[0]) or not same_axes or not others_fixed:
        return False
    return walk.put(node.output[0], labels)


def _clipped(walk: Walk, node: onnx.NodeProto) -> bool:
    """Clip at 0 from below, and nowhere from above, is a Relu."""
    low, high = (*node.input[1:], "", "")[:2]
    return not high and bool(low) and _is_zero(walk, low) and _carried(walk, node)


def _padded(walk: Walk, node: onnx.NodeProto) -> bool:
    constant = text_attribute(node, "mode", "constant") == "constant"
    value = node.input[2] if len(node.input) > 2 else ""
    return (not constant or not value or _is_zero(walk, value)) and _carried(walk, node)


def _resized(walk: Walk, node: onnx.NodeProto) -> bool:
    # This one writes a constant where the image ends.
    extrapolates = text_attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize"
    return not extrapolates and _carried(walk, node)


def _joined_by_sum(walk: Walk, node: onnx.NodeProto) -> bool:
    """Branches that are added have the same factors; an added constant is divided by them."""
    rank = len(walk.shape(node.output[0]))
    branches = list(dict.fromkeys(walk.view.activations(node)))
    if rank < 2 or not branches or any(len(walk.shape(name)) != rank for name in branches):
        return False
    labels = np.broadcast_to(walk.of(branches[0]), walk.shape(node.output[0])[1])
    for name in branches:
        walk.tie(labels, walk.of(name))
    fits = walk.put(node.output[0], labels)
    for slot, name in enumerate(node.input):
        if fits and walk.view.is_constant(name):
            walk.edit(node, slot, None, _on_axis(labels, rank))
    return fits


def _joined_by_choice(walk: Walk, node: onnx.NodeProto) -> bool:
    """Max and Min of branches: as for sums, but a constant among them would have to be 0."""
    return not any(walk.view.is_constant(name) for name in node.input) and _joined_by_sum(walk, node)


def _multiplied(walk: Walk, node: onnx.NodeProto) -> bool:
    """A product with something that has no factors has those of the other."""
    for slot, other in ((0, 1), (1, 0)):
        if node.op_type == "Div" and slot == 1:
            return False
        name, by = node.input[slot], node.input[other]
        same_axes = len(walk.shape(name)) == len(walk.shape(node.output[0]))
        free = walk.view.is_constant(by) or walk.is_fixed(walk.of(by))
        if free and same_axes and not walk.view.is_constant(name) and walk.put(node.output[0], walk.of(name)):
            return True
    return False


def _concatenated(walk: Walk, node: onnx.NodeProto) -> bool:
    shape = walk.shape(node.output[0])
    if integer_attribute(node, "axis") % max(len(shape), 1) != 1:
        return False
    return walk.put(node.output[0], np.concatenate([walk.of(name) for name in node.input]))


def _split(walk: Walk, node: onnx.NodeProto) -> bool:
    shapes = [walk.shape(name) for name in node.output]
    labels = walk.of(node.input[0])
    if len(shapes[0]) < 2 or integer_attribute(node, "axis") % len(shapes[0]) != 1:
        return False
    ends = np.cumsum([shape[1] for shape in shapes])
    return all(
        walk.put(name, labels[end - shape[1] : end]) for name, shape, end in zip(node.output, shapes, ends, strict=True)
    )


def _sliced(walk: Walk, node: onnx.NodeProto) -> bool:
    names = node.input[1:]
    if not all(not name or walk.view.is_constant(name) for name in names):
        return False
    given = [walk.view.constant(name).tolist() if name else None for name in names] + [None, None]
    starts, ends = given[:2]
    labels, rank = walk.of(node.input[0]), len(walk.shape(node.input[0]))
    if starts is None or ends is None or rank < 2:
        return False
    axes, steps = given[2] or list(range(len(starts))), given[3] or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if axis % rank == 1:
            if step < 1:
                return False
            labels = labels[start:end:step]
    return walk.put(node.output[0], labels)


def _flattened(walk: Walk, node: onnx.NodeProto) -> bool:
    """One image's channels laid out in a row: every value of a channel keeps the channel's label."""
    before, after = walk.shape(node.input[0]), walk.shape(node.output[0])
    if len(before) < 2 or len(after) != 2 or before[0] != 1 or after[0] != 1:
        return False
    return walk.put(node.output[0], np.repeat(walk.of(node.input[0]), int(np.prod(before[2:]))))


def _convolved(walk: Walk, node: onnx.NodeProto) -> bool:
    """A weight is multiplied with its input channel's factor and divided by its output channel's."""
    if not _has_constants(walk, node):
        return False
    shape, groups = walk.shape(node.input[1]), integer_attribute(node, "group", 1)
    incoming = walk.of(node.input[0]).reshape(groups, -1)
    turned = node.op_type == "ConvTranspose"
    opened = walk.open(node, shape[1] * groups if turned else shape[0])
    spread = (slice(None), slice(None), *[None] * (len(shape) - 2))
    if turned:
        outgoing = np.repeat(opened.reshape(groups, -1), shape[0] // groups, axis=0)
        walk.edit(node, 1, incoming.reshape(-1, 1)[spread], outgoing[spread])
    else:
        walk.edit(node, 1, np.repeat(incoming, shape[0] // groups, axis=0)[spread], opened[:, None][spread])
    _edit_bias(walk, node, opened)
    return True


def _linear(walk: Walk, node: onnx.NodeProto) -> bool:
    if not _has_constants(walk, node) or integer_attribute(node, "transA"):
        return False
    shape, incoming = walk.shape(node.input[1]), walk.of(node.input[0])
    if integer_attribute(node, "transB"):
        opened = walk.open(node, shape[0])
        walk.edit(node, 1, incoming[None, :], opened[:, None])
    else:
        opened = walk.open(node, shape[1])
        walk.edit(node, 1, incoming[:, None], opened[None, :])
    _edit_bias(walk, node, opened)
    return True


def _normalized(walk: Walk, node: onnx.NodeProto) -> bool:
    """BatchNormalization: scale * (x - mean) / deviation + bias, with the mean in units of the input."""
    constant = all(walk.view.is_constant(name) for name in node.input[1:])
    if not constant or walk.view.is_constant(node.input[0]) or integer_attribute(node, "training_mode"):
        return False
    incoming = walk.of(node.input[0])
    opened = walk.open(node, len(incoming))
    walk.edit(node, 1, incoming, opened)
    walk.edit(node, 2, None, opened)
    walk.edit(node, 3, None, incoming)
    return True


def _has_constants(walk: Walk, node: onnx.NodeProto) -> bool:
    """Whether a layer multiplies an activation with constant weights and adds a constant bias, or none."""
    constant = all(walk.view.is_constant(name) for name in node.input[1:] if name)
    return constant and not walk.view.is_constant(node.input[0])


def _edit_bias(walk: Walk, node: onnx.NodeProto, opened: Labels) -> None:
    if len(node.input) > 2 and node.input[2]:
        walk.edit(node, 2, None, opened)


def _on_axis(labels: Labels, rank: int) -> Labels:
    """Shape labels so that they broadcast along the channel axis of a tensor with so many axes."""
    return labels.reshape([-1 if axis == 1 else 1 for axis in range(rank)])


def _is_zero(walk: Walk, tensor: str) -> bool:
    return walk.view.is_constant(tensor) and not np.any(walk.view.constant(tensor))


_CARRIERS = (
    "Identity",
    "Dropout",
    "Abs",
    "Neg",
    "Relu",
    "LeakyRelu",
    "PRelu",
    "MaxPool",
    "AveragePool",
    "GlobalMaxPool",
    "GlobalAveragePool",
    "ReduceMax",
    "ReduceMin",
    "ReduceMean",
    "ReduceSum",
)

RULES: dict[str, Callable[[Walk, onnx.NodeProto], bool]] = {
    **dict.fromkeys(_CARRIERS, _carried),
    "Clip": _clipped,
    "Pad": _padded,
    "Resize": _resized,
    "Add": _joined_by_sum,
    "Sub": _joined_by_sum,
    "Sum": _joined_by_sum,
    "Max": _joined_by_choice,
    "Min": _joined_by_choice,
    "Mul": _multiplied,
    "Div": _multiplied,
    "Concat": _concatenated,
    "Split": _split,
    "Slice": _sliced,
    "Flatten": _flattened,
    "Reshape": _flattened,
    "Conv": _convolved,
    "ConvTranspose": _convolved,
    "Gemm": _linear,
    "BatchNormalization": _normalized,
}
"""Operator to its rule, which says whether it allows factors at this node; at any other they are fixed at 1."""
