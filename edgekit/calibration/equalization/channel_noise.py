"""Predict the noise that 8 bit adds to each layer's results, as a function of how its input's channels are scaled.

For a layer that reads a tensor x with channels i and gives channels o, with weights w and factors f (the tensor holds
x_i / f_i, the weights w_oi f_i):

    noise_o / signal_o = ( A^2 / 12 * sum_i s_i * |w_oi|^2 * f_i^2
                           + B_o^2 / 12 * taps * sum_i  E x_i^2 / f_i^2 )  /  sum_i |w_oi|^2 E x_i^2

A, the step of the activation's grid, is the range of x / f over all channels by the number of levels; B_o, that of the
weights, is max_i |w_oi| f_i by theirs; s_i is the share of a channel's values that are not zero, which every grid holds
exactly. Small factors spread a channel over more of the activation's levels, and large ones over more of the weights'.

Sources: the balance between the two is that of Xiao et al., "SmoothQuant", ICML 2023; the model of noise is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from edgekit.calibration.equalization.channel_statistics import ChannelStatistics
from edgekit.graph.channels import FIXED, ChannelGroups, Floats, Labels
from edgekit.graph.numerics import integer_limits
from edgekit.graph.placement import Placement
from edgekit.graph.view import GraphView, integer_attribute
from edgekit.targets import Scheme, TensorScheme

NOTHING = 1e-300
LEAST_RANGE = 1e-3
"""A channel that was hardly ever active counts with this share of its tensor's range: it may be, on other frames."""

LEAST_SIGNAL = 1e-4
"""A channel of a result counts as if at least this share of the signal that its inputs' ranges allow was seen."""


@dataclass(frozen=True)
class _Reading:
    """One reader of a quantized tensor: a layer, or an Add that passes the tensor's noise on.

    power, peak, channel: (rows, inputs of a row), the weights' squared norm and largest magnitude, and which channel
    they multiply.
    """

    tensor: str
    power: Floats
    peak: Floats
    channel: Labels
    taps: int
    levels: float


