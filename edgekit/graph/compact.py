"""A model in as few bytes as it takes: names that nobody reads are shortened, and what is there twice is stored once.

Of a small quantized network names and shapes are a third of the file. An engine needs neither.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import count

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.graph.view import GraphView, integer_attribute

LEAST_WEIGHTS = 1024
"""Fewer weights than this save less than they are worth."""

_DIGITS = string.ascii_letters


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that computes the same.

    Inputs and outputs keep their names. Nodes have none, all other values have short ones; recorded shapes,
    documentation and metadata are gone; equal initializers are one. Models with subgraphs are returned as they are.
    """
    if any(attribute.HasField("g") or attribute.graphs for node in model.graph.node for attribute in node.attribute):
        return model
    smaller = onnx.ModelProto()
    smaller.CopyFrom(model)
    graph = smaller.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    names = _names(kept)
    renamed: dict[str, str] = {"": ""} | {name: name for name in kept}
    same: dict[bytes, str] = {}
    tensors: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        old, tensor.name = tensor.name, ""
        tensor.doc_string = ""
        content = tensor.SerializeToString(deterministic=True)
        if old in kept or content not in same:
            tensor.name = renamed.setdefault(old, "") or next(names)
            renamed[old] = tensor.name
            tensors.append(tensor)
            same.setdefault(content, tensor.name)
        else:
            renamed[old] = same[content]
    kept_tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
    del graph.initializer[:], graph.value_info[:], smaller.metadata_props[:]
    graph.initializer.extend(kept_tensors)
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [renamed[name] for name in node.input]
        for name in node.output:
            if name not in renamed:
                renamed[name] = next(names)
        node.output[:] = [renamed[name] for name in node.output]
    graph.name = "g"
    graph.doc_string = smaller.doc_string = smaller.producer_name = smaller.producer_version = ""
    return smaller


def with_float_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a Q/DQ model whose convolutions read their biases in floating point, rounded as they are.

    The scale of a quantized bias is the product of the scales of input and weights, which the model has already.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    biases = {node.input[2] for node in graph.node if node.op_type == "Conv" and len(node.input) > 2}
    for name in sorted(biases & makers.keys()):
        node = makers[name]
        if node.op_type != "DequantizeLinear" or not {*node.input} <= constants.keys():
            continue
        integers, scale = (numpy_helper.to_array(constants[each]) for each in node.input[:2])
        if integers.dtype != np.int32 or any(numpy_helper.to_array(constants[each]).any() for each in node.input[2:]):
            continue
        graph.initializer.append(numpy_helper.from_array((integers * scale).astype(np.float32), name))
        graph.node.remove(node)
    return _without_unread(changed)


def with_small_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that stores float weights in 8 bit, with a scale per output channel, and computes in float.

    For layers that were kept in floating point because of their activations: of a weight this rounds away less than
    half a percent of the largest in its channel.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    view = GraphView(changed)
    nodes: list[onnx.NodeProto] = []
    for node in changed.graph.node:
        axis = _channel_axis(view, node)
        if axis is not None:
            name = node.input[1]
            weights = view.constant(name)
            others = tuple(each for each in range(weights.ndim) if each != axis)
            scale = np.abs(weights).max(axis=others, keepdims=True) / 127
            levels = np.rint(weights / np.where(scale > 0, scale, 1)).astype(np.int8)
            added = {f"{name}/levels": levels, f"{name}/scale": scale.reshape(-1).astype(np.float32)}
            changed.graph.initializer.extend(numpy_helper.from_array(each, key) for key, each in added.items())
            nodes.append(helper.make_node("DequantizeLinear", [*added], [f"{name}/small"], axis=axis))
            node.input[1] = f"{name}/small"
        nodes.append(node)
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del changed.graph.node[:]
    changed.graph.node.extend(ordered)
    return _without_unread(changed)


def _channel_axis(view: GraphView, node: onnx.NodeProto) -> int | None:
    """Return the axis of output channels of a node's float weights; None where there are none, or too few to matter."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or not view.is_constant(node.input[1]):
        return None
    weights = view.constant(node.input[1])
    if weights.dtype != np.float32 or weights.size < LEAST_WEIGHTS or len(view.readers(node.input[1])) != 1:
        return None
    if node.op_type == "Conv":
        return 0
    transposed = node.op_type == "Gemm" and integer_attribute(node, "transB")
    return 0 if transposed else weights.ndim - 1


def _without_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the initializers that nothing reads."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [onnx.TensorProto.FromString(one.SerializeToString()) for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _names(taken: set[str]) -> Iterator[str]:
    """Yield short names that are not taken."""
    for number in count():
        name, rest = "", number
        while True:
            rest, digit = divmod(rest, len(_DIGITS))
            name += _DIGITS[digit]
            if not rest:
                break
            rest -= 1
        if name not in taken:
            yield name
