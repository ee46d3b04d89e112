"""One adapter over the Python APIs of TensorRT 10, TensorRT 11 and TensorRT-RTX; what differs is data.

Sources: docs.nvidia.com/deeplearning/tensorrt/11.4.1/api/migration/tensorrt-10x-to-11x-python-api-reference.html for
what 11 removed (precision flags, calibrators); the bindings of 11.4 for what it kept (DLA, GPU_FALLBACK, STRONGLY_TYPED
as a flag without effect); docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html for
compute capabilities; the bindings of TensorRT-RTX 1.7 for its timing cache, which does nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.backends.tensorrt.layers import Record, read_log
from edgekit.errors import ModelError, TargetError

EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""Python module to the extra that installs it."""


@dataclass(frozen=True)
class Api:
    """What a version of TensorRT has.

    Attributes:
        library: Its Python module.
        major: Its major version.
        title: How it is called.
        strongly_typed: Whether types come from the model alone; otherwise flags say which precisions may be used.
        calibration_cache: Whether scales may come from a calibration cache, which is the DLA's only way to 8 bit.
        compute_capability: Whether it builds for a GPU that is not here.
        times_kernels: Whether it tries kernels on the GPU and takes the fastest, so that two builds may differ.
    """

    library: str
    major: int
    title: str
    strongly_typed: bool
    calibration_cache: bool
    compute_capability: bool
    times_kernels: bool


APIS = (
    Api("tensorrt", 10, "TensorRT 10", False, True, False, True),
    Api("tensorrt", 11, "TensorRT 11", True, False, False, True),
    Api("tensorrt_rtx", 1, "TensorRT-RTX 1", True, False, True, False),
)


def api_of(library: str, version: str) -> Api:
    """Return what a version of a library has.

    Raises:
        TargetError: EdgeKit does not know that version.
    """
    major = version.partition(".")[0]
    for api in APIS:
        if (api.library, str(api.major)) == (library, major):
            return api
    raise TargetError(
        problem=f"EdgeKit does not know {library} {version}.",
        found=f"Known: {', '.join(api.title for api in APIS)}.",
        fix="Use one of those.",
    )


def installed_version(library: str) -> str:
    """Return the version of a library without loading it; empty where it is not installed."""
    if importlib.util.find_spec(library) is None:
        return ""
    for distribution in (library, *importlib.metadata.packages_distributions().get(library, ())):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    # JetPack brings its module as a Debian package, which has no record for Python.
    return str(importlib.import_module(library).__version__)


def require(library: str) -> str:
    """Return the version of a library that has to be here.

    Raises:
        TargetError: It is not installed; the message names the extra.
    """
    version = installed_version(library)
    if version:
        return version
    fix = f"pip install 'edgekit[{EXTRAS[library]}]'"
    if library == "tensorrt":
        fix += "; on a Jetson JetPack brings it: make the environment with python3 -m venv --system-site-packages"
    raise TargetError(problem=f"This needs the Python module {library}, which is not installed here.", fix=fix)


@dataclass(frozen=True)
class Order:
    """What an engine is built with.

    Attributes:
        half: Whether what is not quantized may run in half precision, where flags say so.
        compute_capability: Of the GPU to build for, "8.6"; empty: the one that is here.
        workspace_mb: The most scratch memory that a kernel may take, in MiB; 0: no limit.
        dla_core: The DLA to build for; none: the GPU.
        float_nodes: Nodes that stay in half precision, where a cache and not the model says what is quantized.
        int8: Whether what is quantized runs in 8 bit, where flags say so.
    """

    half: bool
    compute_capability: str = ""
    workspace_mb: int = 0
    dla_core: int | None = None
    float_nodes: tuple[str, ...] = ()
    int8: bool = True


