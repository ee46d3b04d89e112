"""What each node costs: multiply-accumulates, parameters and bytes moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

Shape = tuple[int, ...]


@dataclass(frozen=True)
class NodeCost:
    """The cost of one node in floating point.

    Attributes:
        name: The node.
        operator: Its operator.
        macs: Multiply-accumulates of one run; 0 for operators that are not counted in them.
        parameters: Elements of its constant inputs.
        weight_bytes: Bytes of its constant inputs.
        activation_bytes: Bytes of the activations that it reads and writes.
    """

    name: str
    operator: str
    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int


def node_costs(model: onnx.ModelProto) -> tuple[NodeCost, ...]:
    """Return the cost of every node of a cleaned model (named nodes, static shapes), in its order."""
    shapes = tensor_shapes(model)
    sizes = _element_sizes(model)
    weights = {weight.name for weight in model.graph.initializer}
    return tuple(_cost(node, shapes, sizes, weights) for node in model.graph.node)


def tensor_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Return the shape of every tensor of a cleaned model, weights included."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    shapes = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}
    return shapes | {weight.name: tuple(weight.dims) for weight in model.graph.initializer}


def _element_sizes(model: onnx.ModelProto) -> dict[str, int]:
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    types |= {weight.name: weight.data_type for weight in model.graph.initializer}
    return {name: int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize) for name, kind in types.items()}


def _cost(node: onnx.NodeProto, shapes: Mapping[str, Shape], sizes: Mapping[str, int], weights: set[str]) -> NodeCost:
    constant = [name for name in node.input if name in weights]
    moved = [name for name in (*node.input, *node.output) if name and name not in weights]
    return NodeCost(
        name=node.name,
        operator=node.op_type,
        macs=_macs(node, shapes),
        parameters=sum(math.prod(shapes[name]) for name in constant),
        weight_bytes=sum(math.prod(shapes[name]) * sizes[name] for name in constant),
        activation_bytes=sum(math.prod(shapes[name]) * sizes[name] for name in moved),
    )


def _macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    output = shapes[node.output[0]]
    if node.op_type == "Conv":
        # A weight is (outputs, inputs / group, kernel...): each output element sums over one filter.
        return math.prod(output) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        # A weight is (inputs, outputs / group, kernel...): each input element is spread over one filter.
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return math.prod(output) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(output) * shapes[node.input[0]][0 if transposed else 1]
    return 0
