"""Decide, by a target's rules, which nodes are computed in 8 bit and which tensors are quantized for that.

Fewer quantized tensors are both truer and often faster, so the rules place what an 8-bit kernel needs and no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import onnx

from edgekit.graph.cost import node_costs
from edgekit.graph.view import GraphView, Reader, integer_attribute, text_attribute
from edgekit.targets import Scheme

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})
HEAD_RESULT = "its result is a head's, which 8 bit would have to round as well"
"""Why a node stays in floating point that the rules would quantize; those before it are quantized all the same."""

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
WEIGHTED = CONVOLUTIONS | {"Gemm", "MatMul"}
MINOR = 0.1
"""Operators that do less than this share of the work are minor."""

WIDE = "int16"
"""The higher precision that is integer arithmetic too: activations of 16 bit, weights of 8 (A16W8)."""


@dataclass(frozen=True)
class QuantizedActivation:
    """An activation that is stored in 8 bit.

    Attributes:
        tensor: Its name.
        group: Tensors of one group share a scale; the name of one of them stands for it.
        readers: The inputs that read it dequantized; the others keep reading it in floating point.
    """

    tensor: str
    group: str
    readers: tuple[Reader, ...]


@dataclass(frozen=True)
class QuantizedWeight:
    """A constant input that is stored in 8 bit, read by one node.

    Attributes:
        tensor: The initializer's name.
        node: The node that reads it.
        axis: Its axis of output channels.
        bias: The node's bias, where the target wants it quantized; else none.
        activation: The activation that the node multiplies it with.
    """

    tensor: str
    node: str
    axis: int
    bias: str | None
    activation: str


@dataclass(frozen=True)
class WideNode:
    """A node that is computed with 16-bit activations and 8-bit weights, where the target's higher precision is that.

    Attributes:
        weight: Its weights, and the activation that it multiplies them with.
        output: Its result, behind the activation function that an engine fuses into it.
    """

    weight: QuantizedWeight
    output: str


@dataclass(frozen=True)
class NodePrecision:
    """The precision that a node is computed in, and why."""

    precision: str
    why: str


@dataclass(frozen=True)
class Placement:
    """Where Q/DQ pairs go.

    Attributes:
        activations: Activations in graph order.
        weights: Weights in graph order.
        nodes: Node name to its precision, for every node that has weights.
        keep: The nodes that were named to stay in floating point; the rules may leave others there too.
        wide: Nodes with 16-bit activations in graph order; to what is around them they are as good as floating point.
    """

    activations: tuple[QuantizedActivation, ...]
    weights: tuple[QuantizedWeight, ...]
    nodes: dict[str, NodePrecision]
    keep: frozenset[str] = frozenset()
    wide: tuple[WideNode, ...] = ()

    def wide_tensors(self) -> tuple[str, ...]:
        """Return the tensors with a 16-bit grid of their own.

        They are what wide nodes make, and what they read where that is not stored in 8 bit; else it is widened.
        """
        narrow = {one.tensor for one in self.activations} - {node.output for node in self.wide}
        names = [name for node in self.wide for name in (node.weight.activation, node.output)]
        return tuple(dict.fromkeys(name for name in names if name not in narrow))

    def without_wide(self) -> Placement:
        """Return it with the wide nodes in floating point, which they are as good as."""
        return replace(self, wide=())


def wide_key(tensor: str) -> str:
    """Return the name under which a tensor's own 16-bit grid is kept: it may have one of 8 bit beside it."""
    return f"{tensor}/16bit"


