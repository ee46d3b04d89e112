"""Operators that move values and change none: reshape, transpose, join, cut, repeat, pad."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from edgekit.graph.operators.dtypes import to_tensor
from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor


def reshape(node: Node) -> Run:
    """Reshape; 0 takes over the input's size unless `allowzero` is set."""
    target = node.integers(1)
    assert target is not None
    if 0 not in target or node.attribute("allowzero", 0):
        return lambda x, *_: x.reshape(target)
    return lambda x, *_: x.reshape([size or x.shape[axis] for axis, size in enumerate(target)])


def flatten(node: Node) -> Run:
    """Flatten to a matrix: the axes before `axis`, and the rest."""
    axis = node.attribute("axis", 1)
    return lambda x: x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(node: Node) -> Run:
    """Drop axes of size 1: those named, or all."""
    axes = node.integers_at("axes", 1)
    return (lambda x, *_: x.squeeze()) if axes is None else (lambda x, *_: x.squeeze(axes))


def unsqueeze(node: Node) -> Run:
    """Put in axes of size 1, counted in the output."""
    axes = node.integers_at("axes", 1)
    assert axes is not None

    def run(x: Tensor, *_: Tensor) -> Tensor:
        ndim = x.ndim + len(axes)
        for axis in sorted(axis % ndim for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return run


def transpose(node: Node) -> Run:
    """Permute the axes; without `perm`, reverse them."""
    order = node.attribute("perm")
    return lambda x: x.permute(order or list(reversed(range(x.ndim))))


def concat(node: Node) -> Run:
    """Join tensors along an axis."""
    axis = node.attribute("axis")
    return lambda *tensors: torch.cat(tensors, axis)


def split(node: Node) -> Run:
    """Cut a tensor into as many parts as there are outputs, or of the sizes given."""
    axis, sizes = node.attribute("axis", 0), node.integers_at("split", 1)
    count = node.attribute("num_outputs", node.output_count)

    def run(x: Tensor, *_: Tensor) -> Any:
        # With sizes that do not divide evenly, the last part is the smaller one.
        return torch.split(x, sizes or -(-x.shape[axis] // count), axis)

    return run


def slice_(node: Node) -> Run:
    """Cut out ranges; negative steps go backwards."""
    starts, ends = node.integers_at("starts", 1), node.integers_at("ends", 2)
    assert starts is not None
    assert ends is not None
    axes = node.integers_at("axes", 3) or list(range(len(starts)))
    steps = node.integers(4) or [1] * len(starts)
    cuts = list(zip(axes, starts, ends, steps, strict=True))

    def run(x: Tensor, *_: Tensor | None) -> Tensor:
        for axis, start, end, step in cuts:
            size = x.shape[axis]
            if step > 0:
                first, last = slice(start, end, step).indices(size)[:2]
                picks = [slice(None)] * x.ndim
                picks[axis] = slice(first, max(first, last), step)
                x = x[tuple(picks)]
            else:
                # ONNX moves a start before the first value onto it, where Python would find nothing.
                chosen = range(*slice(max(start, -size), end, step).indices(size))
                x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
        return x

    return run


def expand(node: Node) -> Run:
    """Broadcast to a shape that may itself be broadcast to the input's."""
    target = node.integers(1)
    assert target is not None
    return lambda x, *_: x.expand(np.broadcast_shapes(x.shape, target))


def tile(node: Node) -> Run:
    """Repeat along each axis."""
    repeats = node.integers(1)
    return lambda x, *_: x.repeat(repeats)


def depth_to_space(node: Node) -> Run:
    """Move blocks of channels into space."""
    block, mode = node.attribute("blocksize"), node.attribute("mode", "DCR")

    def run(x: Tensor) -> Tensor:
        if mode == "CRD":
            return F.pixel_shuffle(x, block)
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(batch, channels // block**2, height * block, width * block)

    return run


def space_to_depth(node: Node) -> Run:
    """Move blocks of space into channels."""
    block, mode = node.attribute("blocksize"), node.attribute("mode", "DCR")

    def run(x: Tensor) -> Tensor:
        if mode == "CRD":
            return F.pixel_unshuffle(x, block)
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
        return blocks.reshape(batch, channels * block**2, height // block, width // block)

    return run


def pad(node: Node) -> Run:
    """Pad with a constant, the edge's values, a mirror image, or the other side's values; crop where negative."""
    amounts = node.integers_at("pads", 1)
    assert amounts is not None
    mode = node.attribute("mode", "constant")
    known = node.constant(2) if node.is_constant(2) else None
    fill = node.attribute("value", 0.0) if known is None or not known.size else known.reshape(-1)[0].item()
    axes = node.integers(3)
    half = len(amounts) // 2
    pairs = list(zip(amounts[:half], amounts[half:], strict=True))

    def run(x: Tensor, _: Tensor | None = None, value: Tensor | None = None, *__: Tensor | None) -> Tensor:
        by_axis = dict(zip([axis % x.ndim for axis in axes] if axes else range(x.ndim), pairs, strict=True))
        if mode == "constant":
            flat = [amount for axis in reversed(range(x.ndim)) for amount in by_axis.get(axis, (0, 0))]
            return F.pad(x, flat, value=fill if known is not None or value is None else value.item())
        for axis, (before, after) in by_axis.items():
            if before or after:
                places = torch.from_numpy(_padded_places(x.shape[axis], before, after, mode)).to(x.device)
                x = x.index_select(axis, places)
        return x

    return run


def _padded_places(size: int, before: int, after: int, mode: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where each value of a padded axis comes from."""
    places = np.arange(-before, size + after)
    if mode == "edge":
        return np.clip(places, 0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * (size - 1), 1)
    return (size - 1) - np.abs(places % period - (size - 1))


def trilu(node: Node) -> Run:
    """Keep the upper or lower triangle."""
    offsets = node.integers(1)
    offset = offsets[0] if offsets else 0
    return lambda x, *_: torch.triu(x, offset) if node.attribute("upper", 1) else torch.tril(x, offset)


def shape(node: Node) -> Run:
    """Return the sizes of the axes from `start` to `end`."""
    part = slice(node.attribute("start", 0), node.attribute("end"))
    return lambda x: torch.tensor(list(x.shape)[part], dtype=torch.int64)


def size(x: Tensor) -> Tensor:
    """Return the number of elements."""
    return torch.tensor(x.numel(), dtype=torch.int64)


def constant(node: Node) -> Run:
    """Return the attribute that holds the values."""
    value = node.attribute("value")
    if value is None:
        names = ("value_float", "value_floats", "value_int", "value_ints")
        given = next((given for name in names if (given := node.attribute(name)) is not None), None)
        if given is None:
            raise node.unsupported(what="a constant that is sparse or holds text")
        value = np.asarray(given, np.float32 if "float" in str(np.asarray(given).dtype) else np.int64)
    tensor = to_tensor(value)
    return lambda: tensor


def constant_of_shape(node: Node) -> Run:
    """Fill a shape with one value."""
    value = node.attribute("value")
    fill = torch.zeros(1) if value is None else to_tensor(value)
    filled = fill.expand(node.integers(0) or [])
    return lambda sizes: filled.to(sizes.device)


def range_(node: Node) -> Run:
    """Count from start to limit in steps."""
    start, limit, step = (node.constant(slot) for slot in range(3))
    assert start is not None
    assert limit is not None
    assert step is not None
    values = to_tensor(np.arange(start.item(), limit.item(), step.item()).astype(start.dtype))
    return lambda first, *_: values.to(first.device)
