"""A model in as few bytes as it takes: names that nobody reads are shortened, and what is there twice is stored once.

Of a small quantized network names and shapes are a third of the file. An engine needs neither.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
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


def with_computed_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a Q/DQ model in which the scale of a quantized bias is computed where the engine loads the model.

    It is the product of the scales of the convolution's input and weights, bit by bit; where it is not, it stays.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    view = GraphView(changed)
    nodes: list[onnx.NodeProto] = []
    for node in changed.graph.node:
        factors = _factors_of_bias_scale(view, node)
        if factors is not None:
            name = f"{node.input[1]}/computed"
            nodes.append(helper.make_node("Mul", [*factors], [name]))
            node.input[1] = name
        nodes.append(node)
    return _without_unread(_with_nodes(changed, nodes))


def _factors_of_bias_scale(view: GraphView, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Return the scales whose product is the scale of the bias that a node dequantizes, or None."""
    reader = view.sole_reader(node.output[0]) if node.op_type == "DequantizeLinear" else None
    if reader is None or reader.op_type != "Conv" or len(reader.input) < 3 or reader.input[2] != node.output[0]:
        return None
    makers = [view.producer(name) for name in reader.input[:2]]
    if any(maker is None or maker.op_type != "DequantizeLinear" for maker in makers):
        return None
    first, second = (maker.input[1] for maker in makers if maker is not None)
    if not all(view.is_constant(name) for name in (first, second, node.input[1])):
        return None
    product, scale = view.constant(first) * view.constant(second), view.constant(node.input[1])
    shared = len(view.readers(node.input[1])) > 1
    return (first, second) if not shared and product.shape == scale.shape and np.array_equal(product, scale) else None


def _with_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> onnx.ModelProto:
    """Replace a model's nodes; some of the new ones may be its own."""
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copied)
    return model


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
            added = {f"{name}/levels": levels, f"{name}/scale": scale.astype(np.float32)}
            changed.graph.initializer.extend(numpy_helper.from_array(each, key) for key, each in added.items())
            # Engines compute these once, when they load the model; a DequantizeLinear ONNX Runtime would at every run.
            nodes.append(helper.make_node("Cast", [f"{name}/levels"], [f"{name}/cast"], to=onnx.TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"{name}/cast", f"{name}/scale"], [f"{name}/small"]))
            node.input[1] = f"{name}/small"
        nodes.append(node)
    return _without_unread(_with_nodes(changed, nodes))


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
