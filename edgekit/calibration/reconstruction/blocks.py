"""Cut a network into blocks that hang together by one tensor, so that each can be reconstructed by itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx
from onnx.utils import Extractor

from edgekit.graph.placement import Placement
from edgekit.graph.view import GraphView


@dataclass(frozen=True)
class Block:
    """A part of a network between two tensors.

    Attributes:
        model: The part as a model of one input.
        outputs: The tensor that the next block starts from, and outputs of the network that are made here.
        nodes: Names of its nodes.
        weights: Names of the quantized weights in it.
    """

    model: onnx.ModelProto
    outputs: tuple[str, ...]
    nodes: frozenset[str]
    weights: tuple[str, ...]


def blocks_of(model: onnx.ModelProto, placement: Placement, most: int) -> tuple[Block, ...]:
    """Cut a cleaned model wherever a single tensor carries all that is still read, into at most `most` blocks.

    A residual block or a branch that joins again lies within one block. Where nothing can be cut, as between the two
    ends of a skip connection, a block is large; it may be the whole network.

    Args:
        model: The model, with the shapes of its tensors.
        placement: Which of its nodes have quantized weights.
        most: Blocks get about an equal number of those.
    """
    weighted = {weight.node: weight.tensor for weight in placement.weights}
    least = -(-len(weighted) // max(most, 1))
    ends = _ends(model, weighted, least)
    source = model.graph.input[0].name
    extractor = Extractor(model)
    found = []
    for first, last, end in ends:
        nodes = list(model.graph.node)[first : last + 1]
        made = {name for node in nodes for name in node.output}
        heads = [value.name for value in model.graph.output if value.name in made]
        outputs = tuple(dict.fromkeys(([end] if end else []) + heads))
        names = frozenset(node.name for node in nodes)
        weights = tuple(dict.fromkeys(weighted[node.name] for node in nodes if node.name in weighted))
        found.append(Block(extractor.extract_model([source], list(outputs)), outputs, names, weights))
        source = end
    return tuple(found)


def _ends(model: onnx.ModelProto, weighted: Collection[str], least: int) -> list[tuple[int, int, str]]:
    """Return (first node, last node, tensor that goes on) of every block; no tensor behind the last."""
    view = GraphView(model)
    order = {node.name: index for index, node in enumerate(model.graph.node)}
    last_read = {
        name: max((order[reader.node] for reader in view.readers(name)), default=-1)
        for name in [model.graph.input[0].name, *(name for node in model.graph.node for name in node.output)]
    }
    live = {model.graph.input[0].name}
    ends: list[tuple[int, int, str]] = []
    first, count, cut = 0, 0, -1
    for index, node in enumerate(model.graph.node):
        if node.name in weighted:
            # As late as can be: an activation function belongs to the block of the node before it.
            if cut >= 0:
                ends.append((first, cut, str(model.graph.node[cut].output[0])))
                first, count, cut = cut + 1, 0, -1
            count += 1
        live = {name for name in (*live, *node.output) if name and last_read[name] > index}
        if count >= least and live == {node.output[0]}:
            cut = index
    return [*ends, (first, len(model.graph.node) - 1, "")]
