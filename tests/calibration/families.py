"""A small network of every lane family, with random weights, that finds nothing in any frame: its bias says no."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from tests.graph.models import NetBuilder

SIZE = 32
CERTAIN = 20.0


def curve() -> onnx.ModelProto:
    net, pooled = NetBuilder(size=SIZE), "pooled"
    net.node("GlobalAveragePool", [_body(net)], pooled)
    background = np.tile([CERTAIN, 0, 0], 5)
    return net.model(
        _head(net, pooled, "logits", (1, 5, 3), background), _head(net, pooled, "curves", (1, 5, 8), np.zeros(40))
    )


def row_anchor() -> onnx.ModelProto:
    net = NetBuilder(size=SIZE)
    body = net.node("MaxPool", [_body(net)], "low", kernel_shape=[4, 4], strides=[4, 4])
    columns = _conv(net, body, "cls", np.zeros(2))
    rows = net.node("AveragePool", [_conv(net, body, "exists", np.full(2, -CERTAIN))], "rows", kernel_shape=[1, 8])
    return net.model(columns, net.node("Sigmoid", [rows], "vertical"), _conv(net, body, "offset", np.zeros(2)))


def background_column() -> onnx.ModelProto:
    net, pooled = NetBuilder(size=SIZE), "pooled"
    net.node("GlobalAveragePool", [_body(net)], pooled)
    background = np.zeros((10, 18, 4))
    background[-1] = CERTAIN
    return net.model(_head(net, pooled, "cls", (1, 10, 18, 4), background.ravel()))


def line_anchor() -> onnx.ModelProto:
    net, pooled = NetBuilder(size=SIZE), "pooled"
    net.node("GlobalAveragePool", [_body(net)], pooled)
    background = np.zeros((7, 77))
    background[:, 0] = CERTAIN
    return net.model(_head(net, pooled, "proposals", (1, 7, 77), background.ravel()))


def keypoint() -> onnx.ModelProto:
    net = NetBuilder(size=SIZE)
    body = net.node("MaxPool", [_body(net)], "low", kernel_shape=[8, 8], strides=[8, 8])
    confidence = net.node("Sigmoid", [_conv(net, body, "logit", np.full(1, -CERTAIN))], "confidence")
    return net.model(confidence, _conv(net, body, "offset", np.zeros(2)), _conv(net, body, "instance", np.zeros(4)))


def segmentation() -> onnx.ModelProto:
    net, background = NetBuilder(size=SIZE), np.array([CERTAIN, 0])
    body = _body(net)
    return net.model(_conv(net, body, "da_logits", background), _conv(net, body, "ll_logits", background))


EMPTY_ROADS: dict[str, tuple[str, Callable[[], onnx.ModelProto]]] = {
    "curve": ("lane-curve", curve),
    "row-anchor": ("lane-row-anchor", row_anchor),
    "background-column": ("lane-row-anchor-ufld", background_column),
    "line-anchor": ("lane-line-anchor", line_anchor),
    "keypoint": ("lane-keypoint", keypoint),
    "segmentation": ("lane-segmentation", segmentation),
}
"""Family to the recipe that it extends and its network."""

STEPS = """
[[step]]
step = "equalize"
frames = 4

[[step]]
step = "observe"

[[step]]
step = "scale"

[[step]]
step = "select"
frames = 4
max_rounds = 2

[[step]]
step = "reconstruct"
steps = 10
frames = 8
"""


def write(folder: Path, family: str) -> tuple[Path, Path]:
    """Write the network and a recipe of all steps for it; returns their paths."""
    base, build = EMPTY_ROADS[family]
    model, recipe = folder / "net.onnx", folder / "net.toml"
    onnx.save(build(), model)
    recipe.write_text(f'extends = "{base}"\nname = "net"\n{STEPS}\n[preprocessing]\nsize = [{SIZE}, {SIZE}]\n')
    return model, recipe


def _body(net: NetBuilder) -> str:
    stem = net.node("Relu", [net.conv("image", (3, 8), "stem")], "stem_relu")
    return net.node("Relu", [net.conv(stem, (8, 8), "body")], "body_relu")


def _conv(net: NetBuilder, data: str, name: str, bias: np.ndarray) -> str:
    inputs = [
        net.weight(f"{name}_w", len(bias), 8, 1, 1, scale=0.1),
        net.constant(f"{name}_b", bias.astype(np.float32)),
    ]
    return net.node("Conv", [data, *inputs], name)


def _head(net: NetBuilder, data: str, name: str, shape: tuple[int, ...], bias: np.ndarray) -> str:
    flat = _conv(net, data, f"{name}_flat", bias)
    return net.node("Reshape", [flat, net.constant(f"{name}_shape", np.array(shape))], name)
