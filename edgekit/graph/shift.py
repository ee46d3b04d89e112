"""Move the zero of a network's input to the middle of its range, without changing what the network computes.

A symmetric grid reaches as far below zero as above it, and pixels have no values below. Where a convolution reads
x - c instead of x, and c times the sum of its weights is added to its bias, both halves of the grid are used.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.graph.view import GraphView, drop_unread_constants, text_attribute


def shiftable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the convolutions that read the model's input and could read it shifted."""
    view = GraphView(model)
    readers = [view.nodes[reader.node] for reader in view.readers(model.graph.input[0].name) if reader.slot == 0]
    return tuple(
        node.name
        for node in readers
        if node.op_type == "Conv"
        and all(view.is_constant(name) for name in node.input[1:] if name)
        and text_attribute(node, "auto_pad") in ("", "NOTSET", "VALID")
    )


def shifted(model: onnx.ModelProto, shift: float, nodes: Collection[str]) -> onnx.ModelProto:
    """Return a model in which some convolutions read the input minus a constant; the outputs are the same.

    Zeros around the image would no longer stand for what they did, so a Pad goes before the subtraction and the
    convolution itself pads nothing.

    Args:
        model: A cleaned model.
        shift: The constant, in units of the input.
        nodes: Convolutions from `shiftable`; everything else goes on reading the input itself.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view, graph = GraphView(model), result.graph
    source = graph.input[0].name
    leading: dict[str, onnx.NodeProto] = {}
    graph.initializer.append(numpy_helper.from_array(np.array(shift, np.float32), f"{source}/shift"))
    for node in graph.node:
        if node.name not in nodes:
            continue
        padded = _pad(graph, node, source, leading)
        name = f"{padded}/shifted"
        leading[name] = helper.make_node("Sub", [padded, f"{source}/shift"], [name], name=name)
        weights = view.constant(node.input[1])
        bias = view.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else 0.0
        added = np.float64(np.float32(shift)) * weights.astype(np.float64).sum(axis=tuple(range(1, weights.ndim)))
        graph.initializer.append(numpy_helper.from_array((bias + added).astype(weights.dtype), f"{node.name}/shift"))
        node.input[:] = [name, node.input[1], f"{node.name}/shift"]
    _lead(graph, list(leading.values()))
    return onnx.shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)


def _pad(graph: onnx.GraphProto, node: onnx.NodeProto, source: str, leading: dict[str, onnx.NodeProto]) -> str:
    """Take a convolution's padding out of it; returns the padded input, which those with the same padding share."""
    attribute = next((one for one in node.attribute if one.name == "pads"), None)
    if attribute is None or not any(attribute.ints):
        return source
    pads = [int(count) for count in attribute.ints]
    half = len(pads) // 2
    name = f"{source}/pad_{'_'.join(map(str, pads))}"
    if name not in leading:
        counts = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64)
        graph.initializer.append(numpy_helper.from_array(counts, f"{name}/pads"))
        leading[name] = helper.make_node("Pad", [source, f"{name}/pads"], [name], name=name)
    attribute.ints[:] = [0] * len(pads)
    return name


def _lead(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Put nodes before all others, and drop constants that are no longer read."""
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread_constants(graph)
