"""A model in as few bytes as it takes: names that nobody reads are shortened, and what is there twice is stored once.

Of a small quantized network names and shapes are a third of the file. An engine needs neither.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import count

import onnx

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
    tensors = []
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
