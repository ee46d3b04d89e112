"""An engine that runs on a GPU.

Never run: no machine with an NVIDIA GPU has been at hand. Source: the Python API of TensorRT 10 and later, whose
execution contexts take an address for every tensor by name.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.base import Layer, Tensors
from edgekit.backends.signature import TensorSpec, check_inputs
from edgekit.backends.tensorrt.cuda import Device
from edgekit.errors import ArtifactError, ModelError, UsageError


class TensorRtEngine:
    """A deserialized engine with memory on the GPU for each of its tensors; one thread may run it at a time.

    Attributes:
        device_ns: What the last run took between the copies to and from the GPU, by the GPU's clock.
        device_bytes: How much less of the GPU's memory was free when it was loaded than before: weights, activations,
            inputs and outputs, and what else changed meanwhile.

    Args:
        library: The Python module that built it.
        engine: The engine.
        layers: What it computes in which precision.

    Raises:
        TargetError: There is no GPU here.
        ArtifactError: TensorRT does not accept the engine.
    """

    def __init__(self, library: str, engine: bytes, layers: tuple[Layer, ...]) -> None:
        # First the GPU: without a driver, a runtime may crash the process.
        self._device = Device()
        self._stream = self._device.open()
        free = self._device.free_bytes()
        self._trt = trt = importlib.import_module(library)
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise ArtifactError(
                problem="TensorRT does not accept the engine of this bundle.",
                found="It is damaged, or from another version or GPU; TensorRT's own words are above.",
                fix="Build it anew on this machine: edgekit compile BUNDLE.edge --overwrite",
            )
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        specs = [
            TensorSpec(
                name,
                tuple(int(size) for size in self._engine.get_tensor_shape(name)),
                np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))),
            )
            for name in names
        ]
        takes = [self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names]
        self.inputs = tuple(spec for spec, is_input in zip(specs, takes, strict=True) if is_input)
        self.outputs = tuple(spec for spec, is_input in zip(specs, takes, strict=True) if not is_input)
        self._addresses = {spec.name: self._device.allocate(_bytes(spec)) for spec in specs}
        for name, address in self._addresses.items():
            self._context.set_tensor_address(name, address)
        self._layers = layers
        self._start, self._end = self._device.event(), self._device.event()
        self.device_ns = 0
        self.device_bytes = free - self._device.free_bytes()

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run once; every array returned is a new one.

        Raises:
            UsageError: The inputs are not the model's, or the engine is closed.
            ModelError: TensorRT fails to run it.
        """
        if self._engine is None:
            raise UsageError(problem="The model is closed and cannot run.", fix="Load it again.")
        check_inputs(self.inputs, inputs)
        for spec in self.inputs:
            self._device.write(self._addresses[spec.name], inputs[spec.name])
        self._device.mark(self._start)
        if not self._context.execute_async_v3(self._stream):
            raise ModelError(
                problem="TensorRT failed to run the engine.", fix="Its own words are above; build the engine anew."
            )
        self._device.mark(self._end)
        self._device.wait()
        self.device_ns = self._device.between(self._start, self._end)
        found = {spec.name: np.empty([size or 0 for size in spec.shape], spec.dtype) for spec in self.outputs}
        for name, values in found.items():
            self._device.read(self._addresses[name], values)
        return found

    def profiles(self, inputs: Tensors, runs: int) -> list[dict[str, float]]:
        """Return what TensorRT's profiler tells of each run, layer's name to ms, after one run that does not count."""
        told: dict[str, float] = {}

        class Profiler(self._trt.IProfiler):  # type: ignore[name-defined, misc]
            def report_layer_time(self, layer_name: str, ms: float) -> None:
                told[layer_name] = told.get(layer_name, 0.0) + ms

        # The context keeps no reference to it.
        self._profiler = self._context.profiler = Profiler()
        found = []
        for _ in range(runs + 1):
            told.clear()
            self.run(inputs)
            found.append(dict(told))
        return found[1:]

    def layers(self) -> tuple[Layer, ...]:
        """Return what the engine computes in which precision, as TensorRT told when it was built."""
        return self._layers

    def close(self) -> None:
        """Free the engine and its memory; it cannot run after that."""
        if self._engine is None:
            return
        self._context = self._engine = None
        self._device.close(list(self._addresses.values()), [self._start, self._end])


def _bytes(spec: TensorSpec) -> int:
    return int(np.prod([size or 0 for size in spec.shape], dtype=np.int64)) * spec.dtype.itemsize
