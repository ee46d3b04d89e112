"""Small networks with all that the rules speak of: residual Add, Concat, Resize, MaxPool, BatchNorm, two heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class NetBuilder:
    """Builds a graph node by node; weights are drawn from a fixed seed."""

    def __init__(self, channels: int = 3, size: int = 16, opset: int = 17) -> None:
        self._random = np.random.default_rng(7)
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._input = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, size, size])

    def weight(self, name: str, *shape: int, scale: float = 0.3, positive: bool = False) -> str:
        values = self._random.normal(0, scale, shape).astype(np.float32)
        return self.constant(name, np.abs(values) + np.float32(0.1) if positive else values)

    def constant(self, name: str, values: np.ndarray) -> str:
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=f"{name}_node", **attributes))
        return name

    def conv(self, data: str, channels: tuple[int, int], name: str, kernel: int = 3, bias: bool = True) -> str:
        weights = [self.weight(f"{name}_w", channels[1], channels[0], kernel, kernel)]
        if bias:
            weights.append(self.weight(f"{name}_b", channels[1]))
        return self.node("Conv", [data, *weights], name, pads=[kernel // 2] * 4)

    def model(self, *outputs: str) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "net", [self._input], infos, self._weights)
        imports = [helper.make_opsetid("", self._opset)]
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=imports, ir_version=8))


def residual_net() -> onnx.ModelProto:
    """image -> stem (Conv Relu) -> MaxPool -> [Conv Relu Conv + skip] Relu -> Conv Relu -> head Conv."""
    net = NetBuilder()
    stem = net.node("Relu", [net.conv("image", (3, 8), "stem")], "stem_relu")
    pooled = net.node("MaxPool", [stem], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    inner = net.node("Relu", [net.conv(pooled, (8, 8), "first")], "first_relu")
    added = net.node("Add", [net.conv(inner, (8, 8), "second"), pooled], "added")
    block = net.node("Relu", [added], "block")
    third = net.node("Relu", [net.conv(block, (8, 8), "third")], "third_relu")
    return net.model(net.conv(third, (8, 4), "head", kernel=1))


def joining_net() -> onnx.ModelProto:
    """Two branches, one of them downsampled and resized back, joined by Concat before a Conv; two heads."""
    net = NetBuilder()
    stem = net.node("Relu", [net.conv("image", (3, 8), "stem")], "stem_relu")
    low = net.node("MaxPool", [stem], "low", kernel_shape=[2, 2], strides=[2, 2])
    deep = net.node("Relu", [net.conv(low, (8, 8), "deep")], "deep_relu")
    scales = net.constant("scales", np.array([1, 1, 2, 2], np.float32))
    high = net.node("Resize", [deep, "", scales], "high", mode="nearest")
    joined = net.node("Concat", [stem, high], "joined", axis=1)
    mixed = net.node("Relu", [net.conv(joined, (16, 8), "mixed")], "mixed_relu")
    scores = net.node("Sigmoid", [net.conv(mixed, (8, 1), "score", kernel=1)], "scores")
    return net.model(scores, net.conv(mixed, (8, 2), "offsets", kernel=1))


def batchnorm_net() -> onnx.ModelProto:
    """BatchNorm behind a Conv and behind a ConvTranspose, and a constant that can be folded."""
    net = NetBuilder()
    first = _batchnorm(net, net.conv("image", (3, 8), "first", bias=False), 8, "first_bn")
    relu = net.node("Relu", [first], "relu")
    up = net.node("ConvTranspose", [relu, net.weight("up_w", 8, 4, 2, 2)], "up", strides=[2, 2])
    normed = _batchnorm(net, up, 4, "up_bn")
    half = net.node("Mul", [net.constant("a", np.float32([0.5])), net.constant("b", np.float32([3.0]))], "ab")
    return net.model(net.node("Mul", [normed, half], "out"))


def _batchnorm(net: NetBuilder, data: str, channels: int, name: str) -> str:
    inputs = [net.weight(f"{name}_{part}", channels) for part in ("scale", "shift", "mean")]
    return net.node(
        "BatchNormalization", [data, *inputs, net.weight(f"{name}_var", channels, positive=True)], name, epsilon=1e-5
    )