def place(model: onnx.ModelProto, scheme: Scheme, keep: Collection[str] = ()) -> Placement:
    """Place Q/DQ pairs in a cleaned model.

    Args:
        model: The model: named nodes, weights as initializers.
        scheme: The target's rules.
        keep: Names of nodes that stay in floating point.
    """
    view = GraphView(model)
    nodes = _node_precisions(view, scheme, keep)
    quantized = [view.nodes[name] for name, node in nodes.items() if node.precision == scheme.weights.dtype]
    needed = _Needed(view, scheme)
    for node in quantized:
        needed.add(node.input[0], [Reader(node.name, 0)])
        if scheme.outputs:
            needed.add(_after_activation(view, node))
        if scheme.residual_add == "branch":
            needed.add_residual_branch(node)
    return Placement(
        activations=needed.in_graph_order(),
        weights=tuple(_weight(view, node, scheme) for node in quantized),
        nodes=nodes,
        keep=frozenset(keep),
        wide=tuple(
            WideNode(_weight(view, view.nodes[name], scheme), _after_activation(view, view.nodes[name]))
            for name, node in nodes.items()
            if node.precision == WIDE
        ),
    )


def _node_precisions(view: GraphView, scheme: Scheme, keep: Collection[str]) -> dict[str, NodePrecision]:
    """Choose the precision of every weighted node, walking from the outputs back to the input."""
    chosen: dict[str, NodePrecision] = {}
    minor = _minor_operators(view.model, scheme)
    leads_to_candidate: set[str] = set()
    for node in reversed(view.model.graph.node):
        downstream = any(reader.node in leads_to_candidate for name in node.output for reader in view.readers(name))
        reason = _reason_to_keep(view, node, scheme, keep, minor) if node.op_type in WEIGHTED else ""
        is_candidate = node.op_type in WEIGHTED and not reason
        if is_candidate and scheme.outputs and not downstream:
            reason = HEAD_RESULT
        if downstream or is_candidate:
            leads_to_candidate.add(node.name)
        if reason:
            chosen[node.name] = NodePrecision(_higher_precision(view, node, scheme), f"kept: {reason}")
        elif is_candidate:
            chosen[node.name] = NodePrecision(scheme.weights.dtype, f"the target computes {node.op_type} in 8 bit")
    return dict(reversed(chosen.items()))


def _higher_precision(view: GraphView, node: onnx.NodeProto, scheme: Scheme) -> str:
    """Return what a node is kept in: of those that could have 16-bit activations, only convolutions get them.

    Their weights stay in 8 bit, and in matrix products it is these that cost: on LSTR, those of its heads.
    """
    convolves = node.op_type in CONVOLUTIONS and node.op_type in scheme.operators
    in_integers = convolves and not _multiplies_activations(view, node)
    return "fp16" if scheme.higher_precision == WIDE and not in_integers else scheme.higher_precision


def _multiplies_activations(view: GraphView, node: onnx.NodeProto) -> bool:
    return not view.is_constant(node.input[1]) or view.is_constant(node.input[0])


def _minor_operators(model: onnx.ModelProto, scheme: Scheme) -> frozenset[str]:
    """Return the operators of `scheme.unless_minor` where there is little to gain in what they do."""
    if not scheme.unless_minor:
        return frozenset()
    costs = node_costs(model)
    work = sum(cost.macs for cost in costs if cost.operator in scheme.unless_minor)
    return frozenset(scheme.unless_minor if work < MINOR * sum(cost.macs for cost in costs) else ())


def _reason_to_keep(
    view: GraphView, node: onnx.NodeProto, scheme: Scheme, keep: Collection[str], minor: Collection[str]
) -> str:
    if node.name in keep:
        return "named to stay in higher precision"
    if node.op_type not in scheme.operators:
        return f"the target's rules leave {node.op_type} as it is"
    if node.op_type in minor:
        return f"{node.op_type} does little of the work here"
    if _multiplies_activations(view, node):
        return "it multiplies two activations, not weights"
    return ""


