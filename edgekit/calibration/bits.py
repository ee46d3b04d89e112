"""Grids of other than 8 bit: which tensors of a network get them when weights or activations are to have 4 or 16.

The first and the last layers with weights stay in 8 bit, as in QDrop (Wei et al., ICLR 2022), MQBench and most that is
published on 4 bit, and so do the activations that only those read:

- A layer is a Conv, ConvTranspose, Gemm or MatMul with constant weights, whether the target quantizes it or not.
- The first layers are those that no other layer comes before: on every way back from them to the network's input there
  are only operators without weights. A network may have several.
- The last layers are the first ones met on any way back from an output. Every head has one or more.

More layers may be given 8 bit on purpose (`widened`), as Sensitivity Aware Selection does.

What has 4 bit is stored in the target's 8-bit dtypes, and kept in the narrow grid by a Clip. So such a model shows what
the task would lose on a chip that computes in 4 bit, and no shipped target is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import onnx

from edgekit.graph.placement import WEIGHTED, Placement
from edgekit.graph.view import GraphView
from edgekit.recipes import Bits
from edgekit.targets import Scheme, TensorScheme

Grids = dict[str, TensorScheme]

WIDTHS: dict[Bits, tuple[int, int]] = {"w8a8": (8, 8), "w4a8": (4, 8), "w4a4": (4, 4)}
"""Bits of weights and of activations."""


def grids_of(model: onnx.ModelProto, placement: Placement, scheme: Scheme, bits: Bits) -> Grids:
    """Return the grid of every tensor of a placement that does not have the scheme's 8 bit.

    Args:
        model: The model that was placed.
        placement: All that the target quantizes: a part of it keeps the grids that it has here.
        scheme: The target's rules.
        bits: What is asked for.
    """
    weight_bits, activation_bits = WIDTHS[bits]
    view = GraphView(model)
    ends = first_layers(view) | last_layers(view)
    grids: Grids = {}
    if weight_bits != 8:
        narrow = with_bits(scheme.weights, weight_bits)
        # One tensor of weights may serve several layers, and then has the grid that the most exacting of them wants.
        exact = {weight.tensor for weight in placement.weights if weight.node in ends}
        grids |= {weight.tensor: narrow for weight in placement.weights if weight.tensor not in exact}
    if activation_bits != 8:
        narrow = with_bits(scheme.activations, activation_bits)
        groups = _groups_read_inside(view, placement, ends)
        grids |= {one.tensor: narrow for one in placement.activations if one.group in groups}
    return grids


def widened(
    grids: Mapping[str, TensorScheme], model: onnx.ModelProto, placement: Placement, keep: Collection[str]
) -> Grids:
    """Return the grids that are left when more nodes have the scheme's 8 bit.

    Their weights do, and the activations that nothing of fewer bits reads.

    Args:
        grids: Of the tensors that have fewer bits.
        model: The model that was placed.
        placement: All that the target quantizes.
        keep: The nodes.
    """
    wide = frozenset(keep) | {weight.node for weight in placement.weights if weight.tensor not in grids}
    groups = _groups_read_inside(GraphView(model), placement, wide)
    narrow = {weight.tensor for weight in placement.weights if weight.node not in wide}
    narrow |= {one.tensor for one in placement.activations if one.group in groups}
    return {name: grid for name, grid in grids.items() if name in narrow}


def with_bits(scheme: TensorScheme, bits: int) -> TensorScheme:
    """Return a scheme with other bits: fewer in the dtype that it has, or 16 in the 16-bit one of the same sign."""
    if bits == 16:
        dtype = scheme.dtype.replace("int8", "int16")
        return TensorScheme.model_validate({**scheme.model_dump(), "dtype": dtype, "bits": None, "reduce_range": False})
    # Products of 4-bit numbers saturate nowhere, so the range needs no further reduction.
    return TensorScheme.model_validate({**scheme.model_dump(), "bits": bits, "reduce_range": False})


def first_layers(view: GraphView) -> frozenset[str]:
    """Return the layers that no layer comes before."""
    behind: set[str] = set()
    found = set()
    for node in view.model.graph.node:
        after_layer = any(name in behind for name in node.input)
        if is_layer(view, node) and not after_layer:
            found.add(node.name)
        if after_layer or is_layer(view, node):
            behind.update(node.output)
    return frozenset(found)


def last_layers(view: GraphView) -> frozenset[str]:
    """Return the layers that are met first on the ways back from the outputs."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = sorted(view.outputs)
    while waiting:
        tensor = waiting.pop()
        node = view.producer(tensor)
        if node is None or tensor in seen:
            continue
        seen.add(tensor)
        if is_layer(view, node):
            found.add(node.name)
        else:
            waiting += view.activations(node)
    return frozenset(found)


def is_layer(view: GraphView, node: onnx.NodeProto) -> bool:
    """Say whether a node multiplies an activation with constant weights."""
    return node.op_type in WEIGHTED and view.is_constant(node.input[1]) and not view.is_constant(node.input[0])


def _groups_read_inside(view: GraphView, placement: Placement, ends: frozenset[str]) -> set[str]:
    """Return the groups of activations that something reads which is no first or last layer.

    What only moves a group's values within the group, a MaxPool or a Concat, does not read them.
    """
    group_of = {one.tensor: one.group for one in placement.activations}

    def readers() -> Iterator[tuple[str, onnx.NodeProto]]:
        for one in placement.activations:
            for reader in one.readers:
                yield one.group, view.nodes[reader.node]

    return {
        group
        for group, node in readers()
        if node.name not in ends and not any(group_of.get(name) == group for name in node.output)
    }
