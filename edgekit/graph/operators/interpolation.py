"""Interpolation along one axis: where new values come from, and with which weights.

Source: ONNX operator Resize (opset 19), coordinate transformation modes and kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_ROUNDING: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class ResizedAxis:
    """One axis and what becomes of it.

    Attributes:
        size: Its size before.
        target: Its size afterwards.
        scale: target / size as given, before `target` was rounded down.
        start: Start of the region for tf_crop_and_resize, as a share of the axis.
        end: Its end.
    """

    size: int
    target: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    def places(self, coordinates: str) -> Floats:
        """Return where the new values lie in the old axis, in single precision as engines compute it."""
        x = np.arange(self.target, dtype=np.float32)
        scale, last = np.float32(self.scale), self.size - 1
        if coordinates == "asymmetric":
            return x / scale
        if coordinates == "align_corners":
            return x * np.float32(last) / np.float32(max(self.target - 1, 1))
        if coordinates == "tf_crop_and_resize":
            if self.target == 1:
                return np.full(1, 0.5 * (self.start + self.end) * last, np.float32)
            step = (self.end - self.start) * last / (self.target - 1)
            return np.asarray(self.start * last + x * step, np.float32)
        if coordinates == "pytorch_half_pixel" and self.target == 1:
            return np.zeros(1, np.float32)
        if coordinates == "half_pixel_symmetric":
            # The samples stay centred although `target` was rounded down. In double precision, because the middle one
            # falls onto an old one exactly, and a last bit would decide on which side of it.
            unrounded = self.scale * self.size
            offset = self.size / 2 * (1 - self.target / unrounded)
            return np.asarray(offset + (x.astype(np.float64) + 0.5) / self.scale - 0.5, np.float32)
        return (x + np.float32(0.5)) / scale - np.float32(0.5)


def nearest(axis: ResizedAxis, coordinates: str, rounding: str) -> NDArray[np.int64]:
    """Return the index in the old axis of each new value."""
    rounded = _ROUNDING[rounding](axis.places(coordinates))
    return np.clip(rounded, 0, axis.size - 1).astype(np.int64)


def linear_kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight by distance of linear interpolation."""
    return np.asarray(np.maximum(1 - np.abs(distance), 0.0))


def cubic_kernel(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Weight by distance of cubic convolution (Keys, 1981) with parameter a."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def weights(
    axis: ResizedAxis,
    coordinates: str,
    kernel: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    reach: int,
    *,
    antialias: bool,
    exclude_outside: bool,
) -> NDArray[np.float64]:
    """Return the matrix, target x size, that interpolates an axis.

    Args:
        axis: The axis.
        coordinates: The coordinate transformation mode.
        kernel: Weight by distance.
        reach: Distance from which on the kernel is zero.
        antialias: Stretch the kernel where the axis shrinks, so that every old value has its share.
        exclude_outside: Leave out what lies beyond the ends; else the end's value stands for it.
    """
    places = axis.places(coordinates).astype(np.float64)
    stretch = min(axis.scale, 1.0) if antialias else 1.0
    around = int(np.ceil(reach / stretch))
    taps = np.floor(places)[:, None] + np.arange(-around, around + 1)
    shares = kernel((taps - places[:, None]) * stretch)
    if exclude_outside:
        shares = np.where((taps < 0) | (taps >= axis.size), 0.0, shares)
    if exclude_outside or antialias:
        shares = shares / shares.sum(1, keepdims=True)
    matrix = np.zeros((axis.target, axis.size))
    rows = np.broadcast_to(np.arange(axis.target)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, axis.size - 1).astype(np.int64)), shares)
    return matrix