class _Needed:
    """The activations that have to be quantized, growing as one asks for another."""

    def __init__(self, view: GraphView, scheme: Scheme) -> None:
        self._view = view
        self._scheme = scheme
        self._readers: dict[str, list[Reader]] = {}
        self._parents: dict[str, str] = {}

    def add(self, tensor: str, readers: Iterable[Reader] = ()) -> None:
        known = tensor in self._readers
        if self._scheme.outputs:
            readers = self._view.readers(tensor)
        self._readers.setdefault(tensor, [])
        self._readers[tensor] += [reader for reader in readers if reader not in self._readers[tensor]]
        if not known:
            self._add_upstream(tensor)

    def _add_upstream(self, tensor: str) -> None:
        """A tensor made by an operator that only moves values, or adds two branches, may need its inputs quantized."""
        producer = self._view.producer(_before_activation(self._view, tensor))
        if producer is None:
            return
        if producer.op_type in self._scheme.share_scale and _shares_scale(producer):
            for slot, name in enumerate(producer.input):
                if name and not self._view.is_constant(name) and (slot == 0 or producer.op_type == "Concat"):
                    self._join(tensor, name)
                    self.add(name, [Reader(producer.name, slot)])
        elif producer.op_type == "Add" and self._scheme.residual_add == "full" and _adds_branches(self._view, producer):
            for slot, name in enumerate(producer.input):
                self.add(name, [Reader(producer.name, slot)])

    def add_residual_branch(self, node: onnx.NodeProto) -> None:
        """Quantize what is added to a node's result, so that the engine fuses the Add into the node."""
        add = self._view.sole_reader(node.output[0])
        if add is None or add.op_type != "Add":
            return
        slot = 1 if add.input[0] == node.output[0] else 0
        if not self._view.is_constant(add.input[slot]):
            self.add(add.input[slot], [Reader(add.name, slot)])

    def in_graph_order(self) -> tuple[QuantizedActivation, ...]:
        order = [value.name for value in self._view.model.graph.input]
        order += [name for node in self._view.model.graph.node for name in node.output]
        return tuple(
            QuantizedActivation(tensor, self._root(tensor), tuple(self._readers[tensor]))
            for tensor in order
            if tensor in self._readers
        )

    def _root(self, tensor: str) -> str:
        while (parent := self._parents.get(tensor, tensor)) != tensor:
            tensor = parent
        return tensor

    def _join(self, one: str, two: str) -> None:
        self._parents[self._root(two)] = self._root(one)


def _weight(view: GraphView, node: onnx.NodeProto, scheme: Scheme) -> QuantizedWeight:
    has_bias = node.op_type != "MatMul" and len(node.input) > 2 and view.is_constant(node.input[2])
    return QuantizedWeight(
        tensor=node.input[1],
        node=node.name,
        axis=_output_channel_axis(view, node),
        bias=node.input[2] if has_bias and scheme.bias == "int32" else None,
        activation=node.input[0],
    )


def _output_channel_axis(view: GraphView, node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if integer_attribute(node, "transB") else 1
    return view.constant(node.input[1]).ndim - 1


def _after_activation(view: GraphView, node: onnx.NodeProto) -> str:
    """Return the tensor behind a node and the activation function that an engine fuses into it."""
    following = view.sole_reader(node.output[0])
    last = following if following is not None and following.op_type in FUSED_ACTIVATIONS else node
    return str(last.output[0])


def _before_activation(view: GraphView, tensor: str) -> str:
    producer = view.producer(tensor)
    fused = producer is not None and producer.op_type in FUSED_ACTIVATIONS
    if producer is None or not fused or view.sole_reader(producer.input[0]) is None:
        return tensor
    return str(producer.input[0])


def _adds_branches(view: GraphView, add: onnx.NodeProto) -> bool:
    """Whether both inputs are activations and one is made by a node with weights."""
    sources = [view.producer(_before_activation(view, name)) for name in add.input]
    return not any(view.is_constant(name) for name in add.input) and any(
        source is not None and source.op_type in WEIGHTED for source in sources
    )


def _shares_scale(node: onnx.NodeProto) -> bool:
    """Whether each output value is one of the input values, so that no new scale is needed."""
    if node.op_type != "Resize":
        return True
    return text_attribute(node, "mode", "nearest") == "nearest"