class NoiseModel:
    """The noise of all layers that read quantized tensors, for one factor per label.

    Args:
        model: The model that was placed.
        placement: What is quantized.
        scheme: The target's rules.
        grids: Tensors of other than 8 bit.
        groups: The channels' labels.
        statistics: Of every quantized tensor that has channels.
        exact: Quantized tensors that lose nothing: their values lie on the grid.

    Attributes:
        layers: How many readers have a channel that may be scaled.
        parts: Label to the part of the network that it belongs to: parts do not depend on each other.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        placement: Placement,
        scheme: Scheme,
        grids: Mapping[str, TensorScheme],
        groups: ChannelGroups,
        statistics: Mapping[str, ChannelStatistics],
        exact: Sequence[str] = (),
    ) -> None:
        tensors = [one for one in placement.activations if one.tensor in statistics]
        names = list(dict.fromkeys(one.group for one in tensors))
        number = {one.tensor: names.index(one.group) for one in tensors}
        tensors.sort(key=lambda one: number[one.tensor])
        labels = {one.tensor: _labels_of(groups, one.tensor, statistics) for one in tensors}
        grid = {one.tensor: grids.get(one.tensor, scheme.activations) for one in tensors}
        self._group = np.concatenate([np.full(len(labels[one.tensor]), number[one.tensor]) for one in tensors])
        self._label = np.concatenate([labels[one.tensor] for one in tensors])
        ends = [_ends(statistics[one.tensor], grid[one.tensor]) for one in tensors]
        self._high, self._low = (_log(np.concatenate(side)) for side in zip(*ends, strict=True))
        self._levels = np.ones(len(names))
        for one in tensors:
            self._levels[number[one.tensor]] = np.inf if one.tensor in exact else _levels(grid[one.tensor])

        readings = [one for one in _readings(model, placement, scheme, grids) if one.tensor in statistics]
        self.layers = sum(bool(np.any(labels[one.tensor][one.channel] != FIXED)) for one in readings)
        rows = np.concatenate([np.full(one.channel.shape[0], one.channel.shape[1]) for one in readings])
        self._starts = np.concatenate([[0], np.cumsum(rows)[:-1]])
        self._row = np.repeat(np.arange(len(rows)), rows)
        self._entry = np.concatenate([labels[one.tensor][one.channel].ravel() for one in readings])
        squares = [statistics[one.tensor].square[one.channel] for one in readings]
        self._square = np.concatenate([square.ravel() for square in squares])
        power = np.concatenate([one.power.ravel() for one in readings])
        self._active = power * np.concatenate([statistics[one.tensor].active[one.channel].ravel() for one in readings])
        self._peak = _log(np.concatenate([one.peak.ravel() for one in readings]))
        extent = {one.tensor: np.maximum(*end) ** 2 for one, end in zip(tensors, ends, strict=True)}
        self._share = np.concatenate([_shares(one, statistics, extent) for one in readings])
        self._rounding = np.concatenate([np.full(len(one.power), one.taps / (12 * one.levels**2)) for one in readings])
        self._read = np.concatenate([np.full(len(one.power), number[one.tensor]) for one in readings])
        self._parts(groups.count, len(names))

    def _parts(self, labels: int, groups: int) -> None:
        free = self._label != FIXED
        links = coo_matrix(
            (np.ones(free.sum()), (self._label[free], labels + self._group[free])), shape=[labels + groups] * 2
        )
        _, parts = connected_components(links, directed=False)
        self.parts: NDArray[np.int32] = parts[:labels]
        self._part = parts[labels:][self._read]
        self._count = int(parts.max()) + 1

    def of_parts(self, logarithms: Floats) -> Floats:
        """Return the noise of each part of the network, for the natural logarithms of the labels' factors."""
        noise = self._terms(logarithms, np.inf)[0]
        return np.asarray(np.bincount(self._part, weights=noise, minlength=self._count), np.float64)

    def gradient(self, logarithms: Floats, sharpness: float) -> Floats:
        """Return the gradient of each part's noise, as a share of that noise, by the labels' logarithms.

        Args:
            logarithms: Of the factors.
            sharpness: Maxima are taken as norms of this order, so that the gradient sees more than one channel.
        """
        noise, by_entry, by_channel = self._terms(logarithms, sharpness)
        result = np.bincount(self._entry, weights=by_entry, minlength=len(logarithms))
        result += np.bincount(self._label, weights=by_channel, minlength=len(logarithms))
        result[FIXED] = 0.0
        parts = np.bincount(self._part, weights=noise, minlength=self._count)
        return np.asarray(result / np.maximum(parts[self.parts], NOTHING))

    def starts(self) -> tuple[Floats, Floats]:
        """Return for every label the logarithms of its largest activation and of its largest weight."""
        activations, weights = np.full((2, len(self.parts)), np.log(NOTHING))
        np.maximum.at(activations, self._label, np.maximum(self._high, self._low))
        np.maximum.at(weights, self._entry, self._peak)
        known = (activations > np.log(NOTHING)) & (weights > np.log(NOTHING))
        known[FIXED] = False
        return np.where(known, activations, 0.0), np.where(known, weights, 0.0)

    def _terms(self, logarithms: Floats, sharpness: float) -> tuple[Floats, Floats, Floats]:
        """Return noise per row, its gradient by entries (row and input) and its gradient by channels of tensors."""
        squared = np.exp(2 * logarithms[self._entry])
        peak, peak_share = _maxima(self._peak + logarithms[self._entry], self._starts, self._row, sharpness)
        first = np.flatnonzero(np.diff(self._group, prepend=-1))
        ends = [
            _maxima(end - logarithms[self._label], first, self._group, sharpness) for end in (self._high, self._low)
        ]
        step = sum(np.exp(end) for end, _ in ends) / self._levels

        by_activation = self._share / 12 * step[self._read] ** 2
        active = self._active * squared
        by_weights = self._rounding * self._share * np.exp(2 * peak)
        spread = self._square / squared
        rounded = by_activation * np.add.reduceat(active, self._starts)
        weighed = by_weights * np.add.reduceat(spread, self._starts)

        by_entry = by_activation[self._row] * active - by_weights[self._row] * spread + weighed[self._row] * peak_share
        per_group = np.bincount(self._read, weights=rounded, minlength=len(step)) / np.maximum(step, NOTHING)
        by_channel = -sum((per_group / self._levels * np.exp(end))[self._group] * share for end, share in ends)
        return rounded + weighed, 2 * by_entry, 2 * by_channel


