"""Scale the channels inside a network without changing what it computes.

A layer's results may be divided, channel by channel, by any positive factors, if whatever reads them multiplies them
back. Operators that are positively homogeneous, f(a x) = a f(x) for a > 0, pass such factors on; layers with constant
weights take them in, and open new ones of their own. `channel_groups` finds which channels may have which factors, and
`scaled` applies them.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1,
where the factors run along a chain of two layers. Here they run through the graph: over Concat and Split, and where
branches are added, through both of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.graph.carriers import RULES
from edgekit.graph.channels import FIXED, ChannelGroups, Floats, Walk
from edgekit.graph.view import GraphView, drop_unread_constants


def channel_groups(model: onnx.ModelProto) -> ChannelGroups:
    """Find the channels of a cleaned model that may be scaled, and those that have to be scaled alike."""
    walk = Walk(model)
    for node in model.graph.node:
        rule = RULES.get(node.op_type)
        if rule is None or not rule(walk, node):
            walk.fix(node)
        for attribute in node.attribute:
            for inner in attribute.g.node:
                walk.fix(inner)
    for value in model.graph.output:
        walk.tie(walk.of(value.name), np.array([FIXED]))
    return walk.result()


def scaled(model: onnx.ModelProto, factors: Mapping[str, Floats]) -> onnx.ModelProto:
    """Return a model whose layers give their channels divided by factors, and whose outputs are the same.

    A constant that several nodes read is copied for those that need it changed.

    Args:
        model: A cleaned model.
        factors: Layer to one positive factor per channel of its result; layers not named keep theirs.

    Raises:
        UsageError: The factors do not fit the model.
    """
    groups, view = channel_groups(model), GraphView(model)
    values = groups.values(factors)
    changed: dict[str, dict[tuple[str, int], NDArray[np.floating]]] = defaultdict(dict)
    for edit in groups.edits:
        name = view.nodes[edit.node].input[edit.slot]
        times = 1.0 if edit.times is None else values[edit.times]
        over = 1.0 if edit.over is None else values[edit.over]
        if np.any(np.asarray(times / over) != 1.0):
            constant = view.constant(name)
            changed[name][edit.node, edit.slot] = np.asarray(constant * times / over, constant.dtype)
    return _with_constants(model, view, changed)


def _with_constants(
    model: onnx.ModelProto, view: GraphView, changed: Mapping[str, Mapping[tuple[str, int], NDArray[np.floating]]]
) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    weights = {weight.name: weight for weight in result.graph.initializer}
    nodes = {node.name: node for node in result.graph.node}
    for name, readings in changed.items():
        first = next(iter(readings.values()))
        alike = all(np.array_equal(first, values) for values in readings.values())
        if alike and len(readings) == len(view.readers(name)):
            weights[name].CopyFrom(numpy_helper.from_array(first, name))
            continue
        for (node, slot), values in readings.items():
            nodes[node].input[slot] = f"{node}/{name}"
            if f"{node}/{name}" not in weights:
                result.graph.initializer.append(numpy_helper.from_array(values, f"{node}/{name}"))
    drop_unread_constants(result.graph)
    return result
