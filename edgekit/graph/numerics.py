"""Affine quantization as ONNX defines it: real = scale * (integer - zero point), rounding half to even.

Source: ONNX operators QuantizeLinear and DequantizeLinear (opset 13 and 21).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekit.targets import TensorScheme

Array = NDArray[Any]

SMALLEST_SCALE = 1e-12
"""Small enough for any weight that matters, large enough that the product of two scales is no zero in float32."""


WIDENING = 256
"""So many steps of a 16-bit grid make one of the 8-bit grid that it was widened from."""


def widened(scale: Array, zero_point: Array) -> tuple[NDArray[np.float32], Array]:
    """Return scale and zero point of the 16-bit grid that holds every level of an 8-bit one exactly.

    The scale is divided by a power of two, so that a level's float32 value is the same bits on both grids. The other
    way round a value is rounded twice, to 16 bit and then to 8: at most 1 / 512 of an 8-bit step from rounding once.
    """
    dtype = np.uint16 if zero_point.dtype == np.uint8 else np.int16
    wide = (zero_point.astype(np.int32) * WIDENING).astype(dtype)
    return np.asarray(scale / np.float32(WIDENING), np.float32), np.asarray(wide)


def integer_limits(scheme: TensorScheme) -> tuple[int, int]:
    """Return the smallest and largest integer that a scheme uses.

    A narrow range leaves out the lowest integer, as engines want it of symmetric weights. QuantizeLinear knows no such
    limit, so activations use it. A reduced range has one bit less, for kernels that add products of two 8-bit numbers
    in 16 bits.
    """
    info = np.iinfo(scheme.dtype)
    unused = info.bits - (scheme.bits or info.bits)
    low, high = int(info.min) >> unused, int(info.max) >> unused
    if scheme.reduce_range:
        low, high = low // 2, high // 2
    return low + scheme.narrow_range, high


def scale_and_zero_point(
    low: ArrayLike, high: ArrayLike, scheme: TensorScheme
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return the scale and zero point whose grid covers [low, high], zero included and exactly representable.

    Args:
        low: Smallest real value, of any shape (one value per channel, or a scalar).
        high: Largest real value, of the same shape.
        scheme: How the tensor is quantized.

    Returns:
        Scale (float32) and zero point (the scheme's dtype), of the same shape.
    """
    smallest, largest = integer_limits(scheme)
    low = np.minimum(np.asarray(low, np.float64), 0.0)
    high = np.maximum(np.asarray(high, np.float64), 0.0)
    if scheme.symmetric:
        middle = 0 if smallest < 0 else (smallest + largest + 1) // 2
        scale = np.maximum(-low, high) / (largest - middle)
        zero_point = np.full(low.shape, middle)
    else:
        scale = (high - low) / (largest - smallest)
        safe = np.maximum(scale, SMALLEST_SCALE)
        zero_point = np.clip(np.rint(smallest - low / safe), smallest, largest)
    return np.maximum(scale, SMALLEST_SCALE).astype(np.float32), zero_point.astype(scheme.dtype)


def quantize(values: Array, scale: Array, zero_point: Array, scheme: TensorScheme, axis: int | None = None) -> Array:
    """Return the integers for real values; values beyond the grid are clipped to its ends.

    Args:
        values: Real values of any shape.
        scale: float32, scalar or one per index of `axis`.
        zero_point: Of the scheme's dtype, shaped like the scale.
        scheme: How the tensor is quantized.
        axis: The channel axis, none where the scale is a scalar.
    """
    smallest, largest = integer_limits(scheme)
    steps = np.rint(np.asarray(values, np.float32) / _along(scale, values.ndim, axis))
    shifted = steps + _along(zero_point.astype(np.float32), values.ndim, axis)
    integers: Array = np.clip(shifted, smallest, largest).astype(scheme.dtype)
    return integers


def dequantize(integers: Array, scale: Array, zero_point: Array, axis: int | None = None) -> NDArray[np.float32]:
    """Return the real values that integers stand for."""
    shifted = integers.astype(np.float32) - _along(zero_point.astype(np.float32), integers.ndim, axis)
    return np.asarray(shifted * _along(scale, integers.ndim, axis), np.float32)


def _along(values: Array, ndim: int, axis: int | None) -> Array:
    """Shape per-channel values so that they broadcast along `axis`."""
    if axis is None:
        return values
    return values.reshape([-1 if index == axis else 1 for index in range(ndim)])
