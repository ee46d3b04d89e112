"""Take Q/DQ out of a model again, for engines that are told the scales in another way."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from edgekit.graph.numerics import dequantize
from edgekit.graph.view import drop_unread_constants, integer_attribute


def without_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in floating point: weights as their integers stand for, activations as they are computed."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in constants:
            graph.initializer.append(_dequantized(node, constants))
        elif node.op_type == "DequantizeLinear":
            renamed[node.output[0]] = renamed[node.input[0]]
        else:
            nodes.append(node)
    for node in nodes:
        for slot, name in enumerate(node.input):
            node.input[slot] = renamed.get(name, name)
    # A pair that made one of the model's outputs.
    last = [
        onnx.helper.make_node("Identity", [renamed[out.name]], [out.name])
        for out in graph.output
        if out.name in renamed
    ]
    del graph.node[:]
    graph.node.extend([*nodes, *last])
    del graph.value_info[:]
    drop_unread_constants(graph)
    return plain


def _dequantized(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> onnx.TensorProto:
    values, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
    zero_point = numpy_helper.to_array(constants[node.input[2]]) if len(node.input) > 2 else values.dtype.type(0)
    axis = integer_attribute(node, "axis", 1) if scale.ndim else None
    return numpy_helper.from_array(dequantize(values, scale, zero_point, axis), node.output[0])
