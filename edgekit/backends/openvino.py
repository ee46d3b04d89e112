"""OpenVINO: the engine for Intel CPUs, GPUs and NPUs."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.base import Availability, Build, Layer, Tensors, TimedLayer
from edgekit.backends.signature import TensorSpec, check_inputs, check_options, only_model
from edgekit.errors import ArtifactError, EdgekitError, ModelError, TargetError, UsageError
from edgekit.progress import Progress, silent
from edgekit.targets import Target

_OPTIONS = ("device", "precision")
_PRECISIONS = ("f32", "bf16", "f16")


def import_openvino() -> ModuleType:
    """Import OpenVINO without its usage telemetry.

    `import openvino` alone reports to its maker and keeps a client id under ~/intel. It does neither where the package
    `openvino_telemetry` is missing, and so that package is hidden from it.

    Raises:
        TargetError: It is not installed, or does not load.
    """
    hidden = "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise TargetError(
            problem="OpenVINO is not installed.", found=str(error), fix="pip install 'edgekit[openvino]'"
        ) from error
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]


class OpenVinoBackend:
    """Loads the Q/DQ model itself; OpenVINO compiles it for the device that it finds.

    Options: `device` (CPU, GPU, NPU) and `precision`, that of what is not quantized (f32, bf16, f16). The precision
    is always said outright: left open, OpenVINO runs a float model in bf16 on CPUs that have it, without a word.
    """

    name = "openvino"

    def available(self) -> Availability:
        """Say whether OpenVINO can run on this machine, without loading it."""
        if importlib.util.find_spec("openvino") is None:
            return Availability("", "OpenVINO is not installed: pip install 'edgekit[openvino]'")
        return Availability(importlib.metadata.version("openvino"))

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Return the model, once OpenVINO has accepted it: compiled where the device is the CPU, else only read.

        Raises:
            ModelError: It does not accept the model.
            TargetError: It is not installed.
        """
        options = dict(target.options)
        if target.builds == "here":
            _CompiledModel(model, options, threads=1, error=ModelError).close()
        else:
            _read(import_openvino().Core(), model, ModelError)
        return Build({"model.onnx": model})

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> _CompiledModel:
        """Compile the model for the device.

        Raises:
            TargetError: OpenVINO is not installed, or the device is not here.
            ArtifactError: The members are damaged or foreign.
            UsageError: An option is not known.
        """
        return _CompiledModel(only_model(members, "OpenVINO"), options, threads, error=ArtifactError)

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Return nothing: OpenVINO was not asked."""
        return ()


class _CompiledModel:
    """A model in OpenVINO; threads that run it at once wait for each other."""

    def __init__(self, model: bytes, options: Mapping[str, Any], threads: int, error: type[EdgekitError]) -> None:
        device, settings = _settings(options, threads)
        core = import_openvino().Core()
        network = _read(core, model, error)
        _require_device(core, device)
        try:
            compiled = core.compile_model(network, device, settings)
        except RuntimeError as refusal:
            raise _refused(refusal, error) from refusal
        self.inputs = tuple(_spec(node.friendly_name, node.output(0)) for node in network.get_parameters())
        self.outputs = tuple(_spec(_output_name(node), node.output(0)) for node in network.get_results())
        self._request: Any = compiled.create_infer_request()
        self._lock = Lock()

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run once; every array returned is a new one.

        Raises:
            UsageError: The inputs are not the model's, or the engine is closed.
        """
        check_inputs(self.inputs, inputs)
        with self._lock:
            if self._request is None:
                raise UsageError(problem="The model is closed and cannot run.", fix="Load it again.")
            values = self._request.infer([inputs[spec.name] for spec in self.inputs], share_outputs=False)
            return {spec.name: values[index] for index, spec in enumerate(self.outputs)}

    def layers(self) -> tuple[Layer, ...]:
        """Return nothing: OpenVINO was not asked."""
        return ()

    def close(self) -> None:
        """Free the model."""
        with self._lock:
            self._request = None


def _settings(options: Mapping[str, Any], threads: int) -> tuple[str, dict[str, Any]]:
    check_options("OpenVINO", options, _OPTIONS)
    device, precision = str(options.get("device", "CPU")), options.get("precision", "f32")
    if precision not in _PRECISIONS:
        raise UsageError(
            problem=f"OpenVINO cannot be told the precision '{precision}'.",
            found=f"Known: {', '.join(_PRECISIONS)}.",
            fix="Correct options.precision in the target's file.",
        )
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        settings["NUM_STREAMS"] = 1
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
    return device, settings


def _read(core: Any, model: bytes, error: type[EdgekitError]) -> Any:
    try:
        return core.read_model(model)
    except RuntimeError as refusal:
        raise _refused(refusal, error) from refusal


def _refused(refusal: RuntimeError, error: type[EdgekitError]) -> EdgekitError:
    # The first lines name OpenVINO's own source files; what is wrong comes behind them.
    lines = [line for line in str(refusal).splitlines() if line.strip() and not line.startswith("Exception from")]
    return error(
        problem="OpenVINO does not accept the model.",
        found=" ".join(lines) or str(refusal),
        fix="Compile again; if it still refuses, check the model with `edgekit inspect`.",
    )


def _require_device(core: Any, device: str) -> None:
    here = core.available_devices
    if not any(name.partition(".")[0] == device for name in here):
        raise TargetError(
            problem=f"OpenVINO finds no {device} on this machine.",
            found=f"Devices: {', '.join(here) or 'none'}.",
            fix=f"Run it on the machine that has the {device}, with its driver installed, or compile for a CPU target.",
        )


def _output_name(node: Any) -> str:
    """Return the model's own name of an output: a tensor may have several names, its result node has that one."""
    return str(node.friendly_name).removesuffix("/sink_port_0")


def _spec(name: str, port: Any) -> TensorSpec:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return TensorSpec(name, shape, np.dtype(port.get_element_type().to_dtype()))
