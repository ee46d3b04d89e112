"""QNN: the engine for Qualcomm's Hexagon processor (HTP) in phones and cars, compiled and simulated on x86-64.

Source: onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html (options, context binaries).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgekit.backends.apart import EngineApart, layers_of
from edgekit.backends.base import Availability, Build, Engine, Fallback, Layer, Tensors, TimedLayer
from edgekit.backends.deferred import checked_model
from edgekit.backends.qnn_process import BINARY, CONTEXT, PROVIDER
from edgekit.backends.sealed import sealed, unsealed
from edgekit.backends.signature import check_options
from edgekit.companion import Companion
from edgekit.errors import ArtifactError, TargetError
from edgekit.isolation import Outcome, call_isolated
from edgekit.progress import Progress, silent
from edgekit.targets import Target

_PROCESS = "edgekit.backends.qnn_process"
_RECORD = "context.json"
_OPTIONS = ("htp_arch", "soc_model", "precision", "cpu_fallback")

COMPILE_S = 1800.0
RUN_S = 600.0
"""The simulator took 8 s for a frame of LSTR (0.6 GMAC) on two busy cores: this is for what hangs."""

_SIMULATED = "It compiles here and runs in its simulator: what that computes counts, its times do not."

_CPU = "CPUExecutionProvider"
_WHY = "onnxruntime-qnn does not give it to HTP"


class QnnBackend:
    """Compiles a context binary for an HTP, and runs it in the simulator that onnxruntime-qnn has on x86-64."""

    name = "qnn"

    def available(self) -> Availability:
        """Say whether onnxruntime-qnn is on this machine, without loading it."""
        if importlib.util.find_spec("onnxruntime_qnn") is None:
            return Availability("", "onnxruntime-qnn is not installed: pip install 'edgekit[qnn]'")
        # Without a reason, the engine would count as one whose times are those of a device.
        return Availability(_version(), _SIMULATED if platform.machine() in ("x86_64", "AMD64") else "")

    def build(self, model: bytes, target: Target, progress: Progress = silent) -> Build:
        """Compile the context for the target's HTP; twice, to learn whether its bytes are the same again.

        Raises:
            ModelError: The model is damaged, or HTP cannot run all of it and `cpu_fallback` is not set.
            TargetError: onnxruntime-qnn is not installed, crashes, or takes too long.
            UsageError: An option is not known.
        """
        _require_package()
        check_options("QNN", target.options, _OPTIONS)
        parsed = checked_model(model)
        computing = {
            node.name for node in parsed.graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        }
        outcome, again = (_compiled(model, target, progress) for _ in range(2))
        members = {"model.onnx": model, CONTEXT: outcome.files[CONTEXT], BINARY: outcome.files[BINARY]}
        found = outcome.result
        fallback = [(name, operator) for name, operator in found["fallback"] if name in computing]
        layers = (*layers_of(found["layers"]), *(Layer(name, kind, "f32", _CPU, (name,)) for name, kind in fallback))
        return Build(
            members={**members, _RECORD: _record(members, target.options, layers)},
            layers=layers,
            fallback=tuple(Fallback(name, operator, _WHY) for name, operator in fallback),
            reproducible=outcome.files == again.files,
            log=outcome.log,
            seconds=outcome.seconds,
            peak_bytes=outcome.peak_bytes,
        )

    def load(self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int) -> Engine:
        """Load a context, or compile a floating-point model on the spot to half precision.

        The simulator has threads of its own, whatever `threads` says.

        Raises:
            TargetError: onnxruntime-qnn is not installed, or crashes.
            ArtifactError: The members are damaged or foreign, or a context of another HTP or version.
            UsageError: An option is not known.
        """
        check_options("QNN", options, _OPTIONS)
        if set(members) == {"model.onnx"}:
            _require_package()
            return _simulated("model.onnx", members, options)
        record = unsealed("qnn", _RECORD, members)
        _require_fitting(record, options)
        _require_package()
        return _simulated(CONTEXT, members, options, layers_of(record["layers"]))

    def time_layers(
        self, members: Mapping[str, bytes], options: Mapping[str, Any], threads: int, inputs: Tensors, runs: int
    ) -> tuple[TimedLayer, ...]:
        """Return nothing: a simulator's times are not a device's."""
        return ()


def _compiled(model: bytes, target: Target, progress: Progress) -> Outcome:
    return call_isolated(
        f"{_PROCESS}:compile_context",
        {"options": dict(target.options)},
        {"model.onnx": model},
        what=f"QNN compiles for {target.name}",
        timeout_s=COMPILE_S,
        progress=progress,
    )


def _simulated(
    model: str, members: Mapping[str, bytes], options: Mapping[str, Any], layers: tuple[Layer, ...] = ()
) -> Engine:
    """Return a model in the simulator, whose layers a context keeps beside it."""
    process = Companion(
        f"{_PROCESS}:simulate",
        {"model": model, "options": dict(options)},
        members,
        what="QNN's simulator",
        start_s=COMPILE_S,
        call_s=RUN_S,
    )
    # Asked of the session, not assumed: ONNX Runtime has recorded which provider got which node.
    found, allowed = process.told["nodes"], {PROVIDER, _CPU} if options.get("cpu_fallback") else {PROVIDER}
    if PROVIDER in found and set(found) <= allowed:
        return EngineApart(process, layers)
    process.close()
    raise TargetError(
        problem="QNN did not run the model, although it was loaded into it.",
        found=f"nodes by provider: {found}",
        fix="Compile again with the onnxruntime-qnn that is installed here.",
    )


def _require_package() -> None:
    if importlib.util.find_spec("onnxruntime_qnn") is None:
        raise TargetError(
            problem="QNN needs the package onnxruntime-qnn, which is not installed here.",
            found="no Python module onnxruntime_qnn",
            fix="pip install 'edgekit[qnn]'",
        )


def _record(members: Mapping[str, bytes], options: Mapping[str, Any], layers: Sequence[Layer]) -> bytes:
    """Return what a context was built from and for: a simulator runs that of another HTP without a word."""
    record = {
        "schema_version": 1,
        "engine": "qnn",
        "version": _version(),
        "options": dict(options),
        "layers": [asdict(layer) for layer in layers],
    }
    return sealed(record, members)


def _require_fitting(record: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    built = record["options"]
    differing = [key for key in ("htp_arch", "soc_model") if key in options and options[key] != built.get(key)]
    found = [f"{key} {built.get(key)}, not {options[key]}" for key in differing]
    if record["version"] != _version():
        found.append(f"onnxruntime-qnn {record['version']}, not {_version()}")
    if found:
        raise ArtifactError(
            problem="The context binary was compiled for another HTP, or by another version of QNN.",
            found="; ".join(found),
            fix=f"Compile again for this one, or pip install onnxruntime-qnn=={record['version']}",
        )


def _version() -> str:
    try:
        return importlib.metadata.version("onnxruntime-qnn")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
