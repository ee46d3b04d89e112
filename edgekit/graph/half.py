"""Give a model's floating-point part half precision, for engines that take every type from the model."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ModelError

_FLOAT32_INPUTS = {"Resize": (1, 2)}
"""Inputs that the standard has in float32 whatever the others are: a Resize's region and scales."""

_TINY = float(np.finfo(np.float16).smallest_subnormal)
_HUGE = float(np.finfo(np.float16).max)
_MIN_OPSET = 19
"""From here on QuantizeLinear and DequantizeLinear have scales in half precision, and with them such results."""


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with float16 where it has float32; its inputs and outputs keep their types.

    8-bit tensors stay what they are. A scale changes by 2^-11 of itself at most, a sixteenth of an 8-bit step at the
    end of the range; one that float16 has no value for, as dead channels have, becomes the smallest that there is.

    Raises:
        ModelError: The model is of an older opset, or has subgraphs.
    """
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if quantized and opset < _MIN_OPSET:
        raise ModelError(
            problem="A quantized model of this opset cannot have half precision.",
            found=f"opset {opset}; needed is {_MIN_OPSET}",
            fix="Set opset = 21 in the target's scheme, and calibrate again.",
        )
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    del graph.value_info[:]
    kept = {name for node in graph.node for name in _kept_inputs(node)}
    scales = {node.input[1] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(_narrowed(tensor, is_scale=tensor.name in scales))
    for node in graph.node:
        _narrow_attributes(node)
    _cast_at_the_borders(graph)
    return half


def _kept_inputs(node: onnx.NodeProto) -> list[str]:
    return [node.input[slot] for slot in _FLOAT32_INPUTS.get(node.op_type, ()) if len(node.input) > slot]


def _narrowed(tensor: onnx.TensorProto, is_scale: bool = False) -> onnx.TensorProto:
    values = np.clip(numpy_helper.to_array(tensor), -_HUGE, _HUGE)
    if is_scale:
        values = np.maximum(values, _TINY)
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)


def _narrow_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            raise ModelError(
                problem="A model with subgraphs cannot have half precision.",
                found=f"{node.op_type} {node.name}",
                fix="Export it without If, Loop and Scan.",
            )
        if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_narrowed(attribute.t))
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16


def _cast_at_the_borders(graph: onnx.GraphProto) -> None:
    inputs = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    outputs = {value.name for value in graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    for node in graph.node:
        for slot, name in enumerate(node.input):
            if name in inputs:
                node.input[slot] = f"{name}_half"
        for slot, name in enumerate(node.output):
            if name in outputs:
                node.output[slot] = f"{name}_half"
    # An output that is read within the model as well is read in half precision there.
    for node in graph.node:
        for slot, name in enumerate(node.input):
            if name in outputs - inputs:
                node.input[slot] = f"{name}_half"
    first = [
        helper.make_node("Cast", [name], [f"{name}_half"], name=f"{name}_to_half", to=TensorProto.FLOAT16)
        for name in sorted(inputs)
    ]
    last = [
        helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_to_float", to=TensorProto.FLOAT)
        for name in sorted(outputs - inputs)
    ]
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
