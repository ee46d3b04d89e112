"""Single layers of many shapes, none of them taken from a real model: what engines reach of a processor's peak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.placement import place
from edgekit.graph.qdq import QuantizationParameters, write_qdq
from edgekit.profiling.roofline import NARROW
from edgekit.targets import Scheme

OPSET = 21
CACHED = 16e6
"""Bytes that a layer may read and write: what lies in no cache is bounded by memory, which the roofline counts."""

DEPTH = 4
"""Layers a model: the cost of a call, and of its input and output, is shared by so many."""


@dataclass(frozen=True)
class Layer:
    """One shape of one kind of layer, which maps its input to an output of the same shape where it can.

    Attributes:
        kind: dense, narrow, depthwise, transposed, matmul, or an operator that does no multiply-accumulates.
        channels: In and out.
        size: Height and width, or tokens.
        kernel: Side of the kernel.
        dilation: Of the kernel.
    """

    kind: str
    channels: int
    size: int
    kernel: int = 1
    dilation: int = 1


def layers() -> Iterator[Layer]:
    """Yield the shapes that lane networks are made of: 4 to 192 channels, kernels of 1 to 5, maps of 10 to 320."""
    for channels, size, kernel in product((4, 8, 12, 24, 48, 96, 192), (10, 20, 40, 80, 160, 320), (1, 3, 5)):
        macs, moved = (channels * size * kernel) ** 2, 8 * channels * size**2
        if 2e6 < macs < 4e8 and moved < CACHED:
            yield Layer("narrow" if channels < NARROW else "dense", channels, size, kernel)
    for channels, size in product((24, 48, 96), (20, 40, 80)):
        yield Layer("dense", channels, size, 3, dilation=4)
    for channels, size in product((24, 48, 96, 192), (20, 40, 80, 160)):
        yield Layer("depthwise", channels, size, 3)
    for channels, size, kernel in product((12, 24, 48, 96), (10, 20, 40, 80), (2, 3)):
        yield Layer("transposed", channels, size, kernel)
    for channels, size in product((48, 96, 192), (60, 240, 960)):
        yield Layer("matmul", channels, size)
    for kind, channels, size in product(VECTOR, (12, 48, 96), (20, 40, 80, 160)):
        if channels * size * size < 2e6:
            yield Layer(kind, channels, size)


VECTOR = ("Add", "Sigmoid", "Softmax", "Resize", "MaxPool", "Transpose", "Concat", "ReduceMean")


def model_of(layer: Layer, depth: int = DEPTH) -> onnx.ModelProto:
    """Return a model of so many such layers, with Relu behind those that convolve."""
    random = np.random.default_rng(0)
    shape = [1, layer.size, layer.channels] if layer.kind == "matmul" else [1, layer.channels, layer.size, layer.size]
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    tensor = "x"
    for step in range(depth):
        made, constants, tensor = _step(layer, tensor, step, random)
        nodes += made
        weights += constants
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return inferred


def _step(
    layer: Layer, tensor: str, step: int, random: np.random.Generator
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], str]:
    name, out = f"layer{step}", f"t{step}"
    if layer.kind in VECTOR:
        return *_vector(layer, tensor, name, out, step), out
    channels, kernel = layer.channels, layer.kernel
    if layer.kind == "matmul":
        weight = _weight(f"{name}.w", (channels, channels), random)
        nodes = [helper.make_node("MatMul", [tensor, weight.name], [out], name)]
        return nodes, [weight], out
    bias = _weight(f"{name}.b", (channels,), random)
    if layer.kind == "transposed":
        # Upsampling by two, and back by a pooling, so that the next layer sees the same shape.
        weight = _weight(f"{name}.w", (channels, channels, kernel, kernel), random)
        pads = {"pads": [1, 1, 1, 1], "output_padding": [1, 1]} if kernel == 3 else {}
        up = helper.make_node(
            "ConvTranspose", [tensor, weight.name, bias.name], [f"{out}.up"], name, strides=[2, 2], **pads
        )
        relu = helper.make_node("Relu", [f"{out}.up"], [f"{out}.relu"], f"{name}.relu")
        down = helper.make_node("MaxPool", [f"{out}.relu"], [out], f"{name}.down", kernel_shape=[1, 1], strides=[2, 2])
        return [up, relu, down], [weight, bias], out
    group = channels if layer.kind == "depthwise" else 1
    weight = _weight(f"{name}.w", (channels, channels // group, kernel, kernel), random)
    pad = kernel // 2 * layer.dilation
    convolution = helper.make_node(
        "Conv",
        [tensor, weight.name, bias.name],
        [f"{out}.conv"],
        name,
        kernel_shape=[kernel, kernel],
        pads=[pad] * 4,
        group=group,
        dilations=[layer.dilation] * 2,
    )
    return [convolution, helper.make_node("Relu", [f"{out}.conv"], [out], f"{name}.relu")], [weight, bias], out


def _vector(
    layer: Layer, tensor: str, name: str, out: str, step: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    if layer.kind == "Add":
        return [helper.make_node("Add", [tensor, "x"], [out], name)], []
    if layer.kind == "Softmax":
        return [helper.make_node("Softmax", [tensor], [out], name, axis=-1)], []
    if layer.kind == "MaxPool":
        return [
            helper.make_node("MaxPool", [tensor], [out], name, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
        ], []
    if layer.kind == "Transpose":
        return [helper.make_node("Transpose", [tensor], [out], name, perm=[0, 1, 3, 2])], []
    if layer.kind == "Concat":
        return [helper.make_node("Concat", [tensor, "x"], [out], name, axis=1)], []
    if layer.kind == "ReduceMean":
        mean = helper.make_node("ReduceMean", [tensor], [f"{out}.mean"], name, keepdims=1)
        return [mean, helper.make_node("Add", [f"{out}.mean", tensor], [out], f"{name}.add")], []
    if layer.kind == "Resize":
        scale = 2.0 if step % 2 == 0 else 0.5
        scales = numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), f"{name}.scales")
        return [helper.make_node("Resize", [tensor, "", scales.name], [out], name, mode="linear")], [scales]
    return [helper.make_node(layer.kind, [tensor], [out], name)], []


def _weight(name: str, shape: tuple[int, ...], random: np.random.Generator) -> onnx.TensorProto:
    return numpy_helper.from_array(random.normal(0, 0.05, shape).astype(np.float32), name)


def quantized(model: onnx.ModelProto, scheme: Scheme) -> onnx.ModelProto:
    """Return the model with Q/DQ under a target's rules.

    Scales do not change how fast it is. Zero points do: an engine drops a Relu only where its output's lowest integer
    stands for zero, as it does in a model that was calibrated.
    """
    placement = place(model, scheme)
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    zero = np.zeros((), scheme.activations.dtype)
    parameters = {
        each.tensor: QuantizationParameters(np.array(0.02, np.float32), zero) for each in placement.activations
    }
    for weight in placement.weights:
        channels = shapes[weight.tensor][weight.axis]
        parameters[weight.tensor] = QuantizationParameters(
            np.full(channels, 0.002, np.float32), np.zeros(channels, scheme.weights.dtype), weight.axis
        )
    return write_qdq(model, placement, scheme, parameters)
