"""A model in as few bytes as it takes: names that nobody reads are shortened, and what is there twice is stored once.

Of a small quantized network names and shapes are a third of the file. An engine needs neither.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import count

import numpy as np
import onnx
from onnx import numpy_helper

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
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    used = [tensor for tensor in graph.initializer if tensor.name in read]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return changed


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
