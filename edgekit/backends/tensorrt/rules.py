"""TensorRT's rules for explicit quantization, checked in the model itself, with one message for each violation.

Sources: docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html for symmetry, types,
granularity, and where Q/DQ go; the parser of TensorRT-RTX 1.7.1 for what is refused: "Non-zero zero point is not
supported", and for a bias "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_QDQ = ("QuantizeLinear", "DequantizeLinear")
_OUTPUT_CHANNELS = {"Conv": 0, "ConvTranspose": 1}
_FUSED = ("Relu", "Clip")


@dataclass(frozen=True)
class Violation:
    """One rule that one node breaks.

    Attributes:
        node: The node's name, or its output's where it has none.
        message: What is wrong with it.
        refused: Whether TensorRT refuses the model, or builds it with less in 8 bit than could be.
    """

    node: str
    message: str
    refused: bool = True

    def __str__(self) -> str:
        return f"{self.node} {self.message}"


def check(model: onnx.ModelProto) -> list[Violation]:
    """Return every violation, in graph order; a model that keeps all rules gives none."""
    graph = _Graph(model)
    rules = {
        "QuantizeLinear": (_pair, _quantizer),
        "DequantizeLinear": (_pair, _weights),
        "Add": (_residual,),
        "Concat": (_concat,),
    }
    return [found for node in model.graph.node for rule in rules.get(node.op_type, ()) for found in rule(graph, node)]


class _Graph:
    """Who makes and who reads a tensor; nodes need no names here, since other tools wrote them perhaps."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._to_array = numpy_helper.to_array
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def constant(self, node: onnx.NodeProto, slot: int) -> NDArray[Any] | None:
        """Return the values of an input that is an initializer; none where it is computed or left out."""
        tensor = self._tensors.get(node.input[slot]) if len(node.input) > slot else None
        return None if tensor is None else self._to_array(tensor)

    def is_constant(self, tensor: str) -> bool:
        return tensor in self._tensors

    def sole_reader(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 else None

    def quantized_node(self, tensor: str) -> bool:
        """Whether a tensor is made by a node with weights in 8 bit, an activation function behind it included."""
        node = self.makers.get(tensor)
        while node is not None and node.op_type in _FUSED:
            node = self.makers.get(node.input[0])
        return (
            node is not None
            and node.op_type in _OUTPUT_CHANNELS
            and all(self.is_dequantized(name) for name in node.input[:2])
        )

    def is_dequantized(self, tensor: str) -> bool:
        return tensor in self.makers and self.makers[tensor].op_type == "DequantizeLinear"


def _violation(node: onnx.NodeProto, message: str, refused: bool = True) -> Violation:
    return Violation(node.name or node.output[0], message, refused)


def _pair(graph: _Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    """Zero points of 0, int8, and scales that are known when the engine is built."""
    scale, zero_point, quantized = graph.constant(node, 1), graph.constant(node, 2), graph.constant(node, 0)
    if scale is None:
        yield _violation(node, f"computes its scale {node.input[1]}: TensorRT needs a constant")
    elif not (np.isfinite(scale).all() and (scale > 0).all()):
        yield _violation(node, f"has a scale that is not positive: {float(scale.min()):g}")
    if zero_point is not None and zero_point.any():
        yield _violation(node, "has a zero point that is not 0: TensorRT quantizes symmetrically")
    if node.op_type == "DequantizeLinear" and quantized is not None and quantized.dtype == np.int32:
        yield _violation(node, f"dequantizes the 32-bit integers {node.input[0]}: a bias has to be floating point")
        return
    # Without a zero point QuantizeLinear gives uint8, unless opset 21's output_dtype says otherwise.
    stored = zero_point if zero_point is not None else quantized
    dtype = _output_dtype(node) if stored is None and node.op_type == "QuantizeLinear" else stored
    if dtype is not None and str(getattr(dtype, "dtype", dtype)) != "int8":
        yield _violation(node, f"is in {getattr(dtype, 'dtype', dtype)}: TensorRT takes int8")


def _output_dtype(node: onnx.NodeProto) -> str:
    from onnx import TensorProto, helper

    told = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), TensorProto.UINT8)
    return str(helper.tensor_dtype_to_np_dtype(told or TensorProto.UINT8))


def _quantizer(graph: _Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    """An activation has one scale."""
    scale = graph.constant(node, 1)
    if scale is not None and scale.size > 1 and graph.constant(node, 0) is None:
        yield _violation(node, f"has {scale.size} scales: TensorRT quantizes an activation per tensor")


def _weights(graph: _Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    """Weights have one scale, or one for each output channel."""
    weights, scale = graph.constant(node, 0), graph.constant(node, 1)
    reader = graph.sole_reader(node)
    if weights is None or scale is None or scale.size == 1 or reader is None or reader.op_type not in _OUTPUT_CHANNELS:
        return
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1) % max(weights.ndim, 1)
    if reader.input[1] == node.output[0] and axis != _OUTPUT_CHANNELS[reader.op_type]:
        wanted = _OUTPUT_CHANNELS[reader.op_type]
        yield _violation(node, f"scales {node.input[0]} along axis {axis}: output channels lie on axis {wanted}")


def _residual(graph: _Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    """TensorRT fuses an Add into a convolution in 8 bit only where the other branch is quantized too."""
    first, second = node.input
    for own, other in ((first, second), (second, first)):
        fusible = graph.quantized_node(own) and len(graph.readers[own]) == 1
        if fusible and not graph.is_constant(other) and not graph.is_dequantized(other):
            message = f"adds {other}, which is not quantized, to a result in 8 bit: it is not fused"
            yield _violation(node, message, refused=False)
            return


def _concat(graph: _Graph, node: onnx.NodeProto) -> Iterator[Violation]:
    """Branches that keep their integers through a Concat need one scale; others are scaled anew."""
    makers = [graph.makers[name] for name in node.input if graph.is_dequantized(name)]
    scales = [scale for scale in (graph.constant(maker, 1) for maker in makers) if scale is not None]
    if len({float(scale) for scale in scales if scale.size == 1}) > 1:
        told = ", ".join(f"{float(scale):.6g}" for scale in scales if scale.size == 1)
        yield _violation(node, f"joins inputs of other scales ({told}): they are scaled anew", refused=False)
