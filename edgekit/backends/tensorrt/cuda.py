"""The few calls of CUDA's driver that running an engine needs, without a package for them.

Never run: no machine with an NVIDIA GPU has been at hand. Source of names and attribute numbers: cuda.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import TargetError

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76
_NAME_BYTES = 256


def has_driver() -> bool:
    """Whether NVIDIA's driver is on this machine; a TensorRT runtime without one may crash its process."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


class Device:
    """The first GPU, its memory and one stream.

    Raises:
        TargetError: There is no driver or no GPU, or a call fails.
    """

    def __init__(self) -> None:
        try:
            self._cuda = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise TargetError(
                problem="TensorRT engines run on an NVIDIA GPU, and there is none here.",
                found=str(error),
                fix="Run this on the machine that has the GPU, with NVIDIA's driver installed.",
            ) from error
        self._device = ctypes.c_int()
        self._context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)

    def identity(self) -> tuple[str, str]:
        """Return the GPU's name and compute capability."""
        name, major, minor = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetName", name, _NAME_BYTES, self._device)
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, self._device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, self._device)
        return name.value.decode(errors="replace"), f"{major.value}.{minor.value}"

    def open(self) -> int:
        """Make the GPU this thread's and return a stream's handle."""
        # The primary context is the one that the runtime API below TensorRT uses too.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self._call("cuCtxSetCurrent", self._context)
        self._call("cuStreamCreate", ctypes.byref(self._stream), 0)
        return int(self._stream.value or 0)

    def allocate(self, size: int) -> int:
        """Return the address of that many bytes of the GPU's memory."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return int(address.value)

    def write(self, address: int, values: NDArray[Any]) -> None:
        """Copy an array to the GPU."""
        source = np.ascontiguousarray(values)
        self._call(
            "cuMemcpyHtoD_v2", ctypes.c_uint64(address), source.ctypes.data_as(ctypes.c_void_p), _size(source.nbytes)
        )

    def read(self, address: int, values: NDArray[Any]) -> None:
        """Fill a contiguous array from the GPU."""
        self._call(
            "cuMemcpyDtoH_v2", values.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(address), _size(values.nbytes)
        )

    def wait(self) -> None:
        """Wait for all that was put on the stream."""
        self._call("cuStreamSynchronize", self._stream)

    def event(self) -> int:
        """Return a new event's handle."""
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), 0)
        return int(event.value or 0)

    def mark(self, event: int) -> None:
        """Let the GPU note the time in an event when it has done what is on the stream by now."""
        self._call("cuEventRecord", ctypes.c_void_p(event), self._stream)

    def between(self, start: int, end: int) -> int:
        """Return the time between two events that have happened, in ns; CUDA tells it to about 500 ns."""
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), ctypes.c_void_p(start), ctypes.c_void_p(end))
        return round(milliseconds.value * 1e6)

    def free_bytes(self) -> int:
        """Return how much of the GPU's memory is free; on a Jetson, of the memory that it shares with the CPU."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return int(free.value)

    def close(self, addresses: Sequence[int], events: Sequence[int]) -> None:
        """Give back memory, events, stream and context."""
        for address in addresses:
            self._call("cuMemFree_v2", ctypes.c_uint64(address))
        for event in events:
            self._call("cuEventDestroy_v2", ctypes.c_void_p(event))
        self._call("cuStreamDestroy_v2", self._stream)
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            raise TargetError(
                problem=f"The GPU refuses {name}.",
                found=f"CUDA error {code}: {(text.value or b'unknown').decode(errors='replace')}",
                fix="Check the driver with nvidia-smi, or with tegrastats on a Jetson.",
            )


def _size(count: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(count)
