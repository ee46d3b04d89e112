"""Small real ONNX models, made with onnx.helper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 12, 16)
CHANNELS = 8
INPUT_SCALE = 0.03
OUTPUT_SCALE = 0.06


def sample(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def conv_relu() -> bytes:
    """Conv and Relu; its outputs are also a tensor with two names, a constant, and the input itself."""
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["features"], name="relu"),
        helper.make_node("Identity", ["features"], ["copy"]),
        helper.make_node("Identity", ["k"], ["anchors"]),
        helper.make_node("Identity", ["image"], ["seen"]),
    ]
    constants = {
        "w": _weight(),
        "b": np.linspace(-1, 1, CHANNELS, dtype=np.float32),
        "k": np.arange(4, dtype=np.float32),
    }
    features = (1, CHANNELS, *SHAPE[2:])
    return _model(nodes, constants, {"features": features, "copy": features, "anchors": (4,), "seen": SHAPE})


def quantized_conv(dtype: type[np.integer[Any]], *, zero_point: int, bias: str = "float", opset: int = 21) -> bytes:
    """A Q/DQ convolution with a quantized output; its weights have 7 bit, so that no product saturates on any CPU."""
    weight = _weight()
    steps = (np.abs(weight).max(axis=(1, 2, 3)) / 63).astype(np.float32)
    stored = np.rint(weight / steps[:, None, None, None]).astype(np.int8)
    constants: dict[str, Any] = {
        "xs": np.float32(INPUT_SCALE),
        "z": dtype(zero_point),
        "w": stored,
        "ws": steps,
        "wz": np.zeros(CHANNELS, np.int8),
        "ys": np.float32(OUTPUT_SCALE),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "xs", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
    ]
    if bias == "int32":
        constants |= {"b": np.arange(CHANNELS, dtype=np.int32) * 40, "bs": INPUT_SCALE * steps}
        nodes.append(helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], name="bias", axis=0))
    else:
        constants["bd"] = np.linspace(-0.5, 0.5, CHANNELS, dtype=np.float32)
    nodes += [
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "ys", "z"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "z"], ["features"]),
    ]
    return _model(nodes, constants, {"features": (1, CHANNELS, *SHAPE[2:])}, opset)


def unknown_operator() -> bytes:
    """A model that no engine knows all operators of."""
    nodes = [helper.make_node("Wobble", ["image"], ["features"], domain="org.example")]
    return _model(nodes, {}, {"features": SHAPE}, domains=["org.example"])


def _weight() -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(scale=0.3, size=(CHANNELS, SHAPE[1], 3, 3)).astype(np.float32)


def _model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any],
    outputs: dict[str, tuple[int, ...]],
    opset: int = 21,
    domains: Sequence[str] = (),
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return data
