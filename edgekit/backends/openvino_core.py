"""OpenVINO's library: loaded without telemetry, its refusals as errors of EdgeKit, its devices asked for."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from edgekit.backends.openvino_amx import rewrite_convolutions
from edgekit.backends.openvino_options import Settings
from edgekit.errors import EdgekitError, TargetError


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


def read(core: Any, model: bytes, weights: bytes, error: type[EdgekitError]) -> Any:
    """Return the network of an ONNX model, or of an IR with its weights.

    Raises:
        EdgekitError: Of the given kind: OpenVINO does not accept it.
    """
    try:
        return core.read_model(model, weights) if weights else core.read_model(model)
    except RuntimeError as refusal:
        raise refused(refusal, error) from refusal


def compiled(core: Any, network: Any, settings: Settings, error: type[EdgekitError], profile: bool = False) -> Any:
    """Compile a network for its device, with OpenVINO's profiler if told so, and check what came of it.

    For a CPU the network is rewritten, in place, as `openvino_amx` says.

    Raises:
        EdgekitError: Of the given kind: OpenVINO does not accept the network.
        TargetError: The device is not here, or computes in another precision than asked for.
    """
    require_device(core, settings.device)
    if settings.device == "CPU":
        rewrite_convolutions(import_openvino(), network, settings.precision)
    properties = dict(settings.properties) | ({"PERF_COUNT": "YES"} if profile else {})
    try:
        model = core.compile_model(network, settings.device, properties)
    except RuntimeError as refusal:
        raise refused(refusal, error) from refusal
    require_as_asked(model, settings)
    return model


def require_as_asked(model: Any, settings: Settings) -> None:
    """Ask a compiled model for its device and precision, and refuse others than were asked for.

    OpenVINO 2026.4 takes f16 on a CPU that has bf16 only, and computes in bf16 without a word.

    Raises:
        TargetError: They are others.
    """
    devices = [str(name) for name in model.get_property("EXECUTION_DEVICES")]
    if any(name.partition(".")[0] != settings.device for name in devices):
        raise TargetError(
            problem=f"OpenVINO was asked for the {settings.device} and runs the model elsewhere.",
            found=f"It runs on {', '.join(devices)}.",
            fix="Check the device's driver.",
        )
    precision = model.get_property("INFERENCE_PRECISION_HINT").to_string()
    if precision != settings.precision:
        raise TargetError(
            problem=f"OpenVINO was asked to compute in {settings.precision} and computes in {precision}.",
            found=f"device {', '.join(devices)}, {model.get_property('RUNTIME_REQUIREMENTS')}",
            fix="Set options.precision in the target's file to what this device has.",
        )


def require_device(core: Any, device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        TargetError: It does not.
    """
    here = core.available_devices
    if not any(name.partition(".")[0] == device for name in here):
        raise TargetError(
            problem=f"OpenVINO finds no {device} on this machine.",
            found=f"Devices: {', '.join(here) or 'none'}.",
            fix=f"Run it on the machine that has the {device}, with its driver installed, or compile for a CPU target.",
        )


def refused(refusal: RuntimeError, error: type[EdgekitError]) -> EdgekitError:
    """Return OpenVINO's refusal of a model as an error."""
    return error(
        problem="OpenVINO does not accept the model.",
        found=reason(refusal),
        fix="Compile again; if it still refuses, check the model with `edgekit inspect`.",
    )


def reason(refusal: RuntimeError) -> str:
    """Return what is wrong: the first lines of a refusal name OpenVINO's own source files."""
    lines = [line for line in str(refusal).splitlines() if line.strip() and not line.startswith("Exception from")]
    return " ".join(lines) or str(refusal)
