"""What it costs to keep nodes in higher precision: time, estimated or measured in the engine, or their work alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from edgekit.backends.base import Backend, Engine
from edgekit.calibration.selection.variants import Variants
from edgekit.graph.cost import node_costs, tensor_shapes
from edgekit.targets import Target

CostModel = Callable[[frozenset[str]], float]
"""Returns what a run costs with these nodes kept, relative to a run with nothing kept."""

Loader = Callable[[frozenset[str]], Engine]

RATIO = 2.7
PER_VALUE = 100.0
"""Rough figures for OpenVINO on an x86-64 CPU with VNNI: QuantLaneNet runs 2.7 times as fast in 8 bit there, and of its
layers kept one at a time, those with large feature maps cost by their values and not by their work."""


def estimated_cost(
    model: onnx.ModelProto, quantized: tuple[str, ...], ratio: float = RATIO, per_value: float = PER_VALUE
) -> CostModel:
    """Estimate the time from the work of nodes and the size of what they read and write.

    A node that is kept computes in the higher precision, and the activations that it reads and writes are carried in
    it too: where feature maps are large, that is what costs. One estimate serves all engines, so its figures are
    labelled as estimates.

    Args:
        model: The cleaned model.
        quantized: The nodes that run in 8 bit when nothing is kept.
        ratio: Time of a multiply-accumulate in the higher precision over that in 8 bit.
        per_value: What it costs to carry one value in the higher precision, in multiply-accumulates in 8 bit.
    """
    macs = {cost.name: cost.macs for cost in node_costs(model)}
    in_8_bit = sum(macs[name] for name in quantized)
    whole = in_8_bit + ratio * (sum(macs.values()) - in_8_bit)
    nodes = {node.name: node for node in model.graph.node}
    sizes = {name: math.prod(shape) for name, shape in tensor_shapes(model).items()}

    def relative(kept: frozenset[str]) -> float:
        if not whole:
            return 1.0
        carried = {name for node in kept for name in (nodes[node].input[0], nodes[node].output[0])}
        work = (ratio - 1.0) * sum(macs[name] for name in kept)
        return 1.0 + (work + per_value * sum(sizes[name] for name in carried)) / whole

    return relative


def macs_cost(model: onnx.ModelProto) -> CostModel:
    """Count the multiply-accumulates that nodes take from 8 bit, as a share of all: exact, and silent about time."""
    macs = {cost.name: cost.macs for cost in node_costs(model)}
    whole = max(sum(macs.values()), 1)
    return lambda kept: 1.0 + sum(macs[name] for name in kept) / whole


def measured_cost(build: Loader, inputs: Mapping[str, Any], *, rounds: int = 30, calls: int = 3) -> CostModel:
    """Measure the time in the target's own engine: both models in turn, so that drift hits them alike.

    It differs from call to call, as times do, so a selection that uses it is not reproducible to the byte. And every
    choice that a selection weighs is built and timed: 2 * rounds * calls runs for each candidate in each round.

    Args:
        build: Loads the engine with some nodes kept; `engine_builder` makes one.
        inputs: What to run it on.
        rounds: Rounds of both models; the cost is the median of the rounds' ratios.
        calls: Runs per model and round.
    """
    base = build(frozenset())
    known: dict[frozenset[str], float] = {frozenset(): 1.0}

    def seconds(engine: Engine) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            engine.run(inputs)
        return time.perf_counter() - start

    def relative(kept: frozenset[str]) -> float:
        if kept not in known:
            engine = build(kept)
            seconds(engine)
            seconds(base)
            known[kept] = float(np.median([seconds(engine) / seconds(base) for _ in range(rounds)]))
            engine.close()
        return known[kept]

    return relative


def engine_builder(backend: Backend, target: Target, variants: Variants, threads: int = 1) -> Loader:
    """Build and load variants in a backend's engine; what it raises is the backend's."""

    def build(kept: frozenset[str]) -> Engine:
        built = backend.build(variants.without(kept).SerializeToString(), target)
        return backend.load(built.members, target.options, threads)

    return build
