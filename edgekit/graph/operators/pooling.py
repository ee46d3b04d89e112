"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from edgekit.graph.operators.node import Node, Run
from edgekit.graph.operators.windows import Pads, Windows, is_symmetric, pad

Tensor = torch.Tensor
Pool = Callable[..., Any]

_MAX: dict[int, Pool] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Pool] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONVOLUTIONS: dict[int, Pool] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def max_pool(node: Node) -> Run:
    """MaxPool; the second output, where asked for, counts through the whole input."""
    windows = Windows.of(node, node.attribute("kernel_shape"))
    pool = _MAX[len(windows.kernel)]
    column_major = bool(node.attribute("storage_order", 0))

    def run(x: Tensor) -> Any:
        sizes = x.shape[2:]
        pads, border = _split(windows, sizes)
        # Only floating point can be pooled in torch; 8-bit integers fit into it.
        data = x if x.is_floating_point() else x.to(torch.float32)
        padded = pad(data, border, -math.inf)
        sides = [before for before, _ in pads]
        pooled = pool(
            padded, windows.kernel, windows.strides, sides, windows.dilations, return_indices=node.output_count > 1
        )
        if node.output_count == 1:
            return pooled.to(x.dtype)
        values, places = pooled
        return values.to(x.dtype), _global_places(places, padded.shape[2:], border, x.shape, column_major)

    return run


def _split(windows: Windows, sizes: Sequence[int]) -> tuple[Pads, Pads]:
    """Return what torch can pad while it pools, and what has to be padded before."""
    pads = windows.padding(sizes)
    beyond = windows.overhang(sizes, pads)
    none = ((0, 0),) * len(pads)
    small = all(2 * before <= extent for (before, _), extent in zip(pads, windows.kernel, strict=True))
    if is_symmetric(pads) and small and not any(beyond):
        return pads, none
    return none, tuple((before, after + more) for (before, after), more in zip(pads, beyond, strict=True))


def _global_places(places: Tensor, padded: Sequence[int], border: Pads, shape: Sequence[int], columns: bool) -> Tensor:
    """Turn places within one padded channel into places within the whole unpadded input."""
    sizes = shape[2:]
    coordinates: list[Tensor] = []
    for size, (before, _) in zip(reversed(padded), reversed(border), strict=True):
        coordinates.insert(0, places % size - before)
        places = places // size
    order = range(len(sizes)) if not columns else reversed(range(len(sizes)))
    within = torch.zeros_like(places)
    for axis in order:
        within = within * sizes[axis] + coordinates[axis]
    channels = torch.arange(shape[0] * shape[1], device=places.device) * math.prod(sizes)
    return within + channels.reshape(shape[0], shape[1], *[1] * len(sizes))


def average_pool(node: Node) -> Run:
    """AveragePool; what `ceil_mode` adds beyond the padding never counts."""
    windows = Windows.of(node, node.attribute("kernel_shape"))
    pool = _AVERAGE[len(windows.kernel)]
    include = bool(node.attribute("count_include_pad", 0))

    def run(x: Tensor) -> Any:
        pads, border = _split(windows, x.shape[2:])
        if not any(map(any, border)) and set(windows.dilations) == {1}:
            sides = [before for before, _ in pads]
            return pool(x, windows.kernel, windows.strides, sides, count_include_pad=include)
        pads = windows.padding(x.shape[2:])
        beyond = tuple((0, more) for more in windows.overhang(x.shape[2:], pads))
        counted = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        counted = pad(pad(counted, pads, 1.0 if include else 0.0), beyond)
        return _window_sums(pad(pad(x, pads), beyond), windows) / _window_sums(counted, windows)

    return run


def lp_pool(node: Node) -> Run:
    """LpPool: the p-norm of each window."""
    windows = Windows.of(node, node.attribute("kernel_shape"))
    p = node.attribute("p", 2)

    def run(x: Tensor) -> Tensor:
        pads = windows.padding(x.shape[2:])
        beyond = tuple((0, more) for more in windows.overhang(x.shape[2:], pads))
        sums = _window_sums(pad(pad(x.abs() ** p, pads), beyond), windows)
        return torch.pow(sums, 1.0 / p)

    return run


def _window_sums(x: Tensor, windows: Windows) -> Tensor:
    """Sum each window; by convolution, because torch's pooling has neither dilation nor lopsided padding."""
    ones = torch.ones((1, 1, *windows.kernel), dtype=x.dtype, device=x.device)
    convolve = _CONVOLUTIONS[len(windows.kernel)]
    flat = x.reshape(x.shape[0] * x.shape[1], 1, *x.shape[2:])
    sums: Tensor = convolve(flat, ones, None, windows.strides, 0, windows.dilations)
    return sums.reshape(x.shape[0], x.shape[1], *sums.shape[2:])


def global_average_pool(x: Tensor) -> Tensor:
    """Mean over all spatial axes, which stay with size 1."""
    return x.mean(dim=list(range(2, x.ndim)), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    """Largest value over all spatial axes, which stay with size 1."""
    return x.amax(dim=list(range(2, x.ndim)), keepdim=True)


def global_lp_pool(node: Node) -> Run:
    """p-norm over all spatial axes, which stay with size 1."""
    p = node.attribute("p", 2)
    return lambda x: (x.abs() ** p).sum(dim=list(range(2, x.ndim)), keepdim=True) ** (1.0 / p)


def max_unpool(node: Node) -> Run:
    """Put each value back to where MaxPool took it from; zeros elsewhere, also in what `output_shape` adds behind."""
    windows = Windows.of(node, node.attribute("kernel_shape"))
    wanted = node.integers(2)

    def run(x: Tensor, places: Tensor, *_: Tensor | None) -> Tensor:
        sizes = [
            (size - 1) * stride + extent - before - after
            for size, stride, extent, (before, after) in zip(
                x.shape[2:], windows.strides, windows.kernel, windows.padding(x.shape[2:]), strict=True
            )
        ]
        shape = [*x.shape[:2], *sizes]
        empty = torch.zeros(math.prod(shape), dtype=x.dtype, device=x.device)
        y = empty.scatter(0, places.reshape(-1), x.reshape(-1)).reshape(shape)
        if wanted is None:
            return y
        return pad(y, tuple((0, target - size) for target, size in zip(wanted[2:], sizes, strict=True)))

    return run
