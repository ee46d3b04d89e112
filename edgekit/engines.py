"""ONNX Runtime as everything here loads it: without telemetry, and with exact 8-bit sums on every CPU."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import TargetError
from edgekit.targets import cpu_flags

OPTIMIZED_MODEL = "optimized.onnx"

_FATAL_ONLY = 4

_INEXACT_OPTIMIZERS = ("WeightBiasQuantization",)
"""It rounds the floating-point biases of Q/DQ models to int32 (ONNX Runtime 1.31.1), which targets with such biases do
not: outputs would move by many quantization steps."""


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime without its usage telemetry.

    Since 1.31 the Linux wheels report to their maker and keep a database and a device id under ~/.cache. The switch is
    read on import: calling `disable_telemetry_events` afterwards leaves those files behind.

    Raises:
        TargetError: It is not installed, or does not load.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise TargetError(
            problem="ONNX Runtime is not installed.", found=str(error), fix="pip install 'edgekit[onnxruntime]'"
        ) from error


def new_session(ort: ModuleType, model: bytes, threads: int, trace: Path | None = None) -> Any:
    """Return a session that gives the same, exact results on every CPU; 0 threads leave the number to the engine.

    Args:
        ort: ONNX Runtime.
        model: An ONNX model.
        threads: How many threads compute.
        trace: A folder where the session leaves its optimized graph, `OPTIMIZED_MODEL`, and the profile of its runs;
            such a session also knows which execution provider has which node.

    Raises:
        Exception: ONNX Runtime does not accept the model; its exceptions share no other base.
    """
    options = _session_options(ort, threads)
    if trace is not None:
        options.optimized_model_filepath = str(trace / OPTIMIZED_MODEL)
        options.enable_profiling = True
        options.profile_file_prefix = str(trace / "profile")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=_INEXACT_OPTIMIZERS,
    )


def in_ort_format(ort: ModuleType, model: bytes) -> bytes:
    """Return an ONNX model in ONNX Runtime's own format, which its builds without ONNX's parser load too.

    All optimizations are made here, as `onnxruntime.tools.convert_onnx_models_to_ort` makes them for Arm with the style
    Fixed: without the blocked layout, which is for x86 alone.

    Raises:
        Exception: ONNX Runtime does not accept the model; its exceptions share no other base.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.ort"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL_ONLY
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        ort.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=(*_INEXACT_OPTIMIZERS, "NchwcTransformer"),
        )
        return path.read_bytes()


def _session_options(ort: ModuleType, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL_ONLY
    if saturates(platform.machine(), cpu_flags()):
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def saturates(machine: str, flags: frozenset[str]) -> bool:
    """Whether sums of unsigned times signed 8-bit products overflow 16 bit on a CPU: x86 without VNNI.

    ONNX Runtime then computes wrong results unless told to take the slower exact kernels
    (onnxruntime_session_options_config_keys.h, kOrtSessionOptionsAvx2PrecisionMode). It would take them on any x86 that
    is told so, and with VNNI that only costs time.
    """
    return machine in ("x86_64", "AMD64") and "vnni" not in flags
