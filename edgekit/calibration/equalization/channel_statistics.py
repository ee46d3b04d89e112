"""What is seen of the channels of activations over frames, with one frame's activations in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.ranges.observe import with_taps
from edgekit.graph.channels import Floats
from edgekit.graph.reference import ReferenceRun


@dataclass(frozen=True)
class ChannelStatistics:
    """What was seen of one tensor's channels; arrays (channels,).

    Attributes:
        low: The smallest value of a frame, the mean over frames: one outlier must not set the scale of its channel.
        high: The largest, likewise.
        square: Mean square.
        active: Share of the values that are not zero.
    """

    low: Floats
    high: Floats
    square: Floats
    active: Floats


def channel_statistics(
    model: onnx.ModelProto, tensors: Sequence[str], inputs: Iterable[NDArray[np.float32]]
) -> dict[str, ChannelStatistics]:
    """Return what is seen of the channels (axis 1) of some tensors; those with fewer than two axes are left out.

    One input's activations are held at a time.
    """
    tapped = ReferenceRun(with_taps(model, tensors))
    totals: dict[str, ChannelStatistics] = {}
    count = 0
    for values in inputs:
        count += 1
        results = tapped(values) | {tapped.input_name: values}
        for name in tensors:
            if results[name].ndim > 1:
                one = _statistics(results[name])
                totals[name] = _added(totals[name], one) if name in totals else one
    return {name: _scaled(total, 1 / count) for name, total in totals.items()}


def _statistics(values: NDArray[np.float32]) -> ChannelStatistics:
    rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    return ChannelStatistics(
        low=rows.min(axis=1).astype(np.float64),
        high=rows.max(axis=1).astype(np.float64),
        square=np.einsum("ij,ij->i", rows, rows).astype(np.float64) / rows.shape[1],
        active=np.count_nonzero(rows, axis=1) / rows.shape[1],
    )


def _added(one: ChannelStatistics, two: ChannelStatistics) -> ChannelStatistics:
    return ChannelStatistics(one.low + two.low, one.high + two.high, one.square + two.square, one.active + two.active)


def _scaled(one: ChannelStatistics, by: float) -> ChannelStatistics:
    return ChannelStatistics(one.low * by, one.high * by, one.square * by, one.active * by)
