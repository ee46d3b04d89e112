"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F

from edgekit.graph.operators.node import Node, Run
from edgekit.graph.operators.windows import Pads, Windows, explicit_padding, is_symmetric, pad, same_padding

Tensor = torch.Tensor
Sizes = tuple[int, ...]

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(node: Node) -> Run:
    """Conv over one, two or three spatial axes."""
    group = node.attribute("group", 1)

    @cache
    def plan(sizes: Sizes, kernel: Sizes) -> tuple[Windows, Pads, Sizes]:
        """Return the windows, what is padded before, and what torch pads itself."""
        windows = Windows.of(node, kernel)
        pads = windows.padding(sizes)
        if is_symmetric(pads):
            return windows, (), tuple(before for before, _ in pads)
        return windows, pads, (0,) * len(pads)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows, border, sides = plan(x.shape[2:], weight.shape[2:])
        convolve = _CONVOLUTIONS[len(sides)]
        return convolve(pad(x, border), weight, bias, windows.strides, sides, windows.dilations, group)

    return run


def conv_transpose(node: Node) -> Run:
    """ConvTranspose with every way to say its output size: pads, output_padding, output_shape and auto_pad."""
    group = node.attribute("group", 1)

    @cache
    def plan(sizes: Sizes, kernel: Sizes) -> tuple[Windows, Pads, Sizes]:
        """Return the windows, what is cut off each side, and what is added behind."""
        windows = Windows.of(node, kernel)
        extra = tuple(node.attribute("output_padding") or (0,) * len(kernel))
        return windows, _cut(windows, sizes, extra, node.attribute("output_shape")), extra

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows, pads, extra = plan(x.shape[2:], weight.shape[2:])
        convolve = _TRANSPOSED[len(pads)]
        if _torch_can(windows, pads, extra):
            sides = [before for before, _ in pads]
            return convolve(x, weight, bias, windows.strides, sides, extra, group, windows.dilations)
        y = convolve(x, weight, None, windows.strides, 0, 0, group, windows.dilations)
        y = pad(y, tuple((-before, more - after) for (before, after), more in zip(pads, extra, strict=True)))
        # The bias comes last: what is added behind has it as well.
        return y if bias is None else y + bias.reshape(-1, *[1] * len(pads))

    return run


def _torch_can(windows: Windows, pads: Pads, extra: Sizes) -> bool:
    largest = [max(pair) for pair in zip(windows.strides, windows.dilations, strict=True)]
    in_reach = all(more < limit for more, limit in zip(extra, largest, strict=True))
    return in_reach and is_symmetric(pads) and all(before >= 0 for before, _ in pads)


def _cut(windows: Windows, sizes: Sizes, extra: Sizes, wanted: Sequence[int] | None) -> Pads:
    """Return what is cut off before and after each axis, by the equations of ONNX's ConvTranspose.

    An output that is asked to be larger than the whole result grows at its end, as ONNX Runtime does it.
    """
    if wanted is None and not windows.auto_pad.startswith("SAME"):
        return explicit_padding(windows.pads, len(sizes))
    full = [
        (size - 1) * stride + extent + more
        for size, stride, extent, more in zip(sizes, windows.strides, windows.extent, extra, strict=True)
    ]
    if wanted is None:
        shares = zip(sizes, windows.strides, full, strict=True)
        wanted = [min(size * stride, whole) for size, stride, whole in shares]
    totals = [size - target for size, target in zip(full, wanted[-len(sizes) :], strict=True)]
    return tuple(same_padding(total, windows.auto_pad) if total > 0 else (0, total) for total in totals)
