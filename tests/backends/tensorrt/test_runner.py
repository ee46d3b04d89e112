"""The calls that running an engine makes of CUDA and TensorRT, against stand-ins for both: there is no GPU here.

What they prove is that the right calls come in the right order; `test_build.py` runs an engine where there is a GPU.
"""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import Layer, TimedLayer
from edgekit.backends.tensorrt.layers import timed_layers
from edgekit.backends.tensorrt.runner import TensorRtEngine
from edgekit.runtime.session import OnDevice


class Cuda:
    """A driver whose GPU has 1 MB free, 1,000 bytes less after each allocation, and 2 ms between two events."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.free = 1_000_000
        self.memory: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.called.append(name)
            getattr(self, f"_{name}", lambda *_: None)(*arguments)
            return 0

        if name.startswith("_"):
            raise AttributeError(name)
        return call

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> None:
        self.free -= 1_000
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.memory[address._obj.value] = block

    def _cuMemcpyHtoD_v2(self, address: Any, source: Any, size: Any) -> None:
        ctypes.memmove(address.value, source, size.value)

    def _cuMemcpyDtoH_v2(self, values: Any, address: Any, size: Any) -> None:
        ctypes.memmove(values, address.value, size.value)

    def _cuMemGetInfo_v2(self, free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = self.free, 2_000_000

    def _cuEventCreate(self, event: Any, flags: int) -> None:
        event._obj.value = 1 + self.called.count("cuEventCreate")

    def _cuEventElapsedTime(self, milliseconds: Any, start: Any, end: Any) -> None:
        assert (start.value, end.value) == (2, 3)
        milliseconds._obj.value = 2.0


class Context:
    """Copies the input to the output, and tells the profiler of two layers."""

    profiler: Any = None

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.addresses: dict[str, int] = {}
        self.runs = 0

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        self.cuda.called.append("execute")
        ctypes.memmove(self.addresses["y"], self.addresses["x"], 12)
        if self.profiler:
            for name, milliseconds in (("conv", 1.0 * self.runs), ("relu", 0.5), ("relu", 0.25)):
                self.profiler.report_layer_time(name, milliseconds)
        return True


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    cuda = Cuda()
    monkeypatch.setattr("ctypes.CDLL", lambda name: cuda)
    engine = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda index: "xy"[index],
        get_tensor_shape=lambda name: (1, 3),
        get_tensor_dtype=lambda name: np.float32,
        get_tensor_mode=lambda name: name,
        create_execution_context=lambda: Context(cuda),
    )
    trt = SimpleNamespace(
        Logger=SimpleNamespace(ERROR=0),
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda data: engine),
        nptype=lambda dtype: dtype,
        TensorIOMode=SimpleNamespace(INPUT="x"),
        IProfiler=object,
    )
    trt.Logger = type("Logger", (), {"ERROR": 0, "__init__": lambda self, level: None})
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    return cuda


CONV = Layer("conv", "correlation", "int8", "GPU", ("/conv",))


def test_a_run_is_timed_between_two_events_around_it_alone(cuda: Cuda) -> None:
    engine = TensorRtEngine("tensorrt", b"engine", (CONV,))
    values = np.array([[1, 2, 3]], np.float32)
    cuda.called.clear()
    np.testing.assert_array_equal(engine.run({"x": values})["y"], values)
    steps = ["cuMemcpyHtoD_v2", "cuEventRecord", "execute", "cuEventRecord", "cuStreamSynchronize"]
    assert cuda.called == [*steps, "cuEventElapsedTime", "cuMemcpyDtoH_v2"]
    assert isinstance(engine, OnDevice)
    assert (engine.device_ns, engine.device_bytes) == (2_000_000, 2_000)
    engine.close()
    assert cuda.called.count("cuEventDestroy_v2") == cuda.called.count("cuMemFree_v2") == 2


def test_layers_are_those_that_the_profiler_tells_of(cuda: Cuda) -> None:
    engine = TensorRtEngine("tensorrt", b"engine", (CONV,))
    runs = engine.profiles({"x": np.zeros((1, 3), np.float32)}, 3)
    assert runs == [{"conv": each, "relu": 0.75} for each in (2.0, 3.0, 4.0)]
    assert timed_layers(engine.layers(), runs) == (
        TimedLayer(CONV, 3_000.0),
        TimedLayer(Layer("relu", "", "", "GPU"), 750.0),
    )
