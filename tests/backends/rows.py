"""Q/DQ convolutions along the width, and what OpenVINO and ONNX Runtime make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends.openvino_amx import rewrite_convolutions
from edgekit.backends.openvino_core import import_openvino
from edgekit.graph.reference import ReferenceRun

OUTPUT_STEP = 8 / 255
"""A step of the results' grid; 128 stands for 0."""


@dataclass(frozen=True)
class Convolution:
    """A convolution of an image with 8-bit weights of 7 bit, so that no product saturates on any CPU.

    Attributes:
        channels, results: Input and output channels of a group.
        kernel: Rows and columns.
        size: Rows and columns of the input.
        stride, dilation: Along the width.
        pads: Columns of padding, left and right; above and below, half as many rows as the kernel has.
        groups: How many.
        zero_point: Of the weights.
        quantized: Otherwise in floating point.
    """

    channels: int
    kernel: tuple[int, int]
    size: tuple[int, int]
    results: int = 8
    stride: int = 1
    dilation: int = 1
    pads: tuple[int, int] = (0, 0)
    groups: int = 1
    zero_point: int = 0
    quantized: bool = True

    def model(self) -> bytes:
        random = np.random.default_rng(0)
        shape = (self.results * self.groups, self.channels, *self.kernel)
        stored = random.integers(-63, 64, shape)
        step = np.float32(1 / (30 * np.sqrt(self.channels * np.prod(self.kernel))))
        constants: dict[str, Any] = {
            "xs": np.float32(1 / 255),
            "xz": np.uint8(9),
            "ys": np.float32(OUTPUT_STEP),
            "yz": np.uint8(128),
        }
        reading = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        ]
        writing = [
            helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["yq"]),
            helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
        ]
        if self.quantized:
            constants |= {
                "w": (stored + self.zero_point).astype(np.int8),
                "ws": np.full(shape[0], step),
                "wz": np.full(shape[0], self.zero_point, np.int8),
            }
        else:
            constants = {"wd": (stored * step).astype(np.float32)}
            reading, writing = [], [helper.make_node("Identity", ["c"], ["y"])]
        convolution = helper.make_node(
            "Conv",
            ["xd" if self.quantized else "x", "wd"],
            ["c"],
            name="conv",
            pads=[self.kernel[0] // 2, self.pads[0], self.kernel[0] // 2, self.pads[1]],
            strides=[1, self.stride],
            dilations=[1, self.dilation],
            group=self.groups,
        )
        graph = helper.make_graph(
            [*reading, convolution, *writing],
            "row",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.image().shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())

    def image(self) -> NDArray[np.float32]:
        shape = (1, self.channels * self.groups, *self.size)
        return np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)

    def expected(self) -> NDArray[Any]:
        """What ONNX Runtime gives."""
        return ReferenceRun(self.model())(self.image())["y"]

    def by_openvino(self, *, rewritten: bool, precision: str = "f32") -> tuple[NDArray[Any], str]:
        """What OpenVINO gives, and its name of the kernel."""
        openvino = import_openvino()
        core = openvino.Core()
        network = core.read_model(self.model())
        if rewritten:
            rewrite_convolutions(openvino, network, precision)
        made = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1})
        told = [node.get_rt_info() for node in made.get_runtime_model().get_ordered_ops()]
        kernels = [one["primitiveType"].astype(str) for one in told if one["layerType"].astype(str) == "Convolution"]
        return np.array(made({0: self.image()})[0]), str(kernels[0])
