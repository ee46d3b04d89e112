"""How long a layer takes at least and at most, from its work, the unit's peaks and what engines reach of them.

The roofline model: a layer takes as long as its arithmetic or as its bytes, whichever is longer (Williams, Waterman,
Patterson, Roofline: an insightful visual performance model, 2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx

from edgekit.graph.cost import node_costs, tensor_shapes
from edgekit.graph.placement import Placement
from edgekit.graph.view import GraphView, integer_attribute
from edgekit.profiling.efficiency import Efficiency, Kind, Range
from edgekit.profiling.peaks import Peaks

Bound = Literal["compute int8", "compute fp", "memory", "on-chip", "overhead", "nothing"]

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Constant", "Shape", "Dropout"})
ELEMENTWISE = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "Cast", "Concat"}
    | {"Slice", "Split", "Pad", "ReduceMean", "ReduceSum", "ReduceMax", "GlobalAveragePool"}
    | {"BatchNormalization", "QuantizeLinear", "DequantizeLinear"}
)
FUSABLE = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Add", "Mul", "Sub", "Div"}
    | {"BatchNormalization", "Cast", "Transpose", "Slice", "Concat", "Split", "Pad"}
)
"""What engines compute in the kernel before or behind, or by an address: at best it costs nothing."""

NARROW = 16
"""A convolution from or to fewer channels leaves lanes of a vector register idle."""

FLOAT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class LayerWork:
    """What a layer has to do.

    Attributes:
        name: The node's name.
        operator: Its operator.
        kind: What the efficiency table calls it.
        integer: Whether it is computed in 8 bit.
        macs: Multiply-accumulates.
        weight_bytes: Of its weights, as it stores them.
        activation_bytes: Of what it reads and writes, as it is stored.
        conversion_bytes: Read and written where an input is brought to 8 bit by a pass of its own.
    """

    name: str
    operator: str
    kind: Kind
    integer: bool
    macs: int
    weight_bytes: int
    activation_bytes: int
    conversion_bytes: int

    @property
    def moved(self) -> int:
        """All bytes that it touches."""
        return self.weight_bytes + self.activation_bytes


def layer_works(model: onnx.ModelProto, placement: Placement | None, float_bytes: int) -> Iterator[LayerWork]:
    """Yield the work of every layer of a cleaned model.

    Args:
        model: The floating-point model.
        placement: What of it is in 8 bit; none: nothing.
        float_bytes: Bytes of a value in floating point.
    """
    shapes, view = tensor_shapes(model), GraphView(model)
    eight_bit = {each.tensor for each in placement.activations} if placement else set()
    integer_weights = {each.tensor: each.node for each in placement.weights} if placement else {}
    integer_nodes = set(integer_weights.values())
    for node, cost in zip(model.graph.node, node_costs(model), strict=True):
        sizes = [
            (name, math.prod(shapes[name]))
            for name in (*node.input, *node.output)
            if name and not view.is_constant(name)
        ]
        integer = node.name in integer_nodes
        new = [size for name, size in sizes[: len(node.input)] if integer and name in eight_bit]
        yield LayerWork(
            name=node.name,
            operator=node.op_type,
            kind=_kind(node, view, shapes),
            integer=integer,
            macs=cost.macs,
            weight_bytes=sum(
                math.prod(shapes[name]) * (1 if name in integer_weights else float_bytes)
                for name in node.input
                if view.is_constant(name)
            ),
            activation_bytes=sum(size * (1 if name in eight_bit else float_bytes) for name, size in sizes),
            conversion_bytes=sum(new) * (1 + float_bytes),
        )


def _kind(node: onnx.NodeProto, view: GraphView, shapes: Mapping[str, tuple[int, ...]]) -> Kind:
    if node.op_type in VIEWS:
        return "view"
    if node.op_type == "Conv":
        group, weight = integer_attribute(node, "group", 1), shapes[node.input[1]]
        if group > 1 and weight[1] == 1:
            return "depthwise"
        return "narrow" if min(weight[0] // group, weight[1]) < NARROW else "dense"
    if node.op_type == "ConvTranspose":
        return "transposed"
    if node.op_type in ("MatMul", "Gemm"):
        return "matmul"
    return "elementwise" if node.op_type in ELEMENTWISE else "other"


@dataclass(frozen=True)
class LayerTime:
    """How long a layer takes.

    Attributes:
        ms: From and to; none where a figure is missing.
        bound: What it takes longest for.
    """

    ms: Range | None
    bound: Bound


def layer_time(work: LayerWork, peaks: Peaks, efficiency: Efficiency, on_chip: bool | None) -> LayerTime:
    """Return how long a layer takes.

    Args:
        work: What it has to do.
        peaks: The unit's.
        efficiency: What is reached of them.
        on_chip: Whether what it touches fits into the chip's own memory; none: not known.
    """
    if work.kind == "view":
        return LayerTime(Range(0.0, 0.0), "nothing")
    compute = _compute_ms(work, peaks, efficiency)
    memory = _memory_ms(work, peaks, efficiency, on_chip)
    if (work.macs and compute is None) or memory is None:
        return LayerTime(None, _likely(work))
    parts: dict[Bound, Range] = {
        "compute int8" if work.integer else "compute fp": compute or Range(0.0, 0.0),
        "on-chip" if on_chip and peaks.on_chip else "memory": memory,
    }
    overhead = efficiency.layer_us.scaled(1e-3)
    low = 0.0 if work.operator in FUSABLE else max(part.low for part in parts.values()) + overhead.low
    high = max(part.high for part in parts.values()) + overhead.high
    bound = max(parts, key=lambda name: _middle(parts[name]))
    return LayerTime(Range(low, high), bound if _middle(parts[bound]) > overhead.high / 2 else "overhead")


def _likely(work: LayerWork) -> Bound:
    if not work.macs:
        return "memory"
    return "compute int8" if work.integer else "compute fp"


def _middle(part: Range) -> float:
    return math.sqrt(max(part.low, part.high / 100) * part.high)


def _compute_ms(work: LayerWork, peaks: Peaks, efficiency: Efficiency) -> Range | None:
    if not work.macs:
        return Range(0.0, 0.0)
    peak = Range(peaks.int8, peaks.int8) if work.integer and peaks.int8 else None if work.integer else peaks.floating
    share = efficiency.compute.get((work.kind, "int8" if work.integer else "float"))
    if peak is None or share is None:
        return None
    operations = 2e3 * work.macs
    return Range(operations / (peak.high * share.high), operations / (peak.low * share.low))


def _memory_ms(work: LayerWork, peaks: Peaks, efficiency: Efficiency, on_chip: bool | None) -> Range | None:
    """From: what cannot stay on the chip, at full speed. To: all of it, as far as such a layer gets."""
    share = efficiency.memory.get(work.kind, Range(0.5, 1.0))
    if on_chip and peaks.on_chip:
        fast = peaks.on_chip / 1e3
        return Range(work.moved / (fast * share.high), (work.moved + work.conversion_bytes) / (fast * share.low))
    if peaks.dram is None:
        return None
    slow = peaks.dram / 1e3
    least = work.moved if on_chip is False else work.weight_bytes
    return Range(least / (slow * share.high), (work.moved + work.conversion_bytes) / (slow * share.low))
