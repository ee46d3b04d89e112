"""Sliding windows: paddings and output sizes, as convolution and pooling count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from edgekit.graph.operators.node import Node

Pads = tuple[tuple[int, int], ...]
"""(before, after) of each spatial axis."""


@dataclass(frozen=True)
class Windows:
    """How windows slide over the spatial axes.

    Attributes:
        kernel: Size of a window along each axis.
        strides: Step along each axis.
        dilations: Distance of neighbouring taps along each axis.
        pads: ONNX's `pads`: all befores, then all afters; none where `auto_pad` decides.
        auto_pad: NOTSET, SAME_UPPER, SAME_LOWER or VALID.
        ceil_mode: Whether a last, incomplete window counts.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...] | None
    auto_pad: str
    ceil_mode: bool = False

    @classmethod
    def of(cls, node: Node, kernel: Sequence[int]) -> Windows:
        """Read the attributes of a node whose windows have this size."""
        axes = len(kernel)
        pads = node.attribute("pads")
        return cls(
            kernel=tuple(kernel),
            strides=tuple(node.attribute("strides") or [1] * axes),
            dilations=tuple(node.attribute("dilations") or [1] * axes),
            pads=None if pads is None else tuple(pads),
            auto_pad=node.attribute("auto_pad", "NOTSET"),
            ceil_mode=bool(node.attribute("ceil_mode", 0)),
        )

    @property
    def extent(self) -> tuple[int, ...]:
        """What a window spans along each axis."""
        return tuple(dilation * (size - 1) + 1 for size, dilation in zip(self.kernel, self.dilations, strict=True))

    def padding(self, sizes: Sequence[int]) -> Pads:
        """Return the padding for an input of these spatial sizes."""
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            return tuple(
                same_padding(max((-(-size // stride) - 1) * stride + extent - size, 0), self.auto_pad)
                for size, stride, extent in zip(sizes, self.strides, self.extent, strict=True)
            )
        return explicit_padding(self.pads, len(self.kernel)) if self.auto_pad == "NOTSET" else ((0, 0),) * len(sizes)

    def overhang(self, sizes: Sequence[int], pads: Pads) -> tuple[int, ...]:
        """Return how far the last window reaches beyond the padded input, along each axis.

        A window that would start in the padding behind the input is left out.
        """
        beyond = []
        for size, (before, after), stride, extent in zip(sizes, pads, self.strides, self.extent, strict=True):
            steps, rest = divmod(size + before + after - extent, stride)
            counts = self.ceil_mode and rest > 0 and (steps + 1) * stride < size + before
            beyond.append(stride - rest if counts else 0)
        return tuple(beyond)


def explicit_padding(pads: Sequence[int] | None, axes: int) -> Pads:
    """Pair ONNX's flat list of paddings by axis."""
    flat = list(pads) if pads else [0] * (2 * axes)
    return tuple(zip(flat[:axes], flat[axes:], strict=True))


def same_padding(total: int, auto_pad: str) -> tuple[int, int]:
    """Split a padding in two; the odd one goes behind for SAME_UPPER, before for SAME_LOWER."""
    half = total // 2
    return (half, total - half) if auto_pad == "SAME_UPPER" else (total - half, half)


def is_symmetric(pads: Pads) -> bool:
    """Say whether every axis is padded equally on both sides."""
    return all(before == after for before, after in pads)


def pad(x: torch.Tensor, pads: Pads, value: float = 0.0) -> torch.Tensor:
    """Pad, or crop where negative, the last axes of a tensor with a constant."""
    flat = [amount for pair in reversed(pads) for amount in pair]
    return F.pad(x, flat, value=value) if any(flat) else x
