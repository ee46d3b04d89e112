"""Resize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from edgekit.graph.operators.interpolation import ResizedAxis, cubic_kernel, linear_kernel, nearest, weights
from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor
Axes = dict[int, ResizedAxis]

_TORCH_CUBIC = -0.75
_TORCH_MODES = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}


@dataclass(frozen=True)
class _Method:
    """How values between the old ones are found: the attributes of the node."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    antialias: bool
    exclude_outside: bool
    extrapolation: float


def resize(node: Node) -> Run:
    """Resize by scales or to sizes; nearest, linear or cubic, in every coordinate and rounding mode."""
    method = _Method(
        mode=node.attribute("mode", "nearest"),
        coordinates=node.attribute("coordinate_transformation_mode", "half_pixel"),
        rounding=node.attribute("nearest_mode", "round_prefer_floor"),
        cubic=node.attribute("cubic_coeff_a", _TORCH_CUBIC),
        antialias=bool(node.attribute("antialias", 0)),
        exclude_outside=bool(node.attribute("exclude_outside", 0)),
        extrapolation=node.attribute("extrapolation_value", 0.0),
    )
    axes_of = _axes_of(node)

    @cache
    def plan(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Run:
        axes = axes_of(shape)
        return _in_torch(axes, method, len(shape)) or _axis_by_axis(axes, method, dtype, device)

    return lambda x, *_: plan(x.shape, x.dtype, x.device)(x)


def _axes_of(node: Node) -> Callable[[tuple[int, ...]], Axes]:
    """Read sizes or scales, and return what works out the axes of an input's shape."""
    slots = (None, 1, None) if node.opset < 11 else (1, 2, 3)
    roi, scales, sizes = (None if slot is None else node.constant(slot) for slot in slots)
    named = node.attribute("axes")
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    crops = node.attribute("coordinate_transformation_mode") == "tf_crop_and_resize"

    def axes_of(shape: tuple[int, ...]) -> Axes:
        numbers = [axis % len(shape) for axis in named] if named else list(range(len(shape)))
        before = np.array([shape[number] for number in numbers])
        if sizes is not None and sizes.size:
            targets, factors = _targets(before, sizes, policy)
        else:
            assert scales is not None
            factors = scales.astype(np.float32)
            targets = np.floor(before.astype(np.float32) * factors).astype(np.int64)
        regions = np.zeros(2 * len(numbers)) if roi is None or not roi.size else roi.astype(np.float64)
        return {
            number: ResizedAxis(int(size), int(target), float(factor), float(start), float(end))
            for number, size, target, factor, start, end in zip(
                numbers, before, targets, factors, regions[: len(numbers)], regions[len(numbers) :], strict=True
            )
            if crops or size != target or factor != 1
        }

    return axes_of


def _targets(
    before: NDArray[np.int64], sizes: NDArray[np.int64], policy: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return new sizes and scales; to keep the aspect ratio, one scale for all axes."""
    factors = sizes / before
    if policy == "stretch":
        return sizes, factors
    factor = factors.min() if policy == "not_larger" else factors.max()
    return np.floor(before * factor + 0.5).astype(np.int64), np.full(len(before), factor)


def _in_torch(axes: Axes, method: _Method, ndim: int) -> Run | None:
    """Return torch's own interpolation, which is faster, where it computes the same."""
    spatial = list(range(2, ndim))
    if sorted(axes) != spatial or method.antialias or method.exclude_outside:
        return None
    resized = [axes[axis] for axis in spatial]
    targets = [axis.target for axis in resized]
    if method.mode == "nearest":
        # Powers of two, because torch rounds the products of other factors.
        doubled = all(axis.target % axis.size == 0 and _is_power_of_two(axis.target // axis.size) for axis in resized)
        if not doubled or method.coordinates == "tf_crop_and_resize" or ndim > 5:
            return None
        same = all(
            np.array_equal(
                nearest(axis, method.coordinates, method.rounding),
                np.arange(axis.target) // (axis.target // axis.size),
            )
            for axis in resized
        )
        return partial(F.interpolate, size=targets, mode="nearest") if same else None
    mode = _TORCH_MODES[method.mode].get(ndim)
    exact = all(axis.scale == axis.target / axis.size for axis in resized) and min(targets) > 1
    corners = method.coordinates == "align_corners"
    if mode is None or (method.mode == "cubic" and method.cubic != _TORCH_CUBIC):
        return None
    if not corners and not (exact and method.coordinates.endswith("half_pixel")):
        return None
    return partial(F.interpolate, size=targets, mode=mode, align_corners=corners)


def _is_power_of_two(factor: int) -> bool:
    return factor > 0 and factor & (factor - 1) == 0


def _axis_by_axis(axes: Axes, method: _Method, dtype: torch.dtype, device: torch.device) -> Run:
    """Return a resize by indices or weights along one axis after the other."""
    steps = [(number, _step(axis, method, dtype, device)) for number, axis in axes.items()]
    crops = method.coordinates == "tf_crop_and_resize"
    beyond = {number: _beyond(axis, method, device) for number, axis in axes.items()} if crops else {}

    def run(x: Tensor) -> Tensor:
        for number, step in steps:
            x = step(x, number)
        for number, outside in beyond.items():
            shaped = outside.reshape([-1 if axis == number else 1 for axis in range(x.ndim)])
            x = torch.where(shaped, method.extrapolation, x)
        return x

    return run


def _step(axis: ResizedAxis, method: _Method, dtype: torch.dtype, device: torch.device) -> Run:
    if method.mode == "nearest":
        indices = torch.from_numpy(nearest(axis, method.coordinates, method.rounding)).to(device)
        return lambda x, number: x.index_select(number, indices)
    cubic = method.mode == "cubic"
    shares = weights(
        axis,
        method.coordinates,
        partial(cubic_kernel, a=method.cubic) if cubic else linear_kernel,
        2 if cubic else 1,
        antialias=method.antialias,
        exclude_outside=method.exclude_outside,
    )
    matrix = torch.from_numpy(shares.T.copy()).to(device, dtype)
    return lambda x, number: (x.movedim(number, -1) @ matrix).movedim(-1, number)


def _beyond(axis: ResizedAxis, method: _Method, device: torch.device) -> Tensor:
    places = axis.places(method.coordinates)
    return torch.from_numpy((places < 0) | (places > axis.size - 1)).to(device)
