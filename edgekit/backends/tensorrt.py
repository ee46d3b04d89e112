"""TensorRT: the engine for NVIDIA Jetson. Engines are built on the Jetson; what is built here is what goes there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from edgekit.backends.base import Availability, Build, Engine, Tensors, TimedLayer
from edgekit.backends.deferred import build_on_device, checked_model, refusal_to_run
from edgekit.errors import ModelError
from edgekit.progress import Progress, silent
from edgekit.targets import Target

_MUST_MATCH = (
    "the engine file only loads with the TensorRT version that built it",
    "the engine file only runs on the SoC that it was built on",
    "the SHA-256 of model.onnx is model_sha256",
)
_QDQ = ("QuantizeLinear", "DequantizeLinear")


class TensorRtBackend:
    """Gives the Q/DQ model and the recipe to build an engine from it; runs nothing here."""

    name = "tensorrt"

    def available(self) -> Availability:
        """Say what of TensorRT is on this machine, without loading it."""
        if importlib.util.find_spec("tensorrt") is None:
            return Availability("", f"{_absent()} The engine is built and run on the Jetson.")
        return Availability(_version(), "EdgeKit does not run TensorRT engines itself: use trtexec on the Jetson.")

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Return the model and how its engine is built, once it keeps TensorRT's rules for Q/DQ.

        Raises:
            ModelError: The model is damaged, or TensorRT's parser would refuse it.
            UsageError: The target does not say how the engine is built.
        """
        broken = list(_broken_rules(checked_model(model)))
        if broken:
            raise ModelError(
                problem="TensorRT does not accept how the model is quantized.",
                found="; ".join(broken[:3]),
                fix="Calibrate for a target whose scheme is symmetric int8 with a floating-point bias.",
            )
        return build_on_device(self.name, model, target, _MUST_MATCH)

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> Engine:
        """Refuse, and say how the engine is built on the Jetson.

        Raises:
            TargetError: Always, for members of this engine.
            ArtifactError: The members are damaged or foreign.
        """
        present = importlib.util.find_spec("tensorrt") is not None
        here = f"TensorRT {_version()}, which EdgeKit does not run engines with" if present else _absent()
        raise refusal_to_run(self.name, members, here)

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Return nothing: the engine runs on the Jetson only."""
        return ()


def _absent() -> str:
    return "The Python module tensorrt is not installed here."


def _version() -> str:
    try:
        return importlib.metadata.version("tensorrt")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _broken_rules(model: Any) -> Iterator[str]:
    """Yield what TensorRT's ONNX parser refuses: zero points other than 0, and 32-bit integers to dequantize.

    Found with the parser of TensorRT-RTX 1.7.1: "Non-zero zero point is not supported" and, for a quantized bias,
    "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8".
    """
    from onnx import TensorProto, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in _QDQ:
            continue
        quantized = constants.get(node.input[0])
        if node.op_type == "DequantizeLinear" and quantized is not None and quantized.data_type == TensorProto.INT32:
            yield f"{node.name or node.output[0]} dequantizes the 32-bit integers {quantized.name}"
        zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero_point is not None and numpy_helper.to_array(zero_point).any():
            yield f"{node.name or node.output[0]} has a zero point that is not 0"