class Builder:
    """TensorRT's builder, from model to engine.

    Args:
        library: Its Python module.
        tell: Told what TensorRT logs, but for its most talkative level.
        progress: Told of (stage, steps done, steps in all).
    """

    def __init__(self, library: str, tell: Callable[[str], None], progress: Callable[[str, int, int], None]) -> None:
        self._trt = importlib.import_module(library)
        self.version = str(self._trt.__version__)
        self.api = api_of(library, self.version)
        self.errors: list[str] = []
        self._printed: list[Record] = []
        self._progress = progress
        self._tell = tell
        self._logger = self._new_logger()
        self._builder = self._trt.Builder(self._logger)

    def build(self, model: bytes, order: Order, cache: bytes = b"", timings: bytes = b"") -> tuple[bytes, bytes]:
        """Return the engine and the timing cache; the latter is empty where the version has none.

        Args:
            model: An ONNX model.
            order: What it is built with.
            cache: The calibration cache, where scales come from one.
            timings: The timing cache of an earlier build.

        Raises:
            ModelError: TensorRT does not accept the model.
        """
        network = self._parse(model)
        config = self._configure(network, order, timings)
        if cache:
            config.int8_calibrator = self._calibrator(cache)
        engine = self._builder.build_serialized_network(network, config)
        if engine is None:
            raise ModelError(
                problem=f"{self.api.title} could not build the engine.",
                found="\n".join(self.errors[-3:]) or "it gave no reason",
                fix="Its own words are above. An operator or shape that it does not support has to be exported anew.",
            )
        return bytes(engine), bytes(config.get_timing_cache().serialize()) if self.api.times_kernels else b""

    def layers(self, engine: bytes) -> tuple[Record, ...]:
        """Return what TensorRT tells of every layer.

        Its inspector needs a GPU. TensorRT-RTX prints the same to its log while it builds, GPU or not.
        """
        if self._printed:
            return tuple(self._printed)
        loaded = self._trt.Runtime(self._logger).deserialize_cuda_engine(engine)
        if loaded is None:
            return ()
        told = loaded.create_engine_inspector().get_engine_information(self._trt.LayerInformationFormat.JSON)
        layers = json.loads(told).get("Layers", [])
        return tuple(layer for layer in layers if isinstance(layer, dict))

    def _parse(self, model: bytes) -> Any:
        flags = 0 if not self.api.strongly_typed else 1 << int(self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self._builder.create_network(flags)
        # The parser must outlive the network: its weights lie in the parser's memory.
        self._parser = self._trt.OnnxParser(network, self._logger)
        if not self._parser.parse(model):
            told = [self._parser.get_error(index) for index in range(self._parser.num_errors)]
            raise ModelError(
                problem=f"{self.api.title} does not accept the model.",
                found="\n".join(f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in told[:3])
                or "it gave no reason",
                fix="Export the model without these operators, or for another target.",
            )
        return network

    def _configure(self, network: Any, order: Order, timings: bytes) -> Any:
        trt, config = self._trt, self._builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.progress_monitor = self._monitor = self._new_monitor()
        if order.workspace_mb:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace_mb << 20)
        if self.api.compute_capability and order.compute_capability:
            config.num_compute_capabilities = 1
            name = f"SM{order.compute_capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
        if not self.api.strongly_typed:
            # With Q/DQ, 10 needs INT8 as well: NVIDIA/TensorRT issue 4021.
            if order.int8:
                config.set_flag(trt.BuilderFlag.INT8)
            if order.half:
                config.set_flag(trt.BuilderFlag.FP16)
        if self.api.times_kernels:
            config.set_timing_cache(config.create_timing_cache(timings), False)
        if order.dla_core is not None:
            config.default_device_type = trt.DeviceType.DLA
            config.DLA_core = order.dla_core
            config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        if order.float_nodes:
            config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
            for layer in (network.get_layer(index) for index in range(network.num_layers)):
                if layer.name in order.float_nodes:
                    layer.precision = trt.float16
        return config

    def _calibrator(self, cache: bytes) -> Any:
        """Return what hands TensorRT the cache and no data, so that it takes every scale from there."""

        class Calibrator(self._trt.IInt8EntropyCalibrator2):  # type: ignore[name-defined, misc]
            def get_batch_size(self) -> int:
                return 1

            def get_batch(self, names: list[str]) -> None:
                return None

            def read_calibration_cache(self) -> bytes:
                return cache

            def write_calibration_cache(self, cache: bytes) -> None:
                return None

        self._kept = Calibrator()
        return self._kept

    def _new_logger(self) -> Any:
        errors, printed, tell = self.errors, self._printed, self._tell

        class Logger(self._trt.ILogger):  # type: ignore[name-defined, misc]
            def log(self, severity: Any, message: str) -> None:
                if severity.name in ("ERROR", "INTERNAL_ERROR"):
                    errors.append(message)
                if severity.name == "VERBOSE":
                    printed.extend(read_log(message))
                else:
                    tell(f"{severity.name}: {message}")

        return Logger()

    def _new_monitor(self) -> Any:
        progress = self._progress

        class Monitor(self._trt.IProgressMonitor):  # type: ignore[name-defined, misc]
            def __init__(self) -> None:
                super().__init__()
                self._steps: dict[str, int] = {}

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                self._steps[phase_name] = num_steps

            def step_complete(self, phase_name: str, step: int) -> bool:
                progress(phase_name, step + 1, self._steps.get(phase_name, step + 1))
                return True

            def phase_finish(self, phase_name: str) -> None:
                self._steps.pop(phase_name, None)

        return Monitor()


def order_of(told: Mapping[str, Any]) -> Order:
    """Return an order that came as JSON."""
    return Order(**{**told, "float_nodes": tuple(told.get("float_nodes", ()))})