def _maxima(logarithms: Floats, starts: NDArray[np.intp], segment: Labels, sharpness: float) -> tuple[Floats, Floats]:
    """Return the logarithm of each segment's maximum, or norm of an order, and each value's share in its gradient."""
    largest = np.maximum.reduceat(logarithms, starts)
    if np.isinf(sharpness):
        return largest, np.zeros_like(logarithms)
    powers = np.exp(sharpness * (logarithms - largest[segment]))
    sums = np.add.reduceat(powers, starts)
    return largest + np.log(sums) / sharpness, powers / sums[segment]


def _labels_of(groups: ChannelGroups, tensor: str, statistics: Mapping[str, ChannelStatistics]) -> Labels:
    return groups.labels.get(tensor, np.full(len(statistics[tensor].low), FIXED, np.intp))


def _ends(seen: ChannelStatistics, grid: TensorScheme) -> tuple[Floats, Floats]:
    """Return how far each channel reaches up and down; for a symmetric grid, how far at all."""
    high, low = np.maximum(seen.high, 0.0), np.maximum(-seen.low, 0.0)
    if grid.symmetric:
        high, low = np.maximum(high, low), np.zeros_like(low)
    if high.max() >= low.max():
        return np.maximum(high, LEAST_RANGE * high.max()), low
    return high, np.maximum(low, LEAST_RANGE * low.max())


def _levels(grid: TensorScheme) -> float:
    """Return how many steps a grid has for the range of one tensor; of a symmetric one, for one side."""
    low, high = integer_limits(grid)
    middle = (low + high + 1) // 2
    return float(high - middle if grid.symmetric else high - low)


def _shares(one: _Reading, statistics: Mapping[str, ChannelStatistics], extent: Mapping[str, Floats]) -> Floats:
    """Return what noise in each of a layer's channels counts: relative to the signal, and the mean over channels.

    Whatever the channels' scales are, before and behind the layer, it is the same.
    """
    signal, largest = (
        (one.power * square[one.channel]).sum(axis=1) for square in (statistics[one.tensor].square, extent[one.tensor])
    )
    return np.asarray(1 / np.maximum(signal, np.maximum(LEAST_SIGNAL * largest, NOTHING)) / len(signal))


def _log(values: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(values, NOTHING)))


def _readings(
    model: onnx.ModelProto, placement: Placement, scheme: Scheme, grids: Mapping[str, TensorScheme]
) -> list[_Reading]:
    view = GraphView(model)
    found = []
    for weight in placement.weights:
        node = view.nodes[weight.node]
        if node.op_type != "MatMul":
            values, channel = _by_output(node, view.constant(weight.tensor).astype(np.float64))
            found.append(
                _Reading(
                    tensor=weight.activation,
                    power=(values**2).sum(axis=2),
                    peak=np.abs(values).max(axis=2),
                    channel=channel,
                    taps=values.shape[2],
                    levels=float(integer_limits(grids.get(weight.tensor, scheme.weights))[1]),
                )
            )
    for activation in placement.activations:
        adds = sum(view.nodes[reader.node].op_type == "Add" for reader in activation.readers)
        channels = _channels(model, activation.tensor)
        if adds and channels:
            ones, none = np.ones((1, channels)), np.zeros((1, channels))
            found += [_Reading(activation.tensor, ones, none, np.arange(channels)[None, :], 0, 1.0)] * adds
    return found


def _by_output(node: onnx.NodeProto, weights: Floats) -> tuple[Floats, Labels]:
    """Return a layer's weights as (outputs, inputs that an output reads, taps), and the channel of each input."""
    if node.op_type == "Gemm":
        rows = weights if integer_attribute(node, "transB") else weights.T
        return rows[:, :, None], np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
    groups = integer_attribute(node, "group", 1)
    if node.op_type == "ConvTranspose":
        inputs, outputs = weights.shape[0] // groups, weights.shape[1]
        turned = weights.reshape(groups, inputs, outputs, -1).swapaxes(1, 2)
    else:
        inputs, outputs = weights.shape[1], weights.shape[0] // groups
        turned = weights.reshape(groups, outputs, inputs, -1)
    values = turned.reshape(groups * outputs, inputs, -1)
    first = np.repeat(np.arange(groups) * inputs, outputs)
    return values, first[:, None] + np.arange(inputs)


def _channels(model: onnx.ModelProto, tensor: str) -> int:
    for value in (*model.graph.input, *model.graph.value_info):
        if value.name == tensor:
            dims = value.type.tensor_type.shape.dim
            return int(dims[1].dim_value) if len(dims) > 1 else 0
    return 0
